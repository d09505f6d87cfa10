"""Children whose monitor was killed: they finish their task once, and none outlives its deadline."""

import os
import signal

import pytest

from delayed.queue import Queue
from waiting import wait_until
from workers import remains, task, told


@pytest.fixture
def queue(conn):
    return Queue('default', conn, requeue_timeout=2)


def orphan(lab, queue, worker_class, *tasks):
    """Has a worker run `tasks` until one says that it holds, and kills the worker's monitor. Returns its program and
    its child's pid."""
    program = lab.start_worker(told(worker_class, queue, lease=1, kill_timeout=0.5))
    for each in tasks:
        queue.enqueue(each)
    child, monitor = lab.expect('holds')
    assert monitor == program.pid
    program.signal(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    return program, child


class TestAnOrphan:
    def test_finishes_its_task_and_ends(self, lab, queue, conn, worker_class):
        program, _ = orphan(lab, queue, worker_class, task('hold'), task('run', 'later'))
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        program.await_last()
        assert lab.reports() == []
        assert queue.len() == 1  # it takes no other
        assert conn.zcard('default_dequeued') == 0

    def test_keeps_its_lease_for_as_long_as_its_task_may_take(self, lab, queue, conn, worker_class):
        program, _ = orphan(lab, queue, worker_class, task('hold', timeout=3600))
        seconds, _ = conn.time()

        def extended():
            (_, end), = conn.zrange('default_dequeued', 0, -1, withscores=True)
            return end > (seconds + 3500) * 1000 and end

        end = wait_until(extended, 'the longer lease')
        assert end < (seconds + 3600 + 0.5 + 2 + 60) * 1000
        lab.open_gate()
        program.await_last()
        assert remains(conn) == set()

    def test_that_is_out_of_time_tells_the_error_handler_and_ends(self, lab, queue, conn, worker_class):
        program, _ = orphan(lab, queue, worker_class, task('hold', timeout=1.5))
        assert lab.expect('failed') == [1, signal.SIGTERM, None, None, False]
        program.await_last()
        assert lab.reports() == []
        assert remains(conn) == set()

    def test_that_cannot_be_told_is_ended_by_the_kernel_and_its_task_was_lost(self, lab, queue, conn, worker_class):
        program, _ = orphan(lab, queue, worker_class, task('faults.chores.hold_interpreter_for_ever', timeout=1))
        program.await_last()
        assert lab.reports() == []
        payload, = conn.zrange('default_dequeued', 0, -1)
        assert queue.requeue_lost() == 1
        assert len(conn.hget('default_losses', payload).split(b',')) == 1
        assert queue.len() == 1

    def test_dies_with_its_task_if_somebody_else_has_taken_that_over(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue, lease=60))
        queue.enqueue(task('hold'))
        child, _ = lab.expect('holds')
        (payload, end), = conn.zrange('default_dequeued', 0, -1, withscores=True)
        conn.zadd('default_dequeued', {payload: end + 1})
        program.signal(signal.SIGKILL)
        program.await_last()
        assert lab.reports() == []
        assert conn.zscore('default_dequeued', payload) == end + 1

    @pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_does_not_end_for_a_signal_to_its_group(self, lab, queue, conn, worker_class, signum):
        program, child = orphan(lab, queue, worker_class, task('hold'))
        os.killpg(program.pid, signum)
        os.kill(child, signum)
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        program.await_last()
        assert remains(conn) == set()
