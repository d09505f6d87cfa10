"""taskiq, with the broker that acknowledges or the one that does not. Neither stores results."""

import os

import chores
from taskiq_redis import ListQueueBroker, RedisStreamBroker

_URL = 'unix://' + os.environ['BENCH_SOCKET']
if os.environ['BENCH_BROKER'] == 'stream':
    broker = RedisStreamBroker(_URL, consumer_id='0')  # tasks that were enqueued before the worker started, too
else:
    broker = ListQueueBroker(_URL)
tasks = {name: broker.register_task(function, name) for name, function in chores.in_loop(with_context=False).items()}


async def enqueue(name, *args):
    await tasks[name].kiq(*args)
