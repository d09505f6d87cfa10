"""One process of a pool: as its supervisor sees it, and what it does."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from typing import Any, Callable, Dict, NoReturn, Optional

from redis.exceptions import AuthenticationError, NoPermissionError

from . import _fds, _streams
from ._child import Exit, fork_process
from ._shield import SignalMask, signals_held

#: What a member does until it is to stop. It is told whom to ask, once a signal has come, if it is to stop at once.
Work = Callable[[Callable[[], bool]], None]

#: Errors that come again however often it is tried.
_HOPELESS = (AuthenticationError, NoPermissionError, ImportError, SyntaxError)
_READY, _FAILED = b'R', b'F'
_LONGEST_REPORT = 4096  # bytes
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Member:
    """A process and its supervisor's ends of two pipes: by one the process tells what it is up to, until its end; by
    the other it learns of the supervisor's."""

    def __init__(self, work: Work, program: Dict[int, Any]) -> None:
        """Forks. program: the signals' dispositions that the embedding program has. Raises `OSError`."""
        self.pid = 0
        self.began = time.monotonic()
        #: Whether it works.
        self.ready = False
        #: Why no other need be tried.
        self.failure = ''
        self._urgent = mmap.mmap(-1, mmap.PAGESIZE)  # shared by the fork
        self._ended: Optional[Exit] = None
        supervisor_pid = os.getpid()
        alive, self._alive = _fds.pipe()
        self.fd, reports = _fds.pipe()
        try:
            _streams.flush()
            with _fds.sparing(alive, reports), signals_held() as mask:
                self.pid = fork_process()
                if self.pid == 0:
                    _live(work, lambda: bool(self._urgent[0]), program, mask, supervisor_pid, alive, reports)
        except BaseException:
            if self.pid:  # the program's own handler of a signal raised, which had waited
                self.signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
            _fds.close(self.fd, self._alive)
            raise
        finally:
            _fds.close(alive, reports)
        os.set_blocking(self.fd, False)

    def stop(self, urgent: bool) -> None:
        """Asks it to stop when its task is done; urgent: now."""
        self._urgent[0] = urgent
        self.signal(signal.SIGTERM)

    def signal(self, signum: int) -> None:
        if self._ended is None:
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass  # it is dead, and somebody else has reaped it

    def read(self) -> bool:
        """Reads what it tells. `False` at the end, which its death brings about."""
        try:
            told = os.read(self.fd, _LONGEST_REPORT)
        except BlockingIOError:
            return True
        self.ready = self.ready or told.startswith(_READY)
        _, failed, why = told.partition(_FAILED)
        if failed:
            self.failure = why.decode('utf-8', 'replace')
        return bool(told)

    def reap(self) -> Optional[Exit]:
        """How it ended, or `None` if it has not."""
        if self._ended is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else reaped it: how it ended is not known
                self._ended = Exit(None, 0)
            else:
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    self._ended = Exit(-code if code < 0 else None, code)
        return self._ended

    def close(self) -> None:
        """Forgets a process that was reaped."""
        _fds.close(self.fd, self._alive)
        self._urgent.close()


def _live(work: Work, is_urgent: Callable[[], bool], program: Dict[int, Any], mask: SignalMask, supervisor_pid: int,
          alive: int, reports: int) -> NoReturn:
    """In the process."""
    code = 1
    try:
        for fd in (alive, reports):
            _fds.own(fd)  # its children do not keep them
        for signum, disposition in program.items():
            signal.signal(signum, disposition)
        signal.set_wakeup_fd(-1)
        _stop_with(supervisor_pid, alive)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.write(reports, _READY)
        work(is_urgent)
        code = 0
    except _HOPELESS as error:
        os.write(reports, _FAILED + ('%s: %s' % (type(error).__name__, error)).encode()[:_LONGEST_REPORT - 2])
        if not isinstance(error, (AuthenticationError, NoPermissionError)):  # the worker has told of these
            sys.excepthook(*sys.exc_info())
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT  # before it began to work
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _streams.exit_now(code)


def _stop_with(supervisor_pid: int, alive: int) -> None:
    """If the supervisor dies without a word, this process stops as if it had been asked to: by a signal that the kernel
    sends, or, where it sends none, by the end of the pipe."""
    if sys.platform == 'linux':
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != supervisor_pid:  # it died before
            os.kill(os.getpid(), signal.SIGTERM)
        return

    def wait() -> None:
        os.read(alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
