"""A monitor's side of its fork server, see _fork_server.py: it is started while many short tasks wait, each of which
gets a process of its own, and ended when they have been done. All that may fail here is done without it then."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections import deque
from typing import Callable, Deque, List, Optional

from . import _fds
from ._child import Child
from ._fork_server import FAILED, LONGEST_MESSAGE, MOST_AT_ONCE, READY, Setup
from ._shield import SignalMask, signals_held
from .logger import logger

#: How many such tasks in a row make it worth to start the server, which takes some 50 ms of processor time.
_MANY = 16
#: How many children there are ahead, at most.
_AHEAD = 12
#: After how many seconds without an order it ends.
_IDLE = 5.0
#: How long a child is waited for before the monitor forks one itself, in seconds: the server may load a module.
_PATIENCE = 0.05
#: How long the server may take to end, in seconds.
_ENDING = 2.0
_START = 'import sys; sys.path.insert(0, %r); from delayed._fork_server import main; main(%d)'
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class LeanForks:
    """Children that a fork server forks, in the order in which they were ordered."""

    def __init__(self, setup: Callable[[SignalMask], Setup], make: Callable[[int], Child]) -> None:
        """make: makes a child that is not forked yet, whose page is this file."""
        self._setup = setup
        self._make = make
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._socket: Optional[socket.socket] = None
        self._ready = self._broken = False
        self._is_late = False  # the last child that was waited for did not come in time
        self._streak = 0
        self._used_at = 0.0  # monotonic seconds
        self._ordered: Deque[Child] = deque()
        self._born: Deque[Child] = deque()

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
        return self._ready

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
        unneeded, self._born = list(self._born), deque()
        if self._socket is not None and time.monotonic() - self._used_at > _IDLE:
            unneeded += self.close()
        return unneeded

    def close(self) -> List[Child]:
        """Ends the server. Returns the children that are left."""
        self._end()
        left, self._born = list(self._born), deque()
        return left

    def _start(self) -> None:
        try:
            with signals_held() as mask:  # for good: what comes for the process group is not for the server
                setup = pickle.dumps(self._setup(mask))
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._socket = ours
                    _fds.own(ours.fileno())
                    arguments = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
                    self._process = subprocess.Popen(
                        [sys.executable, *arguments, '-c', _START % (_ROOT, theirs.fileno())],
                        pass_fds=(theirs.fileno(),))
            ours.setblocking(False)
            if len(setup) > LONGEST_MESSAGE:
                raise ValueError('%d bytes to tell' % len(setup))
            ours.send(setup)
        except Exception as error:  # of `pickle`, too: anything can be in it
            self._give_up(error)

    def _order(self) -> None:
        assert self._socket is not None
        page_fds: List[int] = []
        fds: List[int] = []
        children: List[Child] = []
        try:
            for _ in range(MOST_AT_ONCE):
                page_fds.append(os.memfd_create('delayed-page'))
                child = self._make(page_fds[-1])
                children.append(child)
                fds += (page_fds[-1], child.stacks.fd, *child.ends)
            socket.send_fds(self._socket, [b'o'], fds)
            self._ordered += children
            for child in children:
                child.close_ends()
        except OSError as error:
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
        try:
            self._socket.settimeout(seconds)
            answer = self._socket.recv(LONGEST_MESSAGE)
            self._socket.setblocking(False)
            while True:
                self._hear(answer)
                answer = self._socket.recv(LONGEST_MESSAGE)
        except (BlockingIOError, socket.timeout):
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
            self._adopt(self._ordered.popleft())

    def _adopt(self, child: Child) -> None:
        child.pid = child.page.pid
        child.adopt()
        self._born.append(child)

    def _give_up(self, error: Exception) -> None:
        logger.info('the fork server is not used any more: %s', error)
        self._broken = True
        self._end()

    def _end(self) -> None:
        """Nothing is ordered any more. What was ordered was forked if its page has a pid, whatever the server said."""
        process, self._process = self._process, None
        if self._socket is not None:
            _fds.close(self._socket.detach())
            self._socket = None
        self._ready = False
        if process is not None:
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        while self._ordered:
            child = self._ordered.popleft()
            if child.page.pid:
                self._adopt(child)
            else:
                child.close()
