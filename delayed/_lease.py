"""A worker's hold on one payload: its tokens, and when to renew. No I/O, no clock: moments are monotonic seconds."""

from __future__ import annotations

import math
from typing import Optional, Tuple

from .task import Task

_MOST_TOKENS = 6  # of those proposed and not answered; more than one takes an outage in an outage


class Lease:
    """`seconds`: how long each renewal lasts; `None`: the full allowance, never renewed."""

    def __init__(self, payload: bytes, tokens: Tuple[bytes, ...], seconds: Optional[float], holder: str, now: float,
                 task: Optional[Task] = None) -> None:
        self.payload = payload
        #: Every token that Redis may know: the confirmed one, then those proposed since.
        self.tokens = tokens
        self.seconds = seconds
        self.holder = holder
        #: The `Task` that an overridden `Queue.dequeue` returned; what its other methods are called with.
        self.task = task
        self._proposal: Optional[bytes] = None
        #: From which queue, where a worker has several.
        self.queue = 0
        #: Whether Redis thinks that it was taken ahead, and has not begun.
        self.ahead = False
        #: When to renew next.
        self.due = math.inf if seconds is None else now + seconds / 3
        # The server's clock by its own word: token = now + lease. A guess where the lease is full; `correct` mends it.
        self._server_ms, self._server_at = float(tokens[-1] if tokens else 0) - (seconds or 0) * 1000, now

    def propose(self, now: float, seconds: float) -> bytes:
        """Returns the token to renew with for `seconds` from now. From now on it counts as possibly ours, whether or
        not a reply comes; until one does, it stays the same."""
        if self._proposal is None:
            self._proposal = b'%.3f' % (self._server_ms + (now - self._server_at + seconds) * 1000)
            self.tokens = (*self.tokens[:1], *self.tokens[1:][-_MOST_TOKENS:], self._proposal)
        return self._proposal

    def renewed(self, now: float) -> None:
        """The last proposal was accepted."""
        self.tokens, self._proposal = self.tokens[-1:], None
        self.due = math.inf if self.seconds is None else now + self.seconds / 3

    def correct(self, server_ms: float, now: float) -> None:
        """The last proposal was too far off: the server says what time it is there."""
        self._server_ms, self._server_at, self._proposal = server_ms, now, None

    def retry(self, at: float) -> None:
        """Redis could not be asked."""
        self.due = at
