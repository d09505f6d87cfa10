"""Numbers that several modules share."""

from __future__ import annotations

#: The most bytes that are moved over a pipe at once. A program may set it at any time, so it is read when it is used:
#: write `constants.BUF_SIZE`, for `from .constants import BUF_SIZE` keeps the value of the moment of the import.
BUF_SIZE = 65536

#: The bits of a wait status that hold the signal (and the core-dump bit). Kept for programs that use it: new ones
#: call `os.WIFSIGNALED` and `os.WTERMSIG`.
SIGNAL_MASK = 0xff


class Status:
    """What a worker or a sweeper is up to: stopped, running, or stopping once the task at hand has ended."""

    STOPPED = 0
    RUNNING = 1
    STOPPING = 2
