"""The process that runs tasks, as its monitor sees it: fork, send, reap, signal; what an exit status means."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from typing import List, NamedTuple, Optional, Sequence, Tuple

from . import _fds, _streams
from ._channel import Reader, Writer
from ._life import Prepare, live_and_exit
from ._page import Page, Slot
from ._shield import SignalMask, signals_held
from ._stacks import StackFile
from ._usage import Usage, usage_of
from ._wakeup import milliseconds

_LONGEST_REPORT = 1 << 20  # bytes


class Exit(NamedTuple):
    """How a process ended: by this signal, or with this code."""

    signum: Optional[int]
    code: int
    usage: Optional[Usage] = None  # of all its life, the programs included that it had started and waited for

    def __str__(self) -> str:
        return 'exit code %d' % self.code if self.signum is None else signal_name(self.signum)


class Child:
    """A child and the monitor's ends of its pipes; `fork_all` makes a process of it."""

    def __init__(self, page: Page, stacks: StackFile, prepare: Optional[Prepare]) -> None:
        """Makes all ready for the fork; where that is somebody else's, `prepare` is `None`. Raises `OSError`."""
        self.page = page
        self.stacks = stacks
        self.pid = 0
        self.closed = False
        self._exit: Optional[Exit] = None
        self._signum: Optional[int] = None  # the last one it was sent
        self._sent = self._returned = 0  # tasks
        self._death_fd: Optional[int] = None
        pipes: Tuple[int, ...] = ()
        try:
            pipes += _fds.pipe()
            pipes += _fds.pipe()
            tasks_read, tasks_write, results_read, results_write = pipes
            self._live = None if prepare is None else prepare(page, stacks, tasks_read, results_write)
        except BaseException:
            _fds.close(*pipes)
            stacks.close()
            raise
        self._ends: Tuple[int, ...] = (tasks_read, results_write)
        os.set_blocking(tasks_write, False)
        os.set_blocking(results_read, False)
        self.writer, self.reader = Writer(tasks_write), Reader(results_read, _LONGEST_REPORT)

    def fork(self, mask: SignalMask) -> None:
        """Does no more than must be done between two forks."""
        live = self._live
        assert live is not None
        with _fds.sparing(*self._ends, self.stacks.fd):
            self.pid = fork_process()
            if self.pid == 0:
                live_and_exit(live, mask)

    def adopt(self) -> None:
        """Does the rest, in the monitor."""
        self.close_ends()
        self._death_fd = _watch_death(self.pid)

    @property
    def ends(self) -> Tuple[int, ...]:
        """The child's ends of the pipes, as long as this process has them."""
        return self._ends

    def close_ends(self) -> None:
        _fds.close(*self._ends)
        self._ends = ()  # the numbers may be another pipe's soon

    def next_slot(self) -> Slot:
        """The part of the page for the next task that is sent."""
        return self.next_slots(1)[0]

    def next_slots(self, count: int) -> List[Slot]:
        """The same for several, not more than there are."""
        slots, first = self.page.slots, self._sent % len(self.page.slots)
        assert count <= len(slots)
        self._sent += count
        return [*slots[first:first + count], *slots[:max(0, first + count - len(slots))]]

    def send(self, payloads: Sequence[bytes]) -> None:
        """Begins to send tasks. If the child is dead or dying its exit will be seen."""
        try:
            self.writer.send_all(payloads)
        except BrokenPipeError:
            self.writer.drop()

    def send_rest(self, poll: select.poll) -> None:
        """Goes on with it. `poll` waits no more for the pipe when all is sent: it would report for ever a child that
        closed its end."""
        try:
            self.writer.flush()
        except BrokenPipeError:
            self.writer.drop()
        if not self.writer.pending:
            poll.unregister(self.writer.fd)

    def take_back(self) -> None:
        """One of its tasks goes back that it has not begun and never will."""
        self._returned += 1

    @property
    def sent(self) -> int:
        """How many tasks it was sent."""
        return self._sent

    @property
    def tasks(self) -> int:
        """How many of them it has run or is to run."""
        return self._sent - self._returned

    @property
    def death_fd(self) -> Optional[int]:
        """Readable once the child is dead; `None` where the system has no such thing."""
        return self._death_fd

    def reap(self) -> Optional[Exit]:
        """How the child ended, or `None` if it has not."""
        if self._exit is None:
            try:
                pid, status, spent = os.wait4(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else reaped it, or SIGCHLD is ignored: how it ended is not known
                self._exit = Exit(self._signum, 0)
            else:
                if pid:
                    signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                    self._exit = Exit(signum, os.WEXITSTATUS(status) if signum is None else -signum, usage_of(spent))
        return self._exit

    def wait(self, deadline: float) -> bool:
        """Waits until the child is dead, up to `deadline` (monotonic seconds). Returns whether it is."""
        while self.reap() is None and time.monotonic() < deadline:
            if self._death_fd is None:
                time.sleep(0.01)
            else:
                poll = select.poll()
                poll.register(self._death_fd, select.POLLIN)
                poll.poll(milliseconds(deadline - time.monotonic()))
        return self.reap() is not None

    def await_exit(self) -> Exit:
        """Waits for a child that was killed."""
        exited = self.reap()
        while exited is None:
            self.wait(time.monotonic() + 60.0)
            exited = self.reap()
        return exited

    @property
    def was_killed_by_us(self) -> bool:
        """Whether it was sent SIGKILL from here."""
        return self._signum == signal.SIGKILL

    def signal(self, signum: int) -> None:
        if self._exit is None:
            self.page.asked_to_end, self._signum = True, signum
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass  # it is dead, and somebody else has reaped it

    def kill(self) -> Exit:
        """Ends it, unless it is dead. It is not forgotten yet."""
        self.signal(signal.SIGKILL)
        return self.await_exit()

    def dismiss(self) -> None:
        """Closes the task pipe: an idle child sees its end, and exits."""
        _fds.close(self.writer.fd)
        self.writer.fd = -1  # the number may be another pipe's soon

    def close(self) -> None:
        """Forgets a child that was reaped, or never forked; once."""
        if self.closed:
            return
        self.closed = True
        _fds.close(self.writer.fd, self.reader.fd, *self._ends)
        self.stacks.close()
        if self._death_fd is not None:
            _fds.close(self._death_fd)
            self._death_fd = None


def fork_all(children: Sequence[Child]) -> List[Child]:
    """Forks them in a row: after a fork each page is copied that the monitor writes to, and that is done once for all.

    A child exits at the end of its life. Returns those that could be forked, and forgets the others. Raises `OSError`
    if none could.
    """
    try:
        _streams.flush()
        with signals_held() as mask:
            error = _fork_each(children, mask)
            forked = [child for child in children if child.pid]
            for child in children:
                if child.pid:
                    child.adopt()
                else:
                    child.close()
    except BaseException:  # the program's own handler of a signal raised, which had waited
        for child in children:
            if child.pid:
                child.kill()
            child.close()
        raise
    if error is not None and not forked:
        raise error
    return forked


def _fork_each(children: Sequence[Child], mask: SignalMask) -> Optional[OSError]:
    try:
        for child in children:
            child.fork(mask)
    except OSError as error:
        return error
    return None


def signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return 'signal %d' % signum


def fork_process() -> int:
    """As `os.fork`, where there may be threads."""
    if threading.active_count() == 1:
        return os.fork()
    # The child of a program with threads runs Python code, which newer Pythons warn of: it is the program's choice.
    warnings.filterwarnings('ignore', category=DeprecationWarning, module=re.escape(__name__))
    pid = os.fork()
    if pid == 0:
        _streams.renew()
    return pid


def _watch_death(pid: int) -> Optional[int]:
    """A descriptor that becomes readable when process `pid` dies: works in any thread, and needs no SIGCHLD handler."""
    if sys.platform != 'linux':  # macOS, BSD
        queue = select.kqueue()
        fd = os.dup(queue.fileno())
        queue.control([select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 0)
        queue.close()
        return _fds.own(fd)
    try:
        return _fds.own(os.pidfd_open(pid))
    except (AttributeError, OSError):  # before Linux 5.3
        return None
