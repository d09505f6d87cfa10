"""What a monitor knows of a batch that it has sent to its child. No I/O but for the shared page; moments are monotonic
seconds.

The child answers each message, in order. What the monitor must know sooner it finds on the page: which tasks have
ended, and which has begun.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional, Sequence

from ._attempt import Attempt
from ._lease import Lease
from ._page import Outcome, Page, Slot, Step

#: How long after tasks were revoked the page is looked at, in seconds: by then whatever the child had noted before it
#: could know is there to be seen, even where processors are slow to show each other what they write.
_SETTLING = 0.001


class Sent(NamedTuple):
    """One task of the batch. `number`: which of its child's it is."""

    lease: Lease
    slot: Slot
    number: int


class Batch:
    """Those of its tasks that are *open* are with the child, and not settled."""

    def __init__(self, page: Page, sent: Sequence[Sent]) -> None:
        self._page = page
        self._sent = sent
        self._answered = 0
        self._closed = 0  # the first open one's index
        self._end = len(sent)  # what comes from here on was handed back
        self._revoked_at: Optional[float] = None
        #: How the monitor watches the first open one, and which that is.
        self.attempt: Optional[Attempt] = None
        self._attempted = 0

    @property
    def answered(self) -> bool:
        """Whether the child has answered all messages."""
        return self._answered == len(self._sent)

    @property
    def head(self) -> Optional[Sent]:
        """The first open one: what runs, or is to run next."""
        return self._sent[self._closed] if self._closed < self._end else None

    def attempt_of(self, head: Sent, begin: Callable[[], Attempt]) -> Attempt:
        """The attempt to run the first open one; `begin` makes it."""
        if self.attempt is None or self._attempted != head.number:
            self.attempt, self._attempted = begin(), head.number
        if head.slot.began:
            self.attempt.begun(head.slot.began)
        return self.attempt

    @property
    def crowded(self) -> bool:
        """Whether others wait behind the first."""
        return self._end - self._closed > 1

    @property
    def settles_at(self) -> Optional[float]:
        """When to look which of the tasks that were revoked have begun."""
        return None if self._revoked_at is None else self._revoked_at + _SETTLING

    def agrees(self, skipped: bool) -> bool:
        """Whether the page agrees with the next answer, that its task has ended or was skipped. Raises `IndexError` for
        an answer that nobody waits for."""
        step = self._sent[self._answered].slot.step
        return step is (Step.RECEIVED if skipped else Step.ENDED)

    def answer(self) -> Optional[Sent]:
        """The child has answered the next message. Returns its task if it was open until now."""
        index, self._answered = self._answered, self._answered + 1
        sent = self._sent[index]
        if not self._closed <= index < self._end:
            return None  # the page had told it before, or it was handed back
        assert index == self._closed
        self._closed += 1
        return sent

    @property
    def speaker(self) -> Optional[Sent]:
        """The first open one, if what the child says now, and what is no answer, is about that."""
        return self.head if self._closed == self._answered else None

    def pop_ended(self, dead: bool = False) -> Optional[Sent]:
        """Closes the first open one if the page says that it has ended, its handlers too, and that is all there is to
        say of it. dead: the child says no more."""
        head = self.head
        if head is None or head.slot.step is not Step.ENDED:
            return None
        if not dead and (self._page.begun <= head.number or head.slot.outcome is not Outcome.FINISHED):
            return None  # the answer says why
        self._closed += 1
        return head

    def revoke(self, now: float) -> None:
        """The child is to begin no other task of the batch."""
        if self._revoked_at is None:
            self._page.revoked = self._sent[-1].number
            self._revoked_at = now

    def settle(self) -> List[Sent]:
        """Closes those that have not begun, to be called at `settles_at`, and returns them, the last first."""
        begun = self._page.begun
        first = next((index for index in range(self._closed, self._end) if self._sent[index].number > begun), self._end)
        return self._close_from(max(first, min(self._closed + 1, self._end)))

    def close_others(self) -> List[Sent]:
        """The child is dead, or will be killed: the same for all but the first open one."""
        return self._close_from(min(self._closed + 1, self._end))

    def close_all(self) -> List[Sent]:
        """The same for all that are open."""
        return self._close_from(self._closed)

    def _close_from(self, index: int) -> List[Sent]:
        closed = list(reversed(self._sent[index:self._end]))
        self._end = index
        self._revoked_at = None
        return closed
