"""While Redis is away: how long to wait before the next try, one log line when it goes and one when it is back."""

from __future__ import annotations

import time
from typing import Optional

from redis.exceptions import AuthenticationError, NoPermissionError

from . import _backoff
from .logger import logger


class Outage:
    """What a worker knows of the state of its Redis. most: for how many seconds it does not try again, at most."""

    def __init__(self, most: float = _backoff.MOST) -> None:
        self._most = most
        self._worked = False
        self._since: Optional[float] = None
        self._failures = 0

    @property
    def seconds(self) -> float:
        """How long Redis has been away."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def failed(self, error: Exception) -> float:
        """Notes a failed call. Returns for how many seconds not to try again.

        Raises `error` if it is a matter of passwords or permissions and no call has worked yet: nobody would see a
        worker that was set up wrongly if it went on trying.
        """
        if not self._worked and isinstance(error, (AuthenticationError, NoPermissionError)):
            raise error
        if self._since is None:
            self._since = time.monotonic()
            logger.error('lost Redis (%s: %s); trying again until it is back', type(error).__name__, error)
        self._failures += 1
        return _backoff.delay(self._failures, self._most)

    def over(self) -> None:
        """Notes that a call worked."""
        self._worked = True
        if self._since is not None:
            logger.warning('Redis is back after %.1f s', self.seconds)
            self._since, self._failures = None, 0
