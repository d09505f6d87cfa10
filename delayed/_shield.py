"""Signals in a child: it is shielded from those meant for the whole process group, and obeys its monitor.

By handlers, never by SIG_IGN or a mask, which the task's own subprocesses would inherit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, NamedTuple, Optional, Set, Tuple

from ._page import Page

SignalMask = Set[int]

#: The signals that stop a worker.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Sent by the kernel to a child whose monitor died. Nothing else uses it.
DEATH_SIGNAL: Optional[int] = signal.SIGRTMAX if sys.platform == 'linux' else None
#: Those that programs have handlers for. To hold all of them would cost a tenth of a fork.
_HELD = {int(signum) for signum in (
    *STOPPING, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)}


#: Python's own, which `signal` wraps to make an enum of each signal of the old mask.
_set_mask: Callable[[int, Iterable[int]], SignalMask] = getattr(
    sys.modules.get('_signal'), 'pthread_sigmask', signal.pthread_sigmask)


def is_default(disposition: Any) -> bool:
    return disposition in (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def signals_held() -> Iterator[SignalMask]:
    """Signals wait until this ends, or until the shield is raised. Around a fork: Python swallows what a signal's
    handler raises there, and the child has the monitor's handlers at first."""
    mask = _set_mask(signal.SIG_BLOCK, _HELD)
    try:
        yield mask
    finally:
        _set_mask(signal.SIG_SETMASK, mask)


class Shield(NamedTuple):
    """What a child does about signals; found out before it is forked, since there each line costs pages of memory.

    handled: those that the monitor handles for its children. unhandled: those that it cannot, for it runs in a thread.
    unblocked: those that a child needs. alarm: whether SIGALRM is nobody's.
    """

    handled: Tuple[int, ...]
    unhandled: Tuple[int, ...]
    unblocked: FrozenSet[int]
    alarm: bool

    @staticmethod
    def of(program: Dict[int, Any], handled: Dict[int, Any]) -> Shield:
        """program: the dispositions that the embedding program has. handled: those that the monitor has replaced."""
        ours = [signum for signum, disposition in program.items() if is_default(disposition)]
        unblocked = set()
        if DEATH_SIGNAL is not None:
            ours.append(DEATH_SIGNAL)
            unblocked.add(DEATH_SIGNAL)
        alarm = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        if alarm:
            unblocked.add(int(signal.SIGALRM))
        return Shield(tuple(handled), tuple(set(ours) - set(handled)), frozenset(unblocked), alarm)

    def rise(self, page: Page, mask: SignalMask, on_death: Callable[[], None]) -> None:
        """In the child. `mask` is what the embedding program had blocked. Dispositions of the program's own stay as
        they are."""
        global _child
        _child = os.getpid(), page, on_death
        signal.set_wakeup_fd(-1)  # the program's event loop would take the child's signals for its own
        for signum in self.unhandled:
            signal.signal(signum, heed)
        _set_mask(signal.SIG_SETMASK, mask - self.unblocked)


_child: Optional[Tuple[int, Page, Callable[[], None]]] = None


def heed(signum: int, frame: Optional[FrameType]) -> None:
    """What a child does on a signal. Monitors have it as their handler already, for their children."""
    if _child is None or os.getpid() != _child[0]:
        as_if_never_here(signum, frame)  # a copy that the task forked, or the program
    elif signum == DEATH_SIGNAL:
        _child[2]()
    elif signum == signal.SIGTERM and _child[1].asked_to_end:
        die_of(signum)


def die_of(signum: int) -> None:
    """Ends this process by that very signal, so that whoever waits for it sees it."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def as_if_never_here(signum: int, frame: Optional[FrameType]) -> None:
    """What a handler of ours does in a process that inherited it by chance: the default."""
    if signum == signal.SIGINT:
        signal.default_int_handler(signum, frame)
    die_of(signum)
