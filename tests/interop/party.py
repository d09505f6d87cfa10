# -*- coding: utf-8 -*-
"""One party of a fleet: runs with the `delayed` that its Python imports, the published one or ours, on Python 2.7 too.

    python party.py '{"role": "work", "worker": "ForkedWorker", "options": {"kill_timeout": 1}}'
    python party.py '{"role": "sweep", "interval": 0.1}'
    python party.py '{"role": "hand"}'      does by hand what each line of its input says, such as ["requeue_lost"]

All take "queue": {the options of Queue}, "protocol": of pickles, and "clock_ahead": by how many seconds its clock is
ahead. The environment variable PARTY_REDIS holds the URL of Redis. A line "ready" on its output says that it begins.
"""

from __future__ import print_function

import base64
import json
import logging
import os
import sys
import time

import chores
import redis

_time = time.time


def main(config):
    time.time = lambda: _time() + config.get('clock_ahead', 0)
    import delayed.logger
    import delayed.queue
    import delayed.task

    delayed.logger.setup_logger()
    delayed.logger.logger.setLevel(logging.WARNING)
    if config.get('protocol') is not None:
        delayed.task.set_pickle_protocol_version(config['protocol'])
    queue = delayed.queue.Queue('default', redis.Redis.from_url(os.environ['PARTY_REDIS']), **config.get('queue', {}))
    ROLES[config['role']](queue, config)


def work(queue, config):
    import delayed.worker
    worker = getattr(delayed.worker, config['worker'])(queue, **config.get('options', {}))
    say('ready')
    worker.run()


def sweep(queue, config):
    import delayed.sweeper
    sweeper = delayed.sweeper.Sweeper(queue, config['interval'])
    say('ready')
    sweeper.run()


def serve(queue, config):
    say('ready')
    for line in iter(sys.stdin.readline, ''):
        request = json.loads(line)
        say(COMMANDS[request[0]](queue, *request[1:]))


def say(value):
    print(json.dumps(value))
    sys.stdout.flush()


# --- what `serve` does by hand; payloads travel as base64

def enqueue(queue, function, first, last):
    """Enqueues a task for each number."""
    from delayed.task import Task
    for number in range(first, last + 1):
        queue.enqueue(Task(None, 'chores', function, (number,)))


def enqueue_in_each_way(queue):
    """Enqueues tasks 1 to 5."""
    from delayed.delay import delay, delay_in_time, delayed
    from delayed.task import Task
    queue.enqueue(Task(None, 'chores', 'record', (1,)))
    queue.enqueue(Task.create(chores.record, (2,), {'plain': 'text'}, timeout=60))
    delay(queue)(chores.record)(3, accents=u'd\xe9j\xe0 vu')
    delay_in_time(queue)(chores.record, 60)(4)
    delayed(queue)()(chores.record).delay(5)


def dequeue(queue):
    """Returns {id, module_name, func_name, args, kwargs, timeout, data} of a task, or None."""
    task = queue.dequeue()
    if task is None:
        return None
    fields = {name: getattr(task, name) for name in ('id', 'module_name', 'func_name', 'args', 'kwargs', 'timeout')}
    return dict(fields, data=base64.b64encode(task.data).decode())


def requeue(queue, data):
    return bool(queue.requeue(_task(data)))


def release(queue, data):
    queue.release(_task(data))


def requeue_lost(queue):
    return queue.requeue_lost()


def length(queue):
    return queue.len()


def _task(data):
    from delayed.task import Task
    return Task.deserialize(base64.b64decode(data))


ROLES = {'work': work, 'sweep': sweep, 'hand': serve}
COMMANDS = {command.__name__: command
            for command in (enqueue, enqueue_in_each_way, dequeue, requeue, release, requeue_lost, length)}

if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
