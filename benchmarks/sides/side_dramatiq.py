"""dramatiq, with its default middleware. It stores no results unless it is told to."""

import os

import chores
import dramatiq
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url='unix://' + os.environ['BENCH_SOCKET'])
dramatiq.set_broker(broker)
actors = {name: dramatiq.actor(function) for name, function in chores.SIMPLE.items()}


def enqueue(name, *args):
    actors[name].send(*args)
