"""The workers: who takes tasks from a queue and has them run in processes of their own."""

from __future__ import annotations

import abc
import importlib
import itertools
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence

from redis.exceptions import AuthenticationError, NoPermissionError

from ._batch_monitor import BatchMonitor
from ._limits import Limits
from ._memory import MEGABYTE
from ._monitor import Monitor
from ._options import Options
from ._prefetch import FEW, MOST_AT_ONCE, BatchSource
from ._queue_list import Queues, queue_list
from ._runner import ExcInfo, Handlers
from ._shield import DEATH_SIGNAL, STOPPING, Shield, heed, is_default
from ._source import SWEEP_LEASE, Source
from ._stop import Stop
from ._wakeup import Wakeup
from .constants import Status
from .errors import AlreadyRunning, InvalidArgument, WrongType
from .logger import logger
from .queue import MAX_LOSSES
from .task import Task, check_timeout

if TYPE_CHECKING:
    from ._fork_server import Recipe

#: Redis keeps nothing for longer than some multiple of this, in seconds (some 31,000 years).
_LONGEST_LEASE = 1e12

#: What a worker handles for itself or its children, where the program does not.
_HANDLED = STOPPING if DEATH_SIGNAL is None else (*STOPPING, DEATH_SIGNAL)

SuccessHandler = Callable[[Task], object]
ErrorHandler = Callable[[Task, Optional[int], Optional[ExcInfo]], object]


class Worker(abc.ABC):
    """Takes tasks from `queue` and runs each in a child, one at a time.

    queue: one, or several on one Redis server. Of a list, the first that has a task comes first: `[urgent, other]`.
        Of a dict, each gets its share: with `{often: 3, seldom: 1}`, three tasks of one and then one of the other,
        as long as both have some. Timeouts are those of the task's own queue.
    kill_timeout: seconds between SIGTERM and SIGKILL for a task that is out of time.
    success_handler(task): called in the child after a task has returned.
    error_handler(task, kill_signal, exc_info): after an exception `kill_signal` is `None` and `exc_info` the usual
        triple; if the task's process was killed, `kill_signal` is the signal's number and `exc_info` `None` (called in
        the monitor). A task that left by `os._exit` has a `delayed.errors.TaskExited` in its triple, and no traceback.
        A task whose arguments ended the process that read them comes without arguments.
    lease: seconds after which a task counts as lost if this worker no longer renews its claim; it does so every third
        of that. Longer: fewer renewals of long tasks, slower recovery. `None`: the task's timeout and the queue's
        requeue_timeout, as in 0.5.1b2.
    sweep_interval: seconds between this worker's looks for lost tasks, a third of the lease at most; `None`: it never
        looks.
    max_losses: a task lost so often (its worker died or froze while it ran) is set aside; 0: never.
    stop_timeout: seconds after a request to stop when the running task is handed back; `None`: it is always finished.
    on_failure: what becomes of a task that has failed by an exception, a timeout, a limit or a crash: `forget` (as in
        0.5.1b2) leaves it to the error handler and the log; `set_aside` keeps it as a dead letter, with its outcome.
    on_crash: what becomes of a task whose process crashed: `fail` (as in 0.5.1b2) or `requeue` (counted as a loss).
    max_tasks: of a `PreforkedWorker`: how many tasks a child runs before another takes its place; `None`: any number.
    max_rss: of a `PreforkedWorker`: MB of memory (resident, all that is shared with the worker included); a child that
        has more after a task is replaced. `None`: never.
    preload: names of modules that `run` imports before any child is forked, so that no child has to. Changes of them
        are not seen before a restart.
    on_partition: while Redis cannot be asked for half a lease, `wait` lets the task run (it may run twice), `kill`
        ends it.
    task_max_cpu: seconds of processor time that a task may use, rounded up to the next whole one of its process; then
        it is ended by SIGXCPU. `None`: no limit.
    task_max_memory: megabytes that a task's process may have for its data (the kernel's RLIMIT_DATA; what it shares
        with its worker counts); beyond, the task gets a `MemoryError`. `None`: no limit. Linux only.
    prefetch: of a `PreforkedWorker`: how many tasks it may hand its child at once, from 1 to 250: as many as together
        take some milliseconds. What has not begun when one of them is slow waits again. `None`: up to 8; 1: one at a
        time.
    Raises `InvalidArgument` (a `ValueError`) or `WrongType` (also a `TypeError`).
    """

    @property
    @abc.abstractmethod
    def _once(self) -> bool:
        """Whether a child runs a single task."""

    def __init__(self, queue: Queues, kill_timeout: float = 5, success_handler: Optional[SuccessHandler] = None,
                 error_handler: Optional[ErrorHandler] = None, *, lease: Optional[float] = 15,
                 sweep_interval: Optional[float] = 3, max_losses: int = MAX_LOSSES,
                 stop_timeout: Optional[float] = None, on_failure: str = 'forget', on_crash: str = 'fail',
                 on_partition: str = 'wait', max_tasks: Optional[int] = None, max_rss: Optional[float] = None,
                 preload: Sequence[str] = (), task_max_cpu: Optional[float] = None,
                 task_max_memory: Optional[float] = None, prefetch: Optional[int] = None) -> None:
        self._queues = queue_list(queue)
        self._queue = self._queues.queues[0]
        for name, value in (('kill_timeout', kill_timeout), ('lease', lease), ('sweep_interval', sweep_interval),
                            ('max_losses', max_losses), ('stop_timeout', stop_timeout), ('max_tasks', max_tasks),
                            ('max_rss', max_rss), ('task_max_cpu', task_max_cpu),
                            ('task_max_memory', task_max_memory)):
            check_timeout(value, name)
        for name, handler in (('success_handler', success_handler), ('error_handler', error_handler)):
            if handler is not None and not callable(handler):
                raise WrongType('%s must be a function or None, not %r' % (name, handler))
        for name, choice, choices in (('on_failure', on_failure, ('forget', 'set_aside')),
                                      ('on_crash', on_crash, ('fail', 'requeue')),
                                      ('on_partition', on_partition, ('wait', 'kill'))):
            if choice not in choices:
                raise InvalidArgument('%s must be one of %s, not %r' % (name, ', '.join(choices), choice))
        if lease is not None and not 1 <= lease <= _LONGEST_LEASE:
            raise InvalidArgument('lease must be at least 1 second, and at most %g, or None, not %r'
                                  % (_LONGEST_LEASE, lease))
        if sweep_interval == 0:
            raise InvalidArgument('sweep_interval must be more than 0, or None for no sweeps')
        for name, value in (('task_max_cpu', task_max_cpu), ('task_max_memory', task_max_memory)):
            if value == 0:
                raise InvalidArgument('%s must be more than 0, or None for no limit' % name)
        self._check_children(max_tasks, max_rss, preload)
        self._preload = list(preload)
        self._prefetch = prefetch
        # Without a signal that tells a child of its monitor's death, nobody could renew a short lease after it.
        self._lease = lease if DEATH_SIGNAL is not None else None
        self._max_losses = max_losses
        self._stop_timeout = stop_timeout
        self._options = Options(
            max_tasks=1 if self._once else max_tasks,
            max_rss=None if max_rss is None else int(max_rss * MEGABYTE),
            kill_timeout=kill_timeout, handlers=Handlers(success_handler, error_handler),
            # Looks further apart than half a lease would never find that the living had the chance to renew.
            sweep_interval=None if sweep_interval is None else min(sweep_interval, (self._lease or SWEEP_LEASE) / 3),
            requeue_crashed=on_crash == 'requeue', keep_failed=on_failure == 'set_aside',
            kill_on_partition=on_partition == 'kill',
            queues=self._queues.queues, limits=Limits(task_max_cpu, task_max_memory),
            prefetch=self._prefetch_of(prefetch))
        self._status = Status.STOPPED
        self._child_pid: Optional[int] = None
        self._stop = Stop()
        self._wakeup: Optional[Wakeup] = None
        self._runs_in: Optional[int] = None  # the process: its forks have copies of this worker, which do not run

    def run(self) -> None:
        """Works until `stop()` or SIGTERM, SIGINT or SIGHUP; the running task is finished first.

        A second signal hands the running task back, and another worker starts it at once. Signals are heeded only in
        the main thread, and only where their disposition is the default: a program's own handler, or `SIG_IGN`,
        stays. On return the program's handlers are back, and no child, descriptor or zombie is left.
        Raises `redis.exceptions.AuthenticationError` or `NoPermissionError` at the start, and `AlreadyRunning`.
        """
        self._run(None)

    def run_supervised(self, is_urgent: Callable[[], bool]) -> None:
        """As `run`, for a process of a pool, which may get a signal twice that was sent once, to the whole group and by
        the supervisor: it is `is_urgent` that says, when one comes, whether to hand the running task back."""
        self._run(is_urgent)

    def _run(self, is_urgent: Optional[Callable[[], bool]]) -> None:
        if self._runs_in == os.getpid():
            raise AlreadyRunning(self)
        self._runs_in, self._stop, self._wakeup = os.getpid(), Stop(self._stop_timeout), Wakeup()
        self._status = Status.RUNNING
        program = {int(signum): signal.getsignal(signum) for signum in _HANDLED if signal.getsignal(signum) is not None}
        installed = self._install_handlers(program, is_urgent)
        try:
            logger.info('%s %d works on %s', type(self).__name__, os.getpid(), self._queues)
            for queue in self._queues.queues:
                queue.warn_if_exposed()
            for name in self._preload:
                importlib.import_module(name)
            self._monitor(Shield.of(program, installed)).run()
        except (AuthenticationError, NoPermissionError) as error:
            logger.error('cannot work on %s: %s', self._queues, error)
            raise
        finally:
            for signum in installed:
                signal.signal(signum, program[signum])
            wakeup, self._wakeup = self._wakeup, None
            wakeup.close()
            self._status, self._runs_in = Status.STOPPED, None
            logger.info('%s %d stopped', type(self).__name__, os.getpid())

    def _monitor(self, shield: Shield) -> Monitor:
        assert self._wakeup is not None
        shared = (self._options, self._wakeup, self._stop, shield, self._note_child)
        source = self._queues.source(self._lease, self._max_losses)
        if self._options.prefetch > 1:
            if type(source) is Source and self._lease is not None:
                return BatchMonitor(BatchSource(self._queue, self._lease, self._max_losses), *shared)
            if self._prefetch is not None:
                logger.warning('prefetch has no effect: it needs a single queue of a class without methods of its own '
                               'to take and release tasks, and leases that are renewed')
        return Monitor(source, *shared)

    def _check_children(self, max_tasks: Optional[int], max_rss: Optional[float], preload: Sequence[str]) -> None:
        if self._once and (max_tasks, max_rss) != (None, None):
            raise InvalidArgument('max_tasks and max_rss are options of a PreforkedWorker: %s runs each task in a '
                                  'process of its own' % type(self).__name__)
        if max_tasks is not None and (not isinstance(max_tasks, int) or max_tasks < 1):
            raise InvalidArgument('max_tasks must be a whole number from 1 up, or None, not %r' % (max_tasks,))
        if max_rss == 0:
            raise InvalidArgument('max_rss must be more than 0 MB, or None')
        if not isinstance(preload, (list, tuple)) or not all(isinstance(name, str) for name in preload):
            raise WrongType("preload must be a list of modules' names, not %r" % (preload,))

    def _prefetch_of(self, prefetch: Optional[int]) -> int:
        if prefetch is None:
            return 1 if self._once else FEW
        if not isinstance(prefetch, int) or isinstance(prefetch, bool):
            raise WrongType('prefetch must be a whole number or None, not %r' % (prefetch,))
        if not 1 <= prefetch <= MOST_AT_ONCE:
            raise InvalidArgument('prefetch must be from 1 to %d, not %r' % (MOST_AT_ONCE, prefetch))
        if prefetch > 1 and self._once:
            raise InvalidArgument('prefetch is an option of PreforkedWorker: %s has a process for each task'
                                  % type(self).__name__)
        return prefetch

    def fork_lean(self, recipe: Recipe) -> None:
        """For the command line: while many short tasks wait, their processes may be forked by a process that has loaded
        nothing of the application, as this one has not."""
        self._options = self._options._replace(recipe=recipe)

    def stop(self) -> None:
        """Asks `run` to return when the running task is finished. May be called from anywhere, signal handlers too."""
        self._ask_to_stop(urgent=False)

    def _ask_to_stop(self, urgent: bool) -> None:
        if self._status == Status.RUNNING:
            self._status = Status.STOPPING
        self._stop.ask(urgent)
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def _note_child(self, pid: Optional[int]) -> None:
        self._child_pid = pid

    def _install_handlers(self, program: Dict[int, Any], is_urgent: Optional[Callable[[], bool]]) -> Dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        pid, signals = os.getpid(), itertools.count()

        def handler(signum: int, frame: Optional[FrameType]) -> None:
            if os.getpid() == pid:
                again = next(signals) > 0  # counted in one step: the next one may interrupt this handler
                self._ask_to_stop(urgent=is_urgent() if is_urgent else again or self._stop.wanted)
            else:  # a child, or a process that the program forked, or a handler
                heed(signum, frame)

        mine = {signum: disposition for signum, disposition in program.items() if is_default(disposition)}
        for signum in mine:
            signal.signal(signum, heed if signum == DEATH_SIGNAL else handler)
        if self._wakeup is not None:
            self._wakeup.heed_signals()
        return mine


class ForkedWorker(Worker):
    """Runs each task in a fresh process: nothing leaks from one task to the next, and changed code is seen."""

    _once = True


class PreforkedWorker(Worker):
    """Runs task after task in one process, which is replaced when it dies. Faster by far; tasks share what they
    import."""

    _once = False
