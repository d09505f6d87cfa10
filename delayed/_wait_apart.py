"""One wait for several queues whose slots are different ones, which no single command can wait for.

Redis Cluster refuses a BLPOP on lists of two slots, even if one node has both. So there is one BLPOP for each queue,
each on a connection of its own, and one `poll` for them all. When one has popped a notification the others are
unblocked; what they popped in that moment they give back.
"""

from __future__ import annotations

import contextlib
import select
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ._cluster import ClusterCaller
from ._ledger import Ledger
from ._redis import Unavailable

_LATE = 0.5  # seconds by which Redis may be late when it ends a wait


class Place(NamedTuple):
    """Where to wait: the list `key`, by a caller that is held."""

    caller: ClusterCaller
    key: str


class _Wait:
    """One BLPOP that is under way."""

    def __init__(self, place: Place, seconds: float) -> None:
        self._held, self._other = place.caller.at_node(place.key)
        self._id = self._held.begin_wait(place.key, seconds)
        self.fd = self._held.fileno()
        self._given_up = False

    def unblock(self) -> None:
        try:
            self._other.command('CLIENT', 'UNBLOCK', self._id)
        except Unavailable:  # or this user may not: what it pops in this moment is lost, until the next sweep
            self._held.let_go()
            self._given_up = True

    def end(self) -> bool:
        return not self._given_up and self._held.end_wait()


def wait_apart(places: Dict[int, Place], seconds: float, failed: Callable[[int, Exception], None]) -> Optional[int]:
    """Waits up to `seconds` for a notification in any of `places` and pops it. Returns the number of its place; of
    several, the first. `failed(number, error)` is called for those that could not be asked."""
    waits: Dict[int, _Wait] = {}
    popped: List[int] = []

    def attempt(number: int, action: Callable[[], object]) -> object:
        try:
            return action()
        except Unavailable as error:
            waits.pop(number, None)
            places[number].caller.lost()
            failed(number, error)
            return None

    for number in places:
        attempt(number, lambda: waits.setdefault(number, _Wait(places[number], seconds)))  # noqa: B023 (called at once)
    ready = _ready(list(waits.values()), seconds)
    for number, wait in list(waits.items()):
        if ready and wait.fd not in ready:
            wait.unblock()
        if attempt(number, wait.end):
            popped.append(number)
    for number in popped[1:]:
        with contextlib.suppress(*Unavailable):  # a sweep mends it
            places[number].caller.command('RPUSH', places[number].key, '1')
    return popped[0] if popped else None


def _ready(waits: Sequence[_Wait], seconds: float) -> Sequence[int]:
    """The descriptors of those that have ended, at least one but for a Redis that is late."""
    poll = select.poll()
    for wait in waits:
        poll.register(wait.fd, select.POLLIN)
    return [fd for fd, _ in poll.poll((seconds + _LATE) * 1000)] if waits else []


def wait_for_any(ledgers: Sequence[Ledger], seconds: float = 1.0) -> Optional[int]:
    """Waits up to `seconds` until one of these queues of one client has a task with a notification. Returns which.
    Raises what redis-py raises."""
    callers = [ledger.caller.hold() for ledger in ledgers]
    keys = [ledger.keys.notifications for ledger in ledgers]
    try:
        places = {number: Place(caller, key) for number, (caller, key) in enumerate(zip(callers, keys))
                  if isinstance(caller, ClusterCaller)}
        popped = wait_apart(places, seconds, _raise) if places else callers[0].wait_any(keys, seconds)
        if popped is not None:  # back with it: whoever takes the task pops one
            callers[popped].command('RPUSH', keys[popped], '1')
        return popped
    finally:
        for caller in callers:
            caller.let_go()


def _raise(number: int, error: Exception) -> None:
    raise error
