"""A monitor's side of its fork server, see _fork_server.py: it is started while many short tasks wait, each of which
gets a process of its own, and ended when they have been done. All that may fail here is done without it then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from typing import Callable, Deque, List, NoReturn, Optional

from . import _fds, _streams
from ._caretaker import hold_signals
from ._child import Child, fork_process
from ._fork_server import (
    FAILED,
    LONGEST_ANSWER,
    LONGEST_SETUP,
    MOST_AT_ONCE,
    READY,
    Recipe,
    Setup,
    fingerprint,
)
from ._life import ChildOptions
from ._page import Page
from ._shield import SignalMask, signals_held
from ._stacks import StackFiles
from ._wakeup import milliseconds
from .logger import logger

#: How many such tasks in a row make it worth to start the server, which takes some 50 ms of processor time.
_MANY = 16
#: How many children there are ahead, at most.
_AHEAD = 12
#: After how many seconds without an order it ends.
_IDLE = 5.0
#: How long a child is waited for before the monitor forks one itself, in seconds: the server may load a module.
_PATIENCE = 0.05
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Where Python looks for modules as it did for the monitor's: not in the current directory.
_START = ('import sys; sys.path[:] = [path for path in sys.path if path] + [%r]; '
          'from delayed._fork_server import main; main(%d, %d)')

#: What a caretaker does until its end, with its end of a socket.
Care = Callable[[socket.socket], NoReturn]


class LeanForks:
    """Children that a fork server forks, in the order in which they were ordered."""

    def __init__(self, options: ChildOptions, recipe: Recipe, care: Care, slots: int, stack_files: StackFiles) -> None:
        """slots: on each page."""
        self._options = options
        self._recipe = recipe
        self._care = care
        self._slots = slots
        self._stack_files = stack_files
        self._fingerprint = fingerprint()  # now: of what this process has loaded
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._socket: Optional[socket.socket] = None
        self._ready = self._broken = False
        self._is_late = False  # the last child that was waited for did not come in time
        self._streak = 0
        self._used_at = 0.0  # monotonic seconds
        self._ordered: Deque[Child] = deque()
        self._born: Deque[Child] = deque()
        self._caretakers: List[int] = []

    def order(self) -> bool:
        """Another short task has begun, and more wait. Returns whether the server cares for their children."""
        self._streak += 1
        self._used_at = time.monotonic()
        if self._socket is None:
            if self._streak >= _MANY and not self._broken:
                self._start()
            return False
        self._collect()
        if self._ready and len(self._ordered) + len(self._born) <= _AHEAD - MOST_AT_ONCE:
            self._order()
        return self._ready and not self._is_late

    def take(self) -> Optional[Child]:
        """The next child; `None` if none comes in time."""
        if self._ordered and not self._born:
            self._collect(0.0 if self._is_late else _PATIENCE)
            self._is_late = not self._born
        return self._born.popleft() if self._born else None

    def rest(self) -> List[Child]:
        """Few tasks come, or long ones. Returns children that are not needed."""
        self._streak = 0
        self._collect()
        if self._socket is not None and time.monotonic() - self._used_at > _IDLE:
            self._end()
        self._caretakers = [pid for pid in self._caretakers if not _reaped(pid)]
        return self._left()

    def close(self) -> List[Child]:
        """Ends the server. Returns the children that are left."""
        self._end()
        return self._left()

    def _left(self) -> List[Child]:
        left, self._born = list(self._born), deque()
        return left

    def bury(self) -> None:
        """All children are dead."""
        for pid in self._caretakers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._caretakers.clear()

    def _start(self) -> None:
        try:
            _refuse_shadows()
            with signals_held() as mask:  # for good: what comes for the process group is not for the server
                setup = pickle.dumps(self._setup(mask))
                if len(setup) > LONGEST_SETUP:
                    raise ValueError('%d bytes to tell' % len(setup))
                with self._caretaker() as care:  # first: it must not have the other socket
                    self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    _fds.own(self._socket.fileno())
                    with theirs:
                        code = _START % (_ROOT, theirs.fileno(), care.fileno())
                        self._process = subprocess.Popen([sys.executable, *_interpreter_options(), '-c', code],
                                                         pass_fds=(theirs.fileno(), care.fileno()))
            self._socket.setblocking(False)
            self._socket.send(setup)
        except Exception as error:  # of `pickle`, too: anything can be in it
            self._give_up(error)

    def _setup(self, mask: SignalMask) -> Setup:
        terms = [each._replace(trust=None) for each in self._options.terms]  # type: ignore[arg-type]
        return Setup(sys.path, sys.argv, self._options._replace(terms=terms), self._recipe, mask, self._slots,
                     self._stack_files.signum, frozenset(sys.modules), self._fingerprint)

    def _caretaker(self) -> socket.socket:
        """Forks it, and returns the other end of its socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _streams.flush()
            pid = fork_process()
            if pid == 0:
                try:
                    ours.close()
                    hold_signals()
                    self._care(theirs)
                finally:
                    os._exit(1)
            self._caretakers.append(pid)
        return ours

    def _order(self) -> None:
        assert self._socket is not None
        page_fds: List[int] = []
        fds: List[int] = []
        children: List[Child] = []
        try:
            for _ in range(MOST_AT_ONCE):
                page_fds.append(os.memfd_create('delayed-page', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
                _size_for_good(page_fds[-1], Page.size(self._slots))
                child = Child(Page(self._slots, page_fds[-1]), self._stack_files.take(), None)
                children.append(child)
                fds += (page_fds[-1], child.stacks.fd, *child.ends)
            socket.send_fds(self._socket, [b'o'], fds)
            self._ordered += children
            for child in children:
                child.close_ends()
        except Exception as error:
            for child in children:
                child.close()
            self._give_up(error)
        finally:
            for fd in page_fds:
                os.close(fd)

    def _collect(self, seconds: float = 0.0) -> None:
        """Takes what the server says; waits for so long until it has said something."""
        if self._socket is None:
            return
        if seconds:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.poll(milliseconds(seconds))
        try:
            while True:
                self._hear(self._socket.recv(LONGEST_ANSWER))
        except BlockingIOError:
            return
        except OSError as error:
            self._give_up(error)

    def _hear(self, answer: bytes) -> None:
        if not answer:
            raise OSError('it has ended')
        if answer.startswith(FAILED):
            raise OSError(answer[1:].decode('utf-8', 'replace'))
        if answer == READY:
            self._ready = True
        else:
            self._adopt(self._ordered.popleft(), int(answer[1:]))

    def _adopt(self, child: Child, pid: int) -> None:
        child.pid = pid
        child.adopt()
        self._born.append(child)

    def _give_up(self, error: Exception) -> None:
        logger.info('the fork server is not used any more: %s', error)
        self._broken = True
        self._end()

    def _end(self) -> None:
        """At once. What was ordered was forked if its page has a pid, whatever the server could say."""
        process, self._process = self._process, None
        if self._socket is not None:
            _fds.close(self._socket.detach())
            self._socket = None
        self._ready = self._is_late = False
        if process is not None:
            process.kill()
            process.wait()
        while self._ordered:
            child = self._ordered.popleft()
            if child.page.pid > 0:
                self._adopt(child, child.page.pid)
            else:
                child.close()


def _size_for_good(fd: int, size: int) -> None:
    """Of a file in memory: whoever has a descriptor of it, as a task may, cannot cut it, which would end all who have
    it mapped."""
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def _interpreter_options() -> List[str]:
    options: List[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    for name, value in sys._xoptions.items():
        option = name if value is True else '%s=%s' % (name, value)
        if option not in options:
            options += '-X', option
    if getattr(sys.stdout, 'write_through', False):
        options.append('-u')
    return options


def _refuse_shadows() -> None:
    """Raises `OSError` if a file of the current directory, where tasks may be, has the name of a module that the
    monitor has loaded from elsewhere: a child would load that one instead."""
    here = os.getcwd()
    for name in os.listdir(here):
        base, extension = os.path.splitext(name)
        if extension == '.py' or os.path.exists(os.path.join(name, '__init__.py')):
            file = getattr(sys.modules.get(base), '__file__', None)
            if file and os.path.join(here, base) not in (os.path.splitext(file)[0], os.path.dirname(file)):
                raise OSError('%s is named like %s' % (os.path.join(here, name), file))


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:  # somebody else has
        return True
