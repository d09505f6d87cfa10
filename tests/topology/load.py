"""Producers that go on while servers come and go, and the account of their tasks."""

import time

import redis
from redis.exceptions import RedisClusterException

from delayed.errors import NotReplicated
from delayed.queue import Queue
from delayed.task import Task
from waiting import wait_until
from workers import report

AWAY = (redis.RedisError, RedisClusterException, OSError)


def produce(make_queue, until):
    """Enqueues calls of `tasks.run(number)` until the file `until` exists. Reports each that was acknowledged, after an
    error by calling again with the same task."""
    queue = make_queue()
    number = 0
    while not until.exists():
        number += 1
        task = Task(None, 'tasks', 'run', (number,))
        while True:
            try:
                queue.enqueue(task)
                break
            except (*AWAY, NotReplicated) as error:
                report('trouble', type(error).__name__)
                time.sleep(0.05)
        report('acknowledged', number)
        time.sleep(0.002)  # a load, and not as much as the machine bears


class Account:
    """What the programs of a lab say: which tasks were acknowledged, and how often each has run."""

    def __init__(self, lab):
        self._lab = lab
        self.acknowledged, self.runs, self.troubles = [], [], []

    def read(self):
        self.acknowledged += [number for number, in self._lab.reports('acknowledged')]
        self.runs += [args[0] for args, _ in self._lab.reports('ran')]
        self.troubles += [name for name, in self._lab.reports('trouble')]
        return self

    def await_more(self, count=50):
        """Waits until so many more tasks have run."""
        enough = len(self.runs) + count
        wait_until(lambda: len(self.read().runs) >= enough, '%d more runs' % count)

    def await_all(self):
        """Waits until each acknowledged task has run."""
        wait_until(lambda: set(self.read().acknowledged) <= set(self.runs), 'the last runs')

    @property
    def twice(self):
        return sorted({number for number in self.runs if self.runs.count(number) > 1})


def start(lab, tmp_path, workers, name, make_client, **options):
    """Starts workers and a producer, which ends when the file `stop` exists. Returns the account of them."""
    for worker_class in workers:
        lab.start(lambda: worker_class(Queue(name, make_client()), lease=5, sweep_interval=1).run())  # noqa: B023
    lab.start(lambda: produce(lambda: Queue(name, make_client(), **options), tmp_path / 'stop'))
    return Account(lab)
