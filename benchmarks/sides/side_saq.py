"""saq. Results are not kept (a ttl of -1); a task whose worker died is run again (retries)."""

import os

import chores
from redis import asyncio
from saq.queue.redis import RedisQueue

queue = RedisQueue(asyncio.Redis(unix_socket_path=os.environ['BENCH_SOCKET']), name='bench')
_NAMES = {'mark': 'label', 'stamp': 'sent_ns', 'nap': 'seconds'}
settings = {'queue': queue, 'functions': list(chores.in_loop(with_context=True).values())}


async def enqueue(name, *args):
    await queue.enqueue(name, retries=3, ttl=-1, **({_NAMES[name]: args[0]} if args else {}))
