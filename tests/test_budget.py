"""What a task costs, in figures that do not depend on the machine: round trips to Redis, commands, bytes, system calls.

A run with more tasks is compared with one with fewer, so that what a worker does at its start and end does not count.
A busy machine can only add to the figures (a task that is held up is no short task any more), never take from them: so
the cheapest of a few tries counts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

from workers import task

_TRIES = 5
_WORKER = """
import sys, redis
from delayed import worker
from delayed.queue import Queue
conn = redis.Redis.from_url(sys.argv[2])
queues = [Queue(name, conn) for name in ('empty', 'default', 'also-empty')[:int(sys.argv[3])]]
queue = queues if len(queues) > 1 else Queue('default', conn)
getattr(worker, sys.argv[1])(queue, sweep_interval=None, prefetch=int(sys.argv[4]) or None).run()
"""
_PRODUCER = """
import sys, redis
from delayed.queue import Queue
from delayed.task import Task
queue = Queue('default', redis.Redis.from_url(sys.argv[2]))
for _ in range(int(sys.argv[1])):
    queue.enqueue(Task(None, 'builtins', 'int'))
"""


class Cost(NamedTuple):
    """Of one task. trips: how often Redis reads from its clients; commands: those of clients and those inside
    scripts; received, sent: bytes, seen from Redis."""

    trips: float
    commands: float
    received: float
    sent: float


def _spent(conn):
    """What the server has counted, this call left out."""
    commands = conn.info('commandstats')
    stats = conn.info('stats')
    if 'total_reads_processed' not in stats:
        pytest.skip('this server does not count round trips')
    calls = sum(entry['calls'] for name, entry in commands.items() if not name.startswith('cmdstat_info'))
    return Cost(stats['total_reads_processed'], calls, stats['total_net_input_bytes'], stats['total_net_output_bytes'])


def _cost(conn, run, fewer, more):
    """What `run(number)` costs a task: it prepares that many and returns what is to be measured."""
    spent = []
    for number in (fewer, more):
        measured = run(number)
        before = _spent(conn)
        measured()
        spent.append([after - start for after, start in zip(_spent(conn), before)])
    return Cost(*((most - least) / (more - fewer) for least, most in zip(*spent)))


def _assert_within(budget, measure):
    """`budget` and what is measured are tuples of figures; each must be within its own."""
    costs = []
    for _ in range(_TRIES):
        costs.append(measure())
        if all(cost <= limit for cost, limit in zip(costs[-1], budget)):
            return
    pytest.fail('%s cost more than %s' % (costs, budget))


@pytest.fixture
def drain(redis_server, queue):
    """Makes so many empty tasks for a worker to run, and returns its command; it ends when they are done."""
    def prepared(worker_class, number, queues=1, prefetch=1):
        for _ in range(number):
            queue.enqueue(task('builtins.int'))
        queue.enqueue(task('stop_worker'))
        return [sys.executable, '-c', _WORKER, worker_class, redis_server.url, str(queues), str(prefetch or 0)]
    return prepared


class TestInRedisATask:
    def test_costs_a_busy_preforked_worker_a_part_of_a_round_trip(self, conn, drain):
        self._assert_worker_within(Cost(0.2, 4, 130, 80), conn, drain, 'PreforkedWorker', 100, 900, prefetch=None)

    def test_costs_a_worker_that_takes_one_at_a_time_one_round_trip(self, conn, drain):
        self._assert_worker_within(Cost(1.05, 13.5, 400, 90), conn, drain, 'PreforkedWorker', 100, 600)

    def test_costs_a_worker_with_several_queues_one_round_trip_too(self, conn, drain):
        self._assert_worker_within(Cost(1.05, 16.5, 800, 90), conn, drain, 'PreforkedWorker', 100, 600, queues=3)

    def test_costs_a_worker_that_takes_batches_a_fraction_of_a_round_trip(self, conn, drain):
        self._assert_worker_within(Cost(0.1, 2.8, 110, 80), conn, drain, 'PreforkedWorker', 100, 900, prefetch=16)

    def test_costs_a_busy_forked_worker_little_more_than_one_round_trip(self, conn, drain):
        self._assert_worker_within(Cost(1.5, 18, 550, 130), conn, drain, 'ForkedWorker', 20, 120)

    def test_costs_a_producer_one_round_trip(self, conn, queue):
        def produce(number):
            for _ in range(2):  # the first two take a round trip for their ids
                queue.enqueue(task('builtins.int'))
            return lambda: [queue.enqueue(task('builtins.int')) for _ in range(number)]

        _assert_within(Cost(1.02, 7.1, 285, 8), lambda: _cost(conn, produce, 100, 300))

    def test_costs_a_producer_of_many_next_to_nothing(self, conn, queue):
        def produce(number):
            tasks = [task('builtins.int') for _ in range(number)]
            return lambda: queue.enqueue_many(tasks)

        _assert_within(Cost(0.01, 0.03, 70, 0.1), lambda: _cost(conn, produce, 1000, 5000))

    @staticmethod
    def _assert_worker_within(budget, conn, drain, worker_class, fewer, more, **options):
        def run(number):
            command = drain(worker_class, number, **options)
            return lambda: subprocess.run(command, check=True)

        _assert_within(budget, lambda: _cost(conn, run, fewer, more))


class TestInSystemCallsATask:
    @pytest.mark.parametrize(('worker_class', 'prefetch', 'fewer', 'more', 'budget'), [
        ('PreforkedWorker', 1, 100, 500, 22), ('PreforkedWorker', None, 100, 900, 12),
        ('PreforkedWorker', 16, 100, 900, 11), ('ForkedWorker', 1, 20, 100, 118)])
    def test_costs_a_busy_worker_no_more_than_it_needs(
            self, drain, tmp_path, worker_class, prefetch, fewer, more, budget):
        def calls(number):
            return _system_calls(tmp_path / 'calls', drain(worker_class, number, prefetch=prefetch))

        _assert_within((budget,), lambda: ((calls(more) - calls(fewer)) / (more - fewer),))

    def test_costs_a_producer_no_more_than_it_needs(self, redis_server, queue, tmp_path):
        def calls(number):
            return _system_calls(tmp_path / 'calls', [sys.executable, '-c', _PRODUCER, str(number), redis_server.url])

        _assert_within((11,), lambda: ((calls(300) - calls(100)) / 200,))


def _system_calls(output, command):
    """How many system calls a program and its children make."""
    if not shutil.which('strace'):
        pytest.skip('strace is not installed')
    strace = ['strace', '-f', '-c', '-o', str(output), *command]
    traced = subprocess.run(strace, stderr=subprocess.PIPE, text=True, check=False)
    if traced.returncode:
        pytest.skip('strace cannot trace here: %s' % traced.stderr.strip()[-300:])
    return int(re.search(r'^100\.00 .*?(\d+)(?: +\d+)? +total$', output.read_text(), re.MULTILINE)[1])
