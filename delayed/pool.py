"""Several processes that run one worker, under a supervisor that replaces those that die."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import _backoff
from ._member import Member
from ._shield import STOPPING, as_if_never_here, is_default
from ._stop import Stop
from ._wakeup import Wakeup, milliseconds
from .errors import AlreadyRunning, InvalidArgument, WorkersFailed, WrongType
from .logger import logger
from .worker import Worker

#: A process that has lived so long, in seconds, did not die of its beginning: the next one is started at once.
_SETTLED = 5.0
_LONGEST_PAUSE = 5.0  # seconds until a process that dies again and again is replaced
_HAND_BACK_SECONDS = 15.0  # that processes have to hand their tasks back, Redis being slow
_BLIND_INTERVAL = 0.02  # seconds between looks at a process whose pipe has ended: it is dead any moment now

#: How often (seconds) to call what, while the pool runs.
Chore = Tuple[float, Callable[[], object]]


class _Place:
    """A process of the pool and its successors."""

    def __init__(self) -> None:
        self.member: Optional[Member] = None
        self.watched = False  # whether its end shows by itself
        self.due = 0.0  # when (monotonic) the next one is to be started
        self._failures = 0

    def empty(self) -> float:
        """Its process is dead. Returns after how many seconds the next one is to be started."""
        assert self.member is not None
        self._failures = 0 if time.monotonic() - self.member.began > _SETTLED else self._failures + 1
        self.member.close()
        self.member = None
        pause = _backoff.delay(self._failures, _LONGEST_PAUSE) if self._failures > 1 else 0.0
        self.due = time.monotonic() + pause
        return pause


class WorkerPool:
    """Runs `worker` in so many processes at a time.

    A process that dies is replaced, at once at first, and after pauses of up to 5 s if it dies again and again. If the
    supervisor itself is killed, its processes finish their tasks and stop.
    size: the number of processes, each of which runs one task at a time.
    chores: what to do every so many seconds while it runs, in the supervisor; pairs of seconds and a function.
    on_ready: called once, when all processes run. on_stopping: called once, when the pool is to stop.
    Raises `InvalidArgument` (a `ValueError`) or `WrongType` (also a `TypeError`).
    """

    def __init__(self, worker: Worker, size: int, *, chores: Sequence[Chore] = (),
                 on_ready: Optional[Callable[[], object]] = None,
                 on_stopping: Optional[Callable[[], object]] = None) -> None:
        if not isinstance(worker, Worker):
            raise WrongType('worker must be a ForkedWorker or a PreforkedWorker, not %r' % (worker,))
        if isinstance(size, bool) or not isinstance(size, int):
            raise WrongType('size must be a whole number, not %r' % (size,))
        if size < 1:
            raise InvalidArgument('size must be 1 or more, not %d' % size)
        self._worker = worker
        self._size = size
        self._chores = list(chores)
        self._on_ready, self._on_stopping = on_ready, on_stopping
        self._stop = Stop()
        self._wakeup: Optional[Wakeup] = None

    def run(self) -> None:
        """Works until `stop()` or SIGTERM, SIGINT or SIGHUP; running tasks are finished first.

        A second signal hands them back. Signals are heeded only in the main thread, and only where their disposition is
        the default. On return the program's handlers are back, and no process is left.
        Raises `WorkersFailed` if Redis refuses the workers, or a module that they are to preload cannot be imported.
        """
        if self._wakeup is not None:
            raise AlreadyRunning(self)
        self._stop, self._wakeup = Stop(), Wakeup()
        program = {int(signum): signal.getsignal(signum) for signum in STOPPING if signal.getsignal(signum) is not None}
        installed = self._install_handlers(program)
        logger.info('pool %d runs %d workers', os.getpid(), self._size)
        try:
            _Run(self._worker, self._size, self._wakeup, self._stop, program, self._chores, self._on_ready,
                 self._on_stopping).run()
        finally:
            for signum in installed:
                signal.signal(signum, program[signum])
            wakeup, self._wakeup = self._wakeup, None
            wakeup.close()
            logger.info('pool %d stopped', os.getpid())

    def stop(self) -> None:
        """Asks `run` to return when running tasks are finished. May be called from anywhere, signal handlers too."""
        self._ask(urgent=False)

    def _ask(self, urgent: bool) -> None:
        self._stop.ask(urgent)
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def _install_handlers(self, program: Dict[int, Any]) -> List[int]:
        if threading.current_thread() is not threading.main_thread():
            return []
        pid = os.getpid()

        def handler(signum: int, frame: Optional[FrameType]) -> None:
            if os.getpid() == pid:
                self._ask(urgent=self._stop.wanted)
            else:
                as_if_never_here(signum, frame)

        mine = [signum for signum, disposition in program.items() if is_default(disposition)]
        for signum in mine:
            signal.signal(signum, handler)
        return mine


class _Run:
    """One run of a pool."""

    def __init__(self, worker: Worker, size: int, wakeup: Wakeup, stop: Stop, program: Dict[int, Any],
                 chores: Sequence[Chore], on_ready: Optional[Callable[[], object]],
                 on_stopping: Optional[Callable[[], object]]) -> None:
        self._worker = worker
        self._wakeup = wakeup
        self._stop = stop
        self._program = program
        self._on_ready, self._on_stopping = on_ready, on_stopping
        self._places = [_Place() for _ in range(size)]
        self._told_to_stop = self._told_urgently = False
        self._kill_at: Optional[float] = None
        self._chores = [(seconds, do, time.monotonic() + seconds) for seconds, do in chores]
        self._failure = ''

    def run(self) -> None:
        try:
            self._work()
        except BaseException:  # of a signal handler of the program's own, say
            self._stop.ask()
            self._work()
            raise
        if self._failure:
            raise WorkersFailed(self._failure)

    def _work(self) -> None:
        while True:
            self._pass_on_stop()
            self._tend()
            if self._stop.wanted and not any(place.member for place in self._places):
                break
            self._do_chores()
            self._wait()

    def _pass_on_stop(self) -> None:
        """Tells the processes once to stop, and once more to do so now."""
        if not self._stop.wanted or self._told_urgently or (self._told_to_stop and not self._stop.urgent):
            return
        if not self._told_to_stop:
            logger.info('stopping when running tasks have ended; a second signal hands them back now')
            _call(self._on_stopping)
        self._told_to_stop, self._told_urgently = True, self._stop.urgent
        if self._told_urgently:
            self._kill_at = time.monotonic() + _HAND_BACK_SECONDS
        for place in self._places:
            if place.member is not None:
                place.member.stop(self._told_urgently)

    def _tend(self) -> None:
        """Buries the dead, and starts who is to take their places."""
        for place in self._places:
            if place.member is not None:
                self._look_after(place, place.member)
            if place.member is None and not self._stop.wanted and time.monotonic() >= place.due:
                self._start(place)
        if self._on_ready is not None and all(place.member and place.member.ready for place in self._places):
            on_ready, self._on_ready = self._on_ready, None
            _call(on_ready)

    def _start(self, place: _Place) -> None:
        try:
            place.member = Member(self._worker.run_supervised, self._program)
            place.watched = True
        except OSError as error:
            logger.error('cannot fork a worker: %s', error)
            place.due = time.monotonic() + 1.0

    def _look_after(self, place: _Place, member: Member) -> None:
        place.watched = member.read()
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            logger.error('worker %d does not stop: killing it', member.pid)
            member.signal(signal.SIGKILL)
        ended = member.reap()
        if ended is None:
            return
        member.read()  # what it said at last
        if member.failure and not self._failure:
            self._failure = member.failure
            self._stop.ask()
            self._wakeup.wake()
        pause = place.empty()
        if not self._stop.wanted:
            logger.warning('worker %d ended with %s; another takes its place%s', member.pid, ended,
                           ' in %.1f s' % pause if pause else '')

    def _do_chores(self) -> None:
        now = time.monotonic()
        for index, (seconds, do, due) in enumerate(self._chores):
            if now >= due:
                self._chores[index] = seconds, do, now + seconds
                _call(do)

    def _wait(self) -> None:
        """Until a signal, the end of a process, or the next thing that is due."""
        now = time.monotonic()
        moments = [due for _, _, due in self._chores]
        poll = select.poll()
        poll.register(self._wakeup.fd, select.POLLIN)
        for place in self._places:
            if place.member is None:
                moments.append(now if self._stop.wanted else place.due)
            elif place.watched:
                poll.register(place.member.fd, select.POLLIN)
            else:
                moments.append(now + _BLIND_INTERVAL)
        if self._kill_at is not None:
            moments.append(max(self._kill_at, now + _BLIND_INTERVAL))
        if self._stop.wanted:
            moments = [moment for moment in moments if moment > now]
        poll.poll(milliseconds(max(0.0, min(moments) - now) if moments else None))
        self._wakeup.drain()


def _call(function: Optional[Callable[[], object]]) -> None:
    if function is not None:
        try:
            function()
        except Exception:
            logger.exception('%r of the pool failed', function)
