"""This package and the published 0.5.1b2: one program for both."""

import os
import sys

import chores
import redis

from delayed.queue import Queue
from delayed.task import Task

queue = Queue('bench', redis.Redis(unix_socket_path=os.environ['BENCH_SOCKET']))


def enqueue(name, *args):
    queue.enqueue(Task.create(chores.SIMPLE[name], args))


if hasattr(queue, 'enqueue_many'):
    def enqueue_many(name, number):
        queue.enqueue_many([Task.create(chores.SIMPLE[name]) for _ in range(number)])


if __name__ == '__main__':
    from delayed import worker
    black_box = os.environ.get('BENCH_BLACK_BOX')
    if black_box is not None:
        import blindfold
        blindfold.put_on() if black_box == 'off' else blindfold.wink()
    handler = (lambda task: None) if os.environ.get('BENCH_HANDLER') else None
    options = {'prefetch': int(sys.argv[2])} if len(sys.argv) > 2 else {}
    getattr(worker, sys.argv[1])(queue, success_handler=handler, **options).run()
