"""The process that runs tasks, as its monitor sees it."""

import itertools
import os
import resource
import signal
import sys

import pytest

from delayed._child import Child, fork_all
from delayed._children import Children
from delayed._page import Page
from delayed._stacks import StackFile
from workers import has_children, open_files, report


def idle(*_):
    """A life in which nothing happens."""
    return lambda mask: None


def fork():
    child, = fork_all([Child(Page(), StackFile(None), idle)])
    return child


def test_its_tasks_use_the_slots_in_turns():
    child = Child(Page(4), StackFile(None), None)
    first, second, third, fourth = child.page.slots
    assert [child.next_slots(count) for count in (3, 2, 4)] == [
        [first, second, third], [fourth, first], [second, third, fourth, first]]
    assert (child.next_slot(), child.tasks) == (second, 10)
    child.close()


class TestForking:
    @pytest.mark.parametrize('room', range(5))
    def test_leaves_no_descriptor_behind_where_there_are_too_few(self, lab, room):
        def program():
            limit = 256
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            filler = []
            with pytest.raises(OSError):
                while True:
                    filler.append(os.dup(0))
            for fd in filler[:room]:
                os.close(fd)
            for _ in range(2):
                with pytest.raises(OSError):
                    fork()
            left = 0
            with pytest.raises(OSError):
                while True:
                    os.dup(0)
                    left += 1
            report('left', left)

        assert lab.start(program).wait() == 0
        assert lab.expect('left') == [room]

    def test_leaves_nothing_behind_where_preparing_another_fails(self, lab):
        class Left(BaseException):
            pass

        def prepare(*_):
            if next(numbers) == 2:
                raise Left
            return lambda mask: None

        def program():
            before = open_files()
            children = Children(prepare, 1, 1.0, lambda pid: None)
            child = children.ready()
            child.next_slot()
            with pytest.raises(Left):
                children.fork_ahead(brisk=True)
            children.dismiss()
            assert open_files() == before
            assert not has_children()

        numbers = itertools.count()
        assert lab.start(program).wait() == 0

    def test_leaves_nothing_behind_where_a_flush_is_broken_off(self, lab):
        class Left(BaseException):
            pass

        class Broken:
            def flush(self):
                raise Left

        def program():
            before = open_files()
            sys.stdout = Broken()
            with pytest.raises(Left):
                fork()
            assert open_files() == before

        assert lab.start(program).wait() == 0

    def test_of_several_at_once_bears_that_some_cannot_be_forked(self, lab, monkeypatch):
        def program():
            def fork_twice():
                if next(forks) < 2:
                    return fork()
                raise BlockingIOError('no more processes')

            before, fork, forks = open_files(), os.fork, itertools.count()
            monkeypatch.setattr(os, 'fork', fork_twice)
            children = fork_all([Child(Page(), StackFile(None), idle) for _ in range(4)])
            report('forked', len(children))
            with pytest.raises(BlockingIOError):
                fork_all([Child(Page(), StackFile(None), idle) for _ in range(2)])
            for child in children:
                child.await_exit()
                child.close()
            assert open_files() == before
            assert not has_children()

        assert lab.start(program).wait() == 0
        assert lab.expect('forked') == [2]

    def test_bears_a_standard_output_that_cannot_be_flushed(self, lab):
        def program():
            sys.stdout = object()
            child = fork()
            report('ended', child.await_exit().code)
            child.close()

        assert lab.start(program).wait() == 0
        assert lab.expect('ended') == [0]

    def test_leaves_nothing_behind_where_a_signal_of_the_meantime_ends_it(self, lab):
        class Left(BaseException):
            pass

        def leave(*_):
            raise Left

        def program():
            before = open_files()
            signal.signal(signal.SIGUSR1, leave)
            os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGUSR1))
            with pytest.raises(Left):
                fork()
            assert open_files() == before
            assert not has_children()

        assert lab.start(program).wait() == 0

    def test_may_be_followed_by_a_signal_although_somebody_else_reaps_the_child(self, lab):
        def program():
            child = fork()
            os.waitpid(child.pid, 0)
            child.signal(15)
            report('ended', child.reap().signum)
            child.close()

        assert lab.start(program).wait() == 0
        assert lab.expect('ended') == [15]
