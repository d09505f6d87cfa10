"""The measurements. Each interleaves its contestants: a round measures all of them once, so that what else the machine
does meets all alike."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from .arena import SIDES, Arena, Failed, Fields, Producer, Worker, environment_of
from .contestants import (
    BLIND,
    FORKED,
    HUEY,
    IN_TURN,
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
from .latency import latencies
from .sides import readings

#: Found by section, then row, then what it is; a list with a value for each round.
Results = Dict[str, Dict[str, Dict[str, List[Any]]]]

_APART = 0.005  # seconds between the marks and the tasks between them: some libraries sort by milliseconds
_NAP = 0.01  # seconds
_SLICE = 20_000  # tasks, of which the drain is measured while the rest waits behind them


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    part: of the numbers of tasks that `contestants.py` names. stamps: samples of a row's latency a round, which
    is not one of the others': see latency.py; half as many where less depends on them. abreast: rows beside ours.
    memory, objects: empty tasks and such that make objects, the same for all rows, for what is asked is how a process
    grows with them. alone: seconds until a forked worker is measured again: ours lets its spare go after five.
    backlogs: waiting tasks. naps: tasks for each worker. limits: calls.
    """

    rounds: int = 5
    part: float = 1.0
    stamps: int = 100
    abreast: int = 3
    memory: int = 3000
    objects: int = 40
    alone: float = 7.0
    backlogs: Sequence[int] = (_SLICE, 100_000, 1_000_000)
    workers: Sequence[int] = (1, 2, 3)
    naps: int = 60
    limits: int = 2000

    def of(self, number: int) -> int:
        return int(number * self.part)


QUICK = Sizes(rounds=1, part=0.2, stamps=15, abreast=7, memory=500, objects=10, alone=0.3,
              backlogs=(_SLICE, 100_000), workers=(1, 2), naps=30, limits=300)


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
            step = -1 if index % 2 else 1
            self._each('preforked', IN_TURN[::step], self._race)
            self._each('forked', FORKED[::step], self._race)
            self._black_box(index)
            self._each('backlog', (OURS,), self._backlog)
            self._each('scaling', (OURS, PUBLISHED, HUEY), self._scaling)
            self._watch_others()
            self._each('naps', (OURS, OURS_FORKED, PUBLISHED, PUBLISHED_FORKED), self._naps)
        self._tell('latency')
        self._latency()
        self._tell('memory')
        self._each('memory', (*PREFORKED, OURS_FORKED, PUBLISHED_FORKED), self._memory)

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

    def _race(self, row: Contestant) -> Fields:
        """Enqueues one by one, drains, and enqueues in bulk."""
        arena = self._arena
        with arena.producer(row) as producer:
            found = self._fill(producer, row.enqueued or row.tasks)
            if row.enqueued:
                arena.clear()
                self._fill(producer, row.tasks)
            with arena.worker(row) as worker:
                found.update(self._drain(row, worker))
            if row.in_bulk:
                arena.clear()
                number = self._sizes.of(row.in_bulk)
                found.update(many=number, many_rate=number / producer.many(number)['seconds'])
        return found

    def _fill(self, producer: Producer, number: int) -> Fields:
        """Enqueues empty tasks one by one, between marks."""
        number = self._sizes.of(number)
        producer.enqueue('mark', 'begin')
        time.sleep(_APART)
        filled = producer.fill(number)
        time.sleep(_APART)
        producer.enqueue('mark', 'end')
        return {'enqueued': number, 'enqueue_rate': number / filled['seconds'],
                'enqueue_cpu_us': filled['cpu'] / number * 1e6,
                **{'enqueue_' + name: value / number for name, value in filled['redis'].items()}}

    def _drain(self, row: Contestant, worker: Worker) -> Fields:
        number = self._sizes.of(row.tasks)
        return {'tasks': number, **_drained(*self._ends(worker), number + 1)}

    def _ends(self, worker: Worker) -> Tuple[Fields, Fields]:
        """What the first and the last task of a drain report."""
        return self._arena.expect('begin', worker), self._arena.expect('end', worker)

    def _black_box(self, index: int) -> None:
        self._each('black_box', WINKING, self._wink)
        pair = (SEEING, BLIND) if index % 2 else (BLIND, SEEING)  # the second may find a warmer machine
        self._each('black_box', pair, self._only_drain)

    def _only_drain(self, row: Contestant) -> Fields:
        with self._arena.producer(row) as producer:
            self._fill(producer, row.tasks)
            with self._arena.worker(row) as worker:
                return self._drain(row, worker)

    def _wink(self, row: Contestant) -> Fields:
        """Drains, with the black box and without in turns."""
        with self._arena.producer(row) as producer:
            self._fill(producer, row.tasks)
            with self._arena.worker(row) as worker:
                begin, end = self._ends(worker)
        seeing, blind = (seconds / tasks for seconds, tasks in (end['black_box'][half] for half in ('with', 'without')))
        return {'cpu_us': _drained(begin, end, self._sizes.of(row.tasks) + 1)['cpu_us'],
                'black_box_us': (seeing - blind) * 1e6}

    def _backlog(self, row: Contestant) -> Fields:
        """Drains the first tasks of longer and longer lists, and of the shortest once more: so what they are compared
        with is as fast as the machine was before and after."""
        found: Dict[str, List[float]] = {}
        for backlog in (*self._sizes.backlogs, self._sizes.backlogs[0]):
            self._arena.clear()
            self._put(itertools.chain([('mark', 'begin')], itertools.repeat(('empty',), _SLICE - 2), [('mark', 'end')],
                                      itertools.repeat(('empty',), backlog - _SLICE)))
            with self._arena.worker(row) as worker:
                found.setdefault(str(backlog), []).append(_drained(*self._ends(worker), _SLICE - 1)['rate'])
        return {backlog: sum(rates) / len(rates) for backlog, rates in found.items()}

    def _put(self, calls: Iterable[Sequence[Any]]) -> None:
        """Adds tasks to the keys of `delayed`, faster than any producer does."""
        payloads = (pickle.dumps((number, 'chores', name, tuple(args), {}, None))
                    for number, (name, *args) in enumerate(calls, 1))
        while batch := list(itertools.islice(payloads, 10_000)):
            scored = [word for payload in batch for word in (610_000, payload)]
            self._arena.send(('ZADD', 'bench_enqueued', *scored), ('RPUSH', 'bench', *batch),
                             ('RPUSH', 'bench_noti', *[b'1'] * len(batch)))

    def _scaling(self, row: Contestant) -> Fields:
        number = self._sizes.of(row.tasks)
        return {str(workers): self._crew(row, workers, number) for workers in self._sizes.workers}

    def _naps(self, row: Contestant) -> Fields:
        return {str(workers): self._crew(row, workers, self._sizes.naps * workers, _NAP) for workers in (1, 2)}

    def _crew(self, row: Contestant, workers: int, number: int, nap: float = 0.0) -> float:
        """The rate of several workers. A gate holds each until all are up and the tasks are there.

        nap: seconds that each task sleeps. 0: they are empty.
        """
        arena = self._arena
        arena.clear()
        with arena.producer(row) as producer, contextlib.ExitStack() as running:
            for _ in range(workers):
                producer.enqueue('gate')
            crew = [running.enter_context(arena.worker(row)) for _ in range(workers)]
            for worker in crew:
                arena.expect('gate', worker)
            producer.enqueue('mark', 'begin')
            if nap:
                for _ in range(number):
                    producer.enqueue('nap', nap)
            else:
                producer.fill(number)
            producer.enqueue('mark', 'end')
            arena.open_gate(workers)
            return float(_drained(*self._ends(crew[0]), number + 1)['rate'])

    def _memory(self, row: Contestant) -> Fields:
        """Of an idle worker that has run a single task. Then of a forked one that was left alone for a while; of any
        other after many empty tasks, and after some that make objects."""
        sizes = self._sizes
        with self._arena.producer(row) as producer, self._arena.worker(row) as worker:
            def after(label: str) -> int:
                time.sleep(_APART)
                producer.enqueue('mark', label)
                self._arena.expect(label, worker)
                time.sleep(0.3)
                return worker.pss

            found = {'idle_bytes': after('begin')}
            if row.forked:
                time.sleep(sizes.alone)
                return {**found, 'alone': sizes.alone, 'alone_bytes': worker.pss}
            producer.fill(sizes.memory)
            found.update(tasks=sizes.memory, after_bytes=after('end'))
            for _ in range(sizes.objects):
                producer.enqueue('make')
            return {**found, 'made': sizes.objects, 'made_bytes': after('end')}

    def _latency(self) -> None:
        for ours, *others in (*_beside_ours(IN_TURN, self._sizes.abreast), FORKED):
            self._watch_others()
            samples = self._sizes.stamps // (1 if HUEY in others else 2)  # the others are slower by far, or our own
            for found in latencies((ours, *others), self._sizes.rounds, samples, self._tell):
                if ours.name in found:
                    self._note('latency', {name: {'waits_us': waits, 'our_waits_us': found[ours.name]}
                                           for name, waits in found.items()})

    def _limits(self) -> Fields:
        self._arena.clear()
        command = [str(environment_of(OURS) / 'python'), str(SIDES / 'limits.py'), str(self._sizes.limits)]
        environ = clean_environ(PYTHONPATH=str(SIDES), BENCH_SOCKET=self._arena.server.socket_path)
        found: Fields = json.loads(subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE).stdout)
        return found


def _beside_ours(rows: Sequence[Contestant], abreast: int) -> Iterator[Sequence[Contestant]]:
    """So many at a time, with ours in front: what is compared takes turns."""
    others = [row for row in rows if row != OURS]
    for start in range(0, len(others), abreast):
        yield OURS, *others[start:start + abreast]


def _drained(begin: Fields, end: Fields, number: int) -> Fields:
    """`number`: how many tasks began after the first and ended with the last."""
    counted = {name: (end['redis'][name] - begin['redis'][name]) / number for name in end['redis']}
    counted['redis_cpu_us'] = counted.pop('cpu') * 1e6
    return {'rate': number / (end['ns'] - begin['ns']) * 1e9, 'cpu_us': (end['cpu'] - begin['cpu']) / number * 1e6,
            **counted}


def tell(text: str) -> None:
    print('%s %s' % (time.strftime('%H:%M:%S'), text), file=sys.stderr, flush=True)
