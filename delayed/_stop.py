"""Whether a worker is to stop, and how urgently."""

from __future__ import annotations

import math
import time
from typing import Optional


class Stop:
    """Asked once: finish the running task, take no other. Urgent: hand it back now. A signal handler may ask."""

    def __init__(self, timeout: Optional[float] = None) -> None:
        """timeout: seconds from the first request until it becomes urgent; `None`: never by itself."""
        self._timeout = timeout
        self.wanted = False
        #: When (monotonic) a running task is to be handed back.
        self.deadline = math.inf

    def ask(self, urgent: bool = False) -> None:
        now = time.monotonic()
        if urgent:
            self.deadline = now
        elif not self.wanted and self._timeout is not None:
            self.deadline = now + self._timeout
        self.wanted = True

    @property
    def urgent(self) -> bool:
        return time.monotonic() >= self.deadline
