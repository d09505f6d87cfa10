"""What this machine and Redis allow at most, measured with this package's own scripts and none of its workers.

    python limits.py 2000

Prints microseconds an operation as JSON. The queue's keys must not exist.
"""

import json
import os
import sys
import time

import redis

import delayed._monitor  # noqa: F401 - a fork copies what a worker has loaded
import delayed.worker  # noqa: F401
from delayed import _scripts
from delayed._ledger import NOTIFIED, READY
from delayed._producer import Call
from delayed.queue import Queue
from delayed.task import Task

_LEASE_MS = 15_000.0
_ALLOWANCE_MS = 610_000.0
_BATCH = 500  # tasks, as many as `Queue.enqueue_many` sends at once
_PREFETCH = 64
_PAUSE = 0.02  # seconds, in which whoever waits falls asleep


def main():
    number = int(sys.argv[1])
    client = redis.Redis(unix_socket_path=os.environ['BENCH_SOCKET'])
    queue = Queue('bench', client)
    limits = Limits(queue, client, number)
    found = {}
    for name in ('enqueue', 'advance', 'enqueue_pipelined', 'advance_pipelined', 'advance_many', 'rpush',
                 'client_rpush', 'rpush_pipelined', 'commands_pipelined', 'pipe', 'fork', 'wake'):
        client.flushall()
        found[name] = getattr(limits, name)() * 1e6
    print(json.dumps(found))


def _seconds_each(number, operation):
    start = time.perf_counter()
    for _ in range(number):
        operation()
    return (time.perf_counter() - start) / number


class Limits:
    """Each method returns the seconds that one operation took."""

    def __init__(self, queue, client, number):
        self._ledger = queue.ledger.using(queue.ledger.caller.hold())  # one connection, as a worker has
        self._client = client
        self._connection = client.connection_pool.get_connection()
        self._number = number
        self._calls = 0

    def enqueue(self):
        """The script alone: no id, no pickling."""
        payloads = iter(self._payloads(self._number))
        return _seconds_each(self._number, lambda: self._put(next(payloads)))

    def advance(self):
        """Releases a task and takes the next."""
        self._put_all(self._number + 1)
        held = [self._ledger.take(READY, _LEASE_MS, 'h')]

        def step():
            done = held[0]
            self._ledger.advance(done.payload, (done.token,), (b'', ''), READY, _LEASE_MS, 'h')
            held[0], = self._ledger.advanced()[1]

        return _seconds_each(self._number, step)

    def enqueue_pipelined(self):
        """All at once, so what is left is the work of the server and of redis-py's parser."""
        ledger, tape = self._taped()
        for payload in self._payloads(self._number):
            ledger.enqueue(self._next_call(), (_ALLOWANCE_MS, payload))
        return self._play(tape)

    def advance_pipelined(self):
        self._put_all(2 * self._number)
        held = [self._ledger.take(READY, _LEASE_MS, 'h') for _ in range(self._number)]
        ledger, tape = self._taped()
        for done in held:
            ledger.advance(done.payload, (done.token,), (b'', ''), READY, _LEASE_MS, 'h')
        return self._play(tape)

    def advance_many(self):
        """Releases a batch and takes the next; the time is that of one task."""
        self._put_all(self._number + _PREFETCH)
        self._ledger.advance_many([], (b'', ''), _LEASE_MS, 'h', _PREFETCH)
        held = self._ledger.advanced_many()[1]

        def step():
            nonlocal held
            done = [(taken.payload, (taken.token,)) for taken in held]
            self._ledger.advance_many(done, (b'', ''), _LEASE_MS, 'h', _PREFETCH)
            held = self._ledger.advanced_many()[1]

        return _seconds_each(self._number // _PREFETCH, step) / _PREFETCH

    def rpush(self):
        payload, = self._payloads(1)
        return _seconds_each(self._number, lambda: self._send('RPUSH', 'bench', payload))

    def client_rpush(self):
        """As a program calls it, through the client's pool."""
        payload, = self._payloads(1)
        return _seconds_each(self._number, lambda: self._client.rpush('bench', payload))

    def commands_pipelined(self):
        """The three commands that add a task, in a pipeline of the client's."""
        payloads = self._payloads(self._number)
        start = time.perf_counter()
        for first in range(0, self._number, _BATCH):
            pipe = self._client.pipeline(transaction=False)
            for payload in payloads[first:first + _BATCH]:
                pipe.zadd('bench_enqueued', {payload: _ALLOWANCE_MS})
                pipe.rpush('bench', payload)
                pipe.rpush('bench_noti', '1')
            pipe.execute()
        return (time.perf_counter() - start) / self._number

    def rpush_pipelined(self):
        payload, = self._payloads(1)
        return self._play([('RPUSH', 'bench', payload)] * self._number)

    def pipe(self):
        """A message as long as a payload to another process, and one byte back."""
        (there, here), (back, away) = os.pipe(), os.pipe()
        payload, = self._payloads(1)
        pid = os.fork()
        if pid == 0:
            os.close(here)
            while os.read(there, 1000):
                os.write(away, b'.')
            os._exit(0)

        def step():
            os.write(here, payload)
            os.read(back, 1)

        try:
            return _seconds_each(self._number, step)
        finally:
            for fd in (here, there, back, away):
                os.close(fd)
            os.waitpid(pid, 0)

    def fork(self):
        """Forks a process that exits at once, and waits for it."""
        def step():
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

        return _seconds_each(max(50, self._number // 10), step)

    def wake(self):
        """From before a task is enqueued until a second process has it, which has it over a
        pipe from a third that waited in `BLPOP` and then called one script. The median."""
        (there, here), (back, away) = os.pipe(), os.pipe()
        runner = os.fork()
        if runner == 0:
            os.close(here)
            while os.read(there, 1000):
                os.write(away, time.monotonic_ns().to_bytes(8, 'little'))
            os._exit(0)
        waiter = os.fork()
        if waiter == 0:
            self._wait_and_pass(here)
        os.close(here)
        found = []
        for payload in self._payloads(max(20, self._number // 50)):
            time.sleep(_PAUSE)
            start = time.monotonic_ns()
            self._put(payload)
            found.append(int.from_bytes(os.read(back, 8), 'little') - start)
        os.kill(waiter, 9)
        for pid in (waiter, runner):
            os.waitpid(pid, 0)
        return sorted(found)[len(found) // 2] / 1e9

    def _wait_and_pass(self, fd):
        ledger = Queue('bench', redis.Redis(unix_socket_path=os.environ['BENCH_SOCKET'])).ledger
        ledger = ledger.using(ledger.caller.hold())
        while True:
            if ledger.wait():
                taken = ledger.take(NOTIFIED, _LEASE_MS, 'h')
                os.write(fd, taken.payload)

    def _payloads(self, number):
        return [Task(self._next(), 'chores', 'empty').serialize() for _ in range(number)]

    def _next(self):
        self._calls += 1
        return self._calls

    def _next_call(self):
        return Call('p', self._next())

    def _put(self, payload):
        self._ledger.enqueue(self._next_call(), (_ALLOWANCE_MS, payload))

    def _put_all(self, number):
        for payload in self._payloads(number):
            self._put(payload)

    def _send(self, *command):
        self._connection.send_command(*command)
        return self._connection.read_response()

    def _taped(self):
        tape = Tape()
        return self._ledger.using(tape), tape.commands

    def _play(self, commands):
        for script in (_scripts.ENQUEUE, _scripts.ADVANCE):
            self._send('SCRIPT', 'LOAD', script.source)
        start = time.perf_counter()
        for first in range(0, len(commands), 100):
            batch = commands[first:first + 100]
            self._connection.send_packed_command(self._connection.pack_commands(batch))
            for _ in batch:
                self._connection.read_response(disable_decoding=True)
        return (time.perf_counter() - start) / len(commands)


class Tape:
    """In place of the package's caller: notes what would be sent."""

    def __init__(self):
        self.commands = []

    def script(self, script, keys, args, repeat=True):
        self.commands.append(('EVALSHA', script.sha, len(keys), *keys, *args))
        return 1 if script is _scripts.ENQUEUE else (1,)

    begin_script = script


if __name__ == '__main__':
    main()
