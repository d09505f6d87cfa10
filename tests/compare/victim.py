"""Runs on either library: `python victim.py ROLE URL QUEUE_OPTIONS_AS_JSON`. Roles: worker, sweeper, and those below.

Only names that 0.5.1b2 has, and those of Python 3 alone.
"""

import json
import os
import signal
import sys
import time

import redis

from delayed.logger import setup_logger
from delayed.queue import Queue
from delayed.sweeper import Sweeper
from delayed.task import Task
from delayed.worker import ForkedWorker

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def hold(log, seconds):
    """Notes its beginning and its end, with the process and the time. Time in which it is frozen does not count."""
    note(log, 'begun')
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)
    note(log, 'ended')


def leave(log):
    note(log, 'begun')
    os._exit(1)


def take_all_down(log):
    """As a task does that the kernel ends together with its worker."""
    note(log, 'begun')
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def note(log, what):
    with open(log, 'a') as file:
        file.write('%s %d %.3f\n' % (what, os.getpid(), time.time()))


def enqueue(queue, name, *args):
    queue.enqueue(Task(id=None, module_name='victim', func_name=name, args=args))


def main():
    role, url, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    setup_logger()
    queue = Queue('accident', redis.Redis.from_url(url), **options)
    if role == 'worker':
        ForkedWorker(queue).run()
    elif role == 'sweeper':
        Sweeper(queue, interval=1).run()
    elif role == 'enqueue':
        enqueue(queue, sys.argv[4], *json.loads(sys.argv[5]))
    elif role == 'lose':  # as many tasks taken, their deadlines passed
        for _ in range(int(sys.argv[4])):
            enqueue(queue, 'leave', '/dev/null')
        for _ in range(int(sys.argv[4])):
            queue.dequeue()
        time.sleep(0.1)
        print(queue.requeue_lost())


if __name__ == '__main__':
    main()
