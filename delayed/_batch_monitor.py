"""The engine of a worker that takes tasks in batches: the child gets several at once, and is watched as ever."""

from __future__ import annotations

import math
import select
import struct
import time
from typing import Any, Iterable, List, Optional, Tuple

from . import _runner
from ._attempt import Attempt, Cause, Verdict
from ._batch import Batch, Sent
from ._batch_runner import BatchRunner
from ._books import SLOW, Books, Done
from ._child import Child
from ._describe import describe
from ._lease import Lease
from ._monitor import UNSAID, Monitor
from ._options import Options
from ._page import Outcome
from ._prefetch import BatchBooks, BatchSource
from ._wakeup import milliseconds
from .logger import logger

#: When all is known, and the child has but to say so, it is asked whether it lives so often, in seconds.
_ANSWERING = 0.5
#: How long a child may take to begin with a batch before the others wait for somebody else, in seconds: it may be new.
_STARTING = 1.0
_FINISHED, _RELEASE = Outcome.FINISHED, Verdict.RELEASE  # see _attempt.py


class BatchMonitor(Monitor):
    """Sends the child up to `prefetch` tasks at once, and takes back what has not begun when one of them is slow."""

    _runner = BatchRunner

    def __init__(self, source: BatchSource, options: Options, *args: Any) -> None:
        self._batch_source = source
        # Those with the child; before them those whose end Redis does not know; between them those that were revoked.
        self._slots = 3 * options.prefetch + 1
        super().__init__(source, options, *args)

    def _open_books(self) -> Books:
        children, prefetch = self._children, self._options.prefetch
        # What its child may not run any more would wait again, behind the batch that is in hand by then.
        self._batch_books = BatchBooks(self._batch_source, self._options.sweep_interval, self._stop, self._wakeup.wait,
                                       children.part, lambda: min(prefetch, children.room))
        return self._batch_books

    def _attempt(self, lease: Lease) -> None:
        if not lease.ahead:  # it came alone
            super()._attempt(lease)
            return
        leases = [lease, *self._batch_books.rest()]
        try:
            child = self._children.ready()
        except OSError as error:
            logger.error('cannot fork (%s): %s goes back', error, describe(lease.payload))
            for each in reversed(leases):
                self._books.ended(Done(each, Verdict.HAND_BACK), SLOW)
            self._pause()
            return
        batch = self._prepare(child, leases)
        try:
            child.send([each.payload for each in leases])
            self._children.fork_ahead(self._books.brisk)
            self._books.take_ahead(lease)
            self._watch_batch(child, batch)
        except BaseException:
            self._end_batch(child, batch, Cause.HANDED_BACK)
            raise
        if batch.answered and not child.closed:
            self._end_if_out_of_step(child)
        self._children.ended(time.monotonic())

    @staticmethod
    def _prepare(child: Child, leases: List[Lease]) -> Batch:
        sent: List[Sent] = []
        number = child.sent
        for lease, slot in zip(leases, child.next_slots(len(leases))):
            number += 1
            # the first was looked at, and is renewed, as any single task
            slot.prepare(lease.tokens, lease.queue, lease.due if sent else math.inf)
            sent.append(Sent(lease, slot, number))
        return Batch(child.page, sent)

    def _hand_back(self, child: Child, tasks: Iterable[Sent]) -> None:
        """In this order, each in front of the one before."""
        for sent in tasks:
            child.take_back()
            self._books.ended(Done(sent.lease, Verdict.HAND_BACK, '', child, sent.slot), SLOW)

    def _watch_batch(self, child: Child, batch: Batch) -> None:
        """Waits until the child has answered for all tasks, or is dead; notes what becomes of each."""
        since = self._hear(child, batch, time.monotonic())
        if batch.answered:
            return
        poll = self._poll_of(child)
        while not batch.answered:
            poll.poll(milliseconds(self._batch_seconds_left(child, batch)))
            self._wakeup.drain()
            since = self._hear(child, batch, since, poll)
            if child.closed:  # it ended one that was told to
                self._close_ended(child, batch, dead=True)
                self._hand_back(child, batch.close_all())
                return
            if batch.answered:
                return
            if child.reap() is not None:
                self._hear(child, batch, since, poll)
                self._end_batch(child, batch, None)
                return
            if child.writer.pending:
                child.send_rest(poll)
            self._look_after(child, batch, time.monotonic())

    def _hear(self, child: Child, batch: Batch, since: float, poll: Optional[select.poll] = None) -> float:
        """Takes what the child says. `since`: when it was asked last. Returns when it has said something last."""
        self._fill(child, poll)
        ended: List[Tuple[Sent, bytes]] = []
        skipped: List[Sent] = []
        try:
            for message in child.reader.messages():
                kind = message[:1]
                if kind == _runner.TIMEOUT:
                    _runner.TIMEOUT_SECONDS.unpack(message[1:])
                    self._allow(batch)
                elif kind not in _runner.ANSWERS:
                    raise ValueError('%r' % kind)
                elif not batch.agrees(kind == _runner.SKIPPED):
                    logger.error('a task of child %d wrote an answer into our pipe that is none', child.pid)
                else:
                    sent = batch.answer()
                    if sent is not None and kind == _runner.SKIPPED:
                        skipped.append(sent)
                    elif sent is not None:
                        ended.append((sent, message))
        except (IndexError, ValueError, struct.error) as error:
            self._end_scribbler(child, error)
        if not ended and not skipped:
            return since
        now, self._unbegun = time.monotonic(), 0
        attempt = batch.attempt
        signalled, seconds = attempt is not None and attempt.signalled, (now - since) / max(1, len(ended))
        for sent, message in ended:
            if message == _runner.ENDED and sent.slot.outcome is _FINISHED and not signalled:  # most of them
                self._books.ended(Done(sent.lease, _RELEASE, '', child, sent.slot), seconds)
            else:
                self._note_end(child, batch, sent, message[1:].decode('utf-8', 'replace'), seconds)
        self._hand_back(child, reversed(skipped))
        return now

    def _note_end(self, child: Child, batch: Batch, sent: Sent, report: str, seconds: float) -> None:
        """The child has reported the end of a task, or the page tells of it."""
        slot, attempt = sent.slot, batch.attempt
        if attempt is not None and attempt.signalled:  # of this one: no other was with the child
            self._conclude(child, slot, sent.lease, attempt, report)
        else:
            verdict = self._judge(slot, None)
            reason, record = _runner.parse_ending(report)
            self._books.ended(Done(sent.lease, verdict, reason, child, slot, record), seconds)

    def _allow(self, batch: Batch) -> None:
        """The child says that its task has a timeout of its own."""
        head = batch.speaker
        if head is not None:
            self._allow_own_timeout(head.slot, self._attempt_of(batch, head))

    def _attempt_of(self, batch: Batch, head: Sent) -> Attempt:
        return batch.attempt_of(head, lambda: self._begin(head.lease))

    def _look_after(self, child: Child, batch: Batch, now: float) -> None:
        """Does what is due. No signal is sent while other tasks are with the child: it might hit one of those."""
        self._close_ended(child, batch)
        head = batch.head
        if head is None:
            return
        attempt = self._attempt_of(batch, head)
        self._keep(head.slot, head.lease, attempt, now)
        settles_at = batch.settles_at
        if settles_at is not None:
            if now >= settles_at:
                self._hand_back(child, batch.settle())
        elif batch.crowded:
            is_slow = now >= min(self._slow_at(head, attempt), attempt.deadline)
            if is_slow or attempt.cause is not None or self._stop.wanted:
                batch.revoke(now)
        else:
            if head.lease.ahead and now >= self._slow_at(head, attempt):
                head.lease.ahead = False
                head.lease.retry(now)  # renews it: so Redis learns that it has begun, and its loss would count
            self._signal_in_time(child, head.slot, head.lease, attempt, now)

    @staticmethod
    def _slow_at(head: Sent, attempt: Attempt) -> float:
        return attempt.began + (SLOW if head.slot.began else _STARTING)

    def _close_ended(self, child: Child, batch: Batch, dead: bool = False) -> None:
        ended = batch.pop_ended(dead)
        while ended is not None:
            self._note_end(child, batch, ended, UNSAID if dead else '', SLOW)
            ended = batch.pop_ended(dead)

    def _end_batch(self, child: Child, batch: Batch, cause: Optional[Cause]) -> None:
        """The child is dead, or is to be killed for that cause."""
        child.kill()  # first: from now on the page does not change
        if not child.closed:
            self._hear(child, batch, time.monotonic())
        self._close_ended(child, batch, dead=True)
        self._hand_back(child, batch.close_all() if child.closed else batch.close_others())
        head = batch.head
        if head is None:
            if not child.closed:
                self._children.bury(child)
            return
        attempt = self._attempt_of(batch, head)
        if cause is not None:
            attempt.end(time.monotonic(), cause, 0.0)
        self._conclude(child, head.slot, head.lease, attempt, None)

    def _batch_seconds_left(self, child: Child, batch: Batch) -> Optional[float]:
        head, now = batch.head, time.monotonic()
        if head is None:
            return _ANSWERING
        attempt = self._attempt_of(batch, head)
        left = self._seconds_left(child, head.lease, attempt)
        if batch.settles_at is not None:
            until = batch.settles_at
        elif batch.crowded or head.lease.ahead:
            until = self._slow_at(head, attempt)
        else:
            return left
        return max(0.0, min(until - now, math.inf if left is None else left))
