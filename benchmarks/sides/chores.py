"""What the tasks of every contestant do. They report to the benchmark through a pipe in the file system."""

import json
import os
import sys
import time

import readings

REPORTS, GATE, SOCKET = (os.environ.get('BENCH_' + name, '') for name in ('REPORTS', 'GATE', 'SOCKET'))


def empty():
    """The task that is measured."""


def mark(label):
    """The first and the last task of a drain: when it is, and what was used until then.

    The readings stand outside of the time that is measured.
    """
    if label == 'begin':
        counts = _counts()
        report(label=label, ns=time.monotonic_ns(), **counts)
    else:
        now = time.monotonic_ns()
        blindfold = sys.modules.get('blindfold')
        report(label=label, ns=now, black_box=blindfold and blindfold.spent, **_counts())


def stamp(sent_ns):
    """Tells how long ago it was enqueued."""
    report(label='stamp', ns=time.monotonic_ns() - sent_ns)


def make():
    """Makes some thousands of objects, as tasks do that read a page of rows or call somebody's API."""
    json.loads(json.dumps([{'number': number, 'names': [str(number)]} for number in range(2000)]))


def nap(seconds):
    time.sleep(seconds)


def gate():
    """Waits until the benchmark opens the gate."""
    report(label='gate')
    with open(GATE, 'rb', buffering=0) as file:
        file.read(1)


def report(**fields):
    fd = os.open(REPORTS, os.O_WRONLY)
    os.write(fd, json.dumps(fields).encode() + b'\n')  # short enough to be written at once
    os.close(fd)


def _counts():
    return {'cpu': readings.cpu_seconds(os.getsid(0)), 'redis': readings.redis_counts(SOCKET)}


SIMPLE = {function.__name__: function for function in (empty, mark, make, stamp, nap, gate)}


def in_loop(with_context):
    """The same as coroutines, for the libraries that run those. `with_context`: they pass one as the first argument."""
    return {name: _coroutine(function, with_context) for name, function in SIMPLE.items()}


def _coroutine(function, with_context):
    if with_context:
        async def chore(_context, *args, **kwargs):
            return function(*args, **kwargs)
    else:
        async def chore(*args):
            return function(*args)
    chore.__name__ = chore.__qualname__ = function.__name__
    return chore
