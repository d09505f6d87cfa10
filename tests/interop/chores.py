"""The functions that tasks of either side call, on Python 2.7 too. They tell Redis what they do."""

import os

import redis

_client = None


def record(number, **named):
    """Notes that it ran, and with what."""
    _redis().rpush('runs', number)
    for name, value in named.items():
        _redis().hset('named', name, value)


def hold(number):
    """Notes that it runs, and goes on until somebody pushes to `go`."""
    _redis().rpush('runs', number)
    _redis().blpop('go', 120)


def _redis():
    """A client of this process's own. Without a time limit, for `hold` may wait for long."""
    global _client
    if _client is None:
        _client = redis.Redis.from_url(os.environ['PARTY_REDIS'], socket_timeout=None)
    return _client
