"""Enqueues for one queue: gives tasks their ids, packs them, and sends them, one in a call or many.

A call is carried out for all of its tasks or for none, and once, however often the client repeats it. Where it fails,
its tasks remember it, so that the program can repeat it, too.
"""

from __future__ import annotations

from operator import length_hint
from typing import Callable, Iterable, List, Optional, Sequence, Tuple

from ._ledger import MOST_BYTES, MOST_TASKS, Ledger
from ._producer import Producer, Producers
from ._scripts import Argument
from .errors import NotAllEnqueued, WrongType
from .task import Task

#: Makes of a task what is sent: its allowance in ms, and its payload. Raises `NotPicklable`.
Pack = Callable[[Task], Tuple[float, bytes]]


class Enqueuer:
    """Numbered tasks are those that have no id, and get one here."""

    def __init__(self, ledger: Ledger, producers: Producers, pack: Pack) -> None:
        self._ledger = ledger
        self._producers = producers
        self._pack = pack

    def enqueue(self, task: Task) -> None:
        """Adds a task. Raises `NotPicklable`, and what redis-py raises."""
        if task.enqueue_call is not None and self._repeat((task,)):
            return
        numbered = task.id is None
        producer = self._producers.take()
        try:
            if numbered:
                if not producer.ids:
                    self._pack(task)  # what cannot be pickled is refused before Redis hands out an id
                    self._reserve(producer, 1)
                task.id = producer.next_id
            self._send(producer, (task,), self._pack(task), numbered)
        except BaseException:
            self._leave(producer, (task,), numbered)
            raise
        task.enqueue_call = None
        self._producers.give_back(producer)

    def enqueue_many(self, tasks: Iterable[Task], progress: Callable[[int], object]) -> int:
        """Adds tasks, a batch in each call. Returns how many, and tells `progress` so after each batch.

        Raises `NotAllEnqueued`.
        """
        producer = self._producers.take()
        batch = _Batch(length_hint(tasks))
        try:
            for task in tasks:
                if not isinstance(task, Task):
                    raise WrongType('%r is no Task; see Task.create' % (task,))
                batch.ahead = task
                if batch.tasks and not batch.suits(task):
                    self._finish(producer, batch, progress)
                self._add(producer, batch, task)
                if batch.full:
                    self._finish(producer, batch, progress)
            self._finish(producer, batch, progress)
        except BaseException as error:
            uncertain = self._leave(producer, batch.tasks, batch.numbered)
            if isinstance(error, Exception):
                position = batch.enqueued + len(batch.tasks)
                raise NotAllEnqueued(batch.enqueued, batch.unsent(), position, uncertain, error) from error
            raise
        self._producers.give_back(producer)
        return batch.enqueued

    def _add(self, producer: Producer, batch: _Batch, task: Task) -> None:
        if not batch.tasks:
            batch.begin(task)
            if batch.numbered:
                if producer.ids < batch.expected:
                    self._reserve(producer, batch.expected)
                batch.room = min(MOST_TASKS, producer.ids)
        if batch.numbered:
            task.id = producer.next_id + len(batch.tasks)
        try:
            batch.add(task, *self._pack(task))
        except BaseException:
            self._leave(None, (task,), batch.numbered)
            raise

    def _finish(self, producer: Producer, batch: _Batch, progress: Callable[[int], object]) -> None:
        """Sends a batch, if there is one."""
        if not batch.tasks:
            return
        numbered, items = batch.numbered, batch.items
        if not batch.repeats or not self._repeat(batch.tasks):
            if batch.repeats and batch.tasks[0].id is None:
                numbered, items = True, self._number(producer, batch.tasks)
            self._send(producer, batch.tasks, items, numbered)
        for task in batch.sent():
            task.enqueue_call = None
        progress(batch.enqueued)

    def _send(self, producer: Producer, tasks: Sequence[Task], items: Sequence[Argument], numbered: bool) -> None:
        """The tasks remember the call; who makes it lets them forget it when nothing more can happen."""
        for reserved in (numbered, numbered, False):  # who forgets at once what was reserved is asked no more
            call = producer.call(len(tasks), reserved)
            for task in tasks:  # beforehand: a signal's handler may raise at any moment
                task.enqueue_call = call
            reply = self._ledger.enqueue(call, items)
            if reserved:
                producer.answered(call, reply)
            elif numbered:
                producer.used()
            if reply >= 0:
                return
            items = self._number(producer, tasks)

    def _number(self, producer: Producer, tasks: Sequence[Task]) -> List[Argument]:
        """Gives tasks their ids, and packs them."""
        if producer.ids < len(tasks):
            self._reserve(producer, len(tasks))
        items: List[Argument] = []
        for id, task in enumerate(tasks, producer.next_id):
            task.id = id
            items += self._pack(task)
        return items

    def _reserve(self, producer: Producer, count: int) -> None:
        last_id = producer.last_id if producer.ids else 0
        producer.reserved(self._ledger.reserve(producer.name, count, last_id), count)

    def _repeat(self, tasks: Sequence[Task]) -> bool:
        """Makes a call again that failed before. `False` if it must be another one: they are not all of its tasks, or
        Redis has forgotten their ids."""
        call = tasks[0].enqueue_call
        assert call is not None
        known = len(tasks) == call.size
        forgotten = known and self._ledger.enqueue(call, [item for task in tasks for item in self._pack(task)]) < 0
        for task in tasks:
            task.enqueue_call = None
            if forgotten:
                task.id = None
        return known and not forgotten

    def _leave(self, producer: Optional[Producer], tasks: Sequence[Task], numbered: bool) -> bool:
        """After an error. Returns whether the tasks may have been enqueued all the same. If so, the call is its
        producer's last, or a later one would overwrite the record of it."""
        if any(task.enqueue_call is not None for task in tasks):
            return True
        if numbered:
            for task in tasks:
                task.id = None
        if producer is not None:
            self._producers.give_back(producer)
        return False


class _Batch:
    """The tasks of the next call. They are of one kind: numbered, or with ids of their own, or of one call that failed
    before."""

    def __init__(self, length: int) -> None:
        self._length = length  # of all batches, so far as is known
        self.enqueued = 0
        self.ahead: Optional[Task] = None  # the task that was read last, until it is one of them
        self.numbered = self.repeats = False
        self.room = MOST_TASKS
        self._clear()

    def _clear(self) -> None:
        self.tasks: List[Task] = []
        self.items: List[Argument] = []
        self._bytes = 0

    @property
    def expected(self) -> int:
        """How many tasks it may become, before any is."""
        left = self._length - self.enqueued
        return left if 0 < left < MOST_TASKS else MOST_TASKS

    @property
    def full(self) -> bool:
        return len(self.tasks) >= self.room or self._bytes >= MOST_BYTES

    def begin(self, task: Task) -> None:
        """Takes on the kind of its first task, which is to follow."""
        self._kind = task.enqueue_call, task.id is None
        self.repeats, self.numbered = task.enqueue_call is not None, task.id is None
        self.room = MOST_TASKS

    def suits(self, task: Task) -> bool:
        return self._kind == (task.enqueue_call, task.id is None)

    def add(self, task: Task, allowance_ms: float, payload: bytes) -> None:
        self.tasks.append(task)
        self.items += (allowance_ms, payload)
        self._bytes += len(payload)
        self.ahead = None

    def sent(self) -> List[Task]:
        """Makes room for the next. Returns the tasks that were sent."""
        tasks = self.tasks
        self.enqueued += len(tasks)
        self._clear()
        return tasks

    def unsent(self) -> List[Task]:
        return [*self.tasks, *([] if self.ahead is None else [self.ahead])]
