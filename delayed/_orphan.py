"""What a child does when its monitor is dead: it finishes its task once, keeps its lease, obeys its timeout, releases.

It learns of the death by a signal (Linux) and by the end of the task pipe (everywhere, once it reads again).
"""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterable, List, Optional, Sequence, Tuple

from . import _backoff
from ._attempt import Verdict, judge, keep_failed
from ._lease import Lease
from ._page import Outcome, Page, Slot, Step
from ._shield import DEATH_SIGNAL
from ._terms import Terms
from .task import Task

if TYPE_CHECKING:
    from ._source import Source

_PR_SET_PDEATHSIG = 1
#: Loaded before any fork: in a child it would cost milliseconds each time.
_prctl: Any = ctypes.CDLL(None).prctl if DEATH_SIGNAL is not None else None
#: Timers and sleeps cannot be set for much longer, in seconds (some 31 years).
_LONGEST_TIMER = 1e9
_MANY_TIMES = 100  # that are kept at hand
#: How long an orphan tries to tell Redis that its task is done, in seconds.
_SETTLE_SECONDS = 60.0


class Job:
    """One task in the child: its payload, its part of the page, and why it could not be run, if so, with the record
    of it as JSON."""

    reason = record = ''
    #: Of one in a batch: whether it is not to be begun.
    skipped = False

    def __init__(self, payload: bytes, slot: Slot, number: int = 0) -> None:
        """number: which of its child's tasks it is, where it came in a batch."""
        self.payload = payload
        self.slot = slot
        self.number = number


class Orphan:
    """The child's part. `connect` makes a source of the child's own, or raises `OSError`; `failed` calls the error
    handler."""

    def __init__(self, page: Page, monitor_pid: int, connect: Callable[[], Source], kill_timeout: float,
                 terms: Sequence[Terms], failed: Callable[[Task, Optional[int], Any], None], alarm: bool,
                 keep_failed: bool) -> None:
        """alarm: whether SIGALRM may be used. keep_failed: whether tasks that fail are set aside."""
        self._page = page
        self._monitor_pid = monitor_pid
        self._connect = connect
        self._lock = _thread.allocate_lock()  # one at a time: a token that is being replaced releases nothing
        self._kill_timeout = kill_timeout
        self._terms = terms
        self._failed = failed
        self._jobs: Iterable[Job] = ()
        self._running: Optional[Tuple[Job, Task, float]] = None  # with its deadline (monotonic)
        #: What came in a batch and has not begun; whoever takes one out has it.
        self.waiting: Deque[Job] = deque()
        self._times: Dict[Tuple[int, float], Tuple[float, float]] = {}
        self._pid = 0
        self._alarm = alarm
        self._keep_failed = keep_failed

    def watch(self) -> None:
        """Asks the kernel to tell of the monitor's death. The signal belongs to the thread that forked this process,
        and is lost if that died before: so its pid is compared after (prctl(2), PR_SET_PDEATHSIG)."""
        self._pid = os.getpid()
        if DEATH_SIGNAL is not None:
            _prctl(_PR_SET_PDEATHSIG, DEATH_SIGNAL)

    @property
    def alone(self) -> bool:
        return os.getppid() != self._monitor_pid

    def guard(self, job: Job, jobs: Iterable[Job], task: Task, timeout: float, now: float) -> None:
        """A task has begun at that moment (monotonic); `jobs` has it and those before it of whose end Redis may not
        know. Should the monitor die while the task holds the interpreter in C, where no handler runs, the kernel ends
        this process in the end: by SIGALRM, whose default action needs no interpreter."""
        queue = job.slot.queue
        lasts, ends = self._times.get((queue, timeout)) or self._times_for(queue, timeout)
        self._jobs, self._running = jobs, (job, task, now + lasts)
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, ends)
        if self.alone:
            _thread.start_new_thread(self._live_on, ())

    def _times_for(self, queue: int, timeout: float) -> Tuple[float, float]:
        """For how many seconds such a task may run, and after how many the kernel ends its process."""
        grace = max(1.0, min(5.0, self._terms[queue].requeue_timeout / 2))
        times = min(timeout, _LONGEST_TIMER), min(timeout + self._kill_timeout + grace, _LONGEST_TIMER)
        if len(self._times) < _MANY_TIMES:
            self._times[queue, timeout] = times
        return times

    def unguard(self) -> None:
        self._running = None
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def settle(self, jobs: Iterable[Job]) -> None:
        """Tells Redis of tasks that have ended, and hands back those that were skipped, where the monitor could not;
        tries for a minute."""
        unknown = [job for job in jobs if not job.slot.settled]
        unsettled = [job for job in unknown if job.slot.step is Step.ENDED and not job.skipped]
        unsettled += [job for job in reversed(unknown) if job.skipped]  # each goes in front of the last
        source = self._reach() if unsettled else None
        if source is None:
            return
        source.log.warning('monitor %d is dead; its child %d tells Redis how its task ended', self._monitor_pid,
                           self._pid)
        for delay in _backoff.delays(_SETTLE_SECONDS, source.longest_pause):
            try:
                with self._lock:
                    for job in unsettled:
                        if not job.slot.settled:
                            source.settle(self._lease(job), self._judge(job), job.reason, job.record)
                            job.slot.settled = True
                return
            except source.unavailable as error:
                source.log.debug('cannot settle yet: %s', error)
            time.sleep(delay)
        source.log.error('Redis stayed away: the last task of monitor %d will run again', self._monitor_pid)

    def _reach(self) -> Optional[Source]:
        """`None`: there is no way to Redis. It takes the task for lost then, and has it run again."""
        try:
            return self._connect()
        except OSError:
            return None

    def _judge(self, job: Job) -> Verdict:
        verdict = judge(Step.IDLE if job.skipped else Step.ENDED, job.slot.outcome, None, False)
        return keep_failed(verdict, job.slot.outcome) if self._keep_failed else verdict

    def _lease(self, job: Job) -> Lease:
        lease = Lease(job.payload, job.slot.tokens, None, 'orphan:%d' % self._pid, time.monotonic())
        lease.queue = job.slot.queue
        return lease

    def on_death(self) -> None:
        """The signal came."""
        # A thread, since the task that was interrupted here may hold any lock; this way of starting one takes none.
        if self.alone:
            _thread.start_new_thread(self._live_on, ())

    def _live_on(self) -> None:
        running = self._running
        if running is None:
            return  # between tasks: the end of the pipe tells
        (job, task, deadline), before = running, [each for each in list(self._jobs) if each is not running[0]]
        source = self._reach()
        if source is not None:
            source.log.warning('monitor %d is dead; its child %d finishes task %s', self._monitor_pid, self._pid,
                               task.id)
            if job.slot.tokens:  # none: a queue class of the user's own, which granted the full lease
                self._extend_lease(source, job, deadline)
        self.settle([*before, *self.take_waiting()])
        time.sleep(max(0.0, deadline - time.monotonic()))
        if self._running is not running:
            return  # it is through, its handlers too
        if source is not None:
            source.log.error('task %s timed out and its monitor is dead: ending process %d', task.id, self._pid)
        if job.slot.step is not Step.ENDED:
            self._failed(task, signal.SIGTERM, None)
            job.reason = 'it timed out when its monitor was dead'
            job.slot.outcome, job.slot.step = Outcome.FAILED, Step.ENDED
        self.settle([job])
        os.kill(self._pid, signal.SIGKILL)

    def take_waiting(self) -> List[Job]:
        """Takes what has not begun of a batch: it goes back at once, for the task that runs may run for long."""
        found: List[Job] = []
        while self.waiting:
            try:
                found.insert(0, self.waiting.pop())
            except IndexError:  # the task has ended meanwhile
                break
        for job in found:
            job.skipped = True
        return found

    def _extend_lease(self, source: Source, job: Job, deadline: float) -> None:
        """Replaces the short lease by one to the end of all that may come: timeout, kill_timeout, requeue_timeout."""
        for delay in _backoff.delays(max(0.0, deadline - time.monotonic()), source.longest_pause):
            rest = max(0.0, deadline - time.monotonic()) + self._kill_timeout
            rest += self._terms[job.slot.queue].requeue_timeout
            try:
                with self._lock:
                    if job.slot.step is Step.ENDED:
                        return
                    held = self._extend(source, job, rest)
                if not held:
                    source.log.warning("a task is another worker's now: ending process %d", self._pid)
                    os.kill(self._pid, signal.SIGKILL)
                return
            except source.unavailable as error:
                source.log.debug('cannot extend the lease yet: %s', error)
            time.sleep(delay)

    def _extend(self, source: Source, job: Job, seconds: float) -> bool:
        lease = self._lease(job)
        return source.extend(lease, seconds, lambda: job.slot.note_tokens(lease.tokens))
