"""Batches, towards Redis: takes several tasks with one call, which tells the ends of those before. Off by default."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Sequence, Tuple

from ._attempt import Verdict
from ._books import Books, Done
from ._child import Child
from ._lease import Lease
from ._redis import Unavailable
from ._source import AHEAD, Source
from ._stop import Stop
from .logger import logger

#: How much work is taken at once, in seconds.
_WORTH = 0.004
#: How many tasks one call moves at most: some 2 ms of Redis.
MOST_AT_ONCE = 250


class BatchSource(Source):
    """Takes and releases several tasks at a time. Its leases are renewed."""

    def advance_many(self, done: Sequence[Lease], begun: Optional[Lease], most: int) -> Tuple[List[bool], List[Lease]]:
        """Releases tasks and takes up to `most`. Returns which were still held, and the next ones. `begun`: one that
        is running meanwhile. All but a single one that nobody runs meanwhile count as taken ahead."""
        asked, holder = time.monotonic(), self._new_holder(ahead=begun is not None or most > 1)
        mark = (begun.tokens[-1], begun.holder) if begun is not None and begun.ahead else (b'', '')
        assert self._lease_ms is not None
        try:
            released, taken = self._ledger.advance_many(
                [(lease.payload, lease.tokens) for lease in done], mark, self._lease_ms, holder, most)
        except BaseException:  # of a signal's handler, too
            self._unanswered.append((holder, time.monotonic()))
            raise
        if begun is not None:
            begun.ahead = False
        leases = [self._lease_of(each, holder, asked) for each in taken]
        return released, [lease for lease in leases if lease is not None]

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
    """The same, with a batch in hand instead of a single task: its first is the next task, `rest` are the others."""

    def __init__(self, source: BatchSource, sweep_interval: Optional[float], stop: Stop, wait: Callable[[float], None],
                 part: Callable[[Child], None], most: Callable[[], int]) -> None:
        """most: how many tasks the next batch may have."""
        super().__init__(source, sweep_interval, stop, wait, self._part_at_last)
        self._part_child = part
        self._batches = source
        self._most = most
        self._size = 1
        self._rest: List[Lease] = []
        self._most_joined = MOST_AT_ONCE

    def _part_at_last(self, child: Child) -> None:
        if not any(done.child is child for done in self._unsettled):
            self._part_child(child)

    def next(self) -> Optional[Lease]:
        lease = super().next()
        if self._rest and (lease is None or time.monotonic() >= self._rest[0].due):
            self._put_back()  # it took long to come here, or the first is another's by now
        return lease

    def rest(self) -> List[Lease]:
        """What is to run after the task that `next` returned."""
        rest, self._rest = self._rest, []
        return rest

    def _put_back(self) -> None:
        super()._put_back()
        for lease in self._rest:  # each goes in front of the one behind it
            self._unsettled.appendleft(Done(lease, Verdict.HAND_BACK))
        self._rest = []

    def _advance(self, begun: Optional[Lease]) -> Optional[Lease]:
        done = list(self._unsettled)
        held, leases = self._batches.advance_many([each.lease for each in done], begun, self._next_size())
        for each, was_held in zip(done, held):
            self._settled(each, was_held)
        self._rest = leases[1:]
        return leases[0] if leases else None

    def _next_size(self) -> int:
        """It begins with one at a time, so that a task that takes its machine down is alone when it comes back, and
        its loss counts."""
        pace = self._pace
        worth = int(_WORTH / max(pace.seconds, 1e-6)) if pace.brisk else 1
        self._size = max(1, min(worth, self._size * 2, self._most()))
        return self._size
