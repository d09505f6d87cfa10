"""arq. Results are not kept. It polls: at its own defaults, it starts 10 tasks each half second."""

import os

import chores
from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings(unix_socket_path=os.environ['BENCH_SOCKET'])
_pool = None


class WorkerSettings:
    functions = list(chores.in_loop(with_context=True).values())
    redis_settings = SETTINGS
    keep_result = 0
    poll_delay = 0.005
    log_results = False


async def enqueue(name, *args):
    global _pool
    if _pool is None:
        _pool = await create_pool(SETTINGS)
    await _pool.enqueue_job(name, *args)
