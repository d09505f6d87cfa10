"""Where a child stands: the file of its stacks, and the view from outside."""

import faulthandler
import os
import signal
import sys

import pytest

from delayed import _fds
from delayed._child_stacks import current_stacks
from delayed._stacks import StackFile, StackFiles, _readable, free_signal, live_stack, live_stacks
from tasks import abort, spin
from waiting import wait_until
from workers import report, run_worker, task

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


@pytest.fixture
def stacks():
    file = StackFile(free_signal())
    yield file
    file.close()


@pytest.fixture
def child_of(stacks):
    """Runs a function in a child that has installed the file; returns its pid when it has."""
    pids = []

    def start(function):
        read_end, write_end = os.pipe()
        with _fds.sparing(stacks.fd):
            pids.append(os.fork())
        if pids[-1] == 0:
            try:
                faulthandler.disable()
                stacks.install()
                os.write(write_end, b'x')
                function()
            finally:
                os._exit(0)
        os.read(read_end, 1)
        os.close(read_end)
        os.close(write_end)
        return pids[-1]

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def await_answer(stacks, pid):
    """Asks until the child is where it is to be."""
    def answer():
        stacks.ask(pid)
        wait_until(lambda: stacks.answer, 'the answer')
        return 'in spin' in stacks.answer

    wait_until(answer, 'the stack')


def await_stack(pid, name):
    wait_until(lambda: 'in %s' % name in live_stack(pid), 'the stack')


class TestTheSignal:
    def test_is_neither_caught_nor_ignored_by_the_program(self, lab):
        def program():
            first = free_signal()
            signal.signal(first, lambda *_: None)
            second = free_signal()
            signal.signal(second, signal.SIG_IGN)
            report('signals', first, second, free_signal())

        lab.start(program).wait()
        assert lab.expect('signals') == [signal.SIGRTMAX - number for number in (1, 2, 3)]

    def test_is_none_where_all_are_taken(self, lab):
        def program():
            for signum in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
                signal.signal(signum, lambda *_: None)
            report('signal', free_signal())

        lab.start(program).wait()
        assert lab.expect('signal') == [None]

    def test_of_a_task_that_uses_it_remains_its_own(self, lab, queue, worker_class):
        for _ in range(4):  # a busy machine asks too late, at the moment when it ends the task
            queue.enqueue(task('catch_all_real_time_signals', timeout=0.5))
        lab.drain(worker_class(queue), queue)
        caught = lab.reports('caught')
        assert caught == [[signal.SIGRTMAX - 1]] * len(caught) != []  # it was asked, and has a handler of its own


class TestAFile:
    def test_holds_nothing_at_first(self, stacks):
        assert (stacks.answer, stacks.crash, stacks.content) == (None, None, None)

    def test_holds_the_answer_of_a_child_that_was_asked(self, stacks, child_of):
        await_answer(stacks, child_of(spin))

    def test_holds_the_last_answer_alone(self, stacks, child_of):
        pid = child_of(spin)
        for _ in range(3):
            await_answer(stacks, pid)
        assert stacks.content.count('in spin') < 3  # and not all that were ever given

    def test_holds_a_crash_behind_what_others_asked_for(self, stacks, child_of):
        await_answer(stacks, child_of(spin))
        child_of(abort)
        assert wait_until(lambda: stacks.crash and 'in abort' in stacks.crash, 'the stack')
        assert 'in spin' not in stacks.crash

    def test_asks_no_process_that_does_not_heed_the_signal(self, stacks):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        stacks.ask(pid)
        assert stacks.answer is None
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM

    def test_asks_no_process_that_is_gone(self, stacks):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        stacks.ask(pid)
        assert stacks.answer is None

    def test_is_closed_in_other_processes(self, stacks):
        pid = os.fork()
        if pid == 0:
            try:
                os.fstat(stacks.fd)
                os._exit(1)
            except OSError:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    def test_is_the_next_childs_when_its_own_is_dead_and_holds_nothing_again(self):
        files = StackFiles()
        first, second = files.take(), files.take()
        os.write(first.fd, b'Fatal Python error')
        first.close()
        assert files.take() is first
        assert first.content is None
        for each in (first, second):
            each.close()
        files.close()
        for each in (first, second):
            with pytest.raises(OSError, match='Bad file'):
                os.fstat(each.fd)

    def test_may_be_a_temporary_one(self, monkeypatch, tmp_path):
        monkeypatch.delattr(os, 'memfd_create')
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        file = StackFile(None)
        assert list(tmp_path.iterdir()) == []
        os.write(file.fd, b'Fatal Python error')
        assert file.crash == 'Fatal Python error'
        file.close()


class TestTheLiveView:
    @pytest.mark.parametrize('name', ['spin', 'nap', 'add_up'])
    def test_shows_where_a_child_is_and_lets_it_run(self, lab, queue, worker_class, name):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('where'))
        queue.enqueue(task(name))
        lab.expect('where')
        for _ in range(2):
            found = wait_until(
                lambda: [pid for pid, stack in live_stacks(program.pid).items() if 'in %s' % name in stack],
                'the stack')
            assert len(found) == 1
            assert 'in %s' % name in live_stack(found[0])

    def test_changes_nothing_for_a_task_that_sleeps(self, lab, queue, worker_class):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        await_stack(pid, 'pass_gate')
        lab.open_gate()
        queue.enqueue(task('run'))
        lab.expect('ran')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_of_a_process_that_is_no_workers_child_is_none(self):
        assert live_stack(os.getpid()) is None
        assert live_stacks(os.getpid()) == {}

    def test_of_a_process_that_is_gone_says_so(self):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(FileNotFoundError):
            live_stacks(pid)

    def test_begins_a_long_file_anew(self, lab, queue, worker_class, monkeypatch):
        monkeypatch.setattr('delayed._stacks._LONG', 100)
        program = lab.start(lambda: run_worker(worker_class(queue)))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        await_stack(pid, 'pass_gate')
        assert max(live_stack(pid).count('in pass_gate') for _ in range(4)) == 1
        lab.open_gate()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


class TestTheStacksOfThisProcess:
    def test_are_those_of_all_other_threads(self):
        assert 'test_are_those' not in current_stacks()


class TestWhatIsShown:
    def test_ends_at_the_function_of_the_task_in_each_thread_that_has_one(self):
        ours = b'  File "/lib/delayed/_runner.py", line 164 in _call\n  File "/lib/delayed/_runner.py", line 9 in run\n'
        assert _readable(
            b'Thread 0x1 (most recent call first):\n  File "tasks.py", line 1 in helper\n\n'
            b'Current thread 0x2 (most recent call first):\n  File "tasks.py", line 2 in spin\n' + ours + b'\nmore\n'
        ).splitlines() == [
            'Thread 0x1 (most recent call first):', '  File "tasks.py", line 1 in helper', '',
            'Current thread 0x2 (most recent call first):', '  File "tasks.py", line 2 in spin', '', 'more']

    @pytest.mark.parametrize('written', [
        b'Thread 1:\n  File "/lib/delayed/_runner.py", line 14 in _open\n  File "/lib/delayed/_runner.py", line 9 in f',
        b'Thread 1:\n  File "/my/_runner.py", line 1 in _call\n  File "/my/app.py", line 2 in main'])
    def test_is_all_of_it_where_no_function_was_called(self, written):
        assert _readable(written) == written.decode()
