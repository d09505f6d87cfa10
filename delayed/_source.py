"""Where a worker's tasks come from and go to: a queue's ledger; for a queue class of the user's own, its methods."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, List, Optional, Sequence, Tuple

from redis.exceptions import NoPermissionError

from . import _backoff
from ._attempt import Verdict
from ._describe import describe
from ._lease import Lease
from ._ledger import ANYWAY, NOTIFIED, READY, Advance, Ledger, Lost, Taken
from ._presence import Presence
from ._redis import Caller, Unavailable
from .logger import logger
from .queue import Queue

#: The lease, in seconds, that is taken for a fleet's where a sweep is not a worker's.
SWEEP_LEASE = 15.0
#: How long a call whose reply was lost may still be carried out by a server that was frozen, in seconds.
_IN_FLIGHT_SECONDS = 300.0
#: A lease, in seconds, of which the wait for a task may take a second: when it was granted is known no better.
_UNHURRIED_LEASE = 6.0
_NOTHING: Tuple[bytes, Tuple[bytes, ...]] = b'', ()
#: What the holder of a task begins with that was taken ahead; see dequeue.lua.
AHEAD = '?'
_OVERRIDABLE = ('dequeue', 'release', 'requeue')
NotifyTokens = Callable[[], None]


class Source:
    """The moves a worker makes, with short leases. Raises what redis-py raises when Redis is away."""

    #: What that is.
    unavailable = Unavailable
    #: Where an orphan's lines go.
    log = logger

    def __init__(self, queue: Queue, lease: Optional[float], max_losses: int) -> None:
        """lease: seconds; `None`: the full allowance."""
        self._queue = queue
        self._caller = queue.ledger.caller
        self._ledger = queue.ledger
        self._lease = lease
        self._lease_ms = None if lease is None else lease * 1000
        self._max_losses = max_losses
        self._name = '%s:%d:%s' % (os.uname().nodename, os.getpid(), os.urandom(4).hex())
        self.presence = Presence(self._name, [queue.name])
        self._calls = 0
        self._asked: Tuple[float, str, Optional[Lease]] = 0.0, '', None  # the last time: when, as whom, while that ran
        self._unanswered: List[Tuple[str, float]] = []  # holders of calls whose reply was lost, and since when

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def queue_of(self, lease: Lease) -> Queue:
        """The queue that a task is from."""
        return self._queue

    @property
    def longest_pause(self) -> float:
        """For how many seconds, at most, not to try again when Redis could not be asked.

        When it is back, the living have one lease's time to tell that they are. But an outage may last half a lease
        without being noticed (may_sweep.lua), and begin when two thirds of a lease are left: then it is a sixth.
        """
        return _backoff.MOST if self._lease is None else min(_backoff.MOST, self._lease / 8)

    def open(self, caller: Optional[Caller] = None) -> None:
        """Takes a connection of its own, or shares that of `caller`."""
        self._caller = caller or self._queue.ledger.caller.hold()
        self._ledger = self._queue.ledger.using(self._caller)

    def probe(self) -> None:
        """Raises `redis.exceptions.NoPermissionError` if the client's user is not allowed what a worker does."""
        name = self._queue.name
        try:
            denied = self._ledger.denied()
        except NoPermissionError as error:  # Valkey 9 looks at the keys before the script can, and names none
            raise NoPermissionError('a worker on queue %s needs more permissions in Redis, for the keys %s and %s_*: %s'
                                    % (name, name, name, error)) from error
        if denied:
            raise NoPermissionError('a worker on queue %s needs more permissions in Redis: %s' % (
                name, ', '.join('%s on %s' % need for need in denied)))

    def close(self) -> None:
        with contextlib.suppress(*Unavailable):
            self.presence.leave(self._ledger)
        self._caller.let_go()

    def reopened(self) -> Source:
        """In a child: the same, through the client's own connections."""
        self._ledger = self._queue.ledger
        return self

    def forgetter(self) -> Callable[[], None]:
        """Returns what closes a child's copy of the monitor's connection; to be called in the child."""
        return self._caller.forgetter()

    def take(self, seconds: float) -> Optional[Lease]:
        """Takes a task; where none waits, it waits for one: `seconds`, a second at most."""
        lease = self._find_unanswered()
        if lease is None and self._lease is not None and self._lease >= _UNHURRIED_LEASE:
            lease = self._wait_and_take(min(seconds, 1.0))
        elif lease is None:
            lease = self._take(READY)
            if lease is None:
                lease = self._take(NOTIFIED if self._ledger.wait(min(seconds, 1.0)) else ANYWAY)
        return lease

    @property
    def can_take_ahead(self) -> bool:
        """Whether `advance` may be called while a task runs."""
        return self._lease is not None and not self._unanswered

    @property
    def overlaps(self) -> bool:
        """Whether there is time between `advance` and `advanced`."""
        return self._caller.overlaps

    def advance(self, done: Sequence[Lease], begun: Optional[Lease] = None, ahead: bool = False,
                most: int = 1) -> None:
        """Releases a task, if there is one, and takes the next if one waits. `begun`: one that is running meanwhile.
        `ahead`: what is taken is not to begin yet. `most`: how many to take, where that can be more than one. Before
        anything else, `advanced` is to be called."""
        self._asked = time.monotonic(), self._new_holder(ahead), begun
        try:
            self._begin_advance(done, begun, self._asked[1], most)
        except BaseException:  # of a signal's handler, too
            self._unanswered.append((self._asked[1], time.monotonic()))
            raise

    def advanced(self) -> Tuple[Sequence[bool], Sequence[Lease]]:
        """Waits for the reply: which tasks were still held, and those that were taken."""
        asked, holder, begun = self._asked
        try:
            held, taken = self._end_advance()
        except BaseException:
            self._unanswered.append((holder, time.monotonic()))
            raise
        if begun is not None:
            begun.ahead = False
        return held, [self._lease_of(each, holder, asked) for each in taken]

    def _begin_advance(self, done: Sequence[Lease], begun: Optional[Lease], holder: str, most: int) -> None:
        payload, tokens = (done[0].payload, done[0].tokens) if done else _NOTHING
        self._ledger.advance(payload, tokens, self._mark(begun), READY, self._lease_ms, holder)

    def _end_advance(self) -> Advance:
        return self._ledger.advanced()

    @staticmethod
    def _mark(begun: Optional[Lease]) -> Tuple[bytes, str]:
        return (begun.tokens[-1], begun.holder) if begun is not None and begun.ahead else (b'', '')

    def settle(self, lease: Lease, verdict: Verdict, reason: str = '', record: str = '') -> bool:
        """Carries out a verdict. `reason` and `record`: for a dead letter, or those who wait for a task that failed.
        Returns whether the lease was still held."""
        ledger = self._ledger
        if record and verdict in (Verdict.RELEASE, Verdict.SET_ASIDE):
            self.presence.tell_failure(ledger, record)
        if verdict is Verdict.RELEASE:
            return ledger.release(lease.payload, lease.tokens)
        if verdict is Verdict.HAND_BACK:
            return ledger.requeue(lease.payload, lease.tokens, 'front')
        if verdict is Verdict.SET_ASIDE:
            return ledger.set_aside(lease.payload, lease.tokens, reason, record)
        if verdict is Verdict.LOSE:
            return ledger.lose(lease.payload, lease.tokens, self._max_losses, record) > 0
        return False

    def extend(self, lease: Lease, seconds: Optional[float], note: NotifyTokens) -> bool:
        """Renews a lease for `seconds` from now, or its own length. `note` is called after each change of its tokens
        and before Redis hears of a new one, so that who must know it does even if this process dies before the
        reply. Returns whether the lease was still held."""
        length = seconds if seconds is not None else lease.seconds
        assert length is not None
        while True:
            proposal = lease.propose(time.monotonic(), length)
            note()
            answer = self._ledger.renew(lease.payload, lease.tokens, proposal, length * 1000, lease.holder)
            if isinstance(answer, bool):
                if answer:
                    lease.renewed(time.monotonic())
                    note()
                return answer
            lease.correct(answer, time.monotonic())

    def sweep(self) -> int:
        """Brings back what is lost, unless the living may not have had the chance to renew."""
        self.hand_back_unanswered()
        try:
            repaired = sweep(self._queue, self._max_losses, self._lease or SWEEP_LEASE, self._ledger)[0]
            self.presence.tell(self._ledger, self._lease or SWEEP_LEASE)
            return repaired
        except Unavailable:
            raise
        except Exception:
            logger.exception('requeue_lost of %r failed', self._queue)  # one of the user's own
            return 0

    def _new_holder(self, ahead: bool = False) -> str:
        self._calls += 1
        return '%s%s:%d' % (AHEAD if ahead else '', self._name, self._calls) if self._lease is not None else ''

    def _wait_and_take(self, seconds: float) -> Optional[Lease]:
        asked, holder = time.monotonic(), self._new_holder()
        try:
            assert self._lease_ms is not None
            taken = self._ledger.wait_and_take(seconds, self._lease_ms, holder)
        except BaseException:
            self._unanswered.append((holder, time.monotonic()))
            raise
        return taken and self._lease_of(taken, holder, asked)

    def _take(self, mode: str) -> Optional[Lease]:
        asked, holder = time.monotonic(), self._new_holder()
        try:
            taken = self._ledger.take(mode, self._lease_ms, holder)
        except BaseException:  # of a signal's handler, too
            self._unanswered.append((holder, time.monotonic()))
            raise
        return taken and self._lease_of(taken, holder, asked)

    def _lease_of(self, taken: Taken, holder: str, asked: float) -> Lease:
        """`asked`: when (monotonic) it was asked for. The lease is no younger, however late the reply was read."""
        self.presence.took(holder, asked, taken.queue)
        ahead = holder.startswith(AHEAD)
        lease = Lease(taken.payload, (taken.token,), self._lease, holder[1:] if ahead else holder, asked)
        lease.ahead, lease.queue = ahead, taken.queue
        return lease

    def _find_unanswered(self) -> Optional[Lease]:
        """A call whose reply was lost may have taken a task, or a server that was frozen may still carry it out."""
        for entry in list(self._unanswered):
            holder, since = entry
            taken = self._reclaim(holder) if holder else None
            if taken is not None or time.monotonic() - since > _IN_FLIGHT_SECONDS or not holder:
                self._unanswered.remove(entry)
            if taken is not None:
                lease = self._lease_of(taken, holder, since)
                lease.retry(0.0)  # how much of it is left is not known: renew first
                return lease
        return None

    def _reclaim(self, holder: str) -> Optional[Taken]:
        return self._ledger.reclaim(holder)

    def hand_back_unanswered(self) -> None:
        """Gives back what calls without a reply have taken."""
        lease = self._find_unanswered()
        while lease is not None:
            logger.info('queue %s: hands back a task that a call without a reply had taken', self.queue_of(lease).name)
            self.settle(lease, Verdict.HAND_BACK)
            lease = self._find_unanswered()


def sweep(queue: Queue, max_losses: int, lease: float, ledger: Optional[Ledger] = None) -> Tuple[int, bool]:
    """Sweeps as workers and sweepers do. Returns how much was repaired, and whether all leases were looked at: those
    that workers renew are spared where the living may have had no chance to (see may_sweep.lua)."""
    if type(queue).requeue_lost is not Queue.requeue_lost:
        return queue.requeue_lost(), True
    ledger = ledger or queue.ledger
    allowed = ledger.may_sweep(lease * 1000)
    return ledger.sweep(max_losses, not allowed, lambda lost: _tell(queue.name, lost)), allowed


def _tell(queue_name: str, lost: Lost) -> None:
    who = 'worker %s' % ':'.join(lost.holder.split(':')[:2]) if lost.holder else 'whoever had taken it'
    logger.warning('queue %s: the lease of %s ended, which %s had: %s', queue_name, describe(lost.head), who,
                   'it waits again' if lost.waits else 'it is set aside, for it was lost too often')


def overrides(queue: Queue) -> bool:
    """Whether its class is the user's own and overrides what a worker calls."""
    return any(getattr(type(queue), name) is not getattr(Queue, name) for name in _OVERRIDABLE)
