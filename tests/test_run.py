"""`run` and `stop`, in any thread; many workers; queues of the user's own; what one kind of worker alone promises."""

import logging
import os
import select
import signal
import sys
import threading
from contextlib import contextmanager

import pytest

from delayed.constants import Status
from delayed.errors import AlreadyRunning, InvalidArgument
from delayed.logger import set_handler
from delayed.queue import Queue
from delayed.worker import ForkedWorker, PreforkedWorker, Worker
from waiting import DEADLINE, wait_until
from workers import children, open_files, pass_gate, remains, report, run_worker, task, told


@contextmanager
def running(worker):
    """`worker` at work in a thread of this very process."""
    errors = []

    def run():
        try:
            worker.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: worker._status != Status.STOPPED or errors, 'the start')
        yield worker
    finally:
        worker.stop()
        thread.join(DEADLINE)
    assert not thread.is_alive()
    assert errors == []


class TestRun:
    def test_returns_when_stop_is_called_and_the_running_task_is_finished(self, lab, queue, worker_class):
        queue.enqueue(task('hold'))
        queue.enqueue(task('run', 'later'))
        with running(told(worker_class, queue)) as worker:
            lab.expect('holds')
            worker.stop()
            lab.open_gate()
        assert lab.reports() == [['succeeded', 1]]
        assert queue.len() == 1

    def test_leaves_no_descriptor_and_no_child_in_any_thread(self, lab, queue, conn, worker_class):
        conn.ping()  # opens the client's own connection
        before = open_files(), children(os.getpid())
        for name, args in (('run', ()), ('fail', ()), ('os._exit', (1,)), ('kill_self', (9,))):
            queue.enqueue(task(name, *args))
        with running(worker_class(queue)):
            wait_until(lambda: not remains(conn))
        assert (open_files(), children(os.getpid())) == before

    def test_may_be_called_again(self, lab, queue, worker_class):
        def program():
            for _ in range(3):
                run_worker(worker)

        worker = worker_class(queue)
        for number in range(3):
            queue.enqueue(task('run', number))
            queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert [args for args, _ in lab.reports('ran')] == [[0], [1], [2]]

    def test_is_refused_while_it_is_under_way_and_disturbs_nothing(self, lab, queue, worker_class):
        queue.enqueue(task('hold'))
        with running(told(worker_class, queue)) as worker:
            lab.expect('holds')
            with pytest.raises(AlreadyRunning, match=worker_class.__name__):
                worker.run()
            lab.open_gate()
            lab.expect('succeeded')

    def test_works_for_a_copy_of_a_running_worker_in_a_forked_process(self, lab, queue, worker_class):
        queue.enqueue(task('hold'))
        with running(told(worker_class, queue)) as worker:
            lab.expect('holds')
            queue.enqueue(task('stop_worker'))
            assert lab.start_worker(worker).wait() == 0
            lab.open_gate()

    def test_may_be_called_for_two_workers_in_two_threads(self, lab, conn, worker_class):
        conn.ping()
        before = open_files(), children(os.getpid())
        queues = [Queue(name, conn) for name in ('one', 'two')]
        with running(worker_class(queues[0])), running(worker_class(queues[1])):
            for queue in queues:
                queue.enqueue_many(task('run', queue.name, number) for number in range(20))
            wait_until(lambda: not remains(conn))
        ran = [args for args, _ in lab.reports('ran')]
        for queue in queues:
            assert [number for name, number in ran if name == queue.name] == list(range(20))
        assert (open_files(), children(os.getpid())) == before

    @pytest.mark.filterwarnings('ignore:This process .* is multi-threaded:DeprecationWarning')
    def test_works_in_a_child_of_a_program_that_runs_another(self, lab, queue, conn, worker_class):
        """Say, a server that forks, each of its processes with a worker in a thread."""
        with running(worker_class(Queue('another', conn))):
            program = lab.start(lambda: run_worker(worker_class(queue)))
            queue.enqueue(task('run'))
            queue.enqueue(task('stop_worker'))
            assert program.wait() == 0
        assert lab.reports() == [['ran', [], {}]]

    def test_forks_no_child_that_hangs_because_another_thread_was_writing(self, lab, queue, worker_class):
        """A lock that is held when a process is forked stays locked in the child for ever."""
        reader, writer = os.pipe()

        def program():
            stream = open(writer, 'w')
            set_handler(logging.StreamHandler(stream))
            threading.Thread(target=worker_class(queue).run, daemon=True).start()
            pass_gate()
            stream.write('x' * 10_000_000)  # far more than the pipe takes
            stream.flush()
            pass_gate()

        def drain():
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                pass

        program = lab.start(program)
        assert b'works on queue' in os.read(reader, 1000)
        lab.open_gate()
        wait_until(lambda: not select.select([], [writer], [], 0)[1], 'a thread that hangs in the middle of writing')
        queue.enqueue(task('run'))
        wait_until(lambda: children(program.pid))
        os.set_blocking(reader, False)
        wait_until(lambda: drain() or lab.reports('ran'))
        os.close(reader)
        os.close(writer)

    def test_shows_its_state(self, lab, queue, worker_class):
        worker = worker_class(queue)
        queue.enqueue(task('hold'))
        assert worker._status == Status.STOPPED
        with running(worker):
            lab.expect('holds')
            assert worker._status == Status.RUNNING
            worker.stop()
            assert worker._status == Status.STOPPING
            lab.open_gate()
        assert worker._status == Status.STOPPED


class TestAWorker:
    def test_is_one_of_two_kinds(self, queue):
        with pytest.raises(TypeError):
            Worker(queue)

    @pytest.mark.parametrize('options', [{'lease': 0}, {'lease': 0.9}, {'lease': 1e13}, {'sweep_interval': 0},
                                         {'sweep_interval': -1}, {'kill_timeout': float('inf')}])
    def test_refuses_what_it_cannot_do(self, queue, worker_class, options):
        with pytest.raises(InvalidArgument, match=next(iter(options))):
            worker_class(queue, **options)

    def test_may_have_the_longest_times(self, lab, conn, worker_class):
        queue = Queue('default', conn, 1e12, 1e12)
        lab.drain(told(worker_class, queue, kill_timeout=1e12, lease=1e12, sweep_interval=1e12, stop_timeout=1e12),
                  queue, task('run', timeout=1e12), task('run'))
        assert len(lab.reports('ran')) == 2
        assert remains(conn) == set()
        assert not any('Redis' in line for line in lab.log())


class TestStop:
    def test_before_run_and_after_it_does_nothing(self, lab, queue, worker_class):
        def program():
            worker.stop()
            run_worker(worker)
            worker.stop()
            run_worker(worker)

        worker = worker_class(queue)
        for _ in range(2):
            queue.enqueue(task('run'))
            queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert len(lab.reports('ran')) == 2

    def test_is_not_urgent_however_often_it_is_called(self, lab, queue, worker_class):
        queue.enqueue(task('hold'))
        with running(told(worker_class, queue)) as worker:
            lab.expect('holds')
            for _ in range(3):
                worker.stop()
            lab.open_gate()
        assert lab.reports() == [['succeeded', 1]]

    def test_hands_the_running_task_back_after_the_stop_timeout(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        with running(told(worker_class, queue, stop_timeout=0.05)):
            lab.expect('holds')
        assert lab.reports() == []
        assert remains(conn) == {b'default', b'default_noti', b'default_enqueued'}


def start_two(lab, worker):
    programs = [lab.start_worker(worker) for _ in range(2)]
    wait_until(lambda: len([line for line in lab.log() if 'works on' in line]) == 2, 'the start of both')
    return programs


class TestManyWorkers:
    def test_run_each_task_once(self, lab, queue, conn, worker_class):
        programs = start_two(lab, worker_class(queue))
        for number in range(100):
            queue.enqueue(task('run', number))
        wait_until(lambda: not remains(conn))
        for program in programs:
            program.signal(signal.SIGTERM)
        assert [program.wait() for program in programs] == [0, 0]
        assert sorted(args[0] for args, _ in lab.reports('ran')) == list(range(100))

    def test_run_each_task_once_where_some_end_their_processes(self, lab, queue, conn, worker_class):
        programs = start_two(lab, told(worker_class, queue))
        for number in range(40):
            queue.enqueue(task('run', number))
            queue.enqueue(task('os._exit', 1))
        wait_until(lambda: not remains(conn))
        for program in programs:
            program.signal(signal.SIGTERM)
        assert [program.wait() for program in programs] == [0, 0]
        assert sorted(args[0] for args, _ in lab.reports('ran')) == list(range(40))
        assert sorted(id for id, *_ in lab.reports('failed')) == list(range(2, 82, 2))


class TestALease:
    def test_shorter_than_the_task_is_renewed(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue, lease=1))
        lab.expect('holds')
        ends = set()

        def renewed():
            ends.update(score for _, score in conn.zrange('default_dequeued', 0, -1, withscores=True))
            return len(ends) >= 4

        wait_until(renewed)
        queue.enqueue(task('stop_worker'))
        lab.open_gate()
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 1], ['succeeded', 2]]
        assert remains(conn) == set()

    def test_that_somebody_has_taken_over_ends_the_task_and_nothing_else(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue, lease=1))
        lab.expect('holds')
        (payload, end), = conn.zrange('default_dequeued', 0, -1, withscores=True)
        conn.zadd('default_dequeued', {payload: end + 1_000_000})
        queue.enqueue(task('run'))
        lab.expect('ran')  # so the worker has given up the first
        assert conn.zscore('default_dequeued', payload) == end + 1_000_000
        assert lab.reports('failed') == []
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


class TestAQueueOfTheUsersOwn:
    class Recording(Queue):
        """Reports the calls of all that a worker calls."""

        def dequeue(self):
            task = super().dequeue()
            if task is not None:
                report('dequeue', task.id, os.getpid())
            return task

        def release(self, task):
            report('release', task.id, os.getpid())
            super().release(task)  # returns nothing, as in 0.5.1b2

        def requeue(self, task):
            report('requeue', task.id, os.getpid())
            return super().requeue(task)

    def test_is_asked_for_all_it_overrides(self, lab, conn, worker_class):
        queue = self.Recording('default', conn)
        lab.drain(told(worker_class, queue), queue, task('where'), task('fail'), task('os._exit', 1))
        _, monitor = lab.expect('where')
        assert lab.reports('dequeue') == lab.reports('release') == [[id, monitor] for id in (1, 2, 3, 4)]
        assert [id for id, *_ in lab.reports('failed')] == [2, 3]
        assert remains(conn) == set()

    def test_is_asked_to_requeue_what_has_not_begun(self, lab, conn, worker_class):
        queue = self.Recording('default', conn)
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('where'))
        pid, monitor = lab.expect('where')
        wait_until(lambda: not remains(conn))
        next_one, = children(monitor) - {pid} or {pid}
        os.kill(next_one, signal.SIGSTOP)
        queue.enqueue(task('where'))
        lab.expect('dequeue')
        lab.expect('dequeue')
        os.kill(next_one, signal.SIGKILL)
        assert lab.expect('requeue') == [2, monitor]
        assert lab.expect('where')[0] not in (pid, next_one)
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert remains(conn) == set()
        assert lab.reports('failed') == []

    @pytest.mark.parametrize('name', ['dequeue', 'release', 'requeue'])
    def test_may_override_one_method_alone(self, lab, conn, worker_class, name):
        others = {other: getattr(Queue, other) for other in ('dequeue', 'release', 'requeue') if other != name}
        queue = type('OneAlone', (self.Recording,), others)('default', conn)
        lab.drain(worker_class(queue), queue, task('where'))
        assert {kind for kind, *_ in lab.reports()} == {'where', name} - {'requeue'}
        assert remains(conn) == set()

    def test_whose_methods_fail_is_called_again(self, lab, conn, worker_class):
        class Failing(Queue):
            failures = 0

            def dequeue(self):
                self.failures += 1
                if self.failures < 3:
                    raise ValueError('in dequeue')
                return super().dequeue()

            def release(self, task):
                super().release(task)
                raise ValueError('in release')

            def requeue_lost(self):
                raise ValueError('in requeue_lost')

        queue = Failing('default', conn)
        lab.drain(told(worker_class, queue), queue, task('run'))
        assert lab.reports() == [['ran', [], {}], ['succeeded', 1], ['succeeded', 2]]
        for name in ('dequeue', 'release', 'requeue_lost'):
            assert any('in %s' % name in line for line in lab.log())
        assert remains(conn) == set()


class TestAPreforkedWorker:
    def test_runs_task_after_task_in_one_child(self, lab, queue):
        lab.drain(PreforkedWorker(queue), queue, *[task('where') for _ in range(10)])
        assert len({pid for pid, _ in lab.reports('where')}) == 1

    def test_lets_a_task_find_what_the_last_one_left(self, lab, queue):
        lab.drain(PreforkedWorker(queue), queue, *[task('count') for _ in range(3)])
        assert lab.reports('count') == [[1], [2], [3]]

    def test_replaces_a_child_that_dies(self, lab, queue):
        lab.drain(PreforkedWorker(queue), queue, task('where'), task('kill_self', 9), task('where'), task('where'))
        pids = [pid for pid, _ in lab.reports('where')]
        assert pids[0] != pids[1] == pids[2]

    def test_shows_its_child(self, lab, queue, conn):
        worker = PreforkedWorker(queue)
        assert worker._child_pid is None
        with running(worker):
            queue.enqueue(task('where'))
            pid, _ = lab.expect('where')
            assert worker._child_pid == pid
            wait_until(lambda: not remains(conn))
            assert worker._child_pid == pid  # while it is idle, too
            queue.enqueue(task('kill_self', 9))
            queue.enqueue(task('hold'))
            successor, _ = lab.expect('holds')
            assert worker._child_pid == successor != pid
            lab.open_gate()
        assert worker._child_pid is None


class TestAForkedWorker:
    def test_leaves_no_zombie_while_it_is_idle(self, lab, queue, conn):
        queue.enqueue(task('run'))
        program = lab.start_worker(ForkedWorker(queue))
        lab.expect('ran')
        wait_until(lambda: len(children(program.pid)) == 1, 'the end of the child that has run')

    def test_runs_each_task_in_a_child_of_its_own(self, lab, queue):
        lab.drain(ForkedWorker(queue), queue, *[task('where') for _ in range(10)])
        assert len({pid for pid, _ in lab.reports('where')}) == 10

    def test_lets_no_task_find_what_another_left(self, lab, queue):
        lab.drain(ForkedWorker(queue), queue, *[task('count') for _ in range(3)])
        assert lab.reports('count') == [[1], [1], [1]]

    def test_sees_changed_code(self, lab, queue, tmp_path, monkeypatch):
        module = tmp_path / 'changing.py'
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, 'dont_write_bytecode', True)  # its times are too coarse for a test
        program = lab.start_worker(ForkedWorker(queue))
        for version in range(3):
            module.write_text('import workers\ndef f(): workers.report("version", %d)' % version)
            queue.enqueue(task('changing.f'))
            assert lab.expect('version') == [version]
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0

    def test_shows_the_child_of_the_running_task(self, lab, queue, conn):
        worker = ForkedWorker(queue)
        with running(worker):
            for _ in range(2):
                queue.enqueue(task('hold'))
                pid, _ = lab.expect('holds')
                assert worker._child_pid == pid
                lab.open_gate()
        assert worker._child_pid is None
