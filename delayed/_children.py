"""The children of one monitor: the one that runs tasks, spares that were forked ahead, and those that are leaving."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from ._child import Child, Exit, fork_all
from ._life import Prepare
from ._page import Page
from ._stacks import StackFiles
from .logger import logger

if TYPE_CHECKING:
    from ._lean import LeanForks

#: A child that has reported something is taken for alive for so long, in seconds. If it is not, that is seen when it
#: does not take its task.
_FRESH = 0.001
_MANY_SPARES = 8
#: A spare that was not needed for so long, in seconds, is let go: it has megabytes of its own, and another is forked
#: within milliseconds. A task that comes so long after the last is seldom.
_IDLE = 5.0


class Children:
    """`max_tasks`: each child runs so many at most; `None`: any number. While it runs the last of them a spare is
    forked, so that the fork is off the critical path, unless tasks come seldom; several of them where each task has a
    child of its own and they are short, see `fork_all`."""

    def __init__(self, prepare: Prepare, max_tasks: Optional[int], timeout: float,
                 note_pid: Callable[[Optional[int]], None], slots: int = 2,
                 lean: Optional[Callable[[StackFiles], LeanForks]] = None) -> None:
        """timeout: seconds that a child has to leave before it is killed. slots: on its page. lean: where a fork server
        may be used."""
        self._prepare = prepare
        self._timeout = timeout
        self._max_tasks = max_tasks
        self._stack_files = StackFiles()
        self._note_pid = note_pid
        self._slots = slots
        self._lean = None if lean is None else lean(self._stack_files)
        self._current: Optional[Child] = None
        self._heard_at = time.monotonic()  # when the end of a task was reported last; at first, this moment
        self._spares: List[Child] = []
        self._parting: List[Child] = []
        self._leaving: List[Tuple[Child, float]] = []  # and when its time is up

    def ready(self) -> Child:
        """A live child that waits for a task. Raises `OSError` if none can be forked."""
        self._reap_leaving()
        if not self._heard_within(_FRESH):  # to look each time would cost a system call a task
            self._bury_if_dead()
        if self._current is None:
            self._current = self._take_spare() or self._fork(1).pop()
            self._note_pid(self._current.pid)
        return self._current

    def fork_ahead(self, brisk: bool) -> float:
        """Forks what is spare, if the current child runs its last task. brisk: many short tasks are expected. Returns
        how many seconds it took."""
        if not self._is_through(self._current) or not (brisk or self._heard_within(_IDLE)):
            return 0.0
        if brisk and self._lean is not None and self._lean.order():
            return 0.0
        if self._spares:
            return 0.0
        began = time.monotonic()
        try:
            self._spares = self._fork(_MANY_SPARES if brisk and self._max_tasks == 1 else 1)
        except OSError as error:
            logger.warning('cannot fork a spare child yet: %s', error)
        return time.monotonic() - began

    def rest(self) -> None:
        """No task waits, or one runs for long: one spare is enough, and after a while none."""
        self._reap_leaving()
        if self._lean is not None:
            self._spares += self._lean.rest()
        while len(self._spares) > (1 if self._heard_within(_IDLE) else 0):
            self._let_go(self._spares.pop())

    def ended(self, now: float) -> None:
        """The current child reported its task's end at that moment (monotonic). If that was its last task it stays
        until Redis knows of it."""
        self._heard_at, current = now, self._current
        if current is not None and (current.page.leaving or self._is_through(current)):
            self._parting.append(current)
            self._current = None
            self._note_pid(None)

    @property
    def room(self) -> int:
        """How many tasks the current child may still get, or if that is none, the next one."""
        if self._max_tasks is None:
            return sys.maxsize
        left = self._max_tasks - (self._current.tasks if self._current is not None else 0)
        return left if left > 0 else self._max_tasks

    def _heard_within(self, seconds: float) -> bool:
        """Whether a task has ended lately, or this monitor has begun."""
        return time.monotonic() - self._heard_at <= seconds

    def _is_through(self, child: Optional[Child]) -> bool:
        return child is not None and self._max_tasks is not None and child.tasks >= self._max_tasks

    def part(self, child: Child) -> None:
        """Redis knows what became of the child's task."""
        if child in self._parting:
            self._parting.remove(child)
            self._let_go(child)

    def bury(self, child: Child) -> Exit:
        """The current child is dead, or is to be: kills it unless it is, and forgets it. Returns how it ended."""
        exited = child.kill()
        child.close()
        self._current = None
        self._note_pid(None)
        return exited

    def dismiss(self) -> None:
        """Ends all children: idle ones end by themselves; one that does not in time is killed."""
        if self._lean is not None:
            self._spares += self._lean.close()
        for child in (self._current, *self._spares, *self._parting):
            if child is not None:
                for slot in child.page.slots:
                    slot.settled = True  # or it would tell Redis what this monitor could not
                self._let_go(child)
        self._current = None
        self._spares.clear()
        self._parting.clear()
        self._note_pid(None)
        for child, deadline in self._leaving:
            if not child.wait(deadline):
                child.signal(signal.SIGKILL)
                child.await_exit()
            child.close()
        self._leaving.clear()
        self._stack_files.close()
        if self._lean is not None:
            self._lean.bury()

    def _take_spare(self) -> Optional[Child]:
        while self._spares:
            spare = self._spares.pop()
            if spare.reap() is None:
                return spare
            spare.close()
        return None if self._lean is None else self._lean.take()

    def _fork(self, count: int) -> List[Child]:
        children: List[Child] = []
        try:
            for _ in range(count):
                children.append(Child(Page(self._slots), self._stack_files.take(), self._prepare))
        except BaseException as error:
            if not children or not isinstance(error, OSError):
                for child in children:
                    child.close()
                raise
        return fork_all(children)

    def _let_go(self, child: Child) -> None:
        child.dismiss()
        self._leaving.append((child, time.monotonic() + self._timeout))

    def tend(self) -> None:
        """While nothing waits: forgets children that died, the current one and spares."""
        self._bury_if_dead()
        for spare in list(self._spares):
            if spare.reap() is not None:
                self._spares.remove(spare)
                spare.close()

    def _bury_if_dead(self) -> None:
        if self._current is not None and self._current.reap() is not None:
            logger.warning('idle child %d ended with %s', self._current.pid, self.bury(self._current))

    def _reap_leaving(self) -> None:
        for leaving in list(self._leaving):
            child, deadline = leaving
            if child.reap() is not None:
                self._leaving.remove(leaving)
                child.close()
            elif time.monotonic() > deadline:
                child.signal(signal.SIGKILL)
