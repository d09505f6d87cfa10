"""The monitor's decisions about one run of one task. No I/O, no clock: every moment is passed in, in monotonic
seconds."""

from __future__ import annotations

import enum
import math
import signal
from typing import Optional

from ._page import Outcome, Step

#: So long, in seconds, a task has at least to begin, and until it is known to have less: a child needs time to read.
_READING = 5.0
#: So long before its time is up, in seconds, a task is asked where it stands, or a tenth of its time if that is less.
_STACKS_LEAD = 0.05


class State(enum.Enum):
    SENDING = 'sending'  # the child has not begun it: the payload is on its way through the pipe, or lies there
    RUNNING = 'running'
    TERMINATING = 'terminating'  # SIGTERM sent
    KILLING = 'killing'  # SIGTERM did not help, SIGKILL sent


#: Past the deadline: the next state, and the signal to send.
ESCALATE = {
    State.SENDING: (State.KILLING, signal.SIGKILL),
    State.RUNNING: (State.TERMINATING, signal.SIGTERM),
    State.TERMINATING: (State.KILLING, signal.SIGKILL),
}


#: By short names: in Python 3.11, to look up a member of an enumeration costs as much as to call a function.
_SENDING, _RUNNING, _SIGNALLED = State.SENDING, State.RUNNING, (State.TERMINATING, State.KILLING)


class Cause(enum.Enum):
    """Why the monitor ends a child."""

    TIMED_OUT = 'timed out'
    NOT_BEGUN = 'was not begun by its child in time'
    HANDED_BACK = 'was handed back'
    LEASE_LOST = 'lost its lease'


#: Whether the task had begun, the page tells: the monitor may have looked just before.
OUT_OF_TIME = Cause.TIMED_OUT, Cause.NOT_BEGUN


class Verdict(enum.Enum):
    """What becomes of a task; the values are the words of the log."""

    RELEASE = 'it does not run again'
    HAND_BACK = 'it waits again'  # at the front of the list; it has not begun, or is asked back: no loss
    SET_ASIDE = 'it is set aside'
    LOSE = 'it waits again, or is set aside if it was lost too often'
    DROP = 'it is no longer ours'  # touch nothing


class Attempt:
    """One run of one task as the monitor sees it."""

    state = State.SENDING
    cause: Optional[Cause] = None
    _asked = False
    #: For how many seconds its monitor forked others meanwhile, and would not have seen its end.
    forked_for = 0.0

    def __init__(self, now: float, timeout: float, grace: float) -> None:
        """timeout: seconds for the task, from its beginning; half of it to begin. grace: seconds after SIGTERM."""
        self.deadline = now + max(timeout / 2, _READING)
        self._timeout = timeout
        self._grace = grace
        #: When it began, once that is known: from here on its timeout counts.
        self.began = now

    @property
    def signalled(self) -> bool:
        """Whether its child was told to end."""
        return self.state in _SIGNALLED

    @property
    def asks_at(self) -> float:
        """When its child is to be asked for its stacks: just before it is ended for want of time."""
        if self._asked or self.state is not State.RUNNING or self.cause is not None:
            return math.inf
        return self.deadline - min(_STACKS_LEAD, (self.deadline - self.began) / 10)

    def asks(self, now: float) -> bool:
        """Whether to ask now; once."""
        if now < self.asks_at:
            return False
        self._asked = True
        return True

    def begun(self, moment: float) -> None:
        """Its child began it at that moment."""
        if self.state is _SENDING:
            self.state, self.began = _RUNNING, moment
            self.deadline = moment + self._timeout

    def allow(self, timeout: float) -> None:
        """The child says that the task has a timeout of its own, in seconds."""
        if self.state is State.RUNNING and self.cause is None:
            self.deadline = self.began + timeout

    def end(self, now: float, cause: Cause, grace: float) -> None:
        """Something else than the deadline ends it; `grace` is the time between SIGTERM and SIGKILL."""
        if self.state is State.RUNNING or self.state is State.SENDING:
            self.state, self.cause, self.deadline, self._grace = State.RUNNING, cause, now, grace

    def tick(self, now: float) -> Optional[int]:
        """Returns the signal to send now, if any; each is returned once."""
        if self.state not in ESCALATE or now < self.deadline:
            return None
        if self.cause is None:
            self.cause = Cause.NOT_BEGUN if self.state is State.SENDING else Cause.TIMED_OUT
        self.state, signum = ESCALATE[self.state]
        self.deadline = now + self._grace if self.state in ESCALATE else math.inf
        return signum


_ENDED, _RELEASE, _NO_TASK = Step.ENDED, Verdict.RELEASE, (Outcome.UNREADABLE, Outcome.NOT_LOADABLE)


def provisional_timeout(default_timeout: float) -> float:
    """The timeout, in seconds, that a task has until its child says what its own is."""
    return max(default_timeout, _READING)


def judge(step: Step, outcome: Outcome, cause: Optional[Cause], requeue_crashed: bool) -> Verdict:
    """What becomes of a task whose child reported, or died, having come as far as `step` and `outcome`."""
    if step is _ENDED:  # even if its lease was lost: where it waits again, it must not run again
        return Verdict.SET_ASIDE if outcome in _NO_TASK else _RELEASE
    if cause is Cause.LEASE_LOST:
        return Verdict.DROP
    begun = step in (Step.BEGUN, Step.READ)
    if cause in OUT_OF_TIME:  # a loss is counted: what no child can begin must not go round for ever
        return Verdict.RELEASE if begun else Verdict.LOSE
    if cause is Cause.HANDED_BACK or not begun:
        return Verdict.HAND_BACK
    return Verdict.LOSE if requeue_crashed else Verdict.RELEASE  # its process died of it: it failed


def keep_failed(verdict: Verdict, outcome: Outcome) -> Verdict:
    """The same, where tasks that failed are set aside."""
    return Verdict.SET_ASIDE if verdict is Verdict.RELEASE and outcome is not Outcome.FINISHED else verdict
