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
        ends = {row.name: stack.enter_context(contextlib.ExitStack()) for row in rows}
        idle: Dict[str, Callable[[], float]] = {}

        @contextlib.contextmanager
        def left_out_if_it_fails(name: str) -> Iterator[None]:
            try:
                yield
            except Failed as error:
                tell('latency of %s: %s' % (name, error))
                ends[name].close()
                idle.pop(name, None)

        for row in rows:
            with left_out_if_it_fails(row.name):
                idle[row.name] = ends[row.name].enter_context(_idle(row))
        time.sleep(_SETTLING)
        for name in list(idle):
            with left_out_if_it_fails(name):
                idle[name]()  # the first is not like the others
        for _ in range(rounds):
            found: Dict[str, List[float]] = {name: [] for name in idle}
            for _ in range(samples):
                for name in random.sample(list(idle), len(idle)):
                    with left_out_if_it_fails(name):
                        found[name].append(idle[name]())
            yield {name: found[name] for name in idle}


@contextlib.contextmanager
def _idle(row: Contestant) -> Iterator[Callable[[], float]]:
    """A worker with nothing to do, a producer, and their Redis. Yields what measures a latency: from before a task is
    enqueued until it begins, in µs."""
    with Arena() as arena, arena.producer(row) as producer, arena.worker(row) as worker:
        def latency() -> float:
            arena.forget_reports()
            time.sleep(random.uniform(*_PAUSE))
            producer.stamp()
            return float(arena.expect('stamp', worker)['ns']) / 1000

        yield latency
