"""One logical queue over several: for what outgrows one node of a Redis Cluster.

    queue = ShardedQueue('orders', 12, redis.RedisCluster(...))
    queue.enqueue(task)                     into the shard whose turn it is
    queue.enqueue(task, key='customer 7')   into the shard of that key: all with one key stay in order
    PreforkedWorker(queue).run()
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import zlib
from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, Union

from ._ledger import MOST_TASKS
from ._turns import Rounds
from ._wait_apart import wait_for_any
from .errors import InvalidArgument, NotAllEnqueued, WrongType
from .queue import DeadLetter, Queue
from .task import Task

_END: Any = object()


class ShardedQueue:
    """`count` queues as one. Each is a `Queue` named `{NAME:NUMBER}`, so a cluster spreads them over its nodes.

    Tasks are in order within a shard, and in none between two. A task's id is unique within its shard. `count` is for
    good: with another one, keys lead to other shards, and what waits in a shard that is no more is not run.
    conn, options: as for `Queue`.
    Raises `InvalidArgument` (a `ValueError`) or `WrongType` (also a `TypeError`).
    """

    def __init__(self, name: str, count: int, conn: Any, **options: Any) -> None:
        if not isinstance(name, str) or not name or set(name) & set('{}'):
            raise InvalidArgument("the name of a sharded queue must be a string without braces, such as 'default', "
                                  'not %r' % (name,))
        if not isinstance(count, int) or not 1 <= count <= 256:
            raise InvalidArgument('a sharded queue has 1 to 256 shards, not %r' % (count,))
        self._name = name
        #: The queues that it consists of.
        self.shards: List[Queue] = [Queue('{%s:%d}' % (name, number), conn, **options) for number in range(count)]
        first = random.randrange(count)  # producers do not begin all with the same one
        self._next = itertools.cycle([*range(first, count), *range(first)])
        self._turns = Rounds(count, first)

    @property
    def name(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return '<ShardedQueue %s of %d on %r>' % (self._name, len(self.shards), self.shards[0].conn)

    def shard_of(self, key: Union[str, bytes]) -> Queue:
        """The shard that tasks with this key go to."""
        return self.shards[self._number_of(key)]

    def enqueue(self, task: Task, key: Union[str, bytes, None] = None) -> Task:
        """As `Queue.enqueue`. key: tasks with one key go to one shard, and keep their order."""
        if not isinstance(task, Task):
            raise WrongType('enqueue takes a Task, not %r; see Task.create' % (task,))
        task.shard = self._number_for(task, key)
        return self.shards[task.shard].enqueue(task)

    def enqueue_many(self, tasks: Iterable[Task], progress: Optional[Callable[[int], object]] = None,
                     key: Union[str, bytes, None] = None) -> int:
        """As `Queue.enqueue_many`. Each 500 tasks go into the shard whose turn it is, or all into that of the key."""
        if not hasattr(tasks, '__iter__'):
            raise WrongType('enqueue_many takes an iterable of tasks, not %r' % (tasks,))
        iterator, enqueued, ahead = iter(tasks), 0, [_END]

        def tell(count: int) -> None:
            if progress is not None:
                progress(enqueued + count)

        while True:
            try:
                first = next(iterator, _END) if ahead[0] is _END else ahead[0]
                ahead[0] = _END
                if first is _END:
                    return enqueued
                number = self._number_for(first, key)
                enqueued += self.shards[number].enqueue_many(self._part(first, iterator, number, ahead), tell)
            except NotAllEnqueued as error:
                why = error.__cause__
                assert isinstance(why, Exception)
                pending = [*error.pending, *(task for task in ahead if task is not _END)]
                raise NotAllEnqueued(enqueued + error.enqueued, pending, enqueued + error.position, error.uncertain,
                                     why) from why
            except Exception as error:  # the iterable's
                raise NotAllEnqueued(enqueued, [], enqueued, False, error) from error

    @staticmethod
    def _part(first: Any, rest: Iterator[Task], number: int, ahead: List[Any]) -> Iterator[Task]:
        """What goes to one shard, and remembers that: 500 tasks, or up to the first whose call was another's and is
        repeated. That one is put into `ahead`."""
        task = first
        for count in range(1, MOST_TASKS + 1):
            if isinstance(task, Task):
                task.shard = number
            yield task
            if count == MOST_TASKS:
                return
            task = next(rest, _END)
            if task is _END:
                return
            if isinstance(task, Task) and task.enqueue_call is not None and task.shard not in (None, number):
                ahead[0] = task
                return

    def _number_for(self, task: Task, key: Union[str, bytes, None]) -> int:
        """The number of the shard for a task that is enqueued; where its call is repeated, the same."""
        if isinstance(task, Task) and task.enqueue_call is not None and task.shard is not None:
            return task.shard
        return next(self._next) if key is None else self._number_of(key)

    def dequeue(self) -> Optional[Task]:
        """As `Queue.dequeue`. It is for now and then: where it has to wait it opens a connection for each shard."""
        for number in self._turns.order():
            if self.shards[number].len():
                task = self._dequeue(number)
                if task is not None:
                    return task
        woken_by = wait_for_any([shard.ledger for shard in self.shards])
        return None if woken_by is None else self._dequeue(woken_by)

    def _dequeue(self, number: int) -> Optional[Task]:
        task = self.shards[number].dequeue()
        if task is not None:
            task.shard = number
            self._turns.took(number)
        return task

    def requeue(self, task: Task) -> bool:
        """As `Queue.requeue`."""
        return any(shard.requeue(task) for shard in self._holders(task))

    def release(self, task: Task) -> bool:
        """As `Queue.release`."""
        return any(shard.release(task) for shard in self._holders(task))

    def len(self) -> int:
        """How many tasks wait."""
        return sum(shard.len() for shard in self.shards)

    def requeue_lost(self) -> int:
        """As `Queue.requeue_lost`, for all shards."""
        return sum(shard.requeue_lost() for shard in self.shards)

    def dead_len(self) -> int:
        """How many tasks are set aside."""
        return sum(shard.dead_len() for shard in self.shards)

    def dead(self, start: int = 0, count: int = 100) -> List[DeadLetter]:
        """As `Queue.dead`; the ids begin with the number of the shard. It reads `start` letters of each shard, too."""
        letters = [dataclasses.replace(letter, id='%d:%s' % (number, letter.id))
                   for number, shard in enumerate(self.shards) for letter in shard.dead(0, start + count)]
        return sorted(letters, key=lambda letter: letter.set_aside_at)[start:start + count]

    def requeue_dead(self, id: str) -> bool:
        """As `Queue.requeue_dead`."""
        shard, id = self._read_id(id)
        return shard.requeue_dead(id)

    def delete_dead(self, id: str) -> bool:
        """As `Queue.delete_dead`."""
        shard, id = self._read_id(id)
        return shard.delete_dead(id)

    def _number_of(self, key: Union[str, bytes]) -> int:
        return zlib.crc32(key.encode() if isinstance(key, str) else key) % len(self.shards)

    def _holders(self, task: Task) -> List[Queue]:
        """The shard that has a dequeued task; of one that was deserialized by hand, the first that has its payload."""
        if task.shard is not None:
            return self.shards[task.shard:task.shard + 1]
        return [shard for shard in self.shards if task.data is not None and shard.ledger.is_dequeued(task.data)][:1]

    def _read_id(self, id: str) -> Tuple[Queue, str]:
        number, colon, rest = id.partition(':') if isinstance(id, str) else ('', '', '')
        if not colon or not number.isdecimal() or int(number) >= len(self.shards):
            raise WrongType("the id of a dead letter of a sharded queue is a string such as '3:1795445657871.770' (see "
                            'dead), not %r' % (id,))
        return self.shards[int(number)], rest


#: What tasks can be enqueued to.
AnyQueue = Union[Queue, ShardedQueue]
