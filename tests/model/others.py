"""Every move of time, producers, sweepers, and a person who looks after dead tasks."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from delayed._producer import Call

from .arena import DEFAULT_ALLOWANCE, PRODUCER, Arena, dead_id, token_of, token_text
from .reference import Reference
from .turn import PAYLOADS, Cast, Move, Turn, expect
from .world import LONG, OVERDUE, SHORT, Producer, Sweep, World, end_lease


class OtherMoves:
    def __init__(self, arena: Arena, cast: Cast) -> None:
        self._arena = arena
        self._cast = cast

    def of(self, world: World) -> Iterator[Move]:
        yield from self._of_time(world)
        yield from self._of_producer(world)
        yield from self._of_sweeper(world)
        if self._cast.person:
            yield from self._of_person(world)

    def _of_time(self, world: World) -> Iterator[Move]:
        """Leases of one length end in the order in which they were granted."""
        for above, up_to in ((0.0, SHORT), (SHORT, LONG)):
            alive = [(token, payload) for payload, token in world.store.dequeued if above < token <= up_to]
            if alive:
                yield self._end_of_lease(min(alive)[1], 0.0)
        if self._cast.busy:
            ended = [(token, payload) for payload, token in world.store.dequeued if OVERDUE < token <= 0]
            if ended:
                yield self._end_of_lease(min(ended)[1], 10 * OVERDUE)

    def _end_of_lease(self, payload: str, moment: float) -> Move:
        def judge(turn: Turn) -> None:
            turn.change(**end_lease(turn.world, payload, moment)._asdict())
            turn.ledger = Reference(turn.world.store, DEFAULT_ALLOWANCE)

        return Move("%s's lease ended%s" % (payload, ' long ago' if moment else ''), (), judge)

    def _of_producer(self, world: World) -> Iterator[Move]:
        producer = world.producer
        if producer.unanswered:
            yield self._enqueue(world, producer.sent, heard=True)
        elif producer.sent < self._cast.tasks:
            yield self._enqueue(world, producer.sent + 1, heard=True)
            if self._cast.lossy:
                yield self._enqueue(world, producer.sent + 1, heard=False)

    def _enqueue(self, world: World, number: int, heard: bool) -> Move:
        payload = PAYLOADS[number - 1]

        def judge(turn: Turn) -> None:
            turn.ledger.enqueue(payload, DEFAULT_ALLOWANCE, PRODUCER, number)
            expect('reserved', turn.replies[0], 0)
            turn.change(producer=Producer(number, not heard))

        call = self._arena.call('enqueue', Call(PRODUCER, number), (DEFAULT_ALLOWANCE, payload))
        return Move('%s is enqueued%s' % (payload, '' if heard else ', and its producer hears nothing'), (call,), judge,
                    fair=heard)

    def _of_sweeper(self, world: World) -> Iterator[Move]:
        if self._cast.batched:
            yield self._batch(world)
            if world.sweep is not None:
                yield Move('the sweeper crashes', (), lambda turn: turn.change(sweep=None), fair=False)
        else:
            yield self._sweep(world, spare=False)
            if any(token <= 0 for _, token in world.store.dequeued):
                yield self._sweep(world, spare=True)
        if self._cast.old_sweeper:
            yield self._old_sweep(world)

    def _lost(self, world: World, spare: bool) -> List[Tuple[str, float]]:
        """The leases that a sweep which begins now must end."""
        return [(payload, token) for payload, token in world.store.dequeued
                if token <= 0 and self._is_lost(world, token, self._lost_before(world), spare)]

    def _lost_before(self, world: World) -> float:
        """A busy queue waits a while with leases that nobody renews."""
        return OVERDUE if self._cast.busy and world.store.waiting else 0.0

    def _is_lost(self, world: World, token: float, lost_before: float, spare: bool = False) -> bool:
        renewed = any(token == lease for lease, _ in world.store.leases)
        return not spare if renewed else token <= lost_before

    def _sweep(self, world: World, spare: bool) -> Move:
        def judge(turn: Turn) -> None:
            ledger = turn.ledger
            repaired = ledger.bring_back([payload for payload, _ in self._lost(world, spare)], self._cast.max_losses)
            repaired += ledger.notify()
            expect('repaired, and more', turn.replies[0][::3], [repaired, 0])
            ledger.tidy()
            turn.change(missing=0)

        return Move('a sweep%s' % (' that spares the living' if spare else ''),
                    (self._arena.call('sweep', self._cast.max_losses, spare), self._arena.tidy('leases'),
                     self._arena.tidy('losses')), judge)

    def _batch(self, world: World) -> Move:
        """A sweep that looks at one task at a time."""
        call = self._arena.call('sweep', self._cast.max_losses)
        sweep = world.sweep
        bounds = ('', '') if sweep is None else (
            token_text(sweep.lost_before), '(' * sweep.beyond + token_text(sweep.bound))
        args = (*bounds, *call.args[2:7], '1', *call.args[8:])

        def judge(turn: Turn) -> None:
            repaired, lost_before, bound, more, _ = turn.replies[0]
            beyond = bound.startswith('(')
            now = Sweep(token_of(lost_before), token_of(bound.lstrip('(')), beyond,
                        tuple(self._lost(world, spare=False)) if sweep is None else sweep.owed)
            below = self._below(world, sweep)
            wanted = turn.ledger.bring_back([payload for payload, token in below[:1] if self._is_lost(
                world, token, sweep.lost_before if sweep else self._lost_before(world))], self._cast.max_losses)
            unfinished = len(below) > 1
            if not unfinished:
                unfinished = len(turn.ledger.waiting) - turn.ledger.notifications > 1
                wanted += turn.ledger.notify(most=1)
            expect('repaired, and more', [repaired, more], [wanted, int(unfinished)])
            if not more:
                for owed in now.owed:
                    expect('a lost task that the sweep passed over', owed in turn.ledger.dequeued.items(), False)
                turn.change(missing=0)
            turn.change(sweep=now if more else None)

        return Move('a batch of a sweep', (call._replace(args=args),), judge)

    def _below(self, world: World, sweep: Optional[Sweep]) -> List[Tuple[str, float]]:
        """The ended leases that the sweep has not looked at, newest first."""
        bound, beyond = (0.0, False) if sweep is None else (sweep.bound, sweep.beyond)
        return sorted(((payload, token) for payload, token in world.store.dequeued
                       if token < bound or token == bound and not beyond), key=lambda lease: lease[1], reverse=True)

    def _old_sweep(self, world: World) -> Move:
        def judge(turn: Turn) -> None:
            ledger = turn.ledger
            ledger.notifications = max(ledger.notifications, len(ledger.waiting))
            for _, payload in sorted((token, payload) for payload, token in world.store.dequeued if token <= 0):
                del ledger.dequeued[payload]
                ledger.waiting.insert(0, payload)
                ledger.notifications += 1
            turn.change(missing=0)

        return Move('a sweep as before', (self._arena.as_before('old_sweep'),), judge)

    def _of_person(self, world: World) -> Iterator[Move]:
        for index, (payload, _) in enumerate(world.store.dead):
            def judge(turn: Turn, index: int = index) -> None:
                expect('requeued', turn.replies[0], turn.ledger.requeue_dead(index))

            yield Move('a person puts %s back' % payload, (
                self._arena.call('requeue_dead', token_text(dead_id(index))),), judge)
