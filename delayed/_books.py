"""What a monitor holds of Redis and owes to it: the next task, and what it could not yet tell of the last ones."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Callable, Deque, List, NamedTuple, Optional, Sequence

from ._attempt import Verdict
from ._child import Child
from ._describe import describe
from ._lease import Lease
from ._outage import Outage
from ._page import Slot
from ._redis import Unavailable
from ._source import Source
from ._stop import Stop
from .logger import logger

#: A task that runs so long, in seconds, is slow: none is held ready behind it.
SLOW = 0.02
#: One that takes no longer than this, in seconds, takes no longer than it takes to ask Redis for the next.
_RAPID = 0.001
#: Where sweeps are so far apart, in seconds, to wait for a task for a second does not matter.
_UNHURRIED = 2.5
_RELEASE, _HAND_BACK = Verdict.RELEASE, Verdict.HAND_BACK  # see _attempt.py


class Done(NamedTuple):
    """A task that needs no child any more, and what is to become of it. `child` and `slot`: where it ran, if it did."""

    lease: Lease
    verdict: Verdict
    reason: str = ''
    child: Optional[Child] = None
    slot: Optional[Slot] = None
    record: str = ''  # how it ended, as JSON, unless it has simply finished

    @property
    def is_plain(self) -> bool:
        """Whether there is no more to tell of it than that it has ended."""
        return self.verdict is _RELEASE and not self.record


class Pace:
    """Whether to take tasks ahead: only while some wait, and they are short."""

    backlog = False
    seconds = math.inf  # that the last task took

    @property
    def brisk(self) -> bool:
        return self.backlog and self.seconds < SLOW / 2

    @property
    def rapid(self) -> bool:
        """Whether to take one more, for even the round trip to Redis is worth to be hidden."""
        return self.backlog and self.seconds < _RAPID


class Books:
    """Talks to Redis for one monitor, and bears that it is away. `part(child)` is called when Redis knows of its
    task's end."""

    def __init__(self, source: Source, sweep_interval: Optional[float], stop: Stop, wait: Callable[[float], None],
                 part: Callable[[Child], None]) -> None:
        self._source = source
        self._sweep_interval = sweep_interval
        self._stop = stop
        self._wait = wait
        self._part = part
        self._outage = Outage(source.longest_pause)
        self._pace = Pace()
        #: What Redis does not know yet, in the order in which it ended.
        self._unsettled: Deque[Done] = deque()
        #: The next tasks.
        self._hand: Deque[Lease] = deque()
        #: What a call tells that is under way; it takes what comes behind those. `None`: there is none.
        self._flight: Optional[List[Done]] = None
        #: How many ends of tasks can be told by the call that takes the next.
        self._most_joined = 1
        self._probed = False
        self._sweep_at = self._retry_at = time.monotonic()

    @property
    def balanced(self) -> bool:
        """Whether Redis knows all, and nothing is held."""
        return not self._unsettled and not self._hand and self._flight is None

    @property
    def brisk(self) -> bool:
        """Whether tasks are short and more of them wait."""
        return self._pace.brisk

    @property
    def seconds_away(self) -> float:
        """How long Redis has been away."""
        return self._outage.seconds

    def ended(self, done: Done, seconds: float) -> None:
        """Notes the end of a task, which took so long."""
        self._unsettled.append(done)
        self._pace.seconds = seconds

    def next(self) -> Optional[Lease]:
        """Tells Redis all and returns the next task; `None`: there is none, Redis is away, or the worker is to stop."""
        for done in self._unsettled:
            if done.verdict is _HAND_BACK:
                self._put_back()  # it was enqueued behind those, and is to stay there
                break
        if not self._hand:
            self._fetch()
        if self._hand and (self._stop.wanted or time.monotonic() >= self._hand[0].due):
            self.tell()
        return self._hand.popleft() if self._hand else None

    def _fetch(self) -> None:
        try:
            if not self._probed:
                self._source.probe()
                self._probed = True
            self._land()
            if not self._hand:
                self._settle_all()
            self._sweep_if_due()
            self._pace.backlog = bool(self._hand)
            if not self._hand and not self._stop.wanted:
                lease = self._source.take(self._patience())
                if lease is not None:
                    self._hand.append(lease)
            if self._hand and time.monotonic() >= self._hand[0].due:
                # This process was frozen, or the reply was late.
                if not self._source.extend(self._hand[0], None, _nobody):
                    self._hand.popleft()
            self._outage.over()
        except Unavailable as error:
            self._wait(self._outage.failed(error))

    def take_ahead(self, begun: Lease) -> None:
        """A task has begun: meanwhile tells Redis of the last one's end and takes the next, so that the two trips
        overlap. Where tasks are very short one more is taken, whose trip overlaps with all that the monitor does."""
        try:
            self._land()
            if not (self._pace.brisk and self._can_join and self._source.can_take_ahead):
                return
            if self._stop.wanted or self._outage.seconds:
                return
            self._sweep_if_due()
            in_hand = bool(self._hand)
            self._take_off(begun, True)
            if in_hand:  # it goes on while they are short: to change one's mind costs calls
                return
            self._land()
            self._pace.backlog = bool(self._hand)
            if self._pace.rapid and self._source.overlaps:
                self._take_off(None, True)
        except Unavailable as error:
            self._postpone(error)

    def due(self, lease: Lease, began: float) -> float:
        """When (monotonic) `keep` is to be called while a task runs."""
        moments = [lease.due]
        if self._sweep_interval is not None:
            moments.append(self._sweep_at)
        if self._hand or self._flight is not None:
            moments.append(began + SLOW)
        if self._unsettled and self._flight is None:  # else they are told with the next call
            moments.append(self._retry_at)
        return min(moments)

    def keep(self, lease: Lease, began: float, slot: Slot) -> bool:
        """While a task runs: renews its lease, hands back what was taken ahead, tells what is untold, sweeps, each
        when it is due. Returns `False` if the lease has become another's."""
        now = time.monotonic()
        if now >= began + SLOW or self._stop.wanted:
            self._put_back()
        if now < self.due(lease, began):
            return True
        if self._flight is not None:
            self._put_back()  # seldom: what has come would stand behind what is in hand
        try:
            if now >= lease.due and not self._source.extend(lease, None, lambda: slot.note_tokens(lease.tokens)):
                lease.retry(math.inf)
                return False
            if now >= self._retry_at:
                for done in list(self._unsettled):
                    self._settle(done)
            self._sweep_if_due()
            self._outage.over()
        except Unavailable as error:
            delay = self._postpone(error)
            lease.retry(max(lease.due, now + min(delay, (lease.seconds or math.inf) / 4)))
        return True

    def tell(self) -> None:
        """Tells Redis all it can, now: the next task goes back, for nothing is done for a while, or ever."""
        self._put_back()
        try:
            self._source.hand_back_unanswered()
            for done in list(self._unsettled):
                self._settle(done)
        except Unavailable as error:
            self._postpone(error)

    def give_up(self) -> None:
        """The worker stops at once and Redis is away."""
        for done in self._unsettled:
            logger.error('Redis is away: %s may run again, for its end could not be told', describe(done.lease.payload))

    def _put_back(self) -> None:
        """What is in hand waits again, as soon as Redis is told."""
        try:
            self._land()
        except Unavailable as error:
            self._postpone(error)
        while self._hand:
            self._unsettled.appendleft(Done(self._hand.popleft(), Verdict.HAND_BACK))  # those before go in front of it

    def _postpone(self, error: Exception) -> float:
        delay = self._outage.failed(error)
        self._retry_at = time.monotonic() + delay
        self._sweep_at = max(self._sweep_at, self._retry_at)
        return delay

    def _settle_all(self) -> None:
        """The last release is joined with taking the next task, but not while Redis is away: what each of the tries may
        have taken would have to be looked for."""
        while self._unsettled:
            if self._can_join and not self._stop.wanted and not self._outage.seconds:
                self._take_off(None, False)
                self._land()
            else:
                self._settle(self._unsettled[0])

    @property
    def _can_join(self) -> bool:
        """Whether the call that takes the next task can tell of all that is untold."""
        if len(self._unsettled) > self._most_joined:
            return False
        for done in self._unsettled:
            if not done.is_plain:
                return False
        return True

    def _take_off(self, begun: Optional[Lease], ahead: bool) -> None:
        """Begins a call that tells of what is untold and takes what is next. `_land` is to be called before another."""
        done = [*self._unsettled]
        self._source.advance([each.lease for each in done], begun, ahead, self._next_size())
        self._flight = done  # first: a signal's handler may raise now, and to tell of an end twice does no harm
        self._unsettled.clear()

    def _next_size(self) -> int:
        """How many tasks to take at once."""
        return 1

    def _land(self) -> None:
        """Waits for the reply to the call under way, if there is one."""
        done, self._flight = self._flight, None
        if done is None:
            return
        try:
            held, leases = self._source.advanced()
        except BaseException:
            self._unsettled.extendleft(reversed(done))
            raise
        self._hand.extend(leases)
        self._settled(done, held)

    def _settle(self, done: Done) -> None:
        held = self._source.settle(done.lease, done.verdict, done.reason, done.record)
        self._unsettled.remove(done)
        self._settled((done,), (held,))

    def _settled(self, ends: Sequence[Done], held: Sequence[bool]) -> None:
        """Redis knows of these ends, and which of the tasks were held until then."""
        for done, was_held in zip(ends, held):
            if done.slot is not None:
                done.slot.settled = True
            if not was_held and done.verdict is not Verdict.DROP:
                logger.warning('%s had lost its lease before its end could be told', describe(done.lease.payload))
        for child in {done.child for done in ends if done.child is not None}:
            if not any(done.child is child for done in self._unsettled):
                self._part(child)

    def _patience(self) -> float:
        """How long to wait for a task, in seconds: where leases are short, until the next sweep is due. More than half
        a lease between two sweeps counts as an outage; see may_sweep.lua."""
        if self._sweep_interval is None or self._sweep_interval > _UNHURRIED:
            return math.inf
        return self._sweep_at - time.monotonic()

    def _sweep_if_due(self) -> None:
        now = time.monotonic()
        if self._sweep_interval is None or now < self._sweep_at:
            return
        self._sweep_at = now + self._sweep_interval
        repaired = self._source.sweep()
        if repaired:
            logger.warning('brought back %d lost tasks or notifications', repaired)


def _nobody() -> None:
    """Who must know of a lease's new token while no child has its task."""
