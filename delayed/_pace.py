"""How long the oldest task waits, and how fast a queue is, from notes of how far it had come when. No I/O, no clock.

A task tells not when it was enqueued. But ids are handed out in order, and workers note every few seconds which was the
last: so a task was enqueued between the last note of a smaller id and the first of its own or a greater one.
"""

from __future__ import annotations

import contextlib
from typing import List, NamedTuple, Optional, Sequence

_WINDOW_MS = 10_000.0  # over which a rate is taken, where the notes allow it
_SHORTEST_MS = 1_000.0  # over less it would be a matter of chance


class Note(NamedTuple):
    """From when to when (Unix ms) `last_id` was the last id, and so many tasks unfinished."""

    since: float
    till: float
    last_id: int
    unfinished: int


class Wait(NamedTuple):
    """In seconds. at_most: `None` where the notes do not go back so far."""

    at_least: float
    at_most: Optional[float]


class Rate(NamedTuple):
    """Tasks per second, over the last so many seconds. finished: released or set aside."""

    enqueued: float
    finished: float
    seconds: float


def read(entries: Sequence[bytes]) -> List[Note]:
    """The notes as announce.lua keeps them, newest first. What else stands there is left out."""
    notes = []
    for entry in entries:
        with contextlib.suppress(ValueError):
            since, till, last_id, unfinished = entry.split()
            notes.append(Note(float(since), float(till), int(last_id), int(unfinished)))
    return notes


def wait_of(task_id: object, notes: Sequence[Note], now: float) -> Optional[Wait]:
    """How long a task with this id has waited, `now` being Unix ms; `None`: it cannot be known."""
    if not isinstance(task_id, int) or not notes:
        return None
    reached = [note for note in notes if note.last_id >= task_id]
    before = next((note for note in notes if note.last_id < task_id), None)
    at_least = max(0.0, now - reached[-1].since) if reached else 0.0
    return Wait(at_least / 1000, None if before is None else max(at_least, now - before.till) / 1000)


def rate_of(last_id: int, unfinished: int, notes: Sequence[Note], now: float) -> Optional[Rate]:
    """How fast it goes now (Unix ms), from what is counted now; `None`: there is no note that would do."""
    usable = [note for note in notes if now - note.till >= _SHORTEST_MS]
    if not usable:
        return None
    note = min(usable, key=lambda note: abs(now - note.till - _WINDOW_MS))
    seconds, enqueued = (now - note.till) / 1000, max(0, last_id - note.last_id)
    return Rate(enqueued / seconds, max(0, enqueued - unfinished + note.unfinished) / seconds, seconds)
