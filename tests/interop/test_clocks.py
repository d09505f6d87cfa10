"""An old sweeper goes by its own clock. How far that may be off while workers of ours renew short leases.

A worker renews every third of its lease, so between two thirds and all of it are left at any moment.
"""

from __future__ import annotations

from keys import await_nothing_left, await_runs, runs

from delayed.queue import Queue
from delayed.task import Task
from waiting import wait_until


class TestAnOldSweeperWhoseClock:
    def test_is_ahead_by_less_than_two_thirds_of_a_lease_takes_nothing(self, theirs, ours, conn):
        ours.hand().enqueue('hold', 1, 1)
        ours.work('ForkedWorker', lease=600)
        await_runs(conn, 1)
        assert theirs.hand(clock_ahead=300).requeue_lost() == 0
        conn.rpush('go', 1)
        await_nothing_left(conn)
        assert runs(conn) == [1]

    def test_is_ahead_by_more_than_a_lease_takes_a_running_task_which_is_ended_and_runs_anew(self, theirs, ours, conn):
        ours.hand().enqueue('hold', 1, 1)
        ours.work('ForkedWorker', lease=2)
        await_runs(conn, 1)
        assert theirs.hand(clock_ahead=3).requeue_lost() == 1
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_nothing_left(conn)

    def test_is_ahead_leaves_a_full_lease_alone_until_that_much_before_its_end(self, theirs, conn):
        queue = Queue('default', conn, default_timeout=600, requeue_timeout=10)
        queue.enqueue(Task(None, 'chores', 'record', (1,)))
        assert queue.dequeue()
        assert theirs.hand(clock_ahead=300).requeue_lost() == 0
        assert theirs.hand(clock_ahead=611).requeue_lost() == 1

    def test_is_behind_brings_a_lost_task_back_that_much_later_and_we_do_not_wait_for_it(self, theirs, conn):
        queue = Queue('default', conn, default_timeout=0, requeue_timeout=0)
        queue.enqueue(Task(None, 'chores', 'record', (1,)))
        assert queue.dequeue()
        assert theirs.hand(clock_ahead=-300).requeue_lost() == 0
        wait_until(queue.requeue_lost, 'the lost task')
