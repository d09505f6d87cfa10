"""Every move of a worker: of ours, of 0.5.1b2's, and of a program that calls the methods of `Queue` by hand.

It is an operation: a call of the ledger's, what the reference does at that, and what the worker remembers of the reply.
Where the reply is lost it remembers that alone, and asks again.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

from .arena import Arena, Call, token_of, token_text
from .reference import AHEAD
from .turn import Cast, Move, Turn, expect
from .world import BY_HAND, LONG, OLD, OURS, SHORT, SOMEBODY, Lease, Worker, World, holder_of


class Operation(NamedTuple):
    """A worker's call. `perform` tells the reference, and returns what the worker learns if it hears of it. again: the
    operation that follows when the reply was lost."""

    name: str
    call: Call
    perform: Callable[[Turn], Any]
    learn: Callable[[Worker, Any], Worker]
    again: str


class WorkerMoves:
    def __init__(self, arena: Arena, cast: Cast) -> None:
        self._arena = arena
        self._cast = cast

    def of(self, world: World, index: int) -> Iterator[Move]:
        """The moves of one worker. They depend on the store and on what it knows, and change nothing else."""
        worker = world.workers[index]
        operations = {OURS: self._ours, OLD: self._old, BY_HAND: self._by_hand}[worker.kind]
        for operation in operations(world, index, worker):
            if operation.name.startswith(self._cast.never):
                continue
            yield self._move(index, operation, heard=True)
            if self._cast.lossy and operation.again:
                yield self._move(index, operation, heard=False)
        if worker.held and not worker.ended and not worker.unanswered:
            yield self._local(index, 'begins its next task', worker._replace(
                ended=worker.running, running=worker.held, held=None))
        if worker != Worker(worker.kind):
            yield self._local(index, 'crashes', Worker(worker.kind), fair=False)

    def _move(self, index: int, operation: Operation, heard: bool) -> Move:
        def judge(turn: Turn) -> None:
            learned = operation.perform(turn)
            workers = list(turn.world.workers)
            if heard:
                workers[index] = operation.learn(workers[index]._replace(unanswered=''), learned)
            else:
                workers[index] = workers[index]._replace(unanswered=operation.again, notified=False)
            turn.change(workers=tuple(workers))

        return Move('%s %s%s' % (holder_of(index), operation.name, '' if heard else ', and hears nothing'),
                    (operation.call,), judge, fair=heard)

    def _local(self, index: int, name: str, worker: Worker, fair: bool = True) -> Move:
        def judge(turn: Turn) -> None:
            workers = list(turn.world.workers)
            missing = turn.world.missing + (workers[index].notified and not worker.notified)
            workers[index] = worker
            turn.change(workers=tuple(workers), missing=missing)

        return Move('%s %s' % (holder_of(index), name), (), judge, fair)

    def _ours(self, world: World, index: int, worker: Worker) -> List[Operation]:
        if worker.unanswered:
            return [self._again(index, worker)]
        operations = []
        if worker.running:
            operations.append(self._renew(index, worker))
        if worker.held:
            operations.append(self._hand_back(worker, 'held'))
        elif self._cast.brisk and worker.running:
            operations.append(self._advance(index, worker))
        if worker.ended:
            operations.append(self._release(worker, 'ended'))
        elif worker.running and not worker.held:
            operations += [self._release(worker, 'running'), self._hand_back(worker, 'running'), self._lose(worker),
                           self._set_aside(worker)]
        elif not worker.held:
            operations += self._waiting_for_a_task(world, index, worker, SHORT)
        return operations

    def _again(self, index: int, worker: Worker) -> Operation:
        name, _, part = worker.unanswered.partition(' ')
        if name == 'reclaim':
            return self._reclaim(index, part)
        if name == 'renew':
            return self._renew(index, worker)
        return getattr(self, '_' + name)(worker, *part.split())

    def _by_hand(self, world: World, index: int, worker: Worker) -> List[Operation]:
        """A program that calls the methods of `Queue`."""
        if worker.running is None:
            return self._waiting_for_a_task(world, index, worker, LONG)
        return [self._release(worker, 'running'), self._hand_back(worker, 'running')]

    def _waiting_for_a_task(self, world: World, index: int, worker: Worker, lease: float) -> List[Operation]:
        if worker.notified:
            return [self._take(index, 'notified', lease)]
        operations = [self._take(index, 'ready', lease), self._take(index, 'anyway', lease)]
        if world.store.notifications:
            operations.append(self._pop())
        return operations

    def _pop(self) -> Operation:
        def perform(turn: Turn) -> None:
            turn.ledger.pop_notification()

        return Operation('pops a notification', self._arena.as_before('pop_notification'), perform,
                         lambda worker, _: worker._replace(notified=True), again='')

    def _take(self, index: int, mode: str, lease: float) -> Operation:
        holder = holder_of(index) if lease == SHORT else ''

        def perform(turn: Turn) -> Optional[Lease]:
            return _granted(turn, turn.replies[0], mode, lease, holder)

        return Operation('takes (%s)' % mode,
                         self._arena.call('take', mode, None if lease == LONG else int(lease), holder), perform,
                         lambda worker, taken: worker._replace(notified=False, running=taken),
                         again='reclaim' if lease == SHORT else '')

    def _reclaim(self, index: int, mark: str) -> Operation:
        """Asks what a call took whose reply was lost: a task to run or, with a mark, one that was taken ahead."""
        holder = mark + holder_of(index)

        def perform(turn: Turn) -> Optional[Lease]:
            found, wanted = turn.replies[0], turn.ledger.reclaim(holder)
            expect('reclaimed', found and (found[0], token_of(found[1])), wanted or False)
            return Lease(wanted[0], (wanted[1],), bool(mark)) if wanted else None

        return Operation('reclaims', self._arena.call('reclaim', holder), perform,
                         lambda worker, taken: worker._replace(**{'held' if mark else 'running': taken}),
                         ('reclaim %s' % mark).strip())

    def _renew(self, index: int, worker: Worker) -> Operation:
        """The new token counts as possibly ours from the moment at which it is sent."""
        lease, repeats = worker.running, worker.unanswered == 'renew'
        new = lease.tokens[-1] if repeats else SHORT
        tokens = lease.tokens if repeats else (*lease.tokens, new)

        def perform(turn: Turn) -> str:
            outcome = turn.ledger.renew(lease.payload, tokens, new, SOMEBODY, plausible=new > 0)
            reply = turn.replies[0]
            expect('renewed', reply if isinstance(reply, str) else 'what time it is', outcome)
            workers = list(turn.world.workers)
            workers[index] = worker._replace(running=lease._replace(tokens=tokens))
            turn.change(workers=tuple(workers))
            return outcome

        return Operation('renews %s' % lease.payload, self._arena.call(
            'renew', lease.payload, _texts(tokens), token_text(new).encode(), int(SHORT), SOMEBODY), perform,
            lambda worker, outcome: worker._replace(running=None) if outcome == 'lost' else worker, 'renew')

    def _release(self, worker: Worker, part: str) -> Operation:
        lease = getattr(worker, part)

        def perform(turn: Turn) -> None:
            released = turn.ledger.release(lease.payload, lease.tokens)
            expect('released', turn.replies[0], released)
            if released:
                turn.released(lease.payload)

        return Operation('releases %s' % lease.payload, self._arena.call(
            'release', lease.payload, _texts(lease.tokens)), perform,
            lambda worker, _: worker._replace(**{part: None}), 'release ' + part)

    def _hand_back(self, worker: Worker, part: str) -> Operation:
        lease = getattr(worker, part)
        where = 'back' if worker.kind == BY_HAND else 'front'

        def perform(turn: Turn) -> None:
            expect('handed back', turn.replies[0],
                   turn.ledger.requeue(lease.payload, lease.tokens, front=where == 'front'))

        return Operation('hands %s back' % lease.payload, self._arena.call(
            'requeue', lease.payload, _texts(lease.tokens), where), perform,
            lambda worker, _: worker._replace(**{part: None}), 'hand_back ' + part)

    def _lose(self, worker: Worker) -> Operation:
        lease = worker.running

        def perform(turn: Turn) -> None:
            expect('lost', turn.replies[0], turn.ledger.lose(lease.payload, lease.tokens, self._cast.max_losses))

        return Operation('loses %s' % lease.payload, self._arena.call(
            'lose', lease.payload, _texts(lease.tokens), self._cast.max_losses), perform,
            lambda worker, _: worker._replace(running=None), 'lose')

    def _set_aside(self, worker: Worker) -> Operation:
        lease = worker.running

        def perform(turn: Turn) -> None:
            expect('set aside', turn.replies[0], turn.ledger.set_aside(lease.payload, lease.tokens))

        return Operation('sets %s aside' % lease.payload, self._arena.call(
            'set_aside', lease.payload, _texts(lease.tokens), 'reason'), perform,
            lambda worker, _: worker._replace(running=None), 'set_aside')

    def _advance(self, index: int, worker: Worker) -> Operation:
        """Releases what has ended and takes the next ahead; the running task has begun."""
        running, ended = worker.running, worker.ended or Lease('')
        mark = (token_text(running.tokens[-1]).encode(), SOMEBODY) if running.ahead else (b'', '')
        holder = AHEAD + holder_of(index)

        def perform(turn: Turn) -> Optional[Lease]:
            released, *taken = turn.replies[0]
            if worker.ended:
                expect('released', released, turn.ledger.release(ended.payload, ended.tokens))
                if released:
                    turn.released(ended.payload)
            if running.ahead:
                turn.ledger.begin(running.tokens[-1], SOMEBODY)
            return _granted(turn, taken or False, 'ready', SHORT, holder)

        return Operation('advances', self._arena.call(
            'advance', ended.payload, _texts(ended.tokens), mark, 'ready', int(SHORT), holder), perform,
            lambda worker, taken: worker._replace(ended=None, running=running._replace(ahead=False), held=taken),
            'reclaim ' + AHEAD)

    def _old(self, world: World, index: int, worker: Worker) -> List[Operation]:
        """A worker of 0.5.1b2."""
        if worker.running is not None:
            return [self._old_release(worker), self._old_requeue(worker)]
        if worker.notified:
            payload = world.store.waiting[:1]
            # What a late release has made forget is lost where 0.5.1b2 takes it: that is its fault, not ours.
            return [] if payload and payload[0] not in dict(world.store.enqueued) else [self._old_take()]
        return [self._pop()] if world.store.notifications else []

    def _old_take(self) -> Operation:
        def perform(turn: Turn) -> Optional[Lease]:
            payload = turn.ledger.next('notified')
            expect('taken', turn.replies[0], payload or False)
            if payload:
                turn.ledger.take('notified', LONG)
            return Lease(payload) if payload else None

        return Operation('takes as before', self._arena.as_before('old_take'), perform,
                         lambda worker, taken: worker._replace(notified=False, running=taken), again='')

    def _old_release(self, worker: Worker) -> Operation:
        payload = worker.running.payload

        def perform(turn: Turn) -> None:
            turn.ledger.release_as_before(payload)
            turn.released(payload)

        return Operation('releases %s as before' % payload, self._arena.as_before('old_release', payload), perform,
                         lambda worker, _: worker._replace(running=None), again='')

    def _old_requeue(self, worker: Worker) -> Operation:
        payload = worker.running.payload

        def perform(turn: Turn) -> None:
            turn.ledger.requeue_as_before(payload)

        return Operation('requeues %s as before' % payload, self._arena.as_before('old_requeue', payload), perform,
                         lambda worker, _: worker._replace(running=None), again='')


def _granted(turn: Turn, reply: Any, mode: str, lease: float, holder: str) -> Optional[Lease]:
    payload = turn.ledger.next(mode)
    expect('taken', reply and (reply[0], token_of(reply[1])), payload is not None and (payload, lease))
    turn.ledger.take(mode, lease, holder)
    return Lease(payload, (lease,), holder.startswith(AHEAD)) if payload is not None else None


@functools.lru_cache(None)
def _texts(tokens: Tuple[float, ...]) -> Tuple[bytes, ...]:
    return tuple(token_text(token).encode() for token in tokens)
