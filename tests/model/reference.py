"""What the ledger must do, in plain Python. It knows no keys and no clock: who asks says what has run out of lease.

A token is a number, the end of its lease. A holder is a text; one that begins with `?` has taken the task ahead.
"""

from __future__ import annotations

import math
from typing import Iterable, NamedTuple, Optional, Sequence, Tuple

AHEAD = '?'
_NEAR_FRONT = 100  # waiting tasks


class Store(NamedTuple):
    """All that Redis holds of one queue; what has no order of its own is sorted."""

    waiting: Tuple[str, ...] = ()
    notifications: int = 0
    enqueued: Tuple[Tuple[str, float], ...] = ()  # payload, allowance (ms)
    dequeued: Tuple[Tuple[str, float], ...] = ()  # payload, token
    leases: Tuple[Tuple[float, str], ...] = ()  # token, holder
    losses: Tuple[Tuple[str, int], ...] = ()  # payload, how often it was lost
    dead: Tuple[Tuple[str, float], ...] = ()  # payload, allowance (ms); oldest first
    producers: Tuple[Tuple[str, int], ...] = ()  # name, number of the last call


class Reference:
    """The ledger. Each method makes one move and returns what the script must reply."""

    def __init__(self, store: Store, default_allowance: float) -> None:
        self.waiting = list(store.waiting)
        self.notifications = store.notifications
        self.enqueued = dict(store.enqueued)
        self.dequeued = dict(store.dequeued)
        self.leases = dict(store.leases)
        self.losses = dict(store.losses)
        self.dead = list(store.dead)
        self.producers = dict(store.producers)
        self._default_allowance = default_allowance

    def store(self) -> Store:
        return Store(tuple(self.waiting), self.notifications, *(
            tuple(sorted(mapping.items())) for mapping in (self.enqueued, self.dequeued, self.leases, self.losses)),
            tuple(self.dead), tuple(sorted(self.producers.items())))

    def enqueue(self, payload: str, allowance: float, producer: str, call: int) -> None:
        if self.producers.get(producer) == call:
            return
        self.producers[producer] = call
        self.enqueued[payload] = allowance
        self._put(payload, front=False)

    def pop_notification(self) -> bool:
        """What BLPOP does."""
        popped = self.notifications > 0
        self.notifications -= popped
        return popped

    def next(self, mode: str) -> Optional[str]:
        """The payload that a take in this mode must return."""
        return self.waiting[0] if self.waiting and (mode != 'ready' or self.notifications) else None

    def take(self, mode: str, token: Optional[float], holder: str = '') -> None:
        """Moves the next payload to the dequeued ones under `token`; `None`: nothing was to be taken."""
        payload = self.next(mode)
        if payload is None:
            if not self.waiting:
                self.notifications = 0
            return
        unknown = mode == 'waited' and self.notifications < len(self.waiting)  # it has popped one, or one is missing
        del self.waiting[0]
        if mode != 'notified' and not unknown:
            self.pop_notification()
        self.enqueued.setdefault(payload, self._default_allowance)
        self.dequeued[payload] = token
        if holder:
            self.leases[token] = holder

    def begin(self, token: float, holder: str) -> None:
        """A task that was taken ahead has begun."""
        if token in self.leases:
            self.leases[token] = holder

    def release(self, payload: str, tokens: Iterable[float]) -> int:
        if self._held(payload, tokens):
            self._end_lease(payload)
            self._forget(payload)
            return 1
        if not tokens:
            self._forget(payload)
            return 2
        if payload in self.dequeued:
            return 0
        if payload not in self.waiting[:_NEAR_FRONT]:
            return 0 if payload in self.enqueued else 2
        self.waiting.remove(payload)
        self.pop_notification()
        self._forget(payload)
        return 2

    def requeue(self, payload: str, tokens: Iterable[float], front: bool = False) -> int:
        if not self._held(payload, tokens):
            return 0
        self._end_lease(payload)
        self._put(payload, front)
        return 1

    def lose(self, payload: str, tokens: Iterable[float], max_losses: int) -> int:
        if not self._held(payload, tokens):
            return 0
        self._end_lease(payload)
        return self._lose(payload, max_losses)

    def renew(self, payload: str, tokens: Iterable[float], new: float, holder: str, plausible: bool = True) -> str:
        """plausible: whether the new token is about a lease from now."""
        if not self._held(payload, (*tokens, new)):
            return 'lost'
        if not plausible:
            return 'what time it is'
        self._end_lease(payload)
        self.dequeued[payload], self.leases[new] = new, holder
        return 'renewed'

    def set_aside(self, payload: str, tokens: Iterable[float]) -> int:
        if not self._held(payload, tokens):
            return 0
        self._end_lease(payload)
        self._bury(payload)
        return 1

    def reclaim(self, holder: str) -> Optional[Tuple[str, float]]:
        """The first of those that one call took."""
        taken = [(token, payload) for payload, token in self.dequeued.items() if self.leases.get(token) == holder]
        return min(taken)[::-1] if taken else None

    def bring_back(self, payloads: Sequence[str], max_losses: int) -> int:
        """What a sweep does with those that it found out of lease. Returns how many they were."""
        for payload in sorted(payloads, key=self.dequeued.__getitem__, reverse=True):  # the longest lost is next
            holder = self._end_lease(payload)
            if holder and not holder.startswith(AHEAD):
                self._lose(payload, max_losses)
            else:
                self._put(payload, front=True)
        return len(payloads)

    def notify(self, most: float = math.inf) -> int:
        """Brings notifications in step, but adds no more than this. Returns how many it added."""
        added = max(0, min(len(self.waiting) - self.notifications, most))
        self.notifications = min(self.notifications + added, len(self.waiting))
        return added

    def tidy(self) -> None:
        claims = set(self.dequeued.values())
        self.leases = {token: holder for token, holder in self.leases.items() if token in claims}
        self.losses = {payload: times for payload, times in self.losses.items() if payload in self.enqueued}

    def requeue_dead(self, index: int) -> int:
        payload, self.enqueued[payload] = self.dead.pop(index)
        self._put(payload, front=False)
        return 1

    def delete_dead(self, index: int) -> int:
        del self.dead[index]
        return 1

    def release_as_before(self, payload: str) -> None:
        """By 0.5.1b2, which knows nothing of leases and losses: those are left over."""
        self.dequeued.pop(payload, None)
        self.enqueued.pop(payload, None)

    def requeue_as_before(self, payload: str) -> None:
        if self.dequeued.pop(payload, None) is not None:
            self._put(payload, front=False)

    def _held(self, payload: str, tokens: Iterable[float]) -> bool:
        token = self.dequeued.get(payload)
        return token is not None and (not tokens or token in tokens)

    def _put(self, payload: str, front: bool) -> None:
        self.waiting.insert(0 if front else len(self.waiting), payload)
        self.notifications += 1

    def _end_lease(self, payload: str) -> Optional[str]:
        return self.leases.pop(self.dequeued.pop(payload), None)

    def _forget(self, payload: str) -> None:
        self.enqueued.pop(payload, None)
        self.losses.pop(payload, None)

    def _lose(self, payload: str, max_losses: int) -> int:
        self.losses[payload] = self.losses.get(payload, 0) + 1
        if 0 < max_losses <= self.losses[payload]:
            self._bury(payload)
            return 2
        self._put(payload, front=True)
        return 1

    def _bury(self, payload: str) -> None:
        self.dead.append((payload, self.enqueued.get(payload, self._default_allowance)))
        self._forget(payload)
