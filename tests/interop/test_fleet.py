"""A fleet of both sides at once."""

from __future__ import annotations

import threading

from steps import await_nothing_left, runs

from waiting import wait_until

TASKS = 1000


def enqueue_at_once(*batches):
    """Has hands enqueue at the same time. batches: (hand, first, last)."""
    threads = [threading.Thread(target=hand.enqueue, args=('record', first, last)) for hand, first, last in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestAMixedFleet:
    def test_runs_each_of_a_thousand_tasks_once_and_leaves_nothing(self, theirs, ours, conn):
        hands = [theirs.hand(), ours.hand()]
        for side in (theirs, ours):
            side.sweep()
            for worker in ('ForkedWorker', 'PreforkedWorker'):
                side.work(worker)
        hands[0].enqueue('hold', 1, 4)  # so each of the four workers takes part
        wait_until(lambda: sorted(runs(conn)) == [1, 2, 3, 4], 'a task for each worker')
        enqueue_at_once((hands[0], 5, TASKS // 2), (hands[1], TASKS // 2 + 1, TASKS))
        conn.rpush('go', 1, 2, 3, 4)
        await_nothing_left(conn)
        assert sorted(runs(conn)) == list(range(1, TASKS + 1))
