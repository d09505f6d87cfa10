"""Where a child stands, on its own side: `faulthandler` writes it into the file that its monitor holds open; see
_stacks.py."""

from __future__ import annotations

import _thread
import faulthandler
import fcntl
import os
import resource
import sys
from typing import Optional

from .outcome import LONGEST_STACK

#: The descriptor has a number that a task which closes "all" of them, or opens some, does not come upon.
_HIGH = 1000


class ChildStacks:
    """A file as its child has it. `signum`: what the child is asked by; `None`: it is not asked."""

    def __init__(self, fd: int, signum: Optional[int]) -> None:
        self.fd = fd
        self.signum = signum

    def install(self) -> None:
        """In the child. A `faulthandler` that the program has enabled stays as it is, and writes to where it did."""
        if not faulthandler.is_enabled():
            faulthandler.enable(self.fd)
        if self.signum is not None:
            faulthandler.register(self.signum, self.fd)


def current_stacks() -> str:
    """Of the other threads of this process."""
    import traceback  # here, for it is large
    me = _thread.get_ident()
    return '\n'.join('Thread 0x%x:\n%s' % (ident, ''.join(traceback.format_stack(frame)))
                     for ident, frame in sys._current_frames().items() if ident != me)[:LONGEST_STACK]


def moved_up(fd: int) -> int:
    """The same file by a high number; the other is closed."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = _HIGH if soft == resource.RLIM_INFINITY else min(_HIGH, soft - 16)
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(0, least))
    except OSError:
        return fd
    os.close(fd)
    return moved
