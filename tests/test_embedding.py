"""What else a program does while a worker, or a sweeper, runs in it: threads, forks, masks of signals."""

import os
import signal
import subprocess
import threading
import time

from delayed.constants import Status
from delayed.queue import Queue
from delayed.sweeper import Sweeper
from waiting import wait_until
from workers import open_files, pass_gate, remains, report, run_worker, task


def lives(pid):
    """Whether there is such a process, which is no zombie: not every process that adopts orphans reaps them."""
    state = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], stdout=subprocess.PIPE, text=True).stdout
    return bool(state) and not state.startswith('Z')


def lease_end(conn):
    """When (Unix s) the only lease ends."""
    [(_, score)] = conn.zrange('default_dequeued', 0, -1, withscores=True)
    return score / 1000


def await_signal():
    """Waits until the test sends SIGUSR1, which all threads have blocked."""
    signal.sigwait({signal.SIGUSR1})


def block_signal():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


class TestAForkOfTheProgram:
    """While a worker runs in one of its threads; the other process lives on."""

    @staticmethod
    def fork():
        if os.fork() == 0:
            signal.pause()
            os._exit(0)
        report('forked')

    def test_does_not_keep_a_worker_from_stopping(self, lab, queue, worker_class):
        def program():
            block_signal()
            worker = worker_class(queue, kill_timeout=3600)
            thread = threading.Thread(target=worker.run)
            thread.start()
            await_signal()
            self.fork()
            worker.stop()
            thread.join()

        queue.enqueue(task('hold'))
        monitor = lab.start(program)
        lab.expect('holds')
        monitor.signal(signal.SIGUSR1)
        lab.expect('forked')
        lab.open_gate()
        assert monitor.wait() == 0

    def test_does_not_keep_an_orphan_from_releasing_its_task_and_ending(self, lab, queue, conn, worker_class):
        def program():
            block_signal()
            threading.Thread(target=worker_class(queue).run).start()
            await_signal()
            self.fork()

        queue.enqueue(task('where'))
        queue.enqueue(task('hold'))
        monitor = lab.start(program)
        child, _ = lab.expect('holds')
        monitor.signal(signal.SIGUSR1)
        lab.expect('forked')
        monitor.signal(signal.SIGKILL)
        monitor.wait()
        lab.open_gate()
        wait_until(lambda: not remains(conn), 'the release')
        wait_until(lambda: not lives(child), 'the end of the child')

    def test_heeds_signals_as_if_there_were_no_worker(self, lab, queue, worker_class):
        def handler(*_):
            pid = os.fork()
            if pid == 0:
                report('forked')
                time.sleep(3600)
            lab.expect('forked')  # Python forgets signals that come before
            os.kill(pid, signal.SIGTERM)
            report('ended', os.WTERMSIG(os.waitpid(pid, 0)[1]))

        lab.drain(worker_class(queue, error_handler=handler), queue, task('os._exit', 1))
        assert lab.reports('ended') == [[signal.SIGTERM]]

    def test_may_stop_its_copy_of_the_worker_without_a_trace(self, lab, queue, worker_class, tmp_path):
        def program():
            block_signal()
            worker = worker_class(queue)
            thread = threading.Thread(target=worker.run)
            thread.start()
            await_signal()
            pid = os.fork()
            if pid == 0:
                files = [open(tmp_path / str(number), 'wb') for number in range(32)]
                worker.stop()
                for file in files:
                    file.close()
                os._exit(0)
            os.waitpid(pid, 0)
            assert worker._status == Status.RUNNING
            report('forked')
            worker.stop()
            thread.join()

        queue.enqueue(task('hold'))
        monitor = lab.start(program)
        lab.expect('holds')
        monitor.signal(signal.SIGUSR1)
        lab.expect('forked')
        lab.open_gate()
        assert monitor.wait() == 0
        assert {path.read_bytes() for path in tmp_path.iterdir() if path.name.isdigit()} == {b''}


class TestAClientWithASingleConnection:
    def test_may_be_used_in_tasks_and_handlers(self, lab, redis_server, conn, worker_class):
        def handler(_):
            for _ in range(300):
                assert client.incr('default_calls') > 0

        with redis_server.client(single_connection_client=True) as client:
            client.ping()
            queue = Queue('default', client)
            for _ in range(3):
                queue.enqueue(task('run'))
            worker = worker_class(queue, success_handler=handler, sweep_interval=0.01)
            program = lab.start_worker(worker)
            wait_until(lambda: int(conn.get('default_calls') or 0) == 900)
            program.signal(signal.SIGTERM)
            assert program.wait() == 0
        assert lab.log('ERROR') == []


class TestSignalsThatAreBlocked:
    """As a program does that waits for them in a thread of its own."""

    def test_do_not_keep_a_child_from_hearing_of_its_monitors_death(self, lab, queue, conn, worker_class):
        def program():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            run_worker(worker_class(queue))

        queue.enqueue(task('hold'))
        monitor = lab.start(program)
        lab.expect('holds')
        monitor.signal(signal.SIGKILL)
        monitor.wait()
        wait_until(lambda: lease_end(conn) > time.time() + 60, 'a longer lease')
        lab.open_gate()
        wait_until(lambda: not remains(conn), 'the release')


class TestASweeper:
    def test_takes_no_descriptor_before_it_runs_and_leaves_none(self, conn, queue):
        conn.ping()
        before = open_files()
        sweeper = Sweeper(queue)
        assert open_files() == before
        thread = threading.Thread(target=sweeper.run)
        thread.start()
        wait_until(lambda: sweeper._status == Status.RUNNING)
        sweeper.stop()
        thread.join()
        assert open_files() == before

    def test_runs_and_stops_in_each_of_several_forked_processes(self, lab, queue):
        def program():
            thread = threading.Thread(target=sweeper.run)
            thread.start()
            wait_until(lambda: sweeper._status == Status.RUNNING)
            report('runs')
            pass_gate()
            sweeper.stop()
            thread.join()

        sweeper = Sweeper(queue, interval=3600)
        first, second = lab.start(program), lab.start(program)
        for _ in range(2):
            lab.expect('runs')
        lab.open_gate(2)
        assert (first.wait(), second.wait()) == (0, 0)
