"""What the demo's workers run, and where it leaves its traces: hashes in Redis, beside the keys of the demo's queue."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, NoReturn, Optional, Tuple

from .task import Task


class FileHash(NamedTuple):
    """What is found out about a file."""

    sha256: str
    lines: int
    size: int  # bytes


class Result(NamedTuple):
    """What a task says of its file, which worker (its monitor's pid) ran it, and when (monotonic) it had done so."""

    found: FileHash
    worker: int
    ended: float


class Hold(NamedTuple):
    """Who is in the middle of a task and waits there to be killed: the two processes of one worker."""

    monitor: int
    child: int
    number: int


@dataclass(frozen=True)
class Traces:
    """All that the tasks of a demo have left, by the number of the file."""

    results: Dict[int, Result]
    begun: Dict[int, int]
    finished: Dict[int, int]
    failures: Dict[int, str]


class Board:
    """The demo's own keys. Raises what redis-py raises. `conn` must not repeat calls by itself: they count."""

    def __init__(self, conn: Any, queue_name: str) -> None:
        self._conn = conn
        self._results, self._begun, self._finished, self._failures, self._held = (
            '%s_demo_%s' % (queue_name, what) for what in ('results', 'begun', 'finished', 'failures', 'held'))

    def begin(self, number: int) -> int:
        """A task has begun. Returns how often it has by now."""
        return int(self._conn.hincrby(self._begun, number, 1))

    def finish(self, number: int, result: Result) -> None:
        """Writes a task's result and counts it, in one step."""
        with self._conn.pipeline(transaction=True) as pipe:
            pipe.hset(self._results, number, json.dumps(result))
            pipe.hincrby(self._finished, number, 1)
            pipe.execute()

    def fail(self, number: int, why: str) -> None:
        self._conn.hset(self._failures, number, json.dumps(why))

    def hold(self, hold: Hold) -> None:
        self._conn.rpush(self._held, json.dumps(hold))

    def look(self) -> Tuple[int, Optional[Hold]]:
        """Returns how many tasks have ended, and who waits to be killed; each of them is told once."""
        with self._conn.pipeline(transaction=False) as pipe:
            pipe.hlen(self._results)
            pipe.hlen(self._failures)
            pipe.lpop(self._held)
            results, failures, held = pipe.execute()
        return results + failures, Hold(*json.loads(held)) if held else None

    def read(self) -> Traces:
        results = {}
        for number, text in self._conn.hgetall(self._results).items():
            found, worker, ended = json.loads(text)
            results[int(number)] = Result(FileHash(*found), worker, ended)
        failures = {int(number): str(json.loads(why)) for number, why in self._conn.hgetall(self._failures).items()}
        return Traces(results, self._counts(self._begun), self._counts(self._finished), failures)

    def _counts(self, key: str) -> Dict[int, int]:
        return {int(number): int(count) for number, count in self._conn.hgetall(key).items()}


#: Who is to be killed waits so long first, in seconds: by then its worker has told Redis of the short tasks before, so
#: that no other runs again.
_SLOW = 0.3
_board: Optional[Board] = None


def write_to(board: Board) -> None:
    """In a worker: its tasks leave their traces there. (An argument would put a password into the payloads.)"""
    global _board
    _board = board


def hash_file(number: int, path: str, hold: bool) -> None:
    """The task. With `hold`, it waits half-way to be killed, when it is run for the first time."""
    assert _board is not None
    times = _board.begin(number)
    with open(path, 'rb') as file:
        content = file.read()
    half = len(content) // 2
    digest = hashlib.sha256(content[:half])
    if hold and times == 1:
        _wait_to_be_killed(_board, number)
    digest.update(content[half:])
    found = FileHash(digest.hexdigest(), content.count(b'\n'), len(content))
    _board.finish(number, Result(found, os.getppid(), time.monotonic()))


def _wait_to_be_killed(board: Board, number: int) -> NoReturn:
    time.sleep(_SLOW)
    board.hold(Hold(os.getppid(), os.getpid(), number))
    while True:
        signal.pause()


def note_failure(task: Task, kill_signal: Optional[int], exc_info: Optional[Tuple[Any, Any, Any]]) -> None:
    """The workers' error handler."""
    assert _board is not None
    _board.fail(task.args[0], 'signal %s' % kill_signal if exc_info is None else repr(exc_info[1]))
