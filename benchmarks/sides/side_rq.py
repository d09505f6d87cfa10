"""rq. Results are not stored (a result_ttl of 0)."""

import os

import chores
import redis
from rq import Queue

queue = Queue('bench', connection=redis.Redis(unix_socket_path=os.environ['BENCH_SOCKET']))


def enqueue(name, *args):
    queue.enqueue(chores.SIMPLE[name], *args, result_ttl=0)


def enqueue_many(name, number):
    queue.enqueue_many([Queue.prepare_data(chores.SIMPLE[name], result_ttl=0) for _ in range(number)])
