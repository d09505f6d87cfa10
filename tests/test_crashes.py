"""Processes that are killed without a word: where their task is then, and who has it."""

import os
import signal
import subprocess
import threading

import pytest

from delayed.queue import Queue
from waiting import wait_until
from workers import children, pass_gate, remains, report, task, told

pytestmark = pytest.mark.usefixtures('spares_stay')


def unfinished(conn):
    """Where the only task is: the keys that hold its payload as waiting or dequeued."""
    return {key for key in remains(conn) if key in (b'default', b'default_dequeued')}


def has_ended(pid):
    """Whether there is no such process; one that nobody has reaped has ended, too."""
    status = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], stdout=subprocess.PIPE, text=True).stdout.strip()
    return not status or status.startswith('Z')


def next_child(monitor, last):
    """The child that gets the next task, where `last` had the one before: itself, or the spare."""
    found, = children(monitor) - {last} or {last}
    return found


class TestAChild:
    @staticmethod
    def begin(lab, queue, conn, worker_class):
        """A worker that has run a task. Returns it, the child that ran the task, and the one that gets the next."""
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('where'))
        pid, monitor = lab.expect('where')
        wait_until(lambda: not remains(conn))
        return program, pid, next_child(monitor, pid)

    @staticmethod
    def finish(lab, queue, conn, program):
        """Two tasks have run, each once, and so does a third."""
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 1], ['succeeded', 2], ['succeeded', 3]]
        assert remains(conn) == set()

    def test_killed_while_it_is_idle_is_replaced(self, lab, queue, conn, worker_class):
        program, pid, idle = self.begin(lab, queue, conn, worker_class)
        os.kill(idle, signal.SIGKILL)
        queue.enqueue(task('where'))
        assert lab.expect('where')[0] not in (pid, idle)
        self.finish(lab, queue, conn, program)

    def test_killed_before_it_began_has_lost_nothing(self, lab, queue, conn, worker_class):
        program, pid, idle = self.begin(lab, queue, conn, worker_class)
        os.kill(idle, signal.SIGSTOP)
        queue.enqueue(task('where'))
        wait_until(lambda: unfinished(conn) == {b'default_dequeued'})
        os.kill(idle, signal.SIGKILL)
        assert lab.expect('where')[0] not in (pid, idle)
        self.finish(lab, queue, conn, program)

    def test_killed_while_it_receives_has_lost_nothing(self, lab, queue, conn, worker_class):
        program, pid, idle = self.begin(lab, queue, conn, worker_class)
        os.kill(idle, signal.SIGSTOP)
        queue.enqueue(task('size', b'x' * 1_000_000))  # more than the pipe takes
        wait_until(lambda: unfinished(conn) == {b'default_dequeued'})
        os.kill(idle, signal.SIGKILL)
        assert lab.expect('size') == [1_000_000]
        self.finish(lab, queue, conn, program)

    def test_that_never_begins_its_task_leaves_it_to_another(self, lab, conn, worker_class):
        """It is stopped, say. It gets five seconds, and a loss is counted."""
        queue = Queue('default', conn, default_timeout=1)
        program, pid, idle = self.begin(lab, queue, conn, worker_class)
        os.kill(idle, signal.SIGSTOP)
        queue.enqueue(task('where'))
        assert lab.expect('where')[0] not in (pid, idle)
        self.finish(lab, queue, conn, program)

    def test_killed_in_the_middle_has_failed(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        os.kill(pid, signal.SIGKILL)
        assert lab.expect('failed') == [1, signal.SIGKILL, None, None, False]
        queue.enqueue(task('run'))
        lab.expect('ran')
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert remains(conn) == set()

    def test_killed_in_the_middle_may_be_told_to_have_lost_its_task(self, lab, queue, conn, worker_class):
        worker = told(worker_class, queue, on_crash='requeue', max_losses=2)
        program = lab.start_worker(worker)
        queue.enqueue(task('hold'))
        for _ in range(2):
            pid, _ = lab.expect('holds')
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: queue.dead_len() == 1)
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 2]]
        assert len(queue.dead()[0].lost_at) == 2

    def test_killed_in_a_handler_changes_nothing(self, lab, queue, conn, worker_class):
        def handler(task):
            report('handler', os.getpid())
            signal.pause()

        program = lab.start_worker(told(worker_class, queue, success_handler=handler))
        queue.enqueue(task('run'))
        os.kill(lab.expect('handler')[0], signal.SIGKILL)
        wait_until(lambda: not remains(conn))
        queue.enqueue(task('stop_worker'))
        os.kill(lab.expect('handler')[0], signal.SIGKILL)
        assert program.wait() == 0
        assert lab.reports() == [['ran', [], {}]]


class TestAMonitor:
    def test_killed_leaves_its_child_to_finish_and_release_the_task(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('hold'))
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        assert program.wait() == -signal.SIGKILL
        lab.open_gate()
        program.await_last()
        assert lab.reports() == [['succeeded', 1]]
        assert remains(conn) == set()

    def test_killed_leaves_its_child_with_a_lease_of_its_own(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue, lease=1))
        queue.enqueue(task('hold'))
        lab.expect('holds')
        (_, short), = conn.zrange('default_dequeued', 0, -1, withscores=True)
        program.signal(signal.SIGKILL)
        wait_until(lambda: conn.zrange('default_dequeued', 0, -1, withscores=True)[0][1] > short + 500_000)
        lab.open_gate()
        program.await_last()
        assert lab.reports() == [['succeeded', 1]]
        assert remains(conn) == set()

    @pytest.mark.parametrize(('name', 'error'), [('fail', 'ValueError'), ('sys.exit', 'SystemExit')])
    def test_killed_leaves_its_child_to_tell_of_a_failure(self, lab, queue, conn, worker_class, name, error):
        def handler(task, signum, exc_info):
            report('handler', exc_info[0].__name__)
            pass_gate()

        program = lab.start_worker(worker_class(queue, error_handler=handler))
        queue.enqueue(task(name))
        assert lab.expect('handler') == [error]
        program.signal(signal.SIGKILL)
        lab.open_gate()
        program.await_last()
        assert remains(conn) == set()

    def test_killed_leaves_its_child_to_set_aside_what_cannot_be_run(self, lab, queue, conn, worker_class):
        def handler(task, signum, exc_info):
            report('handler')
            pass_gate()

        program = lab.start_worker(worker_class(queue, error_handler=handler))
        queue.enqueue(task('tasks.no_such_function'))
        lab.expect('handler')
        program.signal(signal.SIGKILL)
        lab.open_gate()
        program.await_last()
        assert remains(conn) == {b'default_dead'}
        assert 'no_such_function' in queue.dead()[0].reason

    def test_killed_leaves_its_child_to_end_a_task_out_of_time(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue, kill_timeout=0.1))
        queue.enqueue(task('hold', timeout=2))
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        program.await_last()
        assert lab.reports() == [['failed', 1, signal.SIGTERM, None, None, False]]
        assert remains(conn) == set()

    def test_killed_while_it_is_idle_leaves_no_process(self, lab, queue, conn, worker_class):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('where'))
        lab.expect('where')
        wait_until(lambda: not remains(conn))
        program.signal(signal.SIGKILL)
        program.await_last()

    def test_killed_leaves_no_process_though_the_program_has_forked_others(self, lab, queue, conn, worker_class):
        """They have inherited what the monitor had open, such as the end of the pipe that its child waits at."""
        def program():
            thread = threading.Thread(target=worker_class(queue).run, daemon=True)
            thread.start()
            pass_gate()
            if os.fork() == 0:
                report('another', os.getpid())
                signal.pause()
            thread.join()

        monitor = lab.start(program)
        queue.enqueue(task('where'))
        pid, _ = lab.expect('where')
        wait_until(lambda: not remains(conn))
        idle = next_child(monitor.pid, pid)
        lab.open_gate()
        other, = lab.expect('another')
        monitor.signal(signal.SIGKILL)
        wait_until(lambda: has_ended(idle))
        os.kill(other, signal.SIGKILL)
        monitor.await_last()


class TestBoth:
    def test_killed_leave_the_task_dequeued_until_its_lease_has_ended(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('hold'))
        lab.expect('holds')
        program.signal_group(signal.SIGKILL)
        program.await_last()
        assert unfinished(conn) == {b'default_dequeued'}
        assert queue.requeue_lost() == 0
        payload, = conn.zrange('default_dequeued', 0, -1)
        conn.zadd('default_dequeued', {payload: 1})
        assert queue.requeue_lost() == 1
        lab.open_gate()
        lab.drain(told(worker_class, queue), queue)
        assert lab.reports('succeeded') == [[1], [2]]
        assert remains(conn) == set()

    def test_killed_have_their_task_run_by_another_worker_soon(self, lab, queue, conn, worker_class):
        program = lab.start_worker(told(worker_class, queue, lease=1, sweep_interval=0.2))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        program.signal_group(signal.SIGKILL)
        program.await_last()
        other = lab.start_worker(told(worker_class, queue, lease=1, sweep_interval=0.2))
        assert lab.expect('holds')[0] != pid
        queue.enqueue(task('stop_worker'))
        lab.open_gate()
        assert other.wait() == 0
        assert remains(conn) == set()
