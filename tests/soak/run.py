"""One soak, from the first process to the last."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator

from redis import RedisError

from delayed.queue import Queue

from .crew import Crew
from .havoc import Havoc
from .journal import note
from .verdict import Verdict, judge

#: Seconds that the leases of the workers last.
LEASE = 2.0
#: Seconds after which what has not happened is a problem.
_DRAIN, _STOP = 120.0, 30.0
_HEARTBEAT, _STALL = 0.05, 0.3
_OURS = (b'soak_id', b'soak_swept', b'soak_workers', b'soak_pace')


def soak(seed: int, seconds: float, pause: float = 0.6) -> Verdict:
    """pause: seconds between two troubles, on average. Where there are problems, the directory with the journal and
    the log stays, and is named."""
    directory = Path(tempfile.mkdtemp(prefix='delayed-soak-'))
    crew = Crew(directory, seed, LEASE)
    try:
        with _watch_for_stalls(crew.journal):
            crew.start()
            _trouble(crew, Havoc(crew, seed, pause), seconds)
            _drain(crew)
            _end(crew)
        verdict = judge(crew.journal, LEASE, crew.problems)
    finally:
        crew.close()
    if verdict.problems:
        verdict.problems.append('see the journal and the log in %s' % directory)
    else:
        shutil.rmtree(directory)
    return verdict


def _trouble(crew: Crew, havoc: Havoc, seconds: float) -> None:
    end = time.monotonic() + seconds
    next_at = time.monotonic() + 1.0  # until all of them work
    while time.monotonic() < end:
        if time.monotonic() >= next_at:
            havoc.strike()
            next_at = time.monotonic() + havoc.pause()
        crew.tend()
        time.sleep(0.01)
    crew.catch_up()


def _drain(crew: Crew) -> None:
    """Nothing is enqueued any more, and nobody in trouble: healthy workers run what is left."""
    for program in crew.producers:
        crew.stop(program)
    crew.await_end(crew.producers, _STOP)
    with contextlib.closing(crew.redis.client()) as conn:
        queue = Queue('soak', conn)
        deadline = time.monotonic() + _DRAIN
        left = _remains(conn)
        while left and time.monotonic() < deadline:
            crew.tend()
            with contextlib.suppress(RedisError):  # it may still load its data
                for letter in queue.dead():  # what was killed too often
                    note(crew.journal, 'put back', reason=letter.reason)
                    queue.requeue_dead(letter.id)
            time.sleep(0.05)
            left = _remains(conn)
        if left:
            crew.problems.append('after %g s there still were %s' % (_DRAIN, left))


def _remains(conn) -> list:
    return [(key, conn.dump(key)) for key in conn.keys() if key not in _OURS and b'_producer_' not in key]


def _end(crew: Crew) -> None:
    for program in crew.workers:
        crew.stop(program)
    crew.await_end(crew.workers, _STOP)
    crew.redis.stop()
    deadline = time.monotonic() + _STOP  # the last orphan may still be on its way out
    while crew.left() and time.monotonic() < deadline:
        time.sleep(0.1)
    if crew.left():
        crew.problems.append('processes are left: %s' % crew.left())


@contextlib.contextmanager
def _watch_for_stalls(journal: str) -> Iterator[None]:
    """Notes when this machine did not let a process run for a while that only slept."""
    over = threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while not over.wait(_HEARTBEAT):
            now = time.monotonic()
            if now - last > _STALL:
                note(journal, 'stall', since=last)
            last = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main(seed: int, seconds: float) -> int:
    if sys.platform != 'linux':
        print('a soak needs /proc, which only Linux has')
        return 2
    began = time.monotonic()
    verdict = soak(seed, seconds)
    print('seed %d, %g s of trouble, %.0f s in all' % (seed, seconds, time.monotonic() - began))
    print(verdict)
    return 1 if verdict.problems else 0
