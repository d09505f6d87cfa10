import errno
import io
import os
import signal
import sys
import threading
import time

import pytest

from delayed import constants, utils

BAD_FD = os.strerror(errno.EBADF)
DEADLINE = 30  # seconds; nothing here takes long, whatever spins or hangs fails


@pytest.fixture(autouse=True)
def deadline():
    def give_up(signum, frame):
        pytest.fail('it spins or hangs')

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe():
    ends = utils.non_blocking_pipe()
    yield ends
    close(*ends)


def close(*fds):
    for fd in fds:
        try:
            os.close(fd)
        except OSError:  # the test has closed it
            pass


@pytest.fixture
def full_pipe(pipe):
    utils.try_write(pipe[1], b'x' * (1 << 22))
    return pipe


@pytest.fixture
def closed_fd():
    """A number that no file has: the next free one, while a test opens none."""
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


@pytest.fixture(params=['a number', 'a closed fd'])
def no_fd(request, closed_fd):
    return -1 if request.param == 'a number' else closed_fd


class TestCurrentTimestamp:
    def test_is_unix_milliseconds(self):
        before = time.time()
        timestamp = utils.current_timestamp()
        assert isinstance(timestamp, int)
        assert before * 1000 - 1 <= timestamp <= time.time() * 1000


class TestNonBlockingPipe:
    def test_leads_from_the_second_end_to_the_first(self, pipe):
        os.write(pipe[1], b'x')
        assert os.read(pipe[0], 1) == b'x'

    def test_blocks_at_neither_end(self, pipe):
        assert [os.get_blocking(fd) for fd in pipe] == [False, False]

    def test_is_not_inherited_by_programs_run_later(self, pipe):
        assert [os.get_inheritable(fd) for fd in pipe] == [False, False]


class TestSetNonBlocking:
    def test_makes_a_read_return(self):
        read_fd, write_fd = os.pipe()
        try:
            utils.set_non_blocking(read_fd)
            with pytest.raises(BlockingIOError):
                os.read(read_fd, 1)
            assert os.get_blocking(write_fd)
        finally:
            close(read_fd, write_fd)

    def test_raises_for_a_closed_fd(self, no_fd):
        with pytest.raises(OSError, match=BAD_FD):
            utils.set_non_blocking(no_fd)


class TestIgnoreSignal:
    def test_survives_the_signal(self):
        before = signal.signal(signal.SIGUSR1, utils.ignore_signal)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)  # would end the process
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert utils.ignore_signal(signal.SIGUSR1, None) is None


class TestSelect:
    def test_tells_what_is_ready(self, pipe):
        read_fd, write_fd = pipe
        assert utils.select_ignore_eintr([read_fd], [write_fd], []) == ([], [write_fd], [])
        os.write(write_fd, b'x')
        assert utils.select_ignore_eintr([read_fd], [], []) == ([read_fd], [], [])

    def test_returns_nothing_after_its_timeout(self, pipe):
        assert utils.select_ignore_eintr([pipe[0]], [], [], 0) == ([], [], [])
        assert utils.select_ignore_eintr([pipe[0]], [], [], timeout=0.01) == ([], [], [])

    def test_goes_on_waiting_after_a_signal(self, pipe):
        read_fd, write_fd = pipe
        handled = threading.Event()

        def interrupt_then_write():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            handled.wait(DEADLINE)
            os.write(write_fd, b'x')

        before = signal.signal(signal.SIGUSR1, lambda signum, frame: handled.set())
        thread = threading.Thread(target=interrupt_then_write)
        try:
            thread.start()
            assert utils.select_ignore_eintr([read_fd], [], []) == ([read_fd], [], [])
        finally:
            thread.join()
            signal.signal(signal.SIGUSR1, before)
        assert handled.is_set()


class TestWaitPid:
    def test_returns_pid_and_status(self):
        pid = os.posix_spawn(sys.executable, [sys.executable, '-c', 'raise SystemExit(3)'], os.environ)
        assert utils.wait_pid_ignore_eintr(pid, 0) == (pid, 3 << 8)

    def test_returns_at_once_where_it_is_told_so(self):
        read_fd, write_fd = os.pipe()
        until_eof = [(os.POSIX_SPAWN_DUP2, read_fd, 0)]
        pid = os.posix_spawn('/bin/cat', ['cat'], {}, file_actions=until_eof)
        try:
            assert utils.wait_pid_ignore_eintr(pid, os.WNOHANG) == (0, 0)
        finally:
            close(read_fd, write_fd)
            assert utils.wait_pid_ignore_eintr(pid, 0) == (pid, 0)

    def test_raises_where_there_is_no_such_child(self):
        with pytest.raises(ChildProcessError):
            utils.wait_pid_ignore_eintr(os.getpid(), 0)


class TestDrainOut:
    def test_of_an_empty_pipe_finds_nothing(self, pipe):
        assert utils.drain_out(pipe[0]) is False

    def test_takes_all_there_is(self, pipe, monkeypatch):
        monkeypatch.setattr(constants, 'BUF_SIZE', 4)
        for length in (3, 4, 5, 8):
            os.write(pipe[1], b'x' * length)
            assert utils.drain_out(pipe[0]) is True
            assert utils.drain_out(pipe[0]) is False

    def test_at_the_end_of_the_file_finds_nothing(self, pipe):
        os.close(pipe[1])
        assert utils.drain_out(pipe[0]) is False

    def test_finds_what_stands_before_the_end_of_the_file(self, pipe, monkeypatch):
        monkeypatch.setattr(constants, 'BUF_SIZE', 4)
        os.write(pipe[1], b'12345678')
        os.close(pipe[1])
        assert utils.drain_out(pipe[0]) is True

    def test_with_a_buffer_of_no_bytes_finds_nothing(self, pipe, monkeypatch):
        monkeypatch.setattr(constants, 'BUF_SIZE', 0)
        os.write(pipe[1], b'x')
        assert utils.drain_out(pipe[0]) is False

    def test_of_a_closed_fd_finds_nothing(self, no_fd):
        assert utils.drain_out(no_fd) is False

    def test_of_a_pipe_that_blocks_returns_once_it_is_empty(self):
        read_fd, write_fd = os.pipe()
        try:
            os.write(write_fd, b'x')
            assert utils.drain_out(read_fd) is True
        finally:
            close(read_fd, write_fd)


class TestRead1:
    def test_reads_what_is_there(self, pipe):
        os.write(pipe[1], b'hello')
        assert utils.read1(pipe[0]) == b'hello'

    def test_reads_no_more_than_asked_for(self, pipe):
        os.write(pipe[1], b'hello')
        assert utils.read1(pipe[0], 2) == b'he'
        assert utils.read1(pipe[0], length=0) == b''
        assert utils.read1(pipe[0]) == b'llo'

    def test_reads_a_buffer_of_the_size_that_is_set_by_then(self, pipe, monkeypatch):
        os.write(pipe[1], b'hello')
        monkeypatch.setattr(constants, 'BUF_SIZE', 3)
        assert utils.read1(pipe[0]) == b'hel'

    def test_of_an_empty_pipe_returns_nothing(self, pipe):
        assert utils.read1(pipe[0]) == b''

    def test_at_the_end_of_the_file_returns_nothing(self, pipe):
        os.close(pipe[1])
        assert utils.read1(pipe[0]) == b''

    def test_of_a_closed_fd_raises(self, no_fd):
        with pytest.raises(OSError, match=BAD_FD):
            utils.read1(no_fd)


class TestReadBytes:
    def test_reads_as_many_as_asked_for_and_misses_none(self, pipe):
        os.write(pipe[1], b'hello')
        buf = io.BytesIO()
        assert utils.read_bytes(pipe[0], 3, buf) == 0
        assert buf.getvalue() == b'hel'
        assert utils.read1(pipe[0]) == b'lo'

    def test_tells_how_many_are_missing_and_can_go_on(self, pipe):
        buf = io.BytesIO()
        assert utils.read_bytes(pipe[0], 10, buf) == 10
        os.write(pipe[1], b'hello')
        assert utils.read_bytes(pipe[0], 10, buf) == 5
        os.write(pipe[1], b'world')
        assert utils.read_bytes(pipe[0], 5, buf) == 0
        assert buf.getvalue() == b'helloworld'

    def test_misses_what_the_end_of_the_file_cut_off(self, pipe):
        os.write(pipe[1], b'hello')
        os.close(pipe[1])
        buf = io.BytesIO()
        assert utils.read_bytes(pipe[0], 10, buf) == 5
        assert buf.getvalue() == b'hello'

    def test_reads_more_than_a_buffer(self, pipe, monkeypatch):
        monkeypatch.setattr(constants, 'BUF_SIZE', 4)
        os.write(pipe[1], b'0123456789')
        buf = io.BytesIO()
        assert utils.read_bytes(pipe[0], 10, buf) == 0
        assert buf.getvalue() == b'0123456789'

    def test_never_reads_more_than_a_buffer_at_once(self, pipe, monkeypatch):
        class Chunks(list):
            write = list.append

        monkeypatch.setattr(constants, 'BUF_SIZE', 4)
        os.write(pipe[1], b'0123456789')
        chunks = Chunks()
        utils.read_bytes(pipe[0], 10, chunks)
        assert chunks == [b'0123', b'4567', b'89']

    def test_of_no_bytes_reads_none(self, pipe):
        os.write(pipe[1], b'x')
        assert utils.read_bytes(pipe[0], 0, io.BytesIO()) == 0
        assert utils.read1(pipe[0]) == b'x'

    def test_of_a_closed_fd_raises(self, no_fd):
        with pytest.raises(OSError, match=BAD_FD):
            utils.read_bytes(no_fd, 1, io.BytesIO())


class TestTryWrite:
    def test_writes_all_where_there_is_room(self, pipe):
        assert utils.try_write(pipe[1], b'hello') == (b'', 0)
        assert utils.read1(pipe[0]) == b'hello'

    def test_returns_what_did_not_fit(self, pipe):
        data = bytes(range(256)) * (1 << 14)
        left, error = utils.try_write(pipe[1], data)
        assert error == errno.EAGAIN
        assert 0 < len(left) < len(data)
        buf = io.BytesIO()
        utils.read_bytes(pipe[0], len(data), buf)
        assert buf.getvalue() + left == data

    def test_of_a_view_copies_nothing(self, pipe):
        data = memoryview(bytes(1 << 22))
        left, _ = utils.try_write(pipe[1], data)
        assert left.obj is data.obj
        assert 0 < len(left) < len(data)

    def test_into_a_full_pipe_returns_all(self, full_pipe):
        assert utils.try_write(full_pipe[1], b'hello') == (b'hello', errno.EAGAIN)

    def test_where_nobody_reads_returns_all(self, pipe):
        os.close(pipe[0])
        assert utils.try_write(pipe[1], b'hello') == (b'hello', errno.EPIPE)

    def test_into_a_closed_fd_returns_all(self, no_fd):
        assert utils.try_write(no_fd, b'hello') == (b'hello', errno.EBADF)

    def test_of_nothing_has_nothing_to_do(self, full_pipe):
        assert utils.try_write(full_pipe[1], b'') == (b'', 0)


class TestWriteByte:
    def test_returns_one(self, pipe):
        assert utils.write_byte(pipe[1], b'x') == 1
        assert utils.read1(pipe[0]) == b'x'

    def test_where_nobody_reads_returns_zero(self, pipe):
        os.close(pipe[0])
        assert utils.write_byte(pipe[1], b'x') == 0

    def test_into_a_closed_fd_raises(self, no_fd):
        with pytest.raises(OSError, match=BAD_FD):
            utils.write_byte(no_fd, b'x')

    def test_waits_for_room_without_trying_over_and_over(self, full_pipe, monkeypatch):
        read_fd, write_fd = full_pipe
        tries = self.count_tries(monkeypatch, then=lambda: utils.read1(read_fd))
        assert utils.write_byte(write_fd, b'y') == 1
        assert tries() == 2
        rest = io.BytesIO()
        utils.read_bytes(read_fd, 1 << 22, rest)
        assert rest.getvalue().endswith(b'y')

    def test_stops_waiting_for_room_when_the_reader_goes(self, full_pipe, monkeypatch):
        read_fd, write_fd = full_pipe
        tries = self.count_tries(monkeypatch, then=lambda: os.close(read_fd))
        assert utils.write_byte(write_fd, b'y') == 0
        assert tries() == 2

    @staticmethod
    def count_tries(monkeypatch, then):
        """Counts the writes, and calls `then` a little after the first, when a loop would have tried often."""
        writes = []
        write = os.write
        thread = threading.Timer(0.1, then)

        def counting_write(fd, data):
            writes.append(data)
            if len(writes) == 1:
                thread.start()
            return write(fd, data)

        def tries():
            thread.join()
            return len(writes)

        monkeypatch.setattr(os, 'write', counting_write)
        return tries


class TestBufSize:
    def test_can_be_imported_from_here_too(self):
        assert utils.BUF_SIZE == constants.BUF_SIZE
