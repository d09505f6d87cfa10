"""Whoever dies with a task, the sweeper of the other side brings it back, and whoever lives finishes it."""

from __future__ import annotations

import pytest
from steps import await_end, await_nothing_left, await_runs, enqueue, leftovers, runs

from delayed.queue import Queue
from waiting import wait_until

#: Tasks enqueued so are lost as soon as they are taken. Their workers, with options of their own, let them run.
LOST_AT_ONCE = {'default_timeout': 0, 'requeue_timeout': 0}


class TestItsSweeper:
    def test_brings_back_what_somebody_of_ours_dequeued_by_hand_and_kept(self, theirs, conn):
        queue = Queue('default', conn, **LOST_AT_ONCE)
        enqueue(queue, 'record', 1)
        assert queue.dequeue()
        sweep_until_back(theirs, queue)
        theirs.work('PreforkedWorker')
        await_runs(conn, 1)
        await_nothing_left(conn)

    @pytest.mark.parametrize('worker, heir', [('ForkedWorker', 'theirs'), ('PreforkedWorker', 'ours')])
    def test_brings_back_what_our_worker_ran_when_it_was_killed(self, request, theirs, ours, queue, conn, worker, heir):
        enqueue(queue, 'hold', 1)
        killed = ours.work(worker, lease=1)
        await_runs(conn, 1)
        killed.kill()
        sweep_until_back(theirs, queue)
        request.getfixturevalue(heir).work(worker)
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_end(conn)
        assert queue.requeue_lost() == 0
        assert leftovers(conn) == [], 'our sweep drops what the old one left of the lease'

    @pytest.mark.parametrize('peer', ['peer_on_this_python'], indirect=True)
    def test_leaves_alone_what_our_worker_goes_on_renewing(self, theirs, ours, queue, conn):
        enqueue(queue, 'hold', 1)
        ours.work('PreforkedWorker', lease=3)
        await_runs(conn, 1)
        first_end = end_of_lease(conn)
        theirs.sweep()
        wait_until(lambda: end_of_lease(conn) > first_end + 3000, 'a renewal past the end of the first lease')
        conn.rpush('go', 1)
        await_nothing_left(conn)
        assert runs(conn) == [1]


class TestOurSweeps:
    @pytest.mark.parametrize('sweeper', ['sweeper', 'worker'])
    def test_bring_back_what_its_worker_ran_when_it_was_killed(self, theirs, ours, queue, conn, worker, sweeper):
        theirs.hand(**LOST_AT_ONCE).enqueue('hold', 1, 1)
        killed = theirs.work(worker)
        await_runs(conn, 1)
        killed.kill()
        if sweeper == 'sweeper':
            sweep_until_back(ours, queue)
            theirs.work(worker)
        else:
            ours.work(worker, sweep_interval=0.1)
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_nothing_left(conn)

    def test_count_no_loss_of_its_workers_for_nobody_knows_whether_they_had_begun(self, theirs, queue, conn):
        hand = theirs.hand(**LOST_AT_ONCE)
        hand.enqueue('record', 1, 1)
        for _ in range(4):
            assert hand.dequeue()
            wait_until(queue.requeue_lost, 'the lost task')
        assert not conn.exists('default_losses')
        assert queue.dead_len() == 0

    def test_drop_the_count_of_losses_of_a_task_that_its_worker_has_finished(self, theirs, ours, queue, conn):
        enqueue(queue, 'hold', 1)
        killed = ours.work('ForkedWorker', lease=1)
        await_runs(conn, 1)
        killed.kill()
        wait_until(queue.requeue_lost, 'the lost task')
        assert conn.hlen('default_losses') == 1
        theirs.work('ForkedWorker')
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_end(conn)
        assert queue.requeue_lost() == 0
        assert leftovers(conn) == []


def sweep_until_back(side, queue):
    """Runs a sweeper until the lost task waits again; not longer, for it would go by leases that are lost at once."""
    sweeper = side.sweep()
    wait_until(lambda: queue.len() == 1, 'the lost task')
    sweeper.kill()


def end_of_lease(conn):
    """When the lease of the one task that runs ends, in Unix ms."""
    [(_, end)] = conn.zrange('default_dequeued', 0, -1, withscores=True)
    return end
