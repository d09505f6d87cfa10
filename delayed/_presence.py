"""What a worker tells operators of itself, with each of its sweeps: that it lives, since when it has its tasks, and how
many it has taken. And, to those who listen, that a task failed."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Deque, Sequence, Tuple

from redis.exceptions import NoPermissionError, ResponseError

from ._ledger import Ledger
from .logger import logger

_MOST_TASKS = 8  # of the last calls that took any


class Presence:
    """Of one worker, which is called `name` and takes from these queues. It tells nothing in the hot path, and goes on
    without where Redis refuses: it is for looking at alone."""

    def __init__(self, name: str, queues: Sequence[str]) -> None:
        self._name = name
        self._numbers = {queue: number for number, queue in enumerate(queues)}
        self._began = time.monotonic()
        self._last: Deque[Tuple[str, float]] = deque(maxlen=_MOST_TASKS)
        self._taken = [0] * len(queues)  # of each queue, since it was told of
        self._told = self._refused = self._muted = False

    def took(self, holder: str, at: float, queue: int = 0) -> None:
        """The worker took a task of that queue at that moment (monotonic), as this holder."""
        if not self._last or self._last[-1][0] != holder:  # one call may take several
            self._last.append((holder, at))
        self._taken[queue] += 1

    def tell(self, ledger: Ledger, lease: float) -> None:
        """Tells in one of the queues. lease: seconds; a worker that does not tell for so long may be dead. Raises what
        redis-py raises when Redis is away."""
        if self._refused:
            return
        now, queue = time.monotonic(), self._numbers.get(ledger.keys.waiting, 0)
        tasks = {holder.rpartition(':')[2]: round(now - at, 3) for holder, at in self._last}
        facts = json.dumps({'up': round(now - self._began, 3), 'tasks': tasks})
        try:
            ledger.announce(self._name, facts, lease * 1000, not self._told, self._taken[queue])
            self._told, self._taken[queue] = True, 0
        except ResponseError as error:  # a full server, or a user who may not touch these keys
            self._refused = True
            logger.info('`delayed status` will not show this worker: %s', error)

    def tell_failure(self, ledger: Ledger, record: str) -> None:
        """Tells of a task that failed, before Redis knows that it has ended. Raises as `tell`."""
        if self._muted:
            return
        try:
            ledger.tell_failure(record)
        except NoPermissionError as error:
            self._muted = True
            logger.info('`delayed enqueue --wait` will not hear of failures: %s', error)
        except ResponseError as error:
            logger.debug('`delayed enqueue --wait` did not hear of a failure: %s', error)

    def leave(self, ledger: Ledger) -> None:
        """The worker has ended. Raises as `tell`."""
        if self._told:
            ledger.withdraw(self._name)
