"""What both workers promise; what one alone promises stands at the end."""

import os
import pickle
import signal
import subprocess
import sys

import pytest

from delayed import constants
from waiting import wait_until
from workers import (
    SIGNAL_STATE,
    payload_of,
    put,
    remains,
    report,
    run_worker,
    task,
    told,
)

PIPE_CAPACITY = 65536  # of Linux; elsewhere these sizes are as good as any
LENGTH_PREFIX = 4


class TestATask:
    def test_is_run_with_its_arguments(self, lab, queue, worker_class):
        lab.drain(worker_class(queue), queue, task('run', 1, 'two', three=3))
        assert lab.reports() == [['ran', [1, 'two'], {'three': 3}]]

    def test_may_be_a_built_in_function(self, lab, queue, worker_class):
        lab.drain(worker_class(queue), queue, task('os.write', lab.reports_fd, b'["wrote"]\n'))
        assert lab.reports() == [['wrote']]

    def test_takes_no_room_in_redis_once_it_is_done(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('run'), task('fail'), task('os._exit', 1))
        assert remains(conn) == set()

    def test_runs_in_a_child_of_the_monitor_as_its_handlers_do(self, lab, queue, worker_class):
        def handler(*_):
            report('handler', os.getpid(), os.getppid())

        lab.drain(worker_class(queue, success_handler=handler), queue, task('where'))
        pid, monitor = lab.expect('where')
        assert lab.reports('handler')[0] == [pid, monitor]
        lab.drain(worker_class(queue, error_handler=handler), queue, task('where'), task('fail'))
        pid, monitor = lab.expect('where')
        failed_in, parent = lab.expect('handler')
        assert failed_in != parent == monitor

    def test_runs_in_the_order_in_which_it_was_enqueued(self, lab, queue, worker_class):
        lab.drain(worker_class(queue), queue, *[task('run', number) for number in range(50)])
        assert [args for args, _ in lab.reports('ran')] == [[number] for number in range(50)]

    def test_of_any_size_around_the_pipes_capacity_arrives_whole(self, lab, queue, conn, worker_class):
        whole = PIPE_CAPACITY - LENGTH_PREFIX
        sizes = [size + by for size in (whole, PIPE_CAPACITY, 2 * whole, 2 * PIPE_CAPACITY) for by in (-1, 0, 1)]
        payloads = [payload_of(size, number) for number, size in enumerate(sizes)]
        put(conn, *payloads)
        lab.drain(worker_class(queue), queue)
        assert lab.reports('size') == [[len(pickle.loads(payload)[3][0])] for payload in payloads]
        assert remains(conn) == set()

    @pytest.mark.long
    def test_of_64_mib_arrives_whole(self, lab, queue, conn, worker_class):
        queue.enqueue(task('size', b'x' * (64 << 20)))
        queue.enqueue(task('stop_worker'))
        assert lab.start_worker(worker_class(queue)).wait(seconds=300) == 0
        assert lab.reports() == [['size', 64 << 20]]
        assert remains(conn) == set()

    def test_arrives_whole_whatever_buf_size_is_set_to_at_run_time(self, lab, queue, conn, worker_class, monkeypatch):
        monkeypatch.setattr(constants, 'BUF_SIZE', 7)
        lab.drain(told(worker_class, queue), queue, task('size', b'x' * 10_000), task('no_such_module_at_all.f'))
        assert lab.expect('size') == [10_000]
        assert 'no_such_module_at_all' in queue.dead()[0].reason

    def test_collects_no_garbage_of_the_time_before_its_process(self, lab, queue, worker_class):
        lab.drain(told(worker_class, queue), queue, task('frozen'))
        assert lab.expect('frozen')[0] > 1000

    def test_starts_programs_that_find_the_signals_as_any_other_program_does(self, lab, queue, worker_class):
        if not os.path.exists(SIGNAL_STATE[-1]):
            pytest.skip('nothing tells of the signals here')
        lab.drain(worker_class(queue), queue, task('signal_state'))
        assert lab.expect('signal state') == [subprocess.check_output(SIGNAL_STATE, text=True)]

    def test_may_leave_threads_and_programs_behind(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('leave_behind'), task('run'))
        assert lab.reports('succeeded') == [[1], [2], [3]]

    def test_may_write_much_and_nothing_of_it_is_lost_or_written_twice(self, lab, queue, worker_class, tmp_path):
        def program():
            with open(tmp_path / 'out', 'w') as sys.stdout:
                sys.stdout.write('before ')
                run_worker(worker_class(queue))
                sys.stdout.write('after')

        queue.enqueue(task('write', 'x' * 100, 20_000))
        queue.enqueue(task('write', 'y', 10))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert (tmp_path / 'out').read_text() == 'before ' + 'x' * 2_000_000 + 'y' * 10 + 'after'

    def test_may_run_where_the_program_has_no_standard_streams(self, lab, queue, conn, worker_class):
        """As in many a daemon. The monitor's own descriptors have their numbers then."""
        def program():
            queue.len()  # opens the client's own connection
            for fd in (0, 1, 2):
                os.close(fd)
            sys.stdin = sys.stdout = sys.stderr = None
            run_worker(told(worker_class, queue))

        for fd in (0, 1, 2):
            queue.enqueue(task('os.write', fd, b'something of the task, which should go nowhere'))
        queue.enqueue(task('run'))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert [id for id, *_ in lab.reports('failed')] == [1, 2, 3]
        assert lab.reports() == [['ran', [], {}], ['succeeded', 4], ['succeeded', 5]]
        assert remains(conn) == set()

    def test_may_close_the_standard_streams(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, *[task('os.close', fd) for fd in (0, 1, 2)], task('run'))
        assert lab.reports('succeeded') == [[1], [2], [3], [4], [5]]

    def test_may_become_another_program_and_has_failed_then(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('os.execvp', 'true', ['true']),
                  task('os.execvp', 'sleep', ['sleep', '3600'], timeout=0.2), task('run'))
        failures = [failure[:3] for failure in lab.reports('failed')]
        assert failures == [[1, None, 'TaskExited'], [2, signal.SIGTERM, None]]
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()

    def test_that_forks_and_comes_back_twice_is_done_once(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('fork'), task('run')).await_last()
        assert sorted(lab.reports('forked')) == [[False], [True]]
        assert lab.reports('succeeded') == [[1], [2], [3]]
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()

    def test_that_forks_and_raises_twice_fails_once(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('fork', RuntimeError), task('fork', SystemExit)).await_last()
        assert [[id, name] for id, _, name, *_ in lab.reports('failed')] == [[1, 'RuntimeError'], [2, 'SystemExit']]
        assert remains(conn) == set()

    def test_that_closes_our_descriptors_hurts_nothing_else(self, lab, queue, conn, worker_class, tmp_path):
        def program():
            lab.be_silent()  # what we write to is closed and opened as something else, too
            run_worker(worker_class(queue))

        queue.enqueue(task('close_all', str(tmp_path)))
        queue.enqueue(task('run'))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert lab.reports() == [['ran', [], {}]]
        assert remains(conn) == set()
        written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name.isdigit()}
        assert written == {str(number): b'' for number in range(64)}

    def test_that_closes_our_descriptors_is_done_once(self, lab, queue, conn, worker_class):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('os.closerange', 3, 256))
        wait_until(lambda: not remains(conn), 'the release')
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0


class TestATaskThatFails:
    @pytest.mark.parametrize(('name', 'args', 'error', 'text'), [
        ('fail', ('with this',), 'ValueError', 'with this'),
        ('sys.exit', (), 'SystemExit', ''),
        ('sys.exit', (0,), 'SystemExit', '0'),
        ('sys.exit', (3,), 'SystemExit', '3'),
        ('interrupt', (), 'KeyboardInterrupt', 'on purpose'),
        ('run', (1,), None, None),
    ])
    def test_has_its_own_exception(self, lab, queue, conn, worker_class, name, args, error, text):
        lab.drain(told(worker_class, queue), queue, task(name, *args))
        if error:
            assert lab.expect('failed') == [1, None, error, text, True]
        assert lab.reports('failed') == []
        assert remains(conn) == set()

    def test_fails_for_arguments_that_its_function_does_not_take(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('stop_worker', 1), task('where', no=1), task('os.sep'))
        assert [[id, name, trace] for id, _, name, _, trace in lab.reports('failed')] == [
            [1, 'TypeError', True], [2, 'TypeError', True], [3, 'TypeError', True]]
        assert remains(conn) == set()

    @pytest.mark.parametrize('code', [0, 1, 255])
    def test_by_ending_its_process_has_an_exception_without_traceback(self, lab, queue, conn, worker_class, code):
        lab.drain(told(worker_class, queue), queue, task('os._exit', code), task('run'))
        assert lab.reports('failed') == [
            [1, None, 'TaskExited', 'task 1 ended its process with exit code %d' % code, False]]
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()

    def test_by_ending_its_process_is_an_error_that_carries_the_code(self, lab, queue, worker_class):
        worker = worker_class(queue, error_handler=lambda task, signum, exc_info: report('code', exc_info[1].code))
        lab.drain(worker, queue, task('os._exit', 7))
        assert lab.reports() == [['code', 7]]

    @pytest.mark.parametrize('signum', [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGALRM, signal.SIGUSR1])
    def test_by_a_signal_has_that_signal(self, lab, queue, conn, worker_class, signum):
        lab.drain(told(worker_class, queue), queue, task('kill_self', int(signum)), task('run'))
        assert lab.reports('failed') == [[1, int(signum), None, None, False]]
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()

    def test_by_a_signal_is_told_in_the_monitor(self, lab, queue, worker_class):
        def handler(*_):
            report('handler', os.getpid())

        lab.drain(worker_class(queue, error_handler=handler), queue, task('where'), task('os.abort'))
        assert lab.expect('handler')[0] == lab.expect('where')[1]

    def test_often_keeps_no_worker_from_the_next(self, lab, queue, conn, worker_class):
        bad = [task(*call) for call in [('os._exit', 1), ('kill_self', 9), ('fail',)] * 10]
        lab.drain(told(worker_class, queue), queue, *bad, task('run'))
        assert [id for id, *_ in lab.reports('failed')] == list(range(1, 31))
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()


class TestHandlers:
    @pytest.mark.parametrize('error', [ValueError, SystemExit, KeyboardInterrupt])
    def test_that_fail_are_logged_and_change_nothing(self, lab, queue, conn, worker_class, error):
        def handler(*_):
            raise error('in the handler')

        worker = worker_class(queue, success_handler=handler, error_handler=handler)
        lab.drain(worker, queue, task('run', 1), task('fail'), task('os._exit', 1), task('os.abort'), task('run', 5))
        assert lab.reports('ran') == [[[1], {}], [[5], {}]]
        logged = [line for line in lab.log('ERROR') if 'handler failed' in line]
        assert len(logged) == 6  # for each of the tasks, and the one that stops the worker
        assert remains(conn) == set()

    def test_that_end_their_process_change_nothing(self, lab, queue, conn, worker_class):
        def handler(task, *_):
            report('handler', task.id)
            os._exit(3)

        worker = worker_class(queue, success_handler=handler, error_handler=lambda *_: report('not called'))
        lab.drain(worker, queue, task('run', 1), task('run', 2))
        assert lab.reports() == [['ran', [1], {}], ['handler', 1], ['ran', [2], {}], ['handler', 2], ['handler', 3]]
        assert remains(conn) == set()

    def test_get_the_task_as_it_was_enqueued(self, lab, queue, worker_class):
        def handler(task, *_):
            report('got', task.id, task.module_name, task.func_name, task.args, task.kwargs, task.timeout)

        worker = worker_class(queue, success_handler=handler, error_handler=handler)
        lab.drain(worker, queue, task('run', 1, a=2, timeout=3), task('os._exit', 1, timeout=4), task('fail'))
        assert lab.reports('got')[:3] == [
            [1, 'tasks', 'run', [1], {'a': 2}, 3000],
            [2, 'os', '_exit', [1], {}, 4000],
            [3, 'tasks', 'fail', [], {}, None],
        ]

    def test_that_run_in_the_monitor_have_all_the_time_in_the_world_for_redis_knows_by_then(
            self, lab, queue, conn, worker_class):
        worker = worker_class(queue, error_handler=lambda *_: report('dequeued', conn.zcard('default_dequeued')))
        for _ in range(5):
            queue.enqueue(task('run'))
        lab.drain(worker, queue, task('os._exit', 1), task('run'))
        assert lab.reports('dequeued') == [[0]]

    def test_may_stop_the_worker_where_they_run_in_the_monitor(self, lab, queue, worker_class):
        worker = worker_class(queue, error_handler=lambda *_: worker.stop())
        queue.enqueue(task('os._exit', 1))
        queue.enqueue(task('run'))
        assert lab.start_worker(worker).wait() == 0
        assert queue.len() == 1

    def test_that_stop_the_worker_in_the_child_write_to_no_file(self, lab, queue, worker_class, tmp_path):
        """The child has a copy of the worker, whose descriptors are closed there, and may be used by something else."""
        def handler(_):
            files = [open(tmp_path / str(number), 'wb') for number in range(32)]
            worker.stop()
            for file in files:
                file.close()

        worker = worker_class(queue, success_handler=handler)
        lab.drain(worker, queue, task('run'))
        assert {path.read_bytes() for path in tmp_path.iterdir() if path.name.isdigit()} == {b''}
