"""What can go wrong, one class each; all are `DelayedError`s and carry the data of their message."""

from __future__ import annotations

import pickle
from typing import Any, Optional, Sequence


class DelayedError(Exception):
    """The base of every error this library raises by itself."""


class InvalidArgument(DelayedError, ValueError):
    """An argument was refused where it was given; nothing has reached Redis."""


class WrongType(InvalidArgument, TypeError):
    """An argument of the wrong type was refused where it was given; nothing has reached Redis."""


class NotImportable(InvalidArgument):
    """No worker could import this function by its module and name."""


class NotPicklable(DelayedError, pickle.PicklingError, TypeError):
    """A task's arguments cannot be pickled; nothing has reached Redis."""


class NotAllEnqueued(DelayedError):
    """`Queue.enqueue_many` failed on its way; `__cause__` says why.

    enqueued: how many tasks it has enqueued: so many of the first.
    pending: the tasks that it had read behind them, the one at which it failed being the last.
    position: that one's, counted from 0; where reading it failed, it is not among `pending`.
    uncertain: whether those that are pending may have been added, for a call to Redis failed. If so, enqueue them in
        front of the rest, by another `enqueue_many` within ten minutes: each is added once.
    """

    def __init__(self, enqueued: int, pending: Sequence[Any], position: int, uncertain: bool, why: Exception) -> None:
        if uncertain:
            problem = 'of the next %d it is not known whether they are, for the call failed (%s: %s)' % (
                len(pending), type(why).__name__, why)
        else:
            problem = 'and none after them, because of the one at position %d (%s: %s)' % (
                position, type(why).__name__, why)
        super().__init__('%d tasks are enqueued, %s' % (enqueued, problem))
        self.enqueued = enqueued
        self.pending = list(pending)
        self.position = position
        self.uncertain = uncertain


class AlreadyRunning(DelayedError, RuntimeError):
    """`run()` was called while it is under way in another thread. `worker` is whose."""

    def __init__(self, worker: object) -> None:
        super().__init__('%r runs already, in another thread: make a worker for each' % (worker,))
        self.worker = worker


class UnreadablePayload(DelayedError, ValueError):
    """Bytes that are no task. `payload` holds them, `reason` says why, in text that any log can hold."""

    def __init__(self, reason: str, payload: bytes) -> None:
        reason = reason.encode('utf-8', 'backslashreplace').decode()
        super().__init__(reason)
        self.reason = reason
        self.payload = payload


class Refused(UnreadablePayload):
    """A payload that its queue does not trust. Nothing of it was called: it is not signed or wrongly so, or names a
    class or a function that is not allowed."""


class TaskExited(DelayedError):
    """A task ended its own process. `code` is the exit status it gave (0 too)."""

    def __init__(self, code: int, task_id: Optional[int] = None) -> None:
        super().__init__('task %s ended its process with exit code %d' % (task_id, code))
        self.code = code


class WorkersFailed(DelayedError, RuntimeError):
    """The workers of a pool cannot work, and would not, however often they were started. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__('the workers cannot work: %s' % reason)
        self.reason = reason


class ServerNotFound(DelayedError):
    """No redis-server could be found or started. The message says where it was looked for."""


class NotReplicated(DelayedError):
    """A task was enqueued, but too few replicas have acknowledged it in time: should the master die now, it may be
    lost. To enqueue the same `Task` again adds nothing, and waits for the replicas once more.

    `wanted`: how many replicas were asked for; `acknowledged`: how many have it.
    """

    def __init__(self, wanted: int, acknowledged: int) -> None:
        super().__init__('the task was enqueued, but %d of %d replicas have acknowledged it: enqueue the same Task '
                         'again, which adds nothing, to wait for them once more' % (acknowledged, wanted))
        self.wanted = wanted
        self.acknowledged = acknowledged
