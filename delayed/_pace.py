"""How long the oldest task waits, and how fast a queue is, from notes of how far it had come when. No I/O, no clock.

A task without a stamp tells not when it was enqueued, and its id may have been reserved long before. But workers note
every few seconds which payload was the last of those that wait, how many wait, and how many they have taken.
"""

from __future__ import annotations

import contextlib
from typing import List, NamedTuple, Optional, Sequence

_WINDOW_MS = 10_000.0  # over which a rate is taken, where the notes allow it
_STALE_MS = 60_000.0  # a note that is older tells nothing of how fast it goes now


class Note(NamedTuple):
    """At `till` (Unix ms), workers had taken so many tasks since the notes began, and so many waited."""

    till: float
    taken: int
    waiting: int


class Wait(NamedTuple):
    """In seconds. at_most: `None` where the notes do not go back so far."""

    at_least: float
    at_most: Optional[float]


class Rate(NamedTuple):
    """Tasks per second, over so many seconds. taken: by workers. enqueued: put back counts, too."""

    enqueued: float
    taken: float
    seconds: float


def read(entries: Sequence[bytes]) -> List[Note]:
    """The notes as announce.lua keeps them, newest first. What else stands there is left out."""
    notes = []
    for entry in entries:
        with contextlib.suppress(ValueError):
            _, till, taken, waiting = entry.partition(b'\n')[0].split()
            notes.append(Note(float(till), int(taken), int(waiting)))
    return notes


def wait_of(now: float, waits_since: Optional[float], gone_at: Optional[float]) -> Optional[Wait]:
    """What oldest.lua has found (Unix ms), as a duration; `None`: no note tells anything."""
    if waits_since is None and gone_at is None:
        return None
    at_least = 0.0 if waits_since is None else max(0.0, now - waits_since)
    return Wait(at_least / 1000, None if gone_at is None else max(at_least, now - gone_at) / 1000)


def rate_of(notes: Sequence[Note], now: float) -> Optional[Rate]:
    """How fast it goes now (Unix ms); `None`: there are no two notes that would do."""
    if len(notes) < 2 or now - notes[0].till > _STALE_MS:
        return None
    newest = notes[0]
    note = min(notes[1:], key=lambda note: abs(newest.till - note.till - _WINDOW_MS))
    seconds, taken = (newest.till - note.till) / 1000, newest.taken - note.taken
    if seconds <= 0 or taken < 0:
        return None  # the clock was set back, or the notes began anew
    return Rate(max(0, taken + newest.waiting - note.waiting) / seconds, taken / seconds, seconds)
