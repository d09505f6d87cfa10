"""Measures how far an old sweeper's clock may be off while a worker renews its lease. It takes a minute; not a test.

    python tests/interop/measure_clocks.py [LEASE [SECONDS OF CLOCK AHEAD ...]]

For each clock, a worker runs one task for three leases while a sweeper of 0.5.1b2 looks four times a second. It tells
after how long the sweeper first took the running task, and how often that task had begun by the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import delayed
from delayed.embedded import EmbeddedRedis

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from peers import clean_environ, python_3  # noqa: E402
from sides import Side  # noqa: E402
from steps import await_runs, runs  # noqa: E402

OURS = {**os.environ, 'PYTHONPATH': str(Path(delayed.__file__).parents[1])}


def measure(lease, ahead):
    """Returns (seconds until the first take or None, how often the task began)."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        theirs = stack.enter_context(Side(python_3().python, clean_environ(), server.url, None))
        ours = stack.enter_context(Side(sys.executable, OURS, server.url, None))
        conn = stack.enter_context(contextlib.closing(server.client()))
        sweeper = theirs.hand(clock_ahead=ahead)
        sweeper.enqueue('hold', 1, 1)
        ours.work('ForkedWorker', lease=lease, sweep_interval=None, max_losses=0)
        await_runs(conn, 1)
        start, first = time.monotonic(), None
        while time.monotonic() < start + 3 * lease:
            if sweeper.requeue_lost() and first is None:
                first = time.monotonic() - start
            time.sleep(0.25)
        return first, len(runs(conn))


def main(lease=15, *clocks):
    clocks = clocks or [lease * share / 12 for share in (0, 4, 6, 7, 7.5, 8, 8.5, 9, 10, 11, 12, 13)]
    with ThreadPoolExecutor(len(clocks)) as pool:
        for ahead, (first, begun) in zip(clocks, pool.map(lambda ahead: measure(lease, ahead), clocks)):
            took = 'took nothing' if first is None else 'took the task after %4.1f s' % first
            print('lease %g s, clock %5.2f s ahead: %s; it began %d times' % (lease, ahead, took, begun))


if __name__ == '__main__':
    main(*map(float, sys.argv[1:]))
