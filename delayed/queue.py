"""The queue as programs use it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple, Union

from ._callers import caller
from ._enqueueing import Enqueuer
from ._exposure import warn_if_exposed
from ._keys import DEQUEUED_SUFFIX as _DEQUEUED_KEY_SUFFIX
from ._keys import ENQUEUED_SUFFIX as _ENQUEUED_KEY_SUFFIX
from ._keys import ID_SUFFIX as _ID_KEY_SUFFIX
from ._keys import NOTI_SUFFIX as _NOTI_KEY_SUFFIX
from ._keys import QueueKeys
from ._ledger import ANYWAY, NOTIFIED, READY, Ledger
from ._letters import DeadLetter
from ._plain import loads_of
from ._producer import producers_of
from ._redis import check_client, check_slot
from ._replicated import Replicated
from ._signature import Secrets, Signer
from ._trust import Trust
from .errors import InvalidArgument, UnreadablePayload, WrongType
from .logger import is_heard, logger
from .task import Task, check_timeout

__all__ = ['Queue', 'DeadLetter', '_DEQUEUED_KEY_SUFFIX', '_ENQUEUED_KEY_SUFFIX', '_ID_KEY_SUFFIX', '_NOTI_KEY_SUFFIX']

#: How often a task may be lost before it is set aside, where nobody says otherwise.
MAX_LOSSES = 3
_SHORTEST_POSTPONEMENT_MS = 5000


class Queue:
    """A queue of tasks in Redis.

    name: the queue's name, and that of its list in Redis; its other keys begin with it.
    conn: any synchronous redis-py client, decoding or not.
    default_timeout: how long a task that names no timeout may run, in seconds. 0 leaves it no time at all.
    requeue_timeout: how long after its timeout a task counts as lost, in seconds.
    busy_len: with so many tasks waiting, lost ones are put back a little later (`requeue_timeout`, 5 s at least).
    min_replicas: `enqueue` returns when so many replicas of the server have the task, too; else it raises
        `delayed.errors.NotReplicated`. 0: it does not wait for them.
    replica_timeout: for how long it waits for them, in seconds; less where the client's `socket_timeout` is shorter.
    secret: signs the tasks, and no other is unpickled: text or bytes, 32 at least, which all who enqueue and work have;
        or a list, of which the first signs and each is accepted. `None`: that of the environment's DELAYED_SECRET
        (several are separated by spaces), if it has one. `False`: none.
    accept_unsigned_until: until then (a datetime with a time zone, or Unix seconds) unsigned tasks are accepted, too.
    allow: the functions that may run, as patterns such as 'package.tasks:*'; the modules of others are not imported.
    unpickle: what arguments may hold: `any`thing; `plain` data; or a list of 'module:Class' beside plain data.
    stamp: whether a task that is enqueued tells when that was, so that `task.outcome.wait_seconds` is known. 12 bytes
        stand behind its pickle then, which whoever unpickles it passes over.
    Raises `InvalidArgument` (a `ValueError`) or `WrongType` (also a `TypeError`).
    """

    def __init__(self, name: str, conn: Any, default_timeout: float = 600, requeue_timeout: float = 10,
                 busy_len: int = 10, *, secret: Secrets = None,
                 accept_unsigned_until: Union[datetime, float, None] = None, allow: Optional[Sequence[str]] = None,
                 unpickle: Union[str, Sequence[str]] = 'any', stamp: bool = False, min_replicas: int = 0,
                 replica_timeout: float = 1) -> None:
        if not isinstance(name, str) or not name:
            raise (InvalidArgument if isinstance(name, str) else WrongType)(
                "a queue's name must be a string that is not empty, such as 'default', not %r" % (name,))
        check_client(conn)
        check_slot(conn, name, QueueKeys(name).id)
        for argument, value in (('default_timeout', default_timeout), ('requeue_timeout', requeue_timeout),
                                ('busy_len', busy_len), ('min_replicas', min_replicas),
                                ('replica_timeout', replica_timeout)):
            if value is None:
                raise WrongType('%s must be a number, not None' % argument)
            check_timeout(value, argument)
        self._name = name
        self._conn = conn
        #: How long a task that names no timeout may run, in milliseconds.
        self.default_timeout = default_timeout * 1000
        self._requeue_timeout_ms = requeue_timeout * 1000
        self._busy_len = busy_len
        self._caller = caller(conn)
        self._trust = Trust(Signer(name, secret, accept_unsigned_until), loads_of(unpickle), allow, stamp)
        self._wants_secret = secret is not False and not self._trust.signs
        producing = Replicated(self._caller, min_replicas, replica_timeout) if min_replicas else self._caller
        self._enqueueing = self.ledger.using(producing), producers_of(name, conn)

    @property
    def name(self) -> str:
        return self._name

    @property
    def conn(self) -> Any:
        """The client that it was given."""
        return self._conn

    @property
    def requeue_timeout(self) -> float:
        """How long after its timeout a task counts as lost, in milliseconds."""
        return self._requeue_timeout_ms

    @property
    def ledger(self) -> Ledger:
        """The moves in Redis, for workers and sweepers."""
        return Ledger(QueueKeys(self._name), self._caller, self.default_timeout + self._requeue_timeout_ms,
                      self._busy_len, max(self._requeue_timeout_ms, _SHORTEST_POSTPONEMENT_MS))

    def warn_if_exposed(self) -> None:
        """Warns, once in a process, of a Redis that others may reach, if nothing is signed and nobody wanted that."""
        if self._wants_secret:
            warn_if_exposed(self._name, self._conn)

    @property
    def trust(self) -> Trust:
        """What this queue lets in, for workers."""
        return self._trust

    def __repr__(self) -> str:
        return '<Queue %s on %r>' % (self._name, self._conn)

    def enqueue(self, task: Task) -> Task:
        """Adds a task and returns it; it gets an id if it has none.

        If this raises because Redis was away, the task may or may not have been added: call it again with the same
        task within ten minutes, and it is added once. A crash before the call's end leaves the task either added or
        not, never by halves. `delayed.errors.NotReplicated`: it has been added, see `min_replicas`.
        """
        if not isinstance(task, Task):
            raise WrongType('enqueue takes a Task, not %r; see Task.create' % (task,))
        self._enqueuer().enqueue(task)
        if is_heard(logging.DEBUG):
            logger.debug('queue %s: enqueued task %s', self._name, task.id)
        return task

    def enqueue_many(self, tasks: Iterable[Task], progress: Optional[Callable[[int], object]] = None) -> int:
        """Adds the tasks of any iterable, in its order, and returns how many. Those without an id get one.

        They go to Redis in batches of 500 tasks, or of a MiB, in one call each, which adds all of them or none; what a
        slow iterable has given so far waits until its batch is full. After each, `progress` is called with the number
        of tasks that are enqueued.
        Raises `NotAllEnqueued`, with the number of those that are, where the iterable or `progress` raises, a task
        cannot be pickled, or Redis is away: nothing of that batch is enqueued, or in the last case perhaps all of it. A
        crash leaves whole batches.
        """
        if not hasattr(tasks, '__iter__'):
            raise WrongType('enqueue_many takes an iterable of tasks, not %r' % (tasks,))
        enqueued = self._enqueuer().enqueue_many(tasks, progress or _ignore)
        if is_heard(logging.DEBUG):
            logger.debug('queue %s: enqueued %d tasks', self._name, enqueued)
        return enqueued

    def _enqueuer(self) -> Enqueuer:
        # Made for each call: kept, it would be part of a cycle, and an unused queue would stay, its connections too.
        return Enqueuer(*self._enqueueing, self._pack)

    def _pack(self, task: Task) -> Tuple[float, bytes]:
        """What of a task goes to Redis when it is enqueued: its allowance in ms, and its payload."""
        return (task.timeout or self.default_timeout) + self._requeue_timeout_ms, self._trust.payload(task)

    def dequeue(self) -> Optional[Task]:
        """Waits up to a second for a task (less where the client's `socket_timeout` is shorter), takes the oldest and
        grants its full lease: its timeout and `requeue_timeout`. Returns the task, or `None`.

        A payload that cannot be read, or is refused, is set aside, and `None` returned. If the caller dies before it
        calls `release`, the task comes back when its lease has ended.
        """
        ledger = self.ledger
        taken = ledger.take(READY)
        if taken is None:
            taken = ledger.take(NOTIFIED if ledger.wait() else ANYWAY)
        if taken is None:
            return None
        try:
            task = self._trust.read(taken.payload)
        except UnreadablePayload as error:
            ledger.set_aside(taken.payload, (taken.token,), str(error))
            logger.error('queue %s: set aside a payload of %d bytes: %s', self._name, len(taken.payload), error)
            return None
        task.tokens = (taken.token,)
        logger.debug('queue %s: dequeued task %s', self._name, task.id)
        return task

    def read(self, payload: bytes) -> Task:
        """Reads a payload, such as a dead letter's, if it is one that this queue would let run. Raises
        `UnreadablePayload` or, before anything is unpickled or imported, `Refused`."""
        return self._trust.read(payload)

    def requeue(self, task: Task) -> bool:
        """Puts a dequeued task back at the end of the list. `False` where it was not dequeued (released already, never
        taken, no data), or was taken over by somebody else."""
        return task.data is not None and self.ledger.requeue(task.data, task.tokens)

    def release(self, task: Task) -> bool:
        """Forgets a dequeued task. `False` where it has no data, or was taken over by somebody else."""
        return task.data is not None and self.ledger.release(task.data, task.tokens)

    def len(self) -> int:
        """How many tasks wait."""
        return self.ledger.waiting()

    def requeue_lost(self) -> int:
        """Puts lost tasks back in front of the list, the longest lost first, and notifications in step with it.
        Returns how many tasks and notifications it repaired. It works in batches that Redis hardly feels; a crash
        between two of them leaves the rest for the next call."""
        return self.ledger.sweep(MAX_LOSSES)

    def dead_len(self) -> int:
        """How many tasks are set aside."""
        return self.ledger.dead_len()

    def dead(self, start: int = 0, count: int = 100) -> List[DeadLetter]:
        """Up to `count` of the tasks that were set aside, from the `start`th on, oldest first."""
        return self.ledger.dead_letters(start, count)

    def requeue_dead(self, id: str) -> bool:
        """Puts a task that was set aside back at the end of the list. `False` if there is none with this id."""
        return self.ledger.requeue_dead(_checked_letter_id(id))

    def delete_dead(self, id: str) -> bool:
        """Deletes a task that was set aside, for good. `False` if there is none with this id."""
        return self.ledger.delete_dead(_checked_letter_id(id))


def _ignore(enqueued: int) -> None:
    pass


def _checked_letter_id(id: object) -> str:
    if not isinstance(id, str):
        raise WrongType("the id of a dead letter is a string such as '1795445657871.770' (see Queue.dead), not %r"
                        % (id,))
    return id
