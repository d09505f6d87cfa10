"""huey. Results are not stored."""

import os

import chores
from huey import RedisHuey

huey = RedisHuey('bench', url='unix://' + os.environ['BENCH_SOCKET'], results=False)
tasks = {name: huey.task(name=name)(function) for name, function in chores.SIMPLE.items()}


def enqueue(name, *args):
    tasks[name](*args)
