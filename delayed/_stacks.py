"""Where a child stands: the stack of each of its threads, written by `faulthandler` into a file its monitor holds open.

On a crash it writes by itself. Else a signal asks for it, and it answers from the signal's handler in C, so that a call
which holds the interpreter is seen, too. Whether the signal is heeded is read from /proc: without it nobody is asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
import time
from typing import Dict, Iterator, List, Optional, Tuple

from . import _fds
from ._child_stacks import ChildStacks, moved_up
from .outcome import LONGEST_STACK

#: What the file is called, with the signal that asks for the stacks: for those who look at /proc/PID/fd.
_NAME = 'delayed-stacks-%d'
_LINK = re.compile(r'delayed-stacks-(\d+)\b')
#: Below this stand the frames that call a task's function: those of its worker, the same each time.
_CALLED_BY = re.compile(r'  File ".*\bdelayed/_runner\.py", line \d+ in _call')
#: How many signals are tried, from the second highest down; the highest tells of a monitor's death.
_CANDIDATES = 8
_CRASHED = b'Fatal Python error'
#: A file that has grown beyond this, in bytes, by those who look, begins anew.
_LONG = 1 << 20
#: Who looks takes a stack for complete when it has not grown for so long, in seconds.
_SETTLED = 0.05


def free_signal() -> Optional[int]:
    """A signal that this process has no use for; `None` where the system cannot tell."""
    if sys.platform != 'linux':
        return None
    try:
        used = _mask('self', 'SigCgt') | _mask('self', 'SigIgn')
    except OSError:
        return None
    signals = range(signal.SIGRTMAX - 1, signal.SIGRTMAX - 1 - _CANDIDATES, -1)
    return next((signum for signum in signals if not used >> (signum - 1) & 1), None)


def _mask(pid: object, field: str) -> int:
    """Of /proc/PID/status, see proc(5): bit 0 is signal 1."""
    with open('/proc/%s/status' % pid) as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith(field))


def _heeds(pid: int, signum: int) -> bool:
    """Whether the process has a handler, and does not block the signal, as a fork server does. One that runs another
    program by now (`os.exec`) would die of it."""
    try:
        return bool((_mask(pid, 'SigCgt') & ~_mask(pid, 'SigBlk')) >> (signum - 1) & 1)
    except (OSError, StopIteration):
        return False


class StackFile(ChildStacks):
    """One child's, as its monitor has it. `free`: where the file goes when its child is dead, for the next child;
    `None`: it is closed then."""

    def __init__(self, signum: Optional[int], free: Optional[List[StackFile]] = None) -> None:
        """Raises `OSError`."""
        super().__init__(_fds.own(moved_up(_open_file(_NAME % (signum or 0)))), signum)
        self._free = free
        self._asked = False
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_APPEND)  # so that it may be cut while the child has it open

    def ask(self, pid: int) -> None:
        """Asks child `pid` to write its stacks, and does not wait for it."""
        if self.signum is not None and _heeds(pid, self.signum):
            os.ftruncate(self.fd, 0)
            self._asked = True
            with contextlib.suppress(ProcessLookupError):  # somebody else has reaped it
                os.kill(pid, self.signum)

    @property
    def answer(self) -> Optional[str]:
        """What has come since it was asked, if it was and anything has."""
        return self.content if self._asked else None

    @property
    def content(self) -> Optional[str]:
        """All that was written, if anything."""
        return self._read(0)

    @property
    def crash(self) -> Optional[str]:
        """What was written when the child crashed."""
        begin = os.pread(self.fd, 2 * _LONG, 0).rfind(_CRASHED)
        return self._read(begin) if begin >= 0 else None

    def _read(self, begin: int) -> Optional[str]:
        return _readable(os.pread(self.fd, LONGEST_STACK, begin))

    def close(self) -> None:
        """Its child is dead."""
        if self._free is None:
            _fds.close(self.fd)
            return
        os.ftruncate(self.fd, 0)
        self._asked = False
        self._free.append(self)


class StackFiles:
    """Those of one monitor's children."""

    def __init__(self) -> None:
        #: What their children are asked by.
        self.signum = free_signal()
        self._free: List[StackFile] = []

    def take(self) -> StackFile:
        """Raises `OSError`."""
        return self._free.pop() if self._free else StackFile(self.signum, self._free)

    def close(self) -> None:
        """All children are dead."""
        for file in self._free:
            _fds.close(file.fd)
        self._free.clear()


def _readable(written: bytes) -> Optional[str]:
    """Stacks as text, each down to the task's function."""
    lines: List[str] = []
    is_ours = False
    for line in written.decode('ascii', 'replace').strip().splitlines():
        is_ours = line.startswith('  ') and (is_ours or _CALLED_BY.match(line) is not None)
        if not is_ours:
            lines.append(line)
    return '\n'.join(lines) or None


def _open_file(name: str) -> int:
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError):  # not Linux, or before 3.17
        import tempfile  # here, for it is large
        fd, path = tempfile.mkstemp(prefix=name + '-')
        os.unlink(path)
        return fd


def live_stacks(pid: int, seconds: float = 1.0) -> Dict[int, str]:
    """What the children of a worker on this machine do right now: child's pid -> the stacks of its threads. They are
    not stopped; one that does not answer within `seconds` is left out.

    pid: of the worker, or of what has started it.
    Raises `FileNotFoundError` if there is no such process (or no /proc), `PermissionError` if it is another user's.
    """
    os.stat('/proc/%d' % pid)
    found = {child: live_stack(child, seconds) for child in _with_files(pid, _parents())}
    return {child: stack for child, stack in found.items() if stack}


def live_stack(pid: int, seconds: float = 1.0) -> Optional[str]:
    """The same of a single child; `None` if it is no worker's child, or does not answer."""
    file = _file_of(pid)
    if file is None or not _heeds(pid, file[1]):
        return None
    path, signum = file
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        begin = os.fstat(fd).st_size
        if begin > _LONG:
            os.ftruncate(fd, 0)
            begin = 0
        os.kill(pid, signum)
        _await_end(fd, begin, time.monotonic() + seconds)
        return _readable(os.pread(fd, LONGEST_STACK, begin))
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)


def _await_end(fd: int, begin: int, deadline: float) -> None:
    size = begin
    while time.monotonic() < deadline:
        time.sleep(_SETTLED)
        before, size = size, os.fstat(fd).st_size
        if begin < before == size:
            return


def _file_of(pid: int) -> Optional[Tuple[str, int]]:
    """Where the child's file can be opened, and the signal that asks for its stacks."""
    directory = '/proc/%d/fd' % pid
    for name in sorted(os.listdir(directory), key=int, reverse=True):
        try:
            match = _LINK.search(os.readlink('%s/%s' % (directory, name)))
        except FileNotFoundError:
            continue
        if match and int(match[1]):
            return '%s/%s' % (directory, name), int(match[1])
    return None


def _with_files(pid: int, parents: Dict[int, int]) -> Iterator[int]:
    """The workers' children among those that stem from a process. What they have forked themselves is passed over."""
    for child in [each for each, parent in parents.items() if parent == pid]:
        try:
            found = _file_of(child)
        except FileNotFoundError:
            continue  # it has ended
        if found is not None and _heeds(child, found[1]):  # its monitor has it, too, and does not
            yield child
        else:
            yield from _with_files(child, parents)


def _parents() -> Dict[int, int]:
    found = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % name) as stat:
                found[int(name)] = int(stat.read().rpartition(')')[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found
