"""Makes the record of each task's end, in its child, and notes on the page what its monitor needs to make it."""

from __future__ import annotations

import math
import os
import resource
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Tuple

from ._child_stacks import current_stacks
from ._limits import Limits
from ._memory import PEAK_UNIT
from ._page import Beginning, Page, Slot
from ._stamp import stamp_of
from ._usage import usage_of, usage_of_programs
from .outcome import LONGEST_STACK_IN_REDIS, Kind, Outcome
from .task import Task

if TYPE_CHECKING:
    from ._terms import Terms

#: No program is started and waited for in less, in seconds: after so short a task nobody asks what programs used.
_TOO_SHORT_FOR_PROGRAMS = 0.0005
#: What is kept of an exception's text, in characters.
_LONGEST_TEXT = 1000
#: What a process had used when a task began is known as of so long before, in seconds.
_FRESH = 0.01
#: A process that has used less since, in seconds of processor time, has done nothing since.
_IDLE = 0.001

#: A task's id, module and function.
Name = Tuple[Any, str, str]
#: Calls the error handler.
Failed = Callable[[Task, Optional[int], Any], None]


def name_of_worker(pid: int) -> str:
    return '%s:%d' % (os.uname().nodename, pid)


class Recorder:
    """In a child, which has this page. `worker`: whose child, as `host:pid`."""

    def __init__(self, page: Page, terms: Sequence[Terms], worker: str, limits: Limits) -> None:
        self._page = page
        self._terms = terms
        self._worker = worker
        self._pid = 0
        self._limits = limits
        self._programs = 0.0, 0.0  # seconds of processor time of the programs that tasks have started
        self._began = 0.0
        self._slot: Optional[Slot] = None
        self._payload = b''
        self._used = 0.0, 0.0, 0.0  # by this process: seconds, user and system; bytes at its peak
        self._read_at = -math.inf  # monotonic seconds
        self._is_noted = False  # on the page
        self._spent = -math.inf  # seconds of processor time of this process alone, when that was read
        self._epoch = 0.0  # when monotonic time was 0, in Unix seconds

    def rest(self) -> None:
        """No task is there yet: reads now what this process has used, lest the next task waits for that."""
        now = time.monotonic()
        if now - self._read_at > _FRESH:
            self._read(now)

    def begin(self, slot: Slot, payload: bytes, now: float) -> None:
        """A task begins at that moment (monotonic): notes on the page what must be known if this process dies in it."""
        if now - self._read_at > _FRESH:  # each time would be a twentieth of what an empty task costs
            if time.process_time() - self._spent > _IDLE:
                self._read(now)
            else:
                self._read_at, self._epoch, self._is_noted = now, time.time() - now, False
        if not self._is_noted:
            self._page.note_used(self._epoch, *self._used)
            self._is_noted = True
        self._began, self._slot, self._payload = now, slot, payload

    def _read(self, now: float) -> None:
        if self._slot is not None:
            self._programs = usage_of_programs()[:2]
        self._epoch, self._pid = time.time() - now, os.getpid()
        self._keep(now, resource.getrusage(resource.RUSAGE_SELF))

    def _keep(self, now: float, spent: resource.struct_rusage) -> None:
        user, system = self._programs
        self._used = spent.ru_utime + user, spent.ru_stime + system, float(spent.ru_maxrss * PEAK_UNIT)
        self._spent = spent.ru_utime + spent.ru_stime
        self._read_at, self._is_noted = now, False

    def finished(self, task: Task) -> None:
        """The task that began last has returned: its record is made if somebody asks for it."""
        task.make_outcome = self._at_this_moment(Kind.FINISHED, task)

    def ended(self, kind: Kind, task: Optional[Task], stack: Optional[str] = None,
              limit: Optional[str] = None) -> Outcome:
        """The record of the task that began last, at this moment."""
        return self._at_this_moment(kind, task, stack, limit)()

    def _at_this_moment(self, kind: Kind, task: Optional[Task], stack: Optional[str] = None,
                        limit: Optional[str] = None) -> Callable[[], Outcome]:
        now = time.monotonic()
        if now - self._began > _TOO_SHORT_FOR_PROGRAMS:
            self._programs = usage_of_programs()[:2]
        slot = self._slot
        assert slot is not None
        spent = resource.getrusage(resource.RUSAGE_SELF)
        beginning = Beginning(self._epoch + self._began, self._began, *self._used)
        self._keep(now, spent)
        return partial(_outcome_in_child, kind, name_of(task), self._payload, beginning, now, spent, self._programs,
                       (self._terms[slot.queue].queue_name, self._worker, self._pid), stack, limit)

    def failed(self, task: Task, error: BaseException) -> Outcome:
        """The record of a task that raised `error`."""
        limit = self._limits.exceeded_by(error)
        return self.ended(Kind.OVER_LIMIT if limit else Kind.FAILED, task, limit=limit).replace(note=_in_words(error))

    def cannot_run(self, kind: Kind, task: Optional[Task], error: BaseException) -> Outcome:
        """The record of a task that is set aside for `error`, with its traceback."""
        return self.ended(kind, task, _traceback_of(error))

    @staticmethod
    def with_traceback(outcome: Outcome, error: BaseException) -> Outcome:
        """The record of a task that raised, as it goes to Redis; the log has the traceback already."""
        return outcome.replace(stack=_traceback_of(error))

    def before(self, failed: Failed) -> Failed:
        """`failed` as an orphan calls it, from a thread of its own: its task is out of time, and its monitor dead."""
        def tell(task: Task, kill_signal: Optional[int], exc_info: Any) -> None:
            task.outcome = self.ended(Kind.TIMED_OUT, task, current_stacks())
            failed(task, kill_signal, exc_info)

        return tell


def _traceback_of(error: BaseException) -> str:
    import traceback  # here, for few tasks fail
    try:
        return ''.join(traceback.format_exception(type(error), error, error.__traceback__))[-LONGEST_STACK_IN_REDIS:]
    except Exception:  # some cannot be formatted, a SyntaxError with odd fields for one
        return _in_words(error)


def _in_words(error: BaseException) -> str:
    """As the last line of its traceback."""
    try:
        text = str(error)
    except Exception:  # of a class of the user's own
        text = ''
    name = type(error).__name__
    return '%s: %s' % (name, text[:_LONGEST_TEXT]) if text else name


def _outcome_in_child(kind: Kind, name: Optional[Name], payload: bytes, beginning: Beginning, now: float,
                      spent: resource.struct_rusage, programs: Tuple[float, float], where: Tuple[str, str, int],
                      stack: Optional[str], limit: Optional[str]) -> Outcome:
    queue, worker, child_pid = where
    own = usage_of(spent)
    figures = used_in(payload, beginning, now, own.user + programs[0], own.system + programs[1], own.peak_rss)
    return Outcome(kind, **names_in(name), queue=queue, worker=worker, child_pid=child_pid, **figures, limit=limit,
                   stack=stack)


def name_of(task: Optional[Task]) -> Optional[Name]:
    return None if task is None else (task.id, task.module_name, task.func_name)


def names_in(name: Optional[Name]) -> Dict[str, Any]:
    return {} if name is None else {'task_id': name[0], 'function': '%s.%s' % name[1:]}


def used_in(payload: bytes, beginning: Optional[Beginning], now: float, user: Optional[float], system: Optional[float],
            peak_rss: Optional[int]) -> Dict[str, Any]:
    """How long a task waited, and what was used from its beginning until `now` (monotonic); the others are of all the
    process' life."""
    if beginning is None:
        return {'peak_rss': peak_rss}
    figures: Dict[str, Any] = {'started_at': beginning.started_at, 'run_seconds': now - beginning.moment,
                               'peak_rss': peak_rss, 'peak_rss_before': int(beginning.peak_rss)}
    enqueued_at = stamp_of(payload)
    if enqueued_at is not None:
        figures['wait_seconds'] = max(0.0, beginning.started_at - enqueued_at)
    if user is not None and system is not None:  # the kernel's figures may go back by some microseconds
        figures.update(user_seconds=max(0.0, user - beginning.user), system_seconds=max(0.0, system - beginning.system))
    return figures
