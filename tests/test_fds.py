"""The descriptors of a monitor, which no forked process keeps."""

import os
import threading

import pytest

from delayed import _fds

pytestmark = pytest.mark.filterwarnings('ignore:This process .* is multi-threaded:DeprecationWarning')


@pytest.fixture
def pipe():
    ends = _fds.pipe()
    yield ends
    _fds.close(*ends)


def open_in_child(*fds):
    """Which of these are open in a process that is forked now."""
    pid = os.fork()
    if pid == 0:
        found = 0
        for index, fd in enumerate(fds):
            try:
                os.fstat(fd)
                found |= 1 << index
            except OSError:
                pass
        os._exit(found)
    found = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [fd for index, fd in enumerate(fds) if found >> index & 1]


class TestADescriptorOfAMonitor:
    def test_is_closed_in_any_process_that_is_forked(self, pipe):
        assert open_in_child(*pipe) == []
        assert os.fstat(pipe[0])  # and stays open here

    def test_is_open_in_the_child_that_it_is_for(self, pipe):
        with _fds.sparing(pipe[1]):
            assert open_in_child(*pipe) == [pipe[1]]
        assert open_in_child(*pipe) == []

    def test_is_spared_in_no_process_that_another_thread_forks(self, pipe):
        found = []
        with _fds.sparing(*pipe):
            thread = threading.Thread(target=lambda: found.append(open_in_child(*pipe)))
            thread.start()
            thread.join()
        assert found == [[]]

    def test_is_closed_in_a_process_that_is_forked_while_another_thread_opens_it(self, monkeypatch):
        opened, forked, ends, os_pipe = threading.Event(), threading.Event(), [], os.pipe

        def slow_pipe():
            ends.extend(os_pipe())
            opened.set()
            forked.wait(0.1)  # it will not come: the fork waits for us
            return tuple(ends)

        monkeypatch.setattr(os, 'pipe', slow_pipe)
        thread = threading.Thread(target=_fds.pipe)
        thread.start()
        opened.wait()
        assert open_in_child(*ends) == []
        forked.set()
        thread.join()
        _fds.close(*ends)

    def test_is_closed_once(self, pipe):
        _fds.close(*pipe)
        with pytest.raises(OSError, match='Bad file'):
            os.fstat(pipe[0])
        other = os.open(os.devnull, os.O_RDONLY)  # has the same number, most likely
        _fds.close(*pipe)
        assert os.fstat(other)
        os.close(other)
