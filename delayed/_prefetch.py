"""Batches, towards Redis: takes several tasks with one call, which tells the ends of those before."""

from __future__ import annotations

import math
import time
from typing import Callable, List, Optional, Sequence

from ._books import Books
from ._child import Child
from ._lease import Lease
from ._ledger import Advance
from ._redis import Unavailable
from ._source import AHEAD, Source
from ._stop import Stop
from .logger import logger

#: How much work is taken at once, in seconds.
_WORTH = 0.004
#: How many tasks one call moves by default.
FEW = 8
#: How many it moves at most: some 2 ms of Redis.
MOST_AT_ONCE = 250


class BatchSource(Source):
    """Takes and releases several tasks at a time. Its leases are renewed."""

    def advance(self, done: Sequence[Lease], begun: Optional[Lease] = None, ahead: bool = False,
                most: int = 1) -> None:
        """All but a single one that is to begin at once count as taken ahead."""
        super().advance(done, begun, ahead or most > 1, most)

    def _begin_advance(self, done: Sequence[Lease], begun: Optional[Lease], holder: str, most: int) -> None:
        assert self._lease_ms is not None
        self._ledger.advance_many(
            [(lease.payload, lease.tokens) for lease in done], self._mark(begun), self._lease_ms, holder, most)

    def _end_advance(self) -> Advance:
        return self._ledger.advanced_many()

    def _find_unanswered(self) -> Optional[Lease]:
        found = super()._find_unanswered()
        if found is not None:
            self._hand_back_others(found)
        return found

    def _hand_back_others(self, found: Lease) -> None:
        """The call without a reply may have taken several: whoever is free may run the others."""
        try:
            for holder in (found.holder, AHEAD + found.holder):
                for taken in reversed(self._ledger.reclaim_all(holder)):
                    if taken.payload != found.payload:
                        self._ledger.requeue(taken.payload, (taken.token,), 'front')
        except Unavailable as error:
            logger.debug('a sweep will bring back the others: %s', error)


class BatchBooks(Books):
    """The same, with batches: in hand is one of them, and its first is the next task."""

    def __init__(self, source: BatchSource, sweep_interval: Optional[float], stop: Stop, wait: Callable[[float], None],
                 part: Callable[[Child], None], most: Callable[[], int]) -> None:
        """most: how many tasks the next batch may have."""
        super().__init__(source, sweep_interval, stop, wait, part)
        self._most = most
        self._size = 1
        self._limit = math.inf  # falls with each slow task, and rises slowly: what goes back costs a call each
        self._most_joined = MOST_AT_ONCE

    def next(self) -> Optional[Lease]:
        lease = super().next()
        if self._hand and (lease is None or time.monotonic() >= self._hand[0].due):
            self._put_back()  # it took long to come here, or the first is another's by now
        return lease

    def rest(self) -> List[Lease]:
        """What is to run after the task that `next` returned."""
        rest = list(self._hand)
        self._hand.clear()
        return rest

    def _next_size(self) -> int:
        """It begins with one at a time, so that a task that takes its machine down is alone when it comes back, and
        its loss counts."""
        pace = self._pace
        worth = int(_WORTH / max(pace.seconds, 1e-6)) if pace.brisk else 1
        if pace.brisk:
            self._limit += 1
        elif pace.backlog:
            self._limit = 1
        self._size = max(1, min(worth, self._size * 2, int(min(self._limit, self._most()))))
        return self._size
