"""Several queues of one worker as one source of tasks."""

from __future__ import annotations

import contextlib
import time
from typing import Optional, Sequence

from ._attempt import Verdict
from ._lease import Lease
from ._ledger import ANYWAY, NOTIFIED, READY, Advance, Taken
from ._ledgers import Ledgers
from ._presence import Presence
from ._redis import Caller, Unavailable
from ._source import NotifyTokens, Source
from ._turns import Turns
from .queue import Queue


class SourceGroup(Source):
    """Takes from whichever queue's turn it is, through one connection and with one wait for all; what concerns one task
    is done by the source of its own queue."""

    def __init__(self, queues: Sequence[Queue], turns: Turns, lease: Optional[float], max_losses: int) -> None:
        """The queues are on one server, see `_several_queues.py`. lease: seconds; `None`: the full allowance."""
        super().__init__(queues[0], lease, max_losses)
        self._members = [Source(queue, lease, max_losses) for queue in queues]
        self.presence = Presence(self._name, [queue.name for queue in queues])
        for member in self._members:
            member.presence = self.presence  # each queue is told of the same worker
        self._turns = turns
        self._ledgers = self._linked()

    def _linked(self) -> Ledgers:
        return Ledgers([member.ledger for member in self._members], self._caller)

    def open(self, caller: Optional[Caller] = None) -> None:
        super().open(caller)
        for member in self._members:
            member.open(self._caller)
        self._ledgers = self._linked()

    def close(self) -> None:
        for member in self._members[1:]:
            with contextlib.suppress(*Unavailable):
                self.presence.leave(member.ledger)
        super().close()

    def probe(self) -> None:
        for member in self._members:
            member.probe()

    def reopened(self) -> Source:
        for member in self._members:
            member.reopened()
        return self

    def queue_of(self, lease: Lease) -> Queue:
        return self._members[lease.queue].queue_of(lease)

    def take(self, seconds: float) -> Optional[Lease]:
        lease = self._find_unanswered() or self._take_from(self._turns.order(), READY)
        if lease is None:
            order = self._turns.order()
            woken_by = self._ledgers.wait(order, min(seconds, 1.0))
            lease = self._take_from(order, ANYWAY) if woken_by is None else self._take_from([woken_by], NOTIFIED)
        return lease

    def _take_from(self, order: Sequence[int], mode: str) -> Optional[Lease]:
        asked, holder = time.monotonic(), self._new_holder()
        try:
            self._begin_in(order, mode, (), None, holder)
            _, taken = self._end_advance()
        except BaseException:  # of a signal's handler, too
            self._unanswered.append((holder, time.monotonic()))
            raise
        return self._lease_of(taken[0], holder, asked) if taken else None

    def _begin_advance(self, done: Sequence[Lease], begun: Optional[Lease], holder: str, most: int) -> None:
        self._begin_in(self._turns.order(), READY, done, begun, holder)

    def _begin_in(self, order: Sequence[int], mode: str, done: Sequence[Lease], begun: Optional[Lease],
                  holder: str) -> None:
        released = (done[0].queue, done[0].payload, done[0].tokens) if done else None
        mark = (begun.queue, *self._mark(begun)) if begun is not None and begun.ahead else None
        self._ledgers.advance(released, mark, order, mode, self._lease_ms, holder)

    def _end_advance(self) -> Advance:
        held, taken = self._ledgers.advanced()
        for each in taken:
            self._turns.took(each.queue)
        return held, taken

    def settle(self, lease: Lease, verdict: Verdict, reason: str = '', record: str = '') -> bool:
        held = self._members[lease.queue].settle(lease, verdict, reason, record)
        if held and verdict is Verdict.HAND_BACK:
            self._turns.gave_back(lease.queue)
        return held

    def extend(self, lease: Lease, seconds: Optional[float], note: NotifyTokens) -> bool:
        return self._members[lease.queue].extend(lease, seconds, note)

    def sweep(self) -> int:
        self.hand_back_unanswered()
        return sum(member.sweep() for member in self._members)

    def _reclaim(self, holder: str) -> Optional[Taken]:
        """The call may have taken a task from any of the queues."""
        for number, member in enumerate(self._members):
            taken = member.ledger.reclaim(holder)
            if taken is not None:
                return taken._replace(queue=number)
        return None
