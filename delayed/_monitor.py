"""The engine under both workers: takes tasks, has a child run them, settles what became of them.

It runs no user code, but for the error handler of a task whose process was killed. It waits in one place, `_watch`, for
signals, the child's reports and death, and the next deadline; it never polls.
"""

from __future__ import annotations

import math
import select
import signal
import socket
import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Callable, NoReturn, Optional, Type

from . import _backoff, _fds, _memory, _runner
from ._attempt import Attempt, Cause, Verdict, judge, keep_failed
from ._blackbox import BlackBox
from ._books import SLOW, Books, Done
from ._child import Child, Exit, signal_name
from ._children import Children
from ._describe import describe
from ._lease import Lease
from ._life import ChildOptions, lives_of
from ._options import Options, child_options
from ._page import Slot, Step
from ._shield import Shield
from ._source import Source
from ._stacks import StackFiles
from ._stop import Stop
from ._terms import provisional_timeout_of
from ._trust import read_safely
from ._wakeup import Wakeup, milliseconds
from .errors import TaskExited
from .logger import logger
from .outcome import Kind, Outcome

if TYPE_CHECKING:
    from ._lean import LeanForks

#: Why a task ended whose child died before its report.
UNSAID = 'its process ended before it could say why'
#: A child that is to hand its task back has so long to die of SIGTERM, in seconds.
_HAND_BACK_GRACE = 0.3
#: Without a descriptor that tells of a child's death, it is asked so often, in seconds.
_BLIND_INTERVAL = 0.5
_ENDED, _HAND_BACK = Step.ENDED, Verdict.HAND_BACK  # see _attempt.py


class Monitor:
    """One run of a worker."""

    _runner: Type[_runner.Runner] = _runner.Runner
    _slots = 3  # one task may run while Redis does not know of the ends of the two before it

    def __init__(self, source: Source, options: Options, wakeup: Wakeup, stop: Stop, shield: Shield,
                 note_pid: Callable[[Optional[int]], None]) -> None:
        self._source = source
        self._options = options
        self._wakeup = wakeup
        self._stop = stop
        of_children = child_options(options, shield)
        lives = lives_of(self._runner, of_children, source.reopened, source.forgetter)
        self._children = Children(lives, options.max_tasks, max(options.kill_timeout, 1.0), note_pid, self._slots,
                                  self._lean_forks(of_children))
        self._books = self._open_books()
        self._provisional_timeouts = [provisional_timeout_of(queue) for queue in options.queues]
        self._black_box = BlackBox(options.queues, options.limits)
        self._unbegun = 0  # how many children in a row died before they began their task
        self._told_of_stop = self._told_of_delay = False

    def _lean_forks(self, of_children: ChildOptions) -> Optional[Callable[[StackFiles], LeanForks]]:
        recipe = self._options.recipe
        if recipe is None:
            return None
        from ._lean import LeanForks  # here, for few workers have them
        return partial(LeanForks, of_children, recipe, self._care, self._slots)

    def _care(self, caretaker: socket.socket) -> NoReturn:
        """In a process of its own."""
        from ._caretaker import serve  # here, for few workers have one
        self._source.forgetter()()
        serve(caretaker, self._source.reopened())

    def _open_books(self) -> Books:
        return Books(self._source, self._options.sweep_interval, self._stop, self._wakeup.wait, self._children.part)

    def run(self) -> None:
        """Works until it is to stop. On return no child and no descriptor is left."""
        if self._options.max_tasks == 1:
            from ._rehearsal import rehearse  # here, for a pre-forked child learns by itself
            rehearse(self._runner, (_fds.pipe, _fds.close))
        self._source.open()
        _memory.trim()
        try:
            while not (self._stop.wanted and self._books.balanced):
                lease = self._books.next()
                if lease is not None:
                    self._attempt(lease)
                elif self._stop.urgent and not self._books.balanced:
                    self._books.give_up()
                    break
                else:
                    self._explain_delay()
                    self._children.rest()
                    self._children.tend()
        except BaseException:  # of a signal handler of the program's own: SystemExit, say
            self._books.tell()
            raise
        finally:
            self._children.dismiss()
            self._source.close()

    def _explain_delay(self) -> None:
        """Once, if nothing but Redis keeps this worker from stopping."""
        if self._stop.wanted and not self._books.balanced and not self._told_of_delay:
            self._told_of_delay = True
            logger.warning('stopping when Redis is back, for it does not know how the last task ended; a second signal '
                           'stops now, and that task may run again')

    def _attempt(self, lease: Lease) -> None:
        """Has a child run the task, and notes what is to become of it."""
        try:
            child = self._children.ready()
        except OSError as error:
            logger.error('cannot fork (%s): %s goes back', error, describe(lease.payload))
            self._books.ended(Done(lease, Verdict.HAND_BACK), 0.0)
            self._pause()
            return
        slot = child.next_slot()
        slot.prepare(lease.tokens, lease.queue)
        attempt = self._begin(lease)
        try:
            child.send([lease.payload])
            attempt.forked_for = self._children.fork_ahead(self._books.brisk)
            self._books.take_ahead(lease)
            report = self._watch(child, slot, lease, attempt)
        except BaseException:
            attempt.end(time.monotonic(), Cause.HANDED_BACK, 0.0)
            self._conclude(child, slot, lease, attempt, None)
            raise
        self._conclude(child, slot, lease, attempt, report)

    def _begin(self, lease: Lease) -> Attempt:
        options = self._options
        return Attempt(time.monotonic(), self._provisional_timeouts[lease.queue], options.kill_timeout)

    def _conclude(self, child: Child, slot: Slot, lease: Lease, attempt: Attempt, report: Optional[str]) -> None:
        """Notes how the task ended, or its child, which is dead or to be killed if there is no report."""
        exited = outcome = None
        if report is None or attempt.signalled:
            exited = child.kill()
            outcome = self._black_box.open(child, slot, lease, attempt.cause, exited)
            self._children.bury(child)
        verdict = self._judge(slot, attempt.cause)
        reason, record = _runner.parse_ending(report) if report else (UNSAID, '')
        if outcome is not None and outcome.kind is not Kind.FINISHED and not record:
            reason, record = 'it ' + outcome.what, outcome.to_json()
        now = time.monotonic()
        self._books.ended(Done(lease, verdict, reason, child, slot, record),
                          max(0.0, now - attempt.began - attempt.forked_for))
        if exited is None:
            self._end_if_out_of_step(child)
        self._children.ended(now)
        if exited is not None and outcome is not None:
            self._mourn(child, slot.step, lease, verdict, exited, outcome)
        if verdict is _HAND_BACK and attempt.cause is None:
            self._pause()
        else:
            self._unbegun = 0

    def _pause(self) -> None:
        self._unbegun += 1
        self._wakeup.wait(_backoff.delay(self._unbegun))

    def _watch(self, child: Child, slot: Slot, lease: Lease, attempt: Attempt) -> Optional[str]:
        """Waits until the child reports the task's end, and returns what it says of it; `None`: it died without."""
        report = self._receive(child, slot, attempt)  # a short task has ended while Redis was asked
        if report is not None:
            return report
        poll = self._poll_of(child)
        while True:
            poll.poll(milliseconds(self._seconds_left(child, lease, attempt)))
            self._wakeup.drain()
            report = self._receive(child, slot, attempt, poll)  # it counts even if the child died right after it
            if report is None and child.reap() is not None:
                return self._receive(child, slot, attempt, poll)
            if report is not None:
                return report
            if child.writer.pending:
                child.send_rest(poll)
            now = time.monotonic()
            self._keep(slot, lease, attempt, now)
            self._signal_in_time(child, slot, lease, attempt, now)

    def _signal_in_time(self, child: Child, slot: Slot, lease: Lease, attempt: Attempt, now: float) -> None:
        self._note_beginning(slot, attempt)
        if attempt.asks(now):
            child.stacks.ask(child.pid)
        signum = attempt.tick(now)
        if signum is not None:
            logger.warning('%s %s: sending %s to child %d', describe(lease.payload),
                           attempt.cause.value if attempt.cause else '', signal_name(signum), child.pid)
            child.signal(signum)

    def _poll_of(self, child: Child) -> select.poll:
        poll = select.poll()
        poll.register(self._wakeup.fd, select.POLLIN)
        poll.register(child.reader.fd, select.POLLIN)
        if child.writer.pending:
            poll.register(child.writer.fd, select.POLLOUT)
        if child.death_fd is not None:
            poll.register(child.death_fd, select.POLLIN)
        return poll

    def _seconds_left(self, child: Child, lease: Lease, attempt: Attempt) -> Optional[float]:
        now = time.monotonic()
        until = min(attempt.deadline, attempt.asks_at, self._books.due(lease, attempt.began))
        if attempt.cause is None:
            until = min(until, self._stop.deadline)
        if child.death_fd is None:
            until = min(until, now + _BLIND_INTERVAL)
        return None if until == math.inf else max(0.0, until - now)

    def _receive(self, child: Child, slot: Slot, attempt: Attempt,
                 poll: Optional[select.poll] = None) -> Optional[str]:
        """Returns what the child reports of the task's end, if it does: last, where the task has said so before it."""
        self._fill(child, poll)
        report = None
        try:
            for message in child.reader.messages():
                kind = message[:1]
                if kind == _runner.TIMEOUT:
                    _runner.TIMEOUT_SECONDS.unpack(message[1:])
                    self._allow_own_timeout(slot, attempt)
                elif kind == _runner.ENDED and slot.step is _ENDED:
                    report = message[1:].decode('utf-8', 'replace')
                elif kind == _runner.ENDED or kind == _runner.SKIPPED and slot.step is not Step.RECEIVED:
                    # of this task or one before; the page has the truth
                    logger.error('a task of child %d wrote an answer into our pipe that is none', child.pid)
                else:
                    raise ValueError('%r' % kind)
        except (ValueError, struct.error) as error:
            self._end_scribbler(child, error)
        return report

    def _judge(self, slot: Slot, cause: Optional[Cause]) -> Verdict:
        verdict = judge(slot.step, slot.outcome, cause, self._options.requeue_crashed)
        return keep_failed(verdict, slot.outcome) if self._options.keep_failed else verdict

    def _end_if_out_of_step(self, child: Child) -> None:
        """All tasks that it was sent have ended: what else it says would be taken for the next one's."""
        if child.reader.holds_part:
            self._end_scribbler(child, 'more than it should')
        if child.was_killed_by_us:
            self._children.bury(child)

    @staticmethod
    def _note_beginning(slot: Slot, attempt: Attempt) -> None:
        began = slot.began
        if began:
            attempt.begun(began)

    def _allow_own_timeout(self, slot: Slot, attempt: Attempt) -> None:
        """The page has it: what comes through the pipe may be from anybody."""
        self._note_beginning(slot, attempt)
        seconds = slot.timeout
        if seconds >= 0:
            attempt.allow(seconds)

    @staticmethod
    def _end_scribbler(child: Child, what: object) -> None:
        """A task wrote into our pipe, which makes no sense from there on."""
        logger.error('a task of child %d wrote into our pipe (%s): ending the child', child.pid, what)
        child.signal(signal.SIGKILL)
        child.reader.drop()

    @staticmethod
    def _fill(child: Child, poll: Optional[select.poll]) -> None:
        try:
            if not child.reader.fill() and poll is not None:
                poll.unregister(child.reader.fd)  # the end of a pipe stays readable, and would wake for ever
        except BlockingIOError:
            pass
        except KeyError:
            pass  # unregistered before

    def _keep(self, slot: Slot, lease: Lease, attempt: Attempt, now: float) -> None:
        """Does what is due while the task runs, and ends it if it must not go on."""
        if self._stop.wanted and not self._told_of_stop:
            self._told_of_stop = True
            logger.info('stopping when %s has ended; a second signal hands it back now', describe(lease.payload))
        if attempt.cause is None and self._stop.urgent:
            attempt.end(now, Cause.HANDED_BACK, min(self._options.kill_timeout, _HAND_BACK_GRACE))
        if now >= attempt.began + SLOW:
            self._children.rest()
        if not self._books.keep(lease, attempt.began, slot):
            attempt.end(now, Cause.LEASE_LOST, 0.0)
        elif self._options.kill_on_partition and lease.seconds and self._books.seconds_away > lease.seconds / 2:
            attempt.end(now, Cause.LEASE_LOST, 0.0)

    def _mourn(self, child: Child, step: Step, lease: Lease, verdict: Verdict, exited: Exit, outcome: Outcome) -> None:
        """The child died without a report: says so, and calls the error handler where its task has failed by that."""
        logger.error('%s %s: child %d ended with %s; %s%s', describe(lease.payload), outcome, child.pid, exited,
                     verdict.value, ''.join('\n' + each for each in (outcome.note, outcome.stack) if each),
                     extra=outcome.as_fields())
        options = self._options
        has_failed = verdict in (Verdict.RELEASE, Verdict.SET_ASIDE) and step is not Step.ENDED
        if has_failed and options.handlers.error is not None:
            task = read_safely(options.queues[lease.queue].trust, lease.payload, step is Step.READ)
            if task is not None:
                task.outcome = outcome
                self._books.tell()  # before: no lease is renewed while the handler runs
                exc_info = (TaskExited, TaskExited(exited.code, task.id), None) if exited.signum is None else None
                options.handlers.failed(task, exited.signum, exc_info)
