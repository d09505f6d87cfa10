"""Where tasks come from and go to for a queue class of the user's own, which overrides some of the methods."""

from __future__ import annotations

import time
from typing import Optional, Sequence, Tuple

from redis.exceptions import RedisError

from ._attempt import Verdict
from ._lease import Lease
from ._redis import Caller
from ._source import Source
from .logger import logger
from .queue import Queue
from .task import Task


class _MethodFailed(RedisError):
    """A `dequeue` of the user's own failed. It is called again later, as if Redis were away."""


class QueueSource(Source):
    """Calls the methods of a queue class that overrides some of them, with the full lease that `dequeue` grants. One
    that fails is logged, and stops no worker."""

    def __init__(self, queue: Queue, max_losses: int) -> None:
        super().__init__(queue, None, max_losses)

    def open(self, caller: Optional[Caller] = None) -> None:
        pass

    def take(self, seconds: float) -> Optional[Lease]:
        try:
            task = self._queue.dequeue()
        except RedisError:
            raise
        except Exception as error:
            logger.exception('dequeue of %r failed', self._queue)
            raise _MethodFailed('%s: %s' % (type(error).__name__, error)) from error
        if task is None:
            return None
        return Lease(task.serialize(), task.tokens, None, '', time.monotonic(), task)

    @property
    def overlaps(self) -> bool:
        return False

    def advance(self, done: Sequence[Lease], begun: Optional[Lease] = None, ahead: bool = False,
                most: int = 1) -> None:
        self._held = [self.settle(lease, Verdict.RELEASE) for lease in done]

    def advanced(self) -> Tuple[Sequence[bool], Sequence[Lease]]:
        return self._held, ()

    def settle(self, lease: Lease, verdict: Verdict, reason: str = '', record: str = '') -> bool:
        try:
            if verdict is Verdict.RELEASE:
                if record:
                    self.presence.tell_failure(self._ledger, record)
                return self._queue.release(lease.task or self._task_of(lease)) is not False
            if verdict is Verdict.HAND_BACK:
                return bool(self._queue.requeue(lease.task or self._task_of(lease)))
        except RedisError:
            raise
        except Exception:  # if it was not done, the task comes back when its lease has ended
            logger.exception('%s of %r failed', 'release' if verdict is Verdict.RELEASE else 'requeue', self._queue)
            return True
        return super().settle(lease, verdict, reason, record)

    def _task_of(self, lease: Lease) -> Task:
        """For an orphan, which has run the task and so can read it."""
        task = self._queue.read(lease.payload)
        task.tokens = lease.tokens
        return task
