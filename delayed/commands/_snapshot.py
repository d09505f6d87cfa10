"""All that `delayed status` shows of a queue, at one moment, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .._inspect import Census, Inspection, Running, WorkerSeen
from .._pace import Rate, Wait, rate_of
from ..queue import Queue
from ._output import table

_UNITS = (86_400, 3600, 'dh'), (3600, 60, 'hm'), (60, 1, 'ms')  # seconds, those of the next smaller, names of both
#: Said of a queue without any key.
UNUSED = 'queue %s: nothing was ever enqueued on this server; is the name right?'
_PRECISE = 10.0  # seconds between the bounds of a wait that is told as one number


@dataclass(frozen=True)
class Snapshot:
    """Of one queue. `running`: the tasks, as many as were asked for."""

    queue: str
    census: Census
    running: List[Running]
    workers: List[WorkerSeen]
    wait: Optional[Wait]
    rate: Optional[Rate]

    @classmethod
    def of(cls, queue: Queue, most_tasks: int) -> Snapshot:
        """Looks. Raises what redis-py raises."""
        inspection = Inspection(queue.ledger)
        census, notes = inspection.census(), inspection.notes()
        wait = inspection.wait() if census.waiting else None
        workers = [worker for worker in inspection.workers(census.now) if worker.alive]
        return cls(queue.name, census, inspection.running(most_tasks), workers, wait,
                   rate_of(notes, census.now) if workers else None)  # nobody notes any more how fast it goes

    def as_json(self) -> Dict[str, Any]:
        """Durations are seconds; what is not known is null."""
        census, rate = self.census, self.rate
        return {
            'queue': self.queue, 'waiting': census.waiting, 'running': census.dequeued, 'dead': census.dead,
            'overdue': census.overdue, 'notifications': census.notifications,
            'oldest_wait': self.wait and {'at_least': self.wait.at_least, 'at_most': self.wait.at_most},
            'rate': rate and {'enqueued': rate.enqueued, 'taken': rate.taken, 'over': rate.seconds},
            'tasks': [self._task(task) for task in self.running],
            'workers': [{'name': worker.name, 'host': worker.host, 'pid': worker.pid, 'up': worker.up}
                        for worker in self.workers]}

    def _task(self, task: Running) -> Dict[str, Any]:
        taken, holder = self._taken(task), task.holder
        return {
            'task': task.name.id, 'function': task.name.function, 'bytes': task.size,
            'host': holder and holder.host, 'pid': holder and holder.pid, 'begun': holder.begun if holder else None,
            'since': None if taken is None else (self.census.now - taken) / 1000,
            'lease_left': (task.lease_end - self.census.now) / 1000}

    def _taken(self, task: Running) -> Optional[float]:
        """When (Unix ms) a task was taken, if that is known: a worker tells it with each of its sweeps."""
        holder = task.holder
        if holder is None:
            return task.taken
        named = [worker for worker in self.workers if worker.name == holder.worker]
        return named[0].tasks.get(str(holder.call)) if named else None

    def row(self) -> Tuple[str, ...]:
        census, rate = self.census, self.rate
        return (self.queue, str(census.waiting), str(census.dequeued), str(census.dead),
                told_wait(self.wait) if census.waiting else '-',
                '-' if rate is None else _per_second(rate.enqueued),
                '-' if rate is None else _per_second(rate.taken), str(len(self.workers)))

    def task_rows(self) -> List[Tuple[str, ...]]:
        return [(
            '-' if task['task'] is None else str(task['task']), task['function'] or '?', self.queue,
            '%s:%s' % (task['host'], task['pid']) if task['host'] else '-',
            '-' if task['since'] is None else duration(task['since']),
            duration(task['lease_left']) if task['lease_left'] >= 0 else 'over')
            for task in map(self._task, self.running)]

    def worker_rows(self) -> List[Tuple[str, ...]]:
        return [('%s:%d' % (worker.host, worker.pid), self.queue, duration(worker.up)) for worker in self.workers]


def lines_of(snapshots: Sequence[Snapshot], columns: Optional[int], with_workers: bool) -> List[str]:
    """What is printed: a table of the queues, one of their tasks, and one of their workers if wanted."""
    lines = table(('queue', 'waiting', 'running', 'dead', 'oldest', 'in/s', 'out/s', 'workers'),
                  [snapshot.row() for snapshot in snapshots], columns)
    tasks = [row for snapshot in snapshots for row in snapshot.task_rows()]
    if tasks:
        lines += ['', *table(('task', 'function', 'queue', 'worker', 'since', 'lease'), tasks, columns)]
    for snapshot in snapshots:
        if snapshot.census.unused and not snapshot.workers:
            lines.append(UNUSED % snapshot.queue)
    left_out = sum(snapshot.census.dequeued for snapshot in snapshots) - len(tasks)
    if left_out > 0:
        lines.append('and %d more' % left_out)
    workers = [row for snapshot in snapshots for row in snapshot.worker_rows()] if with_workers else []
    if workers:
        lines += ['', *table(('worker', 'queue', 'up'), workers, columns)]
    return lines


def told_wait(wait: Optional[Wait]) -> str:
    """How long the task that is next has waited, as far as that is known."""
    if wait is None:
        return '?'
    if wait.at_most is not None and wait.at_most - wait.at_least <= _PRECISE:
        return duration(wait.at_least)
    if wait.at_least > 0:
        return '>' + duration(wait.at_least)
    return '?' if wait.at_most is None else '<' + duration(wait.at_most)


def _per_second(rate: float) -> str:
    return '%.1f' % rate if rate < 100 else '%.0f' % rate


def duration(seconds: float) -> str:
    """In the two greatest units."""
    if seconds < 60:
        return '%.1fs' % seconds if seconds < 10 else '%ds' % seconds
    whole = int(seconds)
    unit, smaller, names = next(row for row in _UNITS if whole >= row[0])
    return '%d%s%02d%s' % (whole // unit, names[0], whole % unit // smaller, names[1])
