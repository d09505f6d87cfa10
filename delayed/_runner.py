"""What runs inside a child: receives tasks, runs them, reports. It does not talk to Redis while its monitor lives."""

from __future__ import annotations

import itertools
import os
import struct
import time
from collections import deque
from typing import Any, Callable, Deque, NamedTuple, NoReturn, Optional, Sequence, Tuple

from . import _log
from ._channel import Reader, Writer, identity
from ._describe import describe, without_arguments
from ._limits import Limiter
from ._memory import MEGABYTE, resident
from ._orphan import Job, Orphan
from ._page import Outcome, Page, Step
from ._recorder import Recorder
from ._streams import exit_now
from ._terms import Terms
from ._trust import Trust
from .errors import UnreadablePayload
from .outcome import Kind
from .outcome import Outcome as Record
from .task import Task

#: What a message from the child begins with. Skipped: a task of a batch was not begun, for it was revoked, its lease
#: may end, this process is to be replaced, or the monitor is dead.
ENDED, SKIPPED, TIMEOUT = b'E', b'S', b'T'
ANSWERS = ENDED, SKIPPED  # no more is said of that task
_LONGEST_REASON = 10_000  # bytes
#: Between the reason and the record in the message of a task that is set aside. JSON has no such character.
RECORD = '\x1e'
TIMEOUT_SECONDS = struct.Struct('=d')

ExcInfo = Tuple[Any, Any, Any]


class Handlers(NamedTuple):
    """The user's handlers; one that fails is logged and changes nothing."""

    success: Optional[Callable[[Task], object]] = None
    error: Optional[Callable[[Task, Optional[int], Optional[ExcInfo]], object]] = None

    def succeeded(self, task: Task) -> None:
        if self.success is not None:
            self._call('success', task, self.success, task)

    def failed(self, task: Task, kill_signal: Optional[int], exc_info: Optional[ExcInfo]) -> None:
        if self.error is not None:
            self._call('error', task, self.error, task, kill_signal, exc_info)

    def _call(self, kind: str, task: Task, handler: Callable[..., object], *args: Any) -> None:
        try:
            handler(*args)
        except BaseException:
            _log.logger.exception('the %s handler failed for task %s', kind, task.id)


class Runner:
    """Runs tasks one after the other: `max_tasks` of them, or until this process has more than `max_rss` bytes."""

    def __init__(self, page: Page, tasks_fd: int, results_fd: int, handlers: Handlers, orphan: Orphan,
                 terms: Sequence[Terms], max_tasks: Optional[int], max_rss: Optional[int], recorder: Recorder) -> None:
        """terms: a task's `slot.queue` is a number among them."""
        self._terms = terms
        self._page = page
        self._reader, self._writer = Reader(tasks_fd), Writer(results_fd)
        self._pipes = identity(tasks_fd), identity(results_fd)
        self._handlers = handlers
        self._orphan = orphan
        self._max_tasks, self._max_rss = max_tasks, max_rss
        self._recorder = recorder
        self._limiter: Optional[Limiter] = None
        self._pid = 0
        #: The running task and those before it, which Redis may not know of yet.
        self._jobs: Deque[Job] = deque(maxlen=len(page.slots))

    def run(self, limiter: Optional[Limiter] = None) -> None:
        """In the child. Returns when the task pipe has ended: the monitor wants no more of this child, or is dead."""
        self._pid, self._limiter = os.getpid(), limiter
        for number, slot in enumerate(itertools.cycle(self._page.slots), 1):
            self._recorder.rest()
            payload = self._reader.receive()
            if payload is None:
                break
            job = Job(payload, slot)
            self._jobs.append(job)
            slot.step = Step.RECEIVED
            slot.began = now = time.monotonic()
            self._run_task(job, now)
            if self._is_last(number):
                self._page.leaving = True
            if not self._report(ending(job)):
                break
            if self._page.leaving:
                self._reader.receive()  # the monitor ends the pipe when Redis knows
                break
        self._orphan.settle(self._jobs)

    def _is_last(self, count: int) -> bool:
        """Whether this process is to run no task after so many."""
        return count == self._max_tasks or (self._max_rss is not None and self._is_too_large(self._max_rss))

    def _is_too_large(self, most: int) -> bool:
        size = resident()
        if size > most:
            _log.logger.info('child %d has %.1f MB, more than max_rss: another takes its place', self._pid,
                             size / MEGABYTE)
        return size > most

    def _run_task(self, job: Job, now: float) -> None:
        """now: when (monotonic) it begins."""
        terms = self._terms[job.slot.queue]
        try:
            task = self._open(job, terms.trust, now)
        except (UnreadablePayload, KeyboardInterrupt) as error:
            self._leave_if_copy(error)
            self._end(job, Outcome.UNREADABLE, str(error) or type(error).__name__)
            record = self._recorder.cannot_run(Kind.UNREADABLE, without_arguments(job.payload), error)
            job.record = record.to_json()
            _log.logger.error('%s is set aside: %s', describe(job.payload), job.reason, extra=record.as_fields())
            return
        if os.getpid() != self._pid:
            self._leave()
        job.slot.step = Step.READ
        timeout = task.timeout / 1000 if task.timeout else terms.timeout
        if timeout != terms.provisional_timeout:
            job.slot.timeout = timeout
            self._report(TIMEOUT + TIMEOUT_SECONDS.pack(timeout))
        self._orphan.guard(job, self._jobs, task, timeout, now)
        heard = _log.is_heard(_log.DEBUG)
        if heard:
            _log.logger.debug('running task %s: %s.%s', task.id, task.module_name, task.func_name)
        failure = self._call(job, task, terms.trust)
        if failure is None:
            if heard or self._handlers.success is not None:
                self._recorder.finished(task)
            if heard and task.outcome is not None:
                _log.logger.debug('task %s (%s.%s) %s', task.id, task.module_name, task.func_name, task.outcome,
                             extra=task.outcome.as_fields())
            self._handlers.succeeded(task)
        else:
            self._handlers.failed(task, None, failure)
        if os.getpid() != self._pid:
            self._leave()
        self._orphan.unguard()

    def _open(self, job: Job, trust: Trust, now: float) -> Task:
        self._recorder.begin(job.slot, job.payload, now)
        pickled = trust.verified(job.payload)
        job.slot.step = Step.BEGUN
        return trust.read_verified(job.payload, pickled)

    def _call(self, job: Job, task: Task, trust: Trust) -> Optional[ExcInfo]:
        """Calls the function; the page knows how it ended before any handler runs. Returns what it raised."""
        try:
            function = task.load()
            if os.getpid() != self._pid:
                self._leave()
            trust.check_loaded(task, function)
        except BaseException as error:
            self._leave_if_copy(error)
            reason = 'it cannot be loaded (%s: %s)' % (type(error).__name__, error)
            self._end(job, Outcome.NOT_LOADABLE, reason)
            task.outcome = self._recorder.cannot_run(Kind.NOT_LOADABLE, task, error)
            job.record = task.outcome.to_json()
            _log.logger.error('task %s (%s.%s): %s', task.id, task.module_name, task.func_name, reason,
                         extra=task.outcome.as_fields())
            return type(error), error, error.__traceback__
        try:
            if self._limiter is None:
                function(*task.args, **task.kwargs)
            else:
                with self._limiter.held():
                    function(*task.args, **task.kwargs)
        except BaseException as error:
            self._leave_if_copy(error)
            self._end(job, Outcome.FAILED)
            task.outcome = self._recorder.failed(task, error)
            job.reason = 'it %s (%s)' % (task.outcome.what, task.outcome.note)
            job.record = self._recorder.with_traceback(task.outcome, error).to_json()
            _log_failure(task, task.outcome)
            return type(error), error, error.__traceback__
        if os.getpid() != self._pid:
            self._leave()
        self._end(job, Outcome.FINISHED)
        return None

    @staticmethod
    def _end(job: Job, outcome: Outcome, reason: str = '') -> None:
        job.reason = reason
        job.slot.outcome = outcome
        job.slot.step = Step.ENDED

    def _leave_if_copy(self, error: BaseException) -> None:
        if os.getpid() != self._pid:
            self._leave(error)

    @staticmethod
    def _leave(error: Optional[BaseException] = None) -> NoReturn:
        """A copy of this process that the task forked, and that came back from it, writes neither page nor pipe."""
        code = 0 if error is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        exit_now(code & 0xff)

    def _report(self, message: bytes) -> bool:
        return self._tell(self._writer.send, message)

    def _tell(self, send: Callable[[Any], None], what: Any) -> bool:
        """Tells the monitor. `False` if that is impossible: it is dead, or the task closed or reused our descriptors;
        then this process must end, and the page says the rest."""
        try:
            if identity(self._writer.fd) != self._pipes[1] or identity(self._reader.fd) != self._pipes[0]:
                self._abandon()
            send(what)
        except BrokenPipeError:
            return False
        except OSError:
            self._abandon()
        return True

    def _abandon(self) -> NoReturn:
        _log.logger.error('a task closed the pipes of its process %d, which ends', self._pid)
        exit_now(1)


def _log_failure(task: Task, outcome: Record) -> None:
    """With the traceback, unless Python cannot format it; then logging raises that, too."""
    words = 'task %s (%s.%s) %s', task.id, task.module_name, task.func_name, outcome
    try:
        _log.logger.exception(*words, extra=outcome.as_fields())
    except Exception:
        _log.logger.error(*words, extra=outcome.as_fields())


def ending(job: Job) -> bytes:
    """The message of a task's end. Why it was set aside, if so, and the record of that."""
    if not job.reason and not job.record:
        return ENDED
    reason = job.reason.encode('utf-8', 'replace')[:_LONGEST_REASON]
    return ENDED + reason + (RECORD + job.record).encode() if job.record else ENDED + reason


def parse_ending(report: str) -> Tuple[str, str]:
    """The reason and the record in the message of a task's end."""
    reason, separator, record = report.rpartition(RECORD)
    return (reason, record) if separator else (report, '')
