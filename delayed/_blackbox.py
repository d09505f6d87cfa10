"""The black box: makes the record of a task whose child died, in its monitor."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import Optional, Sequence

from . import _page
from ._attempt import OUT_OF_TIME, Cause
from ._child import Child, Exit
from ._describe import without_arguments
from ._lease import Lease
from ._limits import Limits
from ._memory import MEGABYTE
from ._memory_kills import MemoryKills
from ._page import Slot, Step
from ._recorder import name_of, name_of_worker, names_in, used_in
from .outcome import Kind, Outcome
from .queue import Queue

#: Raised by what a process itself has done, its libraries included.
_FAULTS = frozenset((signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS,
                     signal.SIGTRAP))
#: Those at which `faulthandler` writes the stacks.
_WITH_STACKS = frozenset((signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL))
_BY_CAUSE = {
    Cause.HANDED_BACK: Kind.HANDED_BACK,
    Cause.LEASE_LOST: Kind.LEASE_LOST,
}
_BY_OUTCOME = {
    _page.Outcome.FINISHED: Kind.FINISHED,
    _page.Outcome.FAILED: Kind.FAILED,
    _page.Outcome.UNREADABLE: Kind.UNREADABLE,
    _page.Outcome.NOT_LOADABLE: Kind.NOT_LOADABLE,
}
#: A process that died with so much of its memory limit was short of it, most likely.
_NEARLY_ALL = 0.8


class BlackBox:
    """In the monitor."""

    def __init__(self, queues: Sequence[Queue], limits: Limits) -> None:
        self._queues = queues
        self._worker = name_of_worker(os.getpid())
        self._limits = limits
        self._kills = MemoryKills()

    def open(self, child: Child, slot: Slot, lease: Lease, cause: Optional[Cause], exited: Exit) -> Outcome:
        """The record of a task whose child is dead, but not yet forgotten. `cause`: why the monitor ended it."""
        kind = judge_kind(slot.step, slot.outcome, cause, exited.signum, self._limits)
        name = name_of(without_arguments(lease.payload))
        used = used_in(lease.payload, child.page.beginning_of(slot), time.monotonic(),
                       *(exited.usage or (None, None, None)))
        return Outcome(
            kind, **names_in(name), queue=self._queues[lease.queue].name, worker=self._worker,
            child_pid=child.pid, **used, exit_code=exited.code if exited.signum is None else None, signal=exited.signum,
            limit='task_max_cpu' if kind is Kind.OVER_LIMIT else None, note=self._note(kind, child, exited),
            stack=_stack(kind, child, exited))

    def _note(self, kind: Kind, child: Child, exited: Exit) -> Optional[str]:
        if exited.signum == signal.SIGKILL and not child.was_killed_by_us:
            return self._kills.why_killed()
        if kind is Kind.CRASHED and self._limits.memory is not None and exited.usage is not None:
            if exited.usage.peak_rss > _NEARLY_ALL * self._limits.memory * MEGABYTE:
                return 'for want of the memory that task_max_memory allows, most likely'
        if kind is Kind.CRASHED and faulthandler.is_enabled() and exited.signum in _WITH_STACKS:
            return "its stack went to where the program's own faulthandler writes"
        return None


def judge_kind(step: Step, outcome: _page.Outcome, cause: Optional[Cause], signum: Optional[int],
               limits: Limits) -> Kind:
    """What a task's end is called whose child died by `signum` (`None`: it exited), having come so far."""
    if step is Step.ENDED:
        return _BY_OUTCOME[outcome]
    if cause in OUT_OF_TIME:
        return Kind.NOT_BEGUN if step < Step.BEGUN else Kind.TIMED_OUT
    if cause is not None:
        return _BY_CAUSE[cause]
    if step < Step.BEGUN:
        return Kind.HANDED_BACK
    if signum is None:
        return Kind.EXITED
    if signum == signal.SIGXCPU and limits.cpu is not None:
        return Kind.OVER_LIMIT
    return Kind.CRASHED if signum in _FAULTS else Kind.KILLED


def _stack(kind: Kind, child: Child, exited: Exit) -> Optional[str]:
    if kind is Kind.OVER_LIMIT:
        return child.stacks.content
    if kind is Kind.TIMED_OUT:
        return child.stacks.answer
    return child.stacks.crash if exited.signum in _WITH_STACKS else None
