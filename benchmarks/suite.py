"""The measurements. Each interleaves its contestants: a round measures all of them once, so that what else the machine
does meets all alike."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Sequence

from .arena import SIDES, Arena, Failed, Fields, environment_of
from .contestants import (
    BLIND,
    FORKED,
    HUEY,
    OURS,
    OURS_FORKED,
    PREFORKED,
    PUBLISHED,
    PUBLISHED_FORKED,
    SEEING,
    WINKING,
    Contestant,
)
from .environments import clean_environ
from .sides import readings

#: Found by section, then row, then what it is; a list with a value for each round.
Results = Dict[str, Dict[str, Dict[str, List[Any]]]]

_APART = 0.005  # seconds between the marks and the tasks between them: some libraries sort by milliseconds
_PAUSE = (0.01, 0.03)  # seconds before each task of the latency's, so that the worker waits
_NAP = 0.01  # seconds
_MEMORY_SECONDS = 12.0  # who would take longer gets a quarter of the tasks
_MANY = 4  # times as many tasks in bulk: they take so little time
_SLICE = 1000  # tasks, of which the drain is measured while the rest waits behind them


@dataclass(frozen=True)
class Sizes:
    """How much is measured. Tasks are the same number for all rows of a section."""

    rounds: int = 5
    preforked: int = 2500
    forked: int = 200
    stamps: int = 30
    memory: int = 20_000
    backlogs: Sequence[int] = (1000, 100_000, 1_000_000)
    scaling: int = 3000
    workers: Sequence[int] = (1, 2, 3)
    naps: int = 150
    limits: int = 1500


QUICK = Sizes(rounds=1, preforked=500, forked=40, stamps=10, memory=500, backlogs=(1000, 100_000), scaling=500,
              naps=50, limits=300)


class Suite:
    """One run of all of it. What a contestant fails at is told and left out."""

    def __init__(self, arena: Arena, sizes: Sizes, tell: Callable[[str], None]) -> None:
        self._arena = arena
        self._sizes = sizes
        self._tell = tell
        self.others: List[float] = []
        self.results: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))

    def run(self) -> None:
        for contestant in {row.environment: row for row in PREFORKED}.values():
            self._tell('environment of %s' % contestant.name)
            environment_of(contestant)
        for index in range(self._sizes.rounds):
            self._tell('round %d of %d' % (index + 1, self._sizes.rounds))
            self._note('limits', {'all': self._limits()})
            self._watch_others()
            self._each('preforked', PREFORKED, lambda row: self._race(row, self._sizes.preforked))
            self._each('forked', FORKED, lambda row: self._race(row, self._sizes.forked))
            self._black_box(index)
            self._each('backlog', (OURS,), self._backlog)
            self._each('scaling', (OURS, PUBLISHED, HUEY), self._scaling)
            self._watch_others()
            self._each('naps', (OURS, OURS_FORKED, PUBLISHED, PUBLISHED_FORKED), self._naps)
        self._tell('memory')
        self._each('memory', PREFORKED, self._memory)

    def _watch_others(self) -> None:
        """Notes how many cores other programs use."""
        busy, start = readings.busy_seconds(), time.monotonic()
        time.sleep(1)
        self.others.append((readings.busy_seconds() - busy) / (time.monotonic() - start))

    def _each(self, section: str, rows: Iterable[Contestant], measure: Callable[[Contestant], Fields]) -> None:
        for row in rows:
            self._arena.clear()
            try:
                self._note(section, {row.name: measure(row)})
            except Failed as error:
                self._tell('%s of %s: %s' % (section, row.name, error))
        self._arena.clear()

    def _note(self, section: str, found: Dict[str, Fields]) -> None:
        for row, fields in found.items():
            for name, value in fields.items():
                self.results[section][row][name].append(value)

    def _race(self, row: Contestant, number: int) -> Fields:
        """Enqueues, drains, and enqueues one task at a time for an idle worker."""
        arena = self._arena
        with arena.producer(row) as producer:
            producer.enqueue('mark', 'begin')
            time.sleep(_APART)
            filled = producer.fill(number)
            time.sleep(_APART)
            producer.enqueue('mark', 'end')
            with arena.worker(row) as worker:
                begin, end = (arena.expect(label, worker) for label in ('begin', 'end'))
                waits = []
                for _ in range(self._sizes.stamps):
                    time.sleep(random.uniform(*_PAUSE))
                    producer.stamp()
                    waits.append(arena.expect('stamp', worker)['ns'] / 1000)
            found = {**_drained(begin, end, number + 1), 'waits_us': waits, 'enqueue_rate': number / filled['seconds'],
                     'enqueue_cpu_us': filled['cpu'] / number * 1e6}
            found.update(('enqueue_' + name, value / number) for name, value in filled['redis'].items())
            if producer.has_many:
                arena.clear()
                number *= _MANY
                found['many_rate'] = number / producer.many(number)['seconds']
        return found

    def _black_box(self, index: int) -> None:
        self._each('black_box', WINKING, self._wink)
        pair = (SEEING, BLIND) if index % 2 else (BLIND, SEEING)  # the second may find a warmer machine
        self._each('black_box', pair, lambda row: self._race(row, self._sizes.forked))

    def _wink(self, row: Contestant) -> Fields:
        """Drains, with the black box and without in turns."""
        number = self._sizes.preforked * _MANY
        with self._arena.producer(row) as producer:
            producer.enqueue('mark', 'begin')
            producer.fill(number)
            producer.enqueue('mark', 'end')
            with self._arena.worker(row) as worker:
                begin, end = (self._arena.expect(label, worker) for label in ('begin', 'end'))
        seeing, blind = (seconds / tasks for seconds, tasks in (end['black_box'][half] for half in ('with', 'without')))
        return {'cpu_us': _drained(begin, end, number + 1)['cpu_us'], 'black_box_us': (seeing - blind) * 1e6}

    def _backlog(self, row: Contestant) -> Fields:
        """Drains the first tasks of longer and longer lists."""
        found = {}
        for backlog in self._sizes.backlogs:
            self._arena.clear()
            self._put(itertools.chain([('mark', 'begin')], itertools.repeat(('empty',), _SLICE - 2), [('mark', 'end')],
                                      itertools.repeat(('empty',), backlog - _SLICE)))
            with self._arena.worker(row) as worker:
                begin, end = (self._arena.expect(label, worker) for label in ('begin', 'end'))
            found[str(backlog)] = _drained(begin, end, _SLICE - 1)['rate']
        return found

    def _put(self, calls: Iterable[Sequence[Any]]) -> None:
        """Adds tasks to the keys of `delayed`, faster than any producer does."""
        payloads = (pickle.dumps((number, 'chores', name, tuple(args), {}, None))
                    for number, (name, *args) in enumerate(calls, 1))
        while batch := list(itertools.islice(payloads, 10_000)):
            pipe = self._arena.redis.pipeline(transaction=False)
            pipe.zadd('bench_enqueued', dict.fromkeys(batch, 610_000))
            pipe.rpush('bench', *batch)
            pipe.rpush('bench_noti', *[b'1'] * len(batch))
            pipe.execute()

    def _scaling(self, row: Contestant) -> Fields:
        return {str(workers): self._crew(row, workers, 'empty', (), self._sizes.scaling)
                for workers in self._sizes.workers}

    def _naps(self, row: Contestant) -> Fields:
        return {str(workers): self._crew(row, workers, 'nap', (_NAP,), self._sizes.naps) for workers in (1, 2)}

    def _crew(self, row: Contestant, workers: int, name: str, args: Sequence[Any], number: int) -> float:
        """The rate of several workers. A gate holds each until all are up and the tasks are there."""
        arena = self._arena
        arena.clear()
        with arena.producer(row) as producer:
            for _ in range(workers):
                producer.enqueue('gate')
            running = [arena.worker(row) for _ in range(workers)]
            try:
                crew = [each.__enter__() for each in running]
                for worker in crew:
                    arena.expect('gate', worker)
                producer.enqueue('mark', 'begin')
                for _ in range(number):
                    producer.enqueue(name, *args)
                producer.enqueue('mark', 'end')
                arena.open_gate(workers)
                begin, end = (arena.expect(label, crew[0]) for label in ('begin', 'end'))
            finally:
                for each in running:
                    each.__exit__(None, None, None)
        return float(_drained(begin, end, number + 1)['rate'])

    def _memory(self, row: Contestant) -> Fields:
        """Of an idle worker, before it has run anything but one task, and after many."""
        number = self._sizes.memory
        speed = self.results['preforked'][row.name]
        if not speed or sum(number / median(speed[each]) for each in ('rate', 'enqueue_rate')) > _MEMORY_SECONDS:
            number //= 4
        with self._arena.producer(row) as producer, self._arena.worker(row) as worker:
            producer.enqueue('mark', 'begin')
            self._arena.expect('begin', worker)
            time.sleep(0.3)
            idle = worker.pss
            producer.fill(number)
            time.sleep(_APART)
            producer.enqueue('mark', 'end')
            self._arena.expect('end', worker)
            time.sleep(0.3)
            return {'tasks': number, 'idle_bytes': idle, 'after_bytes': worker.pss}

    def _limits(self) -> Fields:
        self._arena.clear()
        command = [str(environment_of(OURS) / 'python'), str(SIDES / 'limits.py'), str(self._sizes.limits)]
        environ = clean_environ(PYTHONPATH=str(SIDES), BENCH_SOCKET=self._arena.server.socket_path)
        found: Fields = json.loads(subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE).stdout)
        return found


def _drained(begin: Fields, end: Fields, number: int) -> Fields:
    """`number`: how many tasks began after the first and ended with the last."""
    counted = {name: (end['redis'][name] - begin['redis'][name]) / number for name in end['redis']}
    counted['redis_cpu_us'] = counted.pop('cpu') * 1e6
    return {'rate': number / (end['ns'] - begin['ns']) * 1e9, 'cpu_us': (end['cpu'] - begin['cpu']) / number * 1e6,
            **counted}


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def tell(text: str) -> None:
    print('%s %s' % (time.strftime('%H:%M:%S'), text), file=sys.stderr, flush=True)
