"""Several queues of one worker that are on different nodes of a cluster, as one source of tasks."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Sequence, Tuple, TypeVar

from redis.exceptions import AuthenticationError, NoPermissionError

from ._attempt import Verdict
from ._cluster import ClusterCaller
from ._lease import Lease
from ._ledger import ANYWAY, NOTIFIED, READY, Taken
from ._outage import Outage
from ._presence import Presence
from ._redis import Caller, Unavailable, calling_all
from ._source import Source
from ._source_group import SourceGroup
from ._turns import Turns
from ._wait_apart import Place, wait_apart
from .queue import Queue

T = TypeVar('T')


class _Part(Source):
    """One of the queues. The leases that it takes bear its number, and are held in the whole worker's name."""

    def __init__(self, queue: Queue, number: int, lease: Optional[float], max_losses: int, presence: Presence,
                 new_holder: Callable[[bool], str]) -> None:
        super().__init__(queue, lease, max_losses)
        self.presence = presence
        self.number = number
        self._holder = new_holder
        self.outage = Outage(self.longest_pause)
        self.retry_at = 0.0  # monotonic: it is away, and not asked before

    def _new_holder(self, ahead: bool = False) -> str:
        return self._holder(ahead)

    def _lease_of(self, taken: Taken, holder: str, asked: float) -> Lease:
        return super()._lease_of(taken._replace(queue=self.number), holder, asked)

    def take_one(self, mode: str) -> Optional[Lease]:
        return self._find_unanswered() or self._take(mode)

    def probe_wait(self) -> None:
        """Raises `redis.exceptions.NoPermissionError` if the client's user may not do what a wait takes."""
        self._caller.command('CLIENT', 'ID')

    @property
    def place(self) -> Place:
        assert isinstance(self._caller, ClusterCaller)
        return Place(self._caller, self._ledger.keys.notifications)

    def failed(self, error: Exception) -> None:
        self.retry_at = time.monotonic() + self.outage.failed(error)


class SourceApart(SourceGroup):
    """Takes from whichever queue's turn it is, through a connection for each. While a node is away the others are
    worked on; what concerns one task waits for its own node. It takes nothing ahead."""

    def __init__(self, queues: Sequence[Queue], turns: Turns, lease: Optional[float], max_losses: int) -> None:
        """lease: seconds; `None`: the full allowance."""
        super().__init__(queues, turns, lease, max_losses)
        self._parts = [_Part(queue, number, lease, max_losses, self.presence, self._new_holder)
                       for number, queue in enumerate(queues)]
        self._members = [*self._parts]
        self._error: Optional[Exception] = None  # of the node that failed last

    def open(self, caller: Optional[Caller] = None) -> None:
        for part in self._parts:
            part.open()

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def forgetter(self) -> Callable[[], None]:
        return calling_all([part.forgetter() for part in self._parts])

    def probe(self) -> None:
        for part in self._parts:
            self._try(part, part.probe)
            self._try(part, part.probe_wait)

    @property
    def can_take_ahead(self) -> bool:
        """Never: that a task has begun is told with the call that takes the next one, from the same queue."""
        return False

    def take(self, seconds: float) -> Optional[Lease]:
        """Raises what redis-py raises if all nodes are away."""
        lease = self._first(READY)
        if lease is None:
            order = [self._parts[number] for number in self._turns.order()]
            places = {part.number: part.place for part in order if self._is_there(part)}
            woken_by = wait_apart(places, min(seconds, 1.0), self._failed)
            if woken_by is not None:
                part = self._parts[woken_by]
                lease = self._taken(self._try(part, lambda: part.take_one(NOTIFIED)))
            else:
                lease = self._first(ANYWAY)
        if lease is None and self._error is not None and not any(map(self._is_there, self._parts)):
            raise self._error
        return lease

    def advance(self, done: Sequence[Lease], begun: Optional[Lease] = None, ahead: bool = False,
                most: int = 1) -> None:
        order = self._turns.order()
        held: Sequence[bool]
        if done and done[0].queue == order[0]:
            part = self._parts[order[0]]
            part.advance(done)
            held, leases = part.advanced()
            lease = self._taken(leases[0] if leases else None) or self._first(READY, order[1:])
        else:
            held, lease = [self.settle(each, Verdict.RELEASE) for each in done], self._first(READY)
        self._result = held, () if lease is None else (lease,)

    def advanced(self) -> Tuple[Sequence[bool], Sequence[Lease]]:
        return self._result

    def sweep(self) -> int:
        return sum(self._try(part, part.sweep) or 0 for part in self._parts)

    def hand_back_unanswered(self) -> None:
        for part in self._parts:
            self._try(part, part.hand_back_unanswered)

    def _first(self, mode: str, order: Optional[List[int]] = None) -> Optional[Lease]:
        """Takes from the first queue that has a task."""
        for number in self._turns.order() if order is None else order:
            part = self._parts[number]
            lease = self._taken(self._try(part, lambda: part.take_one(mode)))  # noqa: B023 (called at once)
            if lease is not None:
                return lease
        return None

    def _taken(self, lease: Optional[Lease]) -> Optional[Lease]:
        if lease is not None:
            self._turns.took(lease.queue)
        return lease

    def _is_there(self, part: _Part) -> bool:
        return time.monotonic() >= part.retry_at

    def _try(self, part: _Part, action: Callable[[], T]) -> Optional[T]:
        """Returns `None` if the queue's node is away."""
        if not self._is_there(part):
            return None
        try:
            result = action()
        except (AuthenticationError, NoPermissionError):
            raise
        except Unavailable as error:
            self._failed(part.number, error)
            return None
        part.outage.over()
        return result

    def _failed(self, number: int, error: Exception) -> None:
        self._error = error
        self._parts[number].failed(error)
