"""How a command ends."""

from __future__ import annotations

import enum
import signal

from ..errors import DelayedError


class Exit(enum.IntEnum):
    """A command's exit status. One that a signal ends adds the signal's number to 128, as shells do."""

    OK = 0
    FAILED = 1  # it ran, and not all is as it should be
    USAGE = 2  # its arguments are wrong; argparse's own number
    NO_SERVER = 3  # no Redis server can be found or reached
    NOT_IMPORTED = 4  # the module of a queue or a function cannot be imported, or has no such thing
    INTERRUPTED = 128 + signal.SIGINT
    UNREAD = 128 + signal.SIGPIPE  # nobody reads the output any more


#: For the end of the help.
MEANINGS = {
    Exit.OK: 'all is well',
    Exit.FAILED: 'it ran, and not all is as it should be',
    Exit.USAGE: 'the arguments are wrong',
    Exit.NO_SERVER: 'no Redis server can be found or reached',
    Exit.NOT_IMPORTED: 'a module cannot be imported, or has no such queue or function',
    Exit.INTERRUPTED: 'it was interrupted (128 and the number of the signal)',
    Exit.UNREAD: 'nobody reads the output any more',
}


class NotImported(DelayedError):
    """A module of the application cannot be imported, or lacks what was named. `trace`: the traceback of the module's
    own failure; empty where it has none."""

    def __init__(self, message: str, trace: str = '') -> None:
        super().__init__(message)
        self.trace = trace


class Failed(DelayedError):
    """The command ran, and could not do what it was asked to."""
