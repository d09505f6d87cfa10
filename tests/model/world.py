"""The ledger and all who use it at one moment, in a form in which equal situations are equal.

What matters of a token is which lease it ends, whether that end has come, and which of two comes first. So in the
canonical form moments have fixed numbers, told in milliseconds from now: as if time, after each move, went back.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

from .reference import AHEAD, Store

#: How long leases are (ms): a worker's, and one that nobody renews.
SHORT, LONG = 15_000.0, 610_000.0
#: A busy queue brings back unrenewed leases that ended before this.
OVERDUE = -5_000.0
#: A token that is no longer any lease's.
GONE = 0.5
_LEFTOVER = 1.0
#: Kinds of moments: those above the first number, up to the second, are renamed to the third less one, two, three...
_KINDS = ((-1e9, -10_000.0, -100_000.0), (-10_000.0, 0.0, -1_000.0), (0.0, SHORT, SHORT), (SHORT, LONG, LONG))
#: A holder for whom nobody asks.
SOMEBODY = 'x'

OURS, OLD, BY_HAND = 'ours', 'old', 'by hand'


class Lease(NamedTuple):
    """What a worker believes to hold. ahead: Redis thinks that the task has not begun."""

    payload: str
    tokens: Tuple[float, ...] = ()
    ahead: bool = False


class Worker(NamedTuple):
    """What a worker knows. All of it is gone when it crashes; another starts in its place."""

    kind: str = OURS
    notified: bool = False
    running: Optional[Lease] = None
    ended: Optional[Lease] = None  # its end is not told yet
    held: Optional[Lease] = None  # taken ahead
    #: The operation whose reply did not come.
    unanswered: str = ''


class Producer(NamedTuple):
    sent: int = 0
    unanswered: bool = False


class Sweep(NamedTuple):
    """A sweep between two batches. owed: the leases that had ended when it began."""

    lost_before: float
    bound: float
    beyond: bool  # the bound itself is left out
    owed: Tuple[Tuple[str, float], ...]


class World(NamedTuple):
    store: Store = Store()
    done: Tuple[str, ...] = ()  # those that were run and released
    #: How many notifications are missing at most, as those who had popped them are dead.
    missing: int = 0
    workers: Tuple[Worker, ...] = ()
    producer: Producer = Producer()
    sweep: Optional[Sweep] = None


def holder_of(index: int) -> str:
    """The name under which a worker takes."""
    return 'w%d' % index


def canonical(world: World) -> World:
    dequeued, sweep = world.store.dequeued, world.sweep
    workers = [_rename_worker(worker, dequeued, sweep) for worker in world.workers]
    order = sorted(range(len(workers)), key=lambda index: _rank(workers[index]))
    names = tuple([(holder_of(old), holder_of(new)) for new, old in enumerate(order) if workers[old].unanswered])
    return world._replace(
        store=_rename_store(world.store, sweep, names),
        missing=min(world.missing, max(0, deficit(world) - poppers(world))),
        workers=tuple([workers[index] for index in order]),
        sweep=sweep and _rename_sweep(sweep, _renaming(dequeued, sweep)))


def deficit(world: World) -> int:
    """How many tasks wait without a notification."""
    return len(world.store.waiting) - world.store.notifications


def poppers(world: World) -> int:
    """How many workers have popped a notification, and are about to take."""
    return sum(worker.notified for worker in world.workers)


def end_lease(world: World, payload: str, moment: float = 0.0) -> World:
    """Time passes until this task's lease has ended, just now or longer ago."""
    token = dict(world.store.dequeued)[payload]

    def moved(found: Any) -> Any:
        """The same value with the other token, however deep it is nested."""
        if isinstance(found, tuple):
            parts = map(moved, found)
            return type(found)(*parts) if hasattr(found, '_fields') else tuple(parts)
        return moment if found == token and isinstance(found, float) else found

    world = moved(world)
    return world._replace(store=world.store._replace(leases=tuple(sorted(world.store.leases))))


@functools.lru_cache(None)
def _rank(worker: Worker) -> str:
    return repr(worker)


@functools.lru_cache(None)
def _renaming(dequeued: Tuple[Tuple[str, float], ...], sweep: Optional[Sweep]) -> Dict[float, float]:
    """What the moments are called that matter: the tokens of all leases, and what a sweep remembers."""
    moments = {token for _, token in dequeued}
    if sweep is not None:
        moments |= {sweep.lost_before, sweep.bound}
    renaming = {}
    for above, up_to, base in _KINDS:
        kind = sorted((moment for moment in moments if above < moment <= up_to), reverse=True)
        renaming.update((moment, base - 1 - index) for index, moment in enumerate(kind))
    return renaming


@functools.lru_cache(None)
def _rename_store(store: Store, sweep: Optional[Sweep], names: Tuple[Tuple[str, str], ...]) -> Store:
    """names: of the holders that somebody may ask for."""
    renaming = _renaming(store.dequeued, sweep)
    return store._replace(
        dequeued=tuple([(payload, renaming[token]) for payload, token in store.dequeued]),
        leases=_rename_leases(store.leases, renaming, dict(names)))


def _rename_leases(leases: Iterable[Tuple[float, str]], renaming: Dict[float, float],
                   names: Dict[str, str]) -> Tuple[Tuple[float, str], ...]:
    """Leftovers of one holder are as good as one."""
    found, leftover = [], set()
    for token, holder in leases:
        bare = holder.lstrip(AHEAD)
        holder = holder[:len(holder) - len(bare)] + names.get(bare, SOMEBODY)
        if token in renaming:
            found.append((renaming[token], holder))
        else:
            leftover.add(holder)
    found += [(_LEFTOVER + index, holder) for index, holder in enumerate(sorted(leftover))]
    return tuple(sorted(found))


@functools.lru_cache(None)
def _rename_worker(worker: Worker, dequeued: Tuple[Tuple[str, float], ...], sweep: Optional[Sweep]) -> Worker:
    renaming = _renaming(dequeued, sweep)
    return worker._replace(**{part: _rename_lease(getattr(worker, part), renaming, keep=bool(worker.unanswered))
                              for part in ('running', 'ended', 'held')})


def _rename_lease(lease: Optional[Lease], renaming: Dict[float, float], keep: bool) -> Optional[Lease]:
    """keep: tokens of no lease, too, for they will be said again."""
    if lease is None or not lease.tokens:
        return lease
    tokens = tuple([renaming.get(token, GONE) for token in lease.tokens if keep or token in renaming])
    return lease._replace(tokens=tokens or (GONE,))


def _rename_sweep(sweep: Sweep, renaming: Dict[float, float]) -> Sweep:
    return sweep._replace(
        lost_before=renaming[sweep.lost_before], bound=renaming[sweep.bound],
        owed=tuple((payload, renaming[token]) for payload, token in sweep.owed if token in renaming))
