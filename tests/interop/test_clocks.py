"""Old sweepers and workers go by their own clocks. How far these may be off while workers of ours renew short leases.

A worker renews every third of its lease, so between two thirds and all of it are left at any moment.
"""

from __future__ import annotations

from steps import await_nothing_left, await_runs, enqueue, runs

from delayed.queue import Queue
from waiting import wait_until


class TestAnOldSweeperWhoseClock:
    def test_is_ahead_by_less_than_two_thirds_of_a_lease_takes_nothing(self, theirs, ours, queue, conn):
        enqueue(queue, 'hold', 1)
        ours.work('ForkedWorker', lease=600)
        await_runs(conn, 1)
        assert theirs.hand(clock_ahead=300).requeue_lost() == 0
        conn.rpush('go', 1)
        await_nothing_left(conn)
        assert runs(conn) == [1]

    def test_is_ahead_by_more_than_a_lease_takes_a_running_task_which_then_runs_anew(self, theirs, ours, queue, conn):
        enqueue(queue, 'hold', 1)
        ours.work('ForkedWorker', lease=2)
        await_runs(conn, 1)
        assert theirs.hand(clock_ahead=3).requeue_lost() == 1
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_nothing_left(conn)

    def test_is_ahead_leaves_a_full_lease_alone_until_that_much_before_its_end(self, theirs, conn):
        queue = Queue('default', conn, default_timeout=600, requeue_timeout=10)
        enqueue(queue, 'record', 1)
        assert queue.dequeue()
        assert theirs.hand(clock_ahead=300).requeue_lost() == 0
        assert theirs.hand(clock_ahead=611).requeue_lost() == 1

    def test_is_behind_brings_a_lost_task_back_that_much_later_and_we_do_not_wait_for_it(self, theirs, conn):
        queue = Queue('default', conn, default_timeout=0, requeue_timeout=0)
        enqueue(queue, 'record', 1)
        assert queue.dequeue()
        assert theirs.hand(clock_ahead=-300).requeue_lost() == 0
        wait_until(queue.requeue_lost, 'the lost task')


class TestAnOldWorkerWhoseClock:
    def test_is_behind_by_less_than_its_tasks_allowance_keeps_them_from_our_sweeps(self, theirs, queue):
        hand = theirs.hand(clock_ahead=-300)
        hand.enqueue('record', 1, 1)
        assert hand.dequeue()
        assert queue.requeue_lost() == 0

    def test_is_behind_by_more_loses_them_as_soon_as_it_takes_them(self, theirs, queue):
        hand = theirs.hand(clock_ahead=-611)
        hand.enqueue('record', 1, 1)
        assert hand.dequeue()
        wait_until(queue.requeue_lost, 'the lost task')
