"""The children of one monitor: the one that runs tasks, a spare that was forked ahead, and those that are leaving."""

from __future__ import annotations

import select
import signal
import time
from typing import Callable, List, Optional

from ._child import Child
from ._page import Page
from ._wakeup import milliseconds
from .logger import logger

ChildMain = Callable[[Page, int, int], None]


class Children:
    """`once`: each child runs one task, and a spare is forked while it does, so that the fork is off the critical path."""

    def __init__(self, main: ChildMain, once: bool, note_pid: Callable[[Optional[int]], None]) -> None:
        self._main = main
        self._once = once
        self._note_pid = note_pid
        self._current: Optional[Child] = None
        self._spare: Optional[Child] = None
        self._leaving: List[Child] = []
        self._free_pages: List[Page] = []

    @property
    def current(self) -> Optional[Child]:
        return self._current

    def ready(self) -> Child:
        """A live child that waits for a task. Raises `OSError` if none can be forked."""
        self._reap()
        if self._current is None:
            self._current, self._spare = self._spare or self._fork(), None
            self._note_pid(self._current.pid)
        return self._current

    def fork_ahead(self) -> None:
        """Forks the spare, if this kind of worker has one."""
        if self._once and self._spare is None:
            try:
                self._spare = self._fork()
            except OSError as error:
                logger.warning('cannot fork a spare child yet: %s', error)

    def part(self, settled: bool) -> None:
        """The current child's task needs it no more. `settled`: Redis knows what became of the task."""
        child = self._current
        if child is None:
            return
        child.page.settled = settled
        if self._once:
            self._let_go(child)

    def bury(self) -> None:
        """The current child is dead and reaped."""
        if self._current is not None:
            self._forget(self._current)
        self._current = None
        self._note_pid(None)

    def dismiss(self, timeout: float) -> None:
        """Ends all children: idle ones end by themselves; one that does not within `timeout` seconds is killed."""
        for child in (self._current, self._spare):
            if child is not None:
                self._let_go(child)
        deadline = time.monotonic() + timeout
        for child in self._leaving:
            if child.death_fd is not None:
                poll = select.poll()
                poll.register(child.death_fd, select.POLLIN)
                poll.poll(milliseconds(deadline - time.monotonic()))
            while child.reap() is None and time.monotonic() < deadline:
                time.sleep(0.01)  # only where no descriptor tells of a death
            if child.reap() is None:
                child.signal(signal.SIGKILL)
                child.reap(block=True)
            self._forget(child)
        self._leaving.clear()
        for page in self._free_pages:
            page.close()
        self._free_pages.clear()

    def _fork(self) -> Child:
        page = self._free_pages.pop() if self._free_pages else Page()
        page.prepare(())
        try:
            return Child(page, lambda tasks_fd, results_fd: self._main(page, tasks_fd, results_fd))
        except OSError:
            self._free_pages.append(page)
            raise

    def _let_go(self, child: Child) -> None:
        child.dismiss()
        self._leaving.append(child)
        if child is self._current:
            self._current = None
            self._note_pid(None)
        elif child is self._spare:
            self._spare = None

    def _reap(self) -> None:
        """Forgets children that died: those that were to leave, and any that died while it was idle."""
        for child in [child for child in self._leaving if child.reap() is not None]:
            self._leaving.remove(child)
            self._forget(child)
        if self._current is not None and self._current.reap() is not None:
            logger.warning('idle child %d ended with %s', self._current.pid, self._current.reap())
            self.bury()
        if self._spare is not None and self._spare.reap() is not None:
            self._forget(self._spare)
            self._spare = None

    def _forget(self, child: Child) -> None:
        child.close()
        self._free_pages.append(child.page)
