"""How long it takes until a task begins on an idle worker."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Callable, Dict, Iterator, List, Sequence

from .arena import Arena, Failed
from .contestants import Contestant

#: Seconds before each task, of whichever row.
_PAUSE = (0.01, 0.02)
#: After it has begun a worker may look for lost tasks, and take its first for one.
_SETTLING = 2.0  # seconds


def latencies(rows: Sequence[Contestant], rounds: int, samples: int,
              tell: Callable[[str], None]) -> Iterator[Dict[str, List[float]]]:
    """Yields for each round so many latencies of each row, in µs.

    All rows are idle at the same time, each with a Redis of its own, and take turns, a task each: within seconds a
    machine becomes slower or faster by more than what the quickest of them differ by. Each therefore waits for the
    turns of all others, and is disturbed by what they do while they wait: so they should be few.
    """
    with contextlib.ExitStack() as stack:
        idle: Dict[str, _Idle] = {}
        for row in rows:
            with _left_out_if_it_fails(idle, row.name, tell):
                idle[row.name] = stack.enter_context(_Idle(row))
        time.sleep(_SETTLING)
        for name in list(idle):
            with _left_out_if_it_fails(idle, name, tell):
                idle[name].latency()  # the first is not like the others
        for _ in range(rounds):
            found: Dict[str, List[float]] = {name: [] for name in idle}
            for _ in range(samples):
                for name in random.sample(list(idle), len(idle)):
                    with _left_out_if_it_fails(idle, name, tell):
                        found[name].append(idle[name].latency())
            yield {name: found[name] for name in idle}


@contextlib.contextmanager
def _left_out_if_it_fails(idle: Dict[str, _Idle], name: str, tell: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except Failed as error:
        tell('latency of %s: %s' % (name, error))
        if name in idle:
            idle.pop(name).end()


class _Idle:
    """A worker with nothing to do, a producer, and their Redis."""

    def __init__(self, row: Contestant) -> None:
        self._row = row
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Idle:
        with contextlib.ExitStack() as stack:
            self._arena = stack.enter_context(Arena())
            self._producer = stack.enter_context(self._arena.producer(self._row))
            self._worker = stack.enter_context(self._arena.worker(self._row))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def end(self) -> None:
        self._stack.close()

    def latency(self) -> float:
        """From before a task is enqueued until it begins, in µs."""
        self._arena.forget_reports()
        time.sleep(random.uniform(*_PAUSE))
        self._producer.stamp()
        return float(self._arena.expect('stamp', self._worker)['ns']) / 1000
