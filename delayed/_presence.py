"""What a worker tells operators of itself, with each of its sweeps: that it lives, and since when it has its tasks."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Deque, Tuple

from redis.exceptions import ResponseError

from ._ledger import Ledger
from .logger import logger

_MOST_TASKS = 8  # of the last taken


class Presence:
    """Of one worker, which is called `name`. It tells nothing in the hot path, and goes on without where Redis refuses:
    it is for looking at alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._taken: Deque[Tuple[str, float]] = deque(maxlen=_MOST_TASKS)
        self._told = self._refused = False

    def took(self, holder: str, at: float) -> None:
        """The worker took a task at that moment (monotonic), as this holder."""
        self._taken.append((holder, at))

    def tell(self, ledger: Ledger, lease: float) -> None:
        """lease: seconds; a worker that does not tell for so long may be dead. Raises what redis-py raises when Redis
        is away."""
        if self._refused:
            return
        now = time.monotonic()
        tasks = {holder.rpartition(':')[2]: round(now - at, 3) for holder, at in self._taken}
        facts = json.dumps({'up': round(now - self._began, 3), 'tasks': tasks})
        try:
            ledger.announce(self._name, facts, lease * 1000, first=not self._told)
            self._told = True
        except ResponseError as error:  # a full server, or a user who may not touch these keys
            self._refused = True
            logger.info('`delayed status` will not show this worker: %s', error)

    def leave(self, ledger: Ledger) -> None:
        """The worker has ended. Raises as `tell`."""
        if self._told:
            ledger.withdraw(self._name)
