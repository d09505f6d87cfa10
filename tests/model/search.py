"""Visits every world that can be reached from a first one, and holds the scripts to the reference and to the promises:

* A task that was enqueued and not released is in exactly one place: it waits, is dequeued, or dead.
* Of all who ever took it, one at most holds a token that Redis accepts.
* No more notifications are missing than were popped by somebody who has not taken a task yet, or died of it.
* What our own keys hold belongs to an unfinished task, but for what 0.5.1b2 leaves there until the next sweep.
* From everywhere a way leads on which nothing goes wrong, to an end at which no task is unfinished and no key left.
"""

from __future__ import annotations

import functools
from typing import Dict, List, NamedTuple, Optional, Tuple

from .arena import Arena
from .others import OtherMoves
from .reference import Store
from .turn import PAYLOADS, Broken, Cast, Move, Turn, expect
from .workers import WorkerMoves
from .world import OLD, Worker, World, canonical, deficit, poppers


class Found(NamedTuple):
    """How many worlds and moves a search saw and, if something was broken, what, and after which moves."""

    worlds: int
    moves: int
    complete: bool
    broken: str = ''
    path: Tuple[str, ...] = ()


class Step(NamedTuple):
    """A move that was made, and the world it left."""

    name: str
    fair: bool
    after: World


class Search:
    def __init__(self, arena: Arena, cast: Cast) -> None:
        self._arena = arena
        self._cast = cast
        self._worker_moves = WorkerMoves(arena, cast)
        self._other_moves = OtherMoves(arena, cast)
        self._messy = OLD in cast.workers or cast.old_sweeper
        self._numbers: Dict[World, int] = {}
        self._came_from: List[Tuple[int, str]] = []
        self._worlds: List[World] = []
        self._fair_ways_to: List[List[int]] = []
        self._made = 0

    def run(self, most_worlds: Optional[int] = None) -> Found:
        """Breadth first, so that the way to what is broken is a short one."""
        self._visit(self._cast.first, -1, Step('', False, self._cast.first))
        number = 0
        while number < len(self._worlds) and (most_worlds is None or number < most_worlds):
            try:
                self._go_on_from(number)
            except Broken as broken:
                return self._found(str(broken.args[0]), broken.args[1])
            number += 1
        if number < len(self._worlds):
            return self._found(complete=False)
        stuck = self._stuck()
        if stuck is not None:
            return self._found('no way leads from here to the end', self._path(stuck))
        return self._found()

    def _found(self, broken: str = '', path: Tuple[str, ...] = (), complete: bool = True) -> Found:
        return Found(len(self._worlds), self._made, complete, broken, path)

    def _go_on_from(self, number: int) -> None:
        world = self._worlds[number]
        try:
            for index, worker in enumerate(world.workers):
                if worker.unanswered or worker not in world.workers[:index]:  # of equal workers one is enough
                    for step in self._steps_of(world.store, index, worker):
                        self._visit(_joined(world, step.after, index), number, step)
            for step in self._steps(world, list(self._other_moves.of(world))):
                self._visit(step.after, number, step)
        except Broken as broken:
            what, *names = broken.args
            raise Broken(what, (*self._path(number), *names)) from None

    @functools.lru_cache(None)  # noqa: B019
    def _steps_of(self, store: Store, index: int, worker: Worker) -> List[Step]:
        """A worker's steps, in a world that holds nobody else: many worlds differ in the others alone."""
        alone = World(store=store, workers=(Worker(),) * index + (worker,))
        return self._steps(alone, list(self._worker_moves.of(alone, index)))

    def _steps(self, world: World, moves: List[Move]) -> List[Step]:
        """Makes each move, and holds what the scripts do to the reference."""
        results = iter(self._arena.run(world.store, [move.calls for move in moves if move.calls]))
        steps = []
        for move in moves:
            replies, store = next(results) if move.calls else ([], None)
            turn = Turn(world, replies)
            try:
                for reply in replies:
                    if isinstance(reply, list) and reply[:1] == ['error']:
                        raise Broken(reply[1])
                move.judge(turn)
                if store is not None:
                    expect('left in Redis', store, turn.ledger.store())
                    turn.change(store=store)
            except Broken as broken:
                raise Broken(str(broken), move.name) from None
            steps.append(Step(move.name, move.fair, turn.world))
        return steps

    def _visit(self, world: World, came_from: int, step: Step) -> None:
        world = canonical(world)
        self._made += 1
        number = self._numbers.setdefault(world, len(self._worlds))
        if number == len(self._worlds):
            self._worlds.append(world)
            self._came_from.append((came_from, step.name))
            self._fair_ways_to.append([])
            try:
                self._check(world)
            except Broken as broken:
                raise Broken(str(broken), step.name) from None
        if step.fair:
            self._fair_ways_to[number].append(came_from)

    def _path(self, number: int) -> Tuple[str, ...]:
        path = []
        while number > 0:
            number, name = self._came_from[number]
            path.append(name)
        return tuple(reversed(path))

    def _check(self, world: World) -> None:
        store = world.store
        waiting, dequeued, dead = store.waiting, dict(store.dequeued), dict(store.dead)
        for payload in PAYLOADS[:world.producer.sent]:
            places = waiting.count(payload) + (payload in dequeued) + (payload in dead)
            expect('places of %s' % payload, places, 0 if payload in world.done else 1)
        for payload, token in store.dequeued:
            owners = [worker for worker in world.workers for lease in (worker.running, worker.ended, worker.held)
                      if lease is not None and token in lease.tokens and lease.payload == payload]
            if len(owners) > 1:
                raise Broken('%s has two owners' % payload)
        if deficit(world) > poppers(world) + world.missing:
            raise Broken('%d tasks wait without a notification' % deficit(world))
        if not self._messy:
            tokens = set(dequeued.values())
            expect('left in leases', [lease for lease in store.leases if lease[0] not in tokens], [])
            expect('left in losses', [loss for loss in store.losses if loss[0] not in dict(store.enqueued)], [])

    def _stuck(self) -> Optional[int]:
        """A world from which no end can be reached."""
        reached = [number for number, world in enumerate(self._worlds) if self._is_end(world)]
        seen = set(reached)
        while reached:
            for number in self._fair_ways_to[reached.pop()]:
                if number not in seen:
                    seen.add(number)
                    reached.append(number)
        return next((number for number in range(len(self._worlds)) if number not in seen), None)

    def _is_end(self, world: World) -> bool:
        store = world.store
        if world.producer.sent < self._cast.tasks or world.producer.unanswered:
            return False
        return not any((store.waiting, store.notifications, store.enqueued, store.dequeued, store.leases, store.losses))


def _joined(world: World, alone: World, index: int) -> World:
    """What one worker did, in the world in which it did so."""
    return world._replace(
        store=alone.store, workers=(*world.workers[:index], alone.workers[index], *world.workers[index + 1:]),
        done=tuple(sorted({*world.done, *alone.done})) if alone.done else world.done,
        missing=world.missing + alone.missing)
