"""Signals in a child: it is shielded from those meant for the whole process group, and obeys its monitor.

By handlers, never by SIG_IGN or a mask, which the task's own subprocesses would inherit.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any, Dict, Optional

from ._page import Page

#: The signals that stop a worker.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def is_default(disposition: Any) -> bool:
    return disposition in (signal.SIG_DFL, signal.default_int_handler)


def raise_shield(page: Page, program: Dict[int, Any]) -> None:
    """In the child. `program` holds the dispositions that the embedding program had: its own stay as they are."""
    pid = os.getpid()

    def handler(signum: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != pid:
            _as_if_never_here(signum, frame)  # a copy that the task forked
        elif signum == signal.SIGTERM and page.asked_to_end:
            die_of(signum)

    signal.set_wakeup_fd(-1)  # the program's event loop would take the child's signals for its own
    for signum, disposition in program.items():
        signal.signal(signum, handler if is_default(disposition) else disposition)
    if page.asked_to_end and is_default(program.get(signal.SIGTERM)):
        die_of(signal.SIGTERM)  # it came before the shield


def die_of(signum: int) -> None:
    """Ends this process by that very signal, so that whoever waits for it sees it."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _as_if_never_here(signum: int, frame: Optional[FrameType]) -> None:
    if signum == signal.SIGINT:
        signal.default_int_handler(signum, frame)
    die_of(signum)
