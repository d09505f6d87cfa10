"""The processes of a soak, each `python -m soak.programs SPEC`, SPEC being JSON."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import threading

import redis

from delayed import worker
from delayed.logger import setup_logger
from delayed.queue import Queue
from delayed.task import Task

from . import tasks
from .journal import note

#: Seconds. A task that lost both its processes after its lease was extended comes back when all of them have passed.
DEFAULT_TIMEOUT, REQUEUE_TIMEOUT, KILL_TIMEOUT = 6, 2, 1
_MOST_WAITING = 60  # tasks
_PR_SET_PDEATHSIG = 1


def main(spec):
    _die_with_the_soak(spec['soak'])
    setup_logger()
    queue = Queue('soak', redis.Redis(unix_socket_path=spec['socket'], socket_timeout=spec['socket_timeout']),
                  default_timeout=DEFAULT_TIMEOUT, requeue_timeout=REQUEUE_TIMEOUT)
    {'worker': _work, 'producer': _produce}[spec['program']](queue, spec)


def _work(queue, spec):
    tasks.worker = {'monitor': os.getpid(), 'on_crash': spec['on_crash']}
    getattr(worker, spec['class'])(
        queue, kill_timeout=KILL_TIMEOUT, error_handler=tasks.failed, lease=spec['lease'],
        on_crash=spec['on_crash']).run()


def _produce(queue, spec):
    """Enqueues until SIGTERM. `tried` is noted before each call, `enqueued` when it has returned."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    chance = random.Random(spec['seed'])
    number = 0
    while not stop.is_set():
        for _ in range(chance.choice((1, 1, 5, 30))):
            number += 1
            key = '%s.%d' % (spec['name'], number)
            task = Task(None, 'soak.tasks', 'work', (spec['journal'], key, _seconds(chance)))
            note(spec['journal'], 'tried', key=key)
            if _enqueue(queue, task, chance, stop):
                note(spec['journal'], 'enqueued', key=key)
            if stop.is_set():
                return
        _wait_for_room(queue, stop)


def _seconds(chance):
    """Most tasks are short, some take longer than a lease."""
    return chance.choices((0.0, 0.002, chance.uniform(0.05, 0.3), chance.uniform(1.0, 5.0)), (30, 40, 26, 4))[0]


def _enqueue(queue, task, chance, stop):
    """Returns whether Redis acknowledged it. Half of the failed calls are made again, with the same task."""
    while True:
        try:
            queue.enqueue(task)
            return True
        except (redis.RedisError, OSError):
            if chance.random() < 0.5 or stop.wait(0.2):
                return False


def _wait_for_room(queue, stop):
    while not stop.wait(0.05):
        try:
            if queue.len() < _MOST_WAITING:
                return
        except (redis.RedisError, OSError):
            pass


def _die_with_the_soak(pid):
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        sys.exit('the soak is gone')


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
