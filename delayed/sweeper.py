"""A process of its own that brings lost tasks back. Workers do that too: it is for fleets of 0.5.1b2's."""

from __future__ import annotations

import time
from typing import List, Optional, Sequence, Union

from ._source import SWEEP_LEASE, sweep
from ._wakeup import Wakeup
from .constants import Status
from .errors import WrongType
from .logger import logger
from .queue import MAX_LOSSES, Queue
from .sharded import ShardedQueue
from .task import check_timeout


class Sweeper:
    """Sweeps one queue, or several, every `interval` seconds.

    After Redis was away, tasks of workers that are alive but had no chance to renew their leases are spared for a
    while.
    """

    def __init__(self, queue: Union[Queue, ShardedQueue, Sequence[Queue]], interval: float = 60) -> None:
        queue = queue.shards if isinstance(queue, ShardedQueue) else queue
        queues = [queue] if isinstance(queue, Queue) else list(queue) if isinstance(queue, (list, tuple)) else []
        if not queues or not all(isinstance(item, Queue) for item in queues):
            raise WrongType('queue must be a delayed.queue.Queue or a list of them, not %r' % (queue,))
        if interval is None:
            raise WrongType('interval must be a number of seconds, not None')
        check_timeout(interval, 'interval')
        self._queues: List[Queue] = queues
        self._interval = interval
        self._status = Status.STOPPED
        self._wakeup: Optional[Wakeup] = None

    def run(self) -> None:
        """Sweeps until `stop()`. An error is logged and survived."""
        self._wakeup = wakeup = Wakeup()
        self._status = Status.RUNNING
        logger.info('sweeping %s every %g s', ', '.join(queue.name for queue in self._queues), self._interval)
        try:
            while self._status == Status.RUNNING:
                self._sweep_all(wakeup)
        finally:
            self._wakeup, self._status = None, Status.STOPPED
            wakeup.close()

    def stop(self) -> None:
        """Asks `run` to return. May be called from anywhere, signal handlers too."""
        wakeup = self._wakeup
        if wakeup is not None:
            self._status = Status.STOPPING
            wakeup.wake()

    def _sweep_all(self, wakeup: Wakeup) -> None:
        """Sweeps all queues, and waits for the next time."""
        spared = [queue for queue in self._queues if not self._sweep(queue)]
        due = time.monotonic() + self._interval
        while self._status == Status.RUNNING and time.monotonic() < due:
            # Leases that were spared are swept once it is clear that the living had time to renew them.
            pause = due - time.monotonic()
            wakeup.wait(min(pause, SWEEP_LEASE / 3) if spared else pause)
            if self._status == Status.RUNNING and spared:
                spared = [queue for queue in spared if not self._sweep(queue)]

    def _sweep(self, queue: Queue) -> bool:
        """Returns `False` if leases were spared that are to be looked at again soon."""
        try:
            repaired, all_swept = sweep(queue, MAX_LOSSES, SWEEP_LEASE)
        except Exception as error:
            logger.error('cannot sweep queue %s (%s: %s); trying again', queue.name, type(error).__name__, error)
            return True
        if repaired:
            logger.warning('queue %s: brought back %d lost tasks or notifications', queue.name, repaired)
        return all_swept
