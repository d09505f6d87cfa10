"""What a move is, and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, NamedTuple, Tuple

from .arena import DEFAULT_ALLOWANCE, Call
from .reference import Reference
from .world import Worker, World

#: Tasks, in the order in which they are enqueued.
PAYLOADS = 'ABC'


class Broken(AssertionError):
    """The scripts did something else than the reference, or than they promise."""


def expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Broken('%s: %r, not %r' % (what, found, wanted))


@dataclass(frozen=True)
class Cast:
    """Who plays, and how.

    tasks: how many are enqueued.
    lossy: a reply may be lost, and the call made again.
    brisk: workers take ahead.
    old_sweeper: one of 0.5.1b2 sweeps, too.
    batched: a sweep looks at one task at a time.
    busy: one waiting task makes the queue busy.
    person: somebody puts dead tasks back.
    never: how the names of those operations begin that nobody makes, to keep a search short.
    begun: the world that it all begins with.
    """

    workers: Tuple[str, ...]
    tasks: int = 2
    max_losses: int = 2
    lossy: bool = False
    brisk: bool = False
    old_sweeper: bool = False
    batched: bool = False
    busy: bool = False
    person: bool = False
    never: Tuple[str, ...] = ()
    begun: World = World()

    @property
    def first(self) -> World:
        return self.begun._replace(workers=tuple(Worker(kind) for kind in self.workers))


class Turn:
    """One move while it is judged: the world it leaves, the ledger by the reference, and what the scripts replied."""

    def __init__(self, world: World, replies: List[Any]) -> None:
        self.world = world
        self.ledger = Reference(world.store, DEFAULT_ALLOWANCE)
        self.replies = replies

    def change(self, **parts: Any) -> None:
        self.world = self.world._replace(**parts)

    def released(self, payload: str) -> None:
        """It is done with, unless it stays: dead, or waiting, as 0.5.1b2 leaves it there."""
        stays = payload in self.ledger.waiting or payload in dict(self.ledger.dead)
        if payload not in self.world.done and not stays:
            self.change(done=tuple(sorted((*self.world.done, payload))))


class Move(NamedTuple):
    """What is called, in which order, and what follows. Without calls only the actors change. fair: it may be relied
    upon to happen, as nothing goes wrong in it."""

    name: str
    calls: Tuple[Call, ...]
    judge: Callable[[Turn], None]
    fair: bool = True
