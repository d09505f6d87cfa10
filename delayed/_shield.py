"""Signals in a child: it is shielded from those meant for the whole process group, and obeys its monitor.

By handlers, never by SIG_IGN or a mask, which the task's own subprocesses would inherit.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import Any, Dict, Iterator, Optional, Set

from ._page import Page

SignalMask = Set[int]

#: The signals that stop a worker.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Those that programs have handlers for. To hold all of them would cost a tenth of a fork.
_HELD = {*STOPPING, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}


def is_default(disposition: Any) -> bool:
    return disposition in (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def signals_held() -> Iterator[SignalMask]:
    """Signals wait until this ends, or until the shield is raised. Around a fork: Python swallows what a signal's
    handler raises there, and the child has the monitor's handlers at first."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def raise_shield(page: Page, program: Dict[int, Any], mask: SignalMask) -> None:
    """In the child. `program` holds the dispositions that the embedding program had: its own stay as they are. `mask`
    is what it had blocked."""
    pid = os.getpid()

    def handler(signum: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != pid:
            as_if_never_here(signum, frame)  # a copy that the task forked
        elif signum == signal.SIGTERM and page.asked_to_end:
            die_of(signum)

    signal.set_wakeup_fd(-1)  # the program's event loop would take the child's signals for its own
    for signum, disposition in program.items():
        signal.signal(signum, handler if is_default(disposition) else disposition)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def die_of(signum: int) -> None:
    """Ends this process by that very signal, so that whoever waits for it sees it."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def as_if_never_here(signum: int, frame: Optional[FrameType]) -> None:
    """What a handler of ours does in a process that inherited it by chance: the default."""
    if signum == signal.SIGINT:
        signal.default_int_handler(signum, frame)
    die_of(signum)
