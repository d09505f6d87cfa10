"""The process that forks children for a monitor, lean: with Python and what a child needs in it, and little else.

What a process has in its memory makes each fork dearer, and each end of a child: with redis-py, `logging` and
`threading` loaded they take four times as long. So nothing here imports any of them. A task may, and what many tasks
import is loaded here, once: but only what its monitor has loaded, too, so that changed code is seen as ever.

The children are the monitor's own; see _clone.py. If this process dies, nothing happens to them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import itertools
import os
import pickle
import signal
import socket
import sys
from collections import Counter
from typing import AbstractSet, Callable, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from . import _log, _streams
from ._caretaker import RemoteSource
from ._channel import identity
from ._child_stacks import ChildStacks, moved_up
from ._clone import Cloner
from ._life import ChildOptions, Life, Prepare, live_and_exit, lives_of
from ._page import Page
from ._rehearsal import rehearse
from ._runner import Runner
from ._shield import SignalMask, heed
from ._trust import default_trust

#: What its monitor is told: it is ready; a child was forked; it ends, and why.
READY, FORKED, FAILED = b'R', b'F', b'E'
LONGEST_SETUP, LONGEST_ANSWER = 1 << 18, 1024  # bytes
MOST_AT_ONCE = 8  # children of one row
_FDS = 4  # descriptors of each
_LONGEST_WRITE = 4000  # bytes that a pipe takes in one piece
#: The name of each file, when it was changed last (ns), and its size.
Fingerprint = List[Tuple[str, int, int]]
#: What a quarter of so many children have imported is loaded here; sooner at first.
_WINDOW = 16


class Recipe(NamedTuple):
    """What such a process needs to know of its worker, and can be pickled.

    preload: modules that it is to import. set_up_log: makes the logger as the worker has it; called when it is loaded.
    log_level: the least that is heard. secrets: those that the environment had when the queues were made.
    """

    preload: Sequence[str]
    set_up_log: Callable[[], object]
    log_level: int
    secrets: Sequence[str]


class Setup(NamedTuple):
    """The first message. `options`: without what the queues let in, which is what the environment says. `mask`: the
    signals that the program had blocked. `known`: the modules that the monitor has loaded."""

    path: Sequence[str]
    argv: Sequence[str]
    options: ChildOptions
    recipe: Recipe
    mask: SignalMask
    slots: int
    stacks_signum: Optional[int]
    known: FrozenSet[str]
    fingerprint: Fingerprint


def fingerprint() -> Fingerprint:
    """Of this package's files. A worker and its fork server must be of one version, and between their beginnings
    another may have been installed."""
    with contextlib.suppress(OSError), os.scandir(os.path.dirname(os.path.abspath(__file__))) as files:
        return sorted((file.name, file.stat().st_mtime_ns, file.stat().st_size)
                      for file in files if file.name.endswith('.py'))
    return []  # an archive


def main(fd: int, caretaker_fd: int) -> None:
    """Forks as long as the monitor has the other end of the socket."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError), socket.socket(fileno=fd) as monitor:
        try:
            setup: Setup = pickle.loads(monitor.recv(LONGEST_SETUP))
            if setup.fingerprint != fingerprint():
                raise OSError('the files of delayed are not those that the worker has loaded')
            sys.path[:], sys.argv[:] = setup.path, setup.argv
            _ForkServer(monitor, setup, moved_up(caretaker_fd)).serve()
        except Exception as error:
            monitor.send(FAILED + ('%s: %s' % (type(error).__name__, error)).encode()[:LONGEST_ANSWER - len(FAILED)])


class _ForkServer:
    def __init__(self, monitor: socket.socket, setup: Setup, caretaker_fd: int) -> None:
        self._monitor = monitor
        self._setup = setup
        self._cloner = Cloner()
        self._wanted = Wanted(setup.known)
        _log.threshold, _log.set_up = setup.recipe.log_level, setup.recipe.set_up_log
        for signum in setup.options.shield.handled:
            signal.signal(signum, heed)  # for its children: the mask is not lifted here
        self._stacks = _Stacks(setup.stacks_signum)
        terms = [each._replace(trust=default_trust(each.queue_name, setup.recipe.secrets))
                 for each in setup.options.terms]
        self._prepare: Prepare = lives_of(
            Runner, setup.options._replace(terms=terms), lambda: RemoteSource(caretaker_fd), lambda: _nothing_to_forget)

    def serve(self) -> None:
        for name in self._setup.recipe.preload:
            importlib.import_module(name)
        rehearse(Runner, (os.pipe, os.close))
        importlib.machinery.PathFinder.find_spec('_delayed_no_such_module')  # so that the folders' lists are at hand
        self._settle()
        self._monitor.send(READY)
        while self._serve_one():
            pass

    @staticmethod
    def _settle() -> None:
        """What was loaded stays; no child's look for garbage is to write to it. Raises `OSError` for what cannot be
        forked so: see _clone.py."""
        _streams.flush()
        gc.collect()
        gc.freeze()
        if len(os.listdir('/proc/self/task')) > 1:
            raise OSError('a module that was loaded has started a thread')

    def _serve_one(self) -> bool:
        """Forks a row of children: what is written after a fork is copied, and that is done once for all of them."""
        order, fds, flags, _ = socket.recv_fds(self._monitor, 1, _FDS * MOST_AT_ONCE, socket.MSG_CMSG_CLOEXEC)
        if not order:
            return False
        if flags & socket.MSG_CTRUNC or not fds or len(fds) % _FDS:
            raise OSError('too many open files')
        if self._wanted.load(len(fds) // _FDS):
            self._settle()
        self._fork([fds[first:first + _FDS] for first in range(0, len(fds), _FDS)])
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, orders: Sequence[Sequence[int]]) -> None:
        setup, cloner, mask, tell = self._setup, self._cloner, self._setup.mask, self._monitor.send
        row, all_fds = [], [self._monitor.fileno(), *itertools.chain(*orders)]
        for page_fd, stacks_fd, tasks_fd, results_fd in orders:
            all_fds.append(_lowest_free())  # which the page is going to have
            page = Page(setup.slots, page_fd)
            life = self._prepare(page, self._stacks, tasks_fd, results_fd)
            row.append((page, stacks_fd, _without(all_fds, (tasks_fd, results_fd), self._wanted.noted_by(life))))
        for page, stacks_fd, life in row:
            os.dup2(stacks_fd, self._stacks.fd, inheritable=False)
            pid = cloner.fork(page.pid_address)
            if pid == 0:
                live_and_exit(life, mask)
            tell(FORKED + b'%d' % pid)


def _without(fds: Sequence[int], its_own: Sequence[int], life: Life) -> Life:
    """The life of a child that has no use for these descriptors, but for its own."""
    def live(mask: SignalMask) -> None:
        for fd in fds:
            if fd not in its_own:
                os.close(fd)
        life(mask)

    return live


def _lowest_free() -> int:
    """The number that the next descriptor gets."""
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


class _Stacks(ChildStacks):
    """All children find their file by one number, so all is installed before they are forked."""

    def __init__(self, signum: Optional[int]) -> None:
        super().__init__(moved_up(os.open(os.devnull, os.O_WRONLY)), signum)
        if signum is not None:  # nobody is to ask this process
            signal.pthread_sigmask(signal.SIG_BLOCK, [signum])
        super().install()

    def install(self) -> None:
        """It is."""


class Wanted:
    """What children have imported beyond what they had from the beginning, and what their monitor has loaded."""

    def __init__(self, known: FrozenSet[str]) -> None:
        self._known = known
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._pipe = identity(self._write_fd)
        self._counts: Counter[str] = Counter()
        self._children, self._window = 0, 2

    def noted_by(self, life: Life) -> Life:
        """The life of a child that tells of it at its end."""
        before = frozenset(sys.modules)

        def live(mask: SignalMask) -> None:
            life(mask)
            if len(sys.modules) != len(before):
                with contextlib.suppress(OSError):  # a full pipe has enough of it
                    self._tell(before)

        return live

    def _tell(self, before: AbstractSet[str]) -> None:
        if identity(self._write_fd) != self._pipe:  # a task has closed it
            return
        lines = b''
        names = [each for each in list(sys.modules) if each in self._known and each not in before]
        for name in names:
            if len(lines) + len(name) >= _LONGEST_WRITE:
                os.write(self._write_fd, lines)
                lines = b''
            lines += name.encode() + b'\n'
        if names:
            os.write(self._write_fd, lines)

    def load(self, children: int) -> bool:
        """Before so many are forked: imports what many children want. Returns whether it did."""
        self._children += children
        if self._children < self._window:
            return False
        wanted = [name for name, count in self._heard().items() if count * 4 >= self._children and name in self._known]
        self._counts.clear()
        self._children, self._window = 0, min(self._window * 2, _WINDOW)
        return sum(map(_load, wanted)) > 0

    def _heard(self) -> Counter[str]:
        try:
            text = os.read(self._read_fd, 1 << 16)
        except BlockingIOError:
            text = b''
        self._counts.update(text.decode('utf-8', 'replace').split('\n'))
        return self._counts


def _load(name: str) -> bool:
    if name in sys.modules:
        return False
    try:
        importlib.import_module(name)
    except Exception:  # a child that needs it will say why
        return False
    return True


def _nothing_to_forget() -> None:
    """It has no connection to Redis."""
