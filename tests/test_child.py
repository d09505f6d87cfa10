"""The process that runs tasks, as its monitor sees it."""

import os
import resource
import signal
import sys

import pytest

from delayed._child import Child
from delayed._page import Page
from delayed._stacks import StackFile
from workers import has_children, open_files, report


def idle(*_):
    """A life in which nothing happens."""
    return lambda mask: None


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
                    Child(Page(), StackFile(None), idle)
            left = 0
            with pytest.raises(OSError):
                while True:
                    os.dup(0)
                    left += 1
            report('left', left)

        assert lab.start(program).wait() == 0
        assert lab.expect('left') == [room]

    def test_bears_a_standard_output_that_cannot_be_flushed(self, lab):
        def program():
            sys.stdout = object()
            child = Child(Page(), StackFile(None), idle)
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
                Child(Page(), StackFile(None), idle)
            assert open_files() == before
            assert not has_children()

        assert lab.start(program).wait() == 0

    def test_may_be_followed_by_a_signal_although_somebody_else_reaps_the_child(self, lab):
        def program():
            child = Child(Page(), StackFile(None), idle)
            os.waitpid(child.pid, 0)
            child.signal(15)
            report('ended', child.reap().signum)
            child.close()

        assert lab.start(program).wait() == 0
        assert lab.expect('ended') == [15]
