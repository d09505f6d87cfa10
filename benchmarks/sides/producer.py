"""Enqueues for the benchmark with the library of one contestant: does what each line of its input says.

    python producer.py side_rq

A side is a module with `enqueue(name, *args)`, which enqueues a task of `chores`, and maybe
`enqueue_many(name, number)`; either may be a coroutine function.
"""

import asyncio
import importlib
import inspect
import json
import os
import resource
import sys
import time

import readings


def main():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    side = importlib.import_module(sys.argv[1])
    print(json.dumps('ready'), flush=True)
    for line in sys.stdin:
        what, *args = json.loads(line)
        result = globals()['do_' + what](side, *args)
        print(json.dumps(loop.run_until_complete(result)), flush=True)


async def do_enqueue(side, name, *args):
    await _settled(side.enqueue(name, *args))


async def do_stamp(side):
    await _settled(side.enqueue('stamp', time.monotonic_ns()))


async def do_fill(side, number):
    """Enqueues that many empty tasks, one by one."""
    enqueue = side.enqueue
    reading = _Reading()
    if inspect.iscoroutinefunction(enqueue):
        for _ in range(number):
            await enqueue('empty')
    else:
        for _ in range(number):
            enqueue('empty')
    return reading.difference()


async def do_many(side, number):
    """Enqueues that many with as few calls as the library allows."""
    reading = _Reading()
    await _settled(side.enqueue_many('empty', number))
    return reading.difference()


async def _settled(result):
    return await result if inspect.isawaitable(result) else result


class _Reading:
    def __init__(self):
        self._redis = readings.redis_counts(os.environ['BENCH_SOCKET'])
        self._cpu, self._ns = _cpu(), time.monotonic_ns()

    def difference(self):
        ns, cpu = time.monotonic_ns() - self._ns, _cpu() - self._cpu
        redis = readings.redis_counts(os.environ['BENCH_SOCKET'])
        return {'seconds': ns / 1e9, 'cpu': cpu, 'redis': {name: redis[name] - self._redis[name] for name in redis}}


def _cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
    main()
