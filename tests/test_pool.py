"""Several worker processes under one supervisor."""

import gc
import os
import random
import signal
import threading

import pytest
import redis

from delayed.errors import AlreadyRunning, InvalidArgument, WorkersFailed, WrongType
from delayed.pool import WorkerPool
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
from waiting import DEADLINE, runs, wait_until
from workers import children, dispositions, has_children, open_files, remains, report, task, told


def run_pool(pool):
    """Runs a pool and checks that it leaves nothing behind in its process."""
    gc.collect()
    before = open_files(), dispositions()
    pool.run()
    assert (open_files(), dispositions()) == before
    assert not has_children()


@pytest.fixture
def start(lab, queue):
    """Starts a pool of so many workers that report; returns its program when all of them run."""
    def start(worker_class, size, **options):
        pool = WorkerPool(told(worker_class, queue, **options), size, on_ready=lambda: report('ready'),
                          on_stopping=lambda: report('stopping'))
        program = lab.start(lambda: run_pool(pool))
        lab.expect('ready')
        assert len(children(program.pid)) == size
        return program
    return start


class TestAPool:
    def test_runs_as_many_tasks_at_a_time_as_it_has_processes(self, lab, conn, queue, start, worker_class):
        program = start(worker_class, 3)
        for _ in range(4):
            queue.enqueue(task('hold'))
        held = [lab.expect('holds') for _ in range(3)]
        assert len({monitor for _, monitor in held}) == 3
        assert (queue.len(), lab.reports('holds')) == (1, [])
        lab.open_gate(4)
        lab.expect('holds')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert len(lab.reports('succeeded')) == 4
        assert remains(conn) == set()

    def test_of_four_under_random_kills_keeps_four_and_loses_nothing(self, lab, conn, queue, start):
        program, chance = start(PreforkedWorker, 4, lease=1, sweep_interval=0.2), random.Random(4)
        for number in range(100):
            queue.enqueue(task('run', number))
        for _ in range(6):
            four = wait_until(lambda: len(children(program.pid)) == 4 and children(program.pid))
            victim = chance.choice(sorted(four))
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda gone=victim: gone not in children(program.pid), 'the end of a process')
            for number in range(20):
                queue.enqueue(task('run', number))
        wait_until(lambda: len(children(program.pid)) == 4)
        wait_until(lambda: not remains(conn))
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert len(lab.reports('succeeded')) >= 220
        assert len(lab.log('WARNING worker')) == 6

    def test_replaces_a_process_that_was_asked_to_stop_when_its_task_is_done(self, lab, queue, start):
        program = start(PreforkedWorker, 1)
        queue.enqueue(task('hold'))
        _, monitor = lab.expect('holds')
        os.kill(monitor, signal.SIGTERM)
        os.kill(monitor, signal.SIGTERM)  # not by its supervisor: it is no second request
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        queue.enqueue(task('where'))
        assert lab.expect('where')[1] != monitor
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_waits_longer_and_longer_for_processes_that_die_at_once(self, lab, start):
        program = start(PreforkedWorker, 1)
        for _ in range(4):
            victim, = wait_until(lambda: children(program.pid))
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda gone=victim: gone not in children(program.pid))
        wait_until(lambda: len(lab.log('WARNING worker')) == 4)
        assert [' in ' in line for line in lab.log('WARNING worker')] == [False, True, True, True]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_runs_again(self, lab, queue):
        pool = WorkerPool(told(PreforkedWorker, queue), 2)

        def program():
            for _ in range(2):
                run_pool(pool)
                report('through')

        started = lab.start(program)
        for _ in range(2):
            queue.enqueue(task('where'))
            os.kill(os.getpgid(lab.expect('where')[1]), signal.SIGTERM)
            lab.expect('through')
        assert started.wait() == 0

    def test_refuses_to_run_twice_at_a_time_and_works_in_a_thread(self, lab, queue):
        def program():
            ready = threading.Event()
            pool = WorkerPool(told(PreforkedWorker, queue), 2, on_ready=ready.set)
            thread = threading.Thread(target=pool.run)
            thread.start()
            assert ready.wait(DEADLINE)
            with pytest.raises(AlreadyRunning):
                pool.run()
            pool.stop()
            thread.join()
            assert not has_children()

        assert lab.start(program).wait() == 0

    def test_does_its_chores_and_survives_those_that_fail(self, lab, queue):
        def fail():
            raise ValueError('on purpose')

        pool = WorkerPool(told(PreforkedWorker, queue), 1, chores=[(0.01, lambda: report('chore')), (0.01, fail)])
        program = lab.start(pool.run)
        for _ in range(3):
            lab.expect('chore')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert lab.log('ERROR')


class TestStopping:
    @pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    @pytest.mark.parametrize('how', ['signal', 'signal_group'])
    def test_finishes_running_tasks_and_takes_no_other(self, lab, conn, queue, start, worker_class, signum, how):
        program = start(worker_class, 2)
        for _ in range(3):
            queue.enqueue(task('hold'))
        for _ in range(2):
            lab.expect('holds')
        getattr(program, how)(signum)  # as a terminal or systemd do: all processes get it
        lab.expect('stopping')
        wait_until(lambda: len(lab.log('INFO stopping when task')) == 2)
        lab.open_gate(2)
        assert program.wait() == 0
        assert len(lab.reports('succeeded')) == 2
        assert queue.len() == 1

    @pytest.mark.parametrize('how', ['signal', 'signal_group'])
    def test_a_second_time_hands_running_tasks_back(self, lab, conn, queue, start, worker_class, how):
        program = start(worker_class, 2)
        for _ in range(2):
            queue.enqueue(task('hold'))
        for _ in range(2):
            lab.expect('holds')
        getattr(program, how)(signal.SIGINT)
        lab.expect('stopping')
        wait_until(lambda: len(lab.log('INFO stopping when task')) == 2)
        getattr(program, how)(signal.SIGINT)
        assert program.wait() == 0
        assert queue.len() == 2
        assert b'default_dequeued' not in remains(conn)

    def test_hands_running_tasks_back_after_the_workers_stop_timeout(self, lab, conn, queue, start, worker_class):
        program = start(worker_class, 2, stop_timeout=0.1)
        queue.enqueue(task('hold'))
        lab.expect('holds')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert queue.len() == 1

    def test_within_a_time_limit_as_of_kubernetes_loses_nothing(self, lab, conn, queue, start, worker_class):
        """TERM, and KILL for whatever is left at the limit: the running tasks are back by then, and uncounted."""
        program = start(worker_class, 3, stop_timeout=3)
        for _ in range(3):
            queue.enqueue(task('hold'))
        for number in range(5):
            queue.enqueue(task('run', number))
        for _ in range(3):
            lab.expect('holds')
        program.signal(signal.SIGTERM)
        wait_until(lambda: sum('hands it back now' in line for line in lab.log()) == 3, 'three workers to hear of it')
        lab.open_gate()  # one of them ends in time
        assert program.wait(seconds=15) == 0
        program.await_last()
        assert len(lab.reports('succeeded')) == 1
        assert (queue.len(), conn.zcard('default_dequeued'), conn.exists('default_losses')) == (7, 0, 0)
        other = start(worker_class, 3)
        lab.open_gate(2)
        for _ in range(7):
            lab.expect('succeeded')
        other.signal(signal.SIGTERM)
        assert other.wait() == 0
        assert remains(conn) == set()

    def test_when_killed_at_the_limit_loses_nothing_either(self, lab, conn, queue, start, worker_class):
        program = start(worker_class, 2, lease=1, sweep_interval=0.2)
        for _ in range(2):
            queue.enqueue(task('hold'))
        held = {lab.expect('holds')[0] for _ in range(2)}
        program.signal(signal.SIGTERM)
        lab.expect('stopping')
        program.signal_group(signal.SIGKILL)
        program.await_last()
        other = start(worker_class, 2, lease=1, sweep_interval=0.2)
        assert held.isdisjoint({lab.expect('holds')[0] for _ in range(2)})
        lab.open_gate(2)
        for _ in range(2):
            lab.expect('succeeded')
        other.signal(signal.SIGTERM)
        assert other.wait() == 0
        assert remains(conn) == set()


class TestTheSupervisor:
    def test_killed_has_its_workers_finish_their_tasks_and_stop(self, lab, conn, queue, start, worker_class):
        program = start(worker_class, 3)
        queue.enqueue(task('hold'))
        lab.expect('holds')
        members = children(program.pid)
        program.signal(signal.SIGKILL)
        wait_until(lambda: sum(map(runs, members)) == 1, 'the end of the idle ones')
        queue.enqueue(task('run'))
        lab.open_gate()
        program.await_last()
        assert lab.reports('succeeded') == [[1]]
        assert queue.len() == 1

    def test_leaves_no_descriptor_of_its_own_to_a_task(self, lab, queue):
        def more_in_a_task(run):
            def program():
                report('before', len(open_files()))
                run()

            started = lab.start(program)
            queue.enqueue(task('fds'))
            before, = lab.expect('before')
            found, = lab.expect('fds')
            started.signal(signal.SIGTERM)
            assert started.wait() == 0
            return found - before

        worker = told(PreforkedWorker, queue)
        assert more_in_a_task(WorkerPool(worker, 3).run) == more_in_a_task(worker.run)


class TestWorkersThatCannotWork:
    def test_end_the_pool_with_the_reason(self, lab, redis_server, conn):
        conn.acl_setuser('nobody', enabled=True, passwords=['+right'], commands=['+@all'], keys=['*'])
        client = redis.Redis(unix_socket_path=redis_server.socket_path, username='nobody', password='wrong')

        def program():
            with pytest.raises(WorkersFailed, match='AuthenticationError'):
                WorkerPool(PreforkedWorker(Queue('default', client)), 3).run()
            assert not has_children()

        assert lab.start(program).wait() == 0
        conn.acl_deluser('nobody')

    def test_end_the_pool_where_a_module_cannot_be_preloaded(self, lab, queue):
        def program():
            with pytest.raises(WorkersFailed, match="No module named 'no_such_module_at_all'"):
                WorkerPool(PreforkedWorker(queue, preload=['no_such_module_at_all']), 2).run()

        assert lab.start(program).wait() == 0


@pytest.mark.parametrize(('worker', 'size', 'error', 'words'), [
    (None, 1, WrongType, 'worker must be'), (PreforkedWorker, 1, WrongType, 'worker must be'),
    ('worker', 0, InvalidArgument, '1 or more, not 0'), ('worker', 1.5, WrongType, 'whole number, not 1.5'),
    ('worker', True, WrongType, 'whole number'),
])
def test_wrong_arguments_are_refused(queue, worker, size, error, words):
    with pytest.raises(error, match=words):
        WorkerPool(PreforkedWorker(queue) if worker == 'worker' else worker, size)
