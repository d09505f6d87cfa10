"""A worker's hold on one payload: its tokens, and when to renew. No I/O, no clock: moments are monotonic seconds."""

from __future__ import annotations

import math
from typing import Optional, Tuple

from .task import Task

_MOST_TOKENS = 6  # of those proposed and not answered; more than one takes an outage in an outage


class Lease:
    """`seconds`: how long each renewal lasts; `None`: the full allowance, never renewed."""

    #: From which queue, where a worker has several.
    queue = 0
    #: Whether Redis thinks that it was taken ahead, and has not begun.
    ahead = False
    _proposal: Optional[bytes] = None
    _server: Optional[Tuple[float, float]] = None  # its time (Unix ms) at a moment, if it has told that itself

    def __init__(self, payload: bytes, tokens: Tuple[bytes, ...], seconds: Optional[float], holder: str, now: float,
                 task: Optional[Task] = None) -> None:
        self.payload = payload
        #: Every token that Redis may know: the confirmed one, then those proposed since.
        self.tokens = tokens
        self._first_token = tokens[-1] if tokens else b'0'
        self.seconds = seconds
        self.holder = holder
        #: The `Task` that an overridden `Queue.dequeue` returned; what its other methods are called with.
        self.task = task
        #: When to renew next.
        self.due = math.inf if seconds is None else now + seconds / 3
        self._taken_at = now

    def propose(self, now: float, seconds: float) -> bytes:
        """Returns the token to renew with for `seconds` from now. From now on it counts as possibly ours, whether or
        not a reply comes; until one does, it stays the same."""
        if self._proposal is None:
            server_ms, at = self._server or self._guess()
            self._proposal = b'%.3f' % (server_ms + (now - at + seconds) * 1000)
            self.tokens = (*self.tokens[:1], *self.tokens[1:][-_MOST_TOKENS:], self._proposal)
        return self._proposal

    def _guess(self) -> Tuple[float, float]:
        """The server's time when it was taken, by its own word: token = now + lease. Wrong where the lease is full;
        `correct` mends that."""
        return float(self._first_token) - (self.seconds or 0) * 1000, self._taken_at

    def renewed(self, now: float) -> None:
        """The last proposal was accepted."""
        self.tokens, self._proposal = self.tokens[-1:], None
        self.due = math.inf if self.seconds is None else now + self.seconds / 3

    def correct(self, server_ms: float, now: float) -> None:
        """The last proposal was too far off: the server says what time it is there."""
        self._server, self._proposal = (server_ms, now), None

    def retry(self, at: float) -> None:
        """Redis could not be asked."""
        self.due = at
