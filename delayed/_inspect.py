"""What operators see of a queue: counts, running tasks, dead letters. It changes nothing, and reads no payload.

What a task is, is told by the first bytes of its pickle, so no code of a payload runs, and large ones stay in Redis.
All calls are bounded: none grows with what waits. They raise what redis-py raises.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _scripts
from ._describe import without_arguments
from ._ledger import Ledger
from ._letters import FOREIGN, read_header
from ._pace import Note, Wait, read, wait_of
from ._stamp import stamp_of

_HEAD = 1024  # bytes of a payload that name its task
_REASON_SHOWN = 10_000  # bytes, of one that is longer than all that was looked at
_LETTER_HEAD = 65_536  # bytes of a dead letter: its reason and its record stand before the payload
_LATE_NOTES = 20  # of two or three seconds each
_PAGE = 200  # members that are looked at in one call
_PAGE_BYTES = 4 << 20


class Name(NamedTuple):
    """What a payload is. Both are `None` for bytes that do not begin like a task."""

    id: Optional[int]
    function: Optional[str]

    @classmethod
    def of(cls, head: bytes) -> Name:
        task = without_arguments(head)
        return cls(None, None) if task is None else cls(task.id, '%s.%s' % (task.module_name, task.func_name))


class Holder(NamedTuple):
    """Who renews a lease: a worker, by the name that it made up for itself. `call`: the number of the call by which it
    took the task. `begun`: `False` while the task was only taken ahead."""

    host: str
    pid: int
    worker: str
    call: int
    begun: bool

    @classmethod
    def of(cls, text: str) -> Optional[Holder]:
        """`None` for anything but a worker's."""
        name = text.lstrip('?')
        parts = name.rsplit(':', 3)
        if len(parts) != 4 or not parts[1].isdecimal() or not parts[3].isdecimal():
            return None
        return cls(parts[0], int(parts[1]), name.rpartition(':')[0], int(parts[3]), not text.startswith('?'))


@dataclass(frozen=True)
class Census:
    """Counts of one moment, which is `now` (Unix ms by the server's clock)."""

    now: float
    waiting: int
    notifications: int
    enqueued: int
    dequeued: int
    renewed: int
    lost: int
    dead: int
    overdue: int
    last_id: int

    @property
    def unused(self) -> bool:
        """Whether nothing at all was ever enqueued, by ids that Redis hands out: the name may be a wrong one."""
        return not (self.last_id or self.waiting or self.enqueued or self.dequeued or self.dead)


@dataclass(frozen=True)
class Running:
    """A dequeued task.

    size: bytes of its payload. lease_end: Unix ms. holder: who renews the lease; `None`: nobody does, it was taken by
    0.5.1b2, by hand, or with `lease=None`. taken: when (Unix ms), where nobody renews; else unknown here.
    """

    name: Name
    size: int
    lease_end: float
    holder: Optional[Holder]
    taken: Optional[float]


@dataclass(frozen=True)
class LetterHead:
    """A dead letter without its payload, of which `size` tells the bytes; else as `DeadLetter`."""

    id: str
    name: Name
    reason: str
    set_aside_at: float
    lost_at: Tuple[float, ...]
    size: int


@dataclass(frozen=True)
class WorkerSeen:
    """A worker that told that it lives. told: when (Unix ms). up: for how many seconds it runs. tasks: number of each
    of its last calls -> when (Unix ms) it took a task by it. alive: whether it told lately."""

    name: str
    host: str
    pid: int
    told: float
    up: float
    tasks: Dict[str, float]
    alive: bool


class Whereabouts(NamedTuple):
    """place: `waiting`, `dequeued`, `dead` or `gone`. letter_id: of the dead letter. now: Unix ms."""

    now: float
    place: str
    letter_id: str


@dataclass(frozen=True)
class Inspection:
    """Looks at one queue."""

    ledger: Ledger

    def census(self) -> Census:
        keys = self.ledger.keys
        now, *counts = self.ledger.caller.script(_scripts.CENSUS, (
            keys.waiting, keys.notifications, keys.enqueued, keys.dequeued, keys.leases, keys.losses, keys.dead,
            keys.id), ())
        waiting, notifications, enqueued, dequeued, renewed, lost, dead, overdue, last_id = map(int, counts)
        return Census(float(now), waiting, notifications, enqueued, dequeued, renewed, lost, dead, overdue, last_id)

    def next(self) -> bytes:
        """The payload that is next; empty if none waits."""
        payload: Optional[bytes] = self.ledger.caller.command('LINDEX', self.ledger.keys.waiting, 0)
        return payload or b''

    def running(self, most: int) -> List[Running]:
        """Up to `most` of the dequeued tasks, those whose lease ends first before others."""
        return [_running(*entry) for entry in self._peek(self.ledger.keys.dequeued, 0, most, _HEAD)]

    def dead(self, start: int, count: int) -> List[LetterHead]:
        """Up to `count` dead letters from the `start`th on, oldest first."""
        return [_letter_head(*entry) for entry in self._peek(self.ledger.keys.dead, start, count, _LETTER_HEAD)]

    def workers(self, now: float) -> List[WorkerSeen]:
        """Those that told that they live, `now` being Unix ms by the server's clock; of 0.5.1b2, none does."""
        reply = self.ledger.caller.command('HGETALL', self.ledger.keys.workers)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])  # RESP3, RESP2
        found = (_worker(name.decode('utf-8', 'replace'), entry, now) for name, entry in pairs)
        return sorted(filter(None, found), key=lambda worker: worker.name)

    def notes(self) -> List[Note]:
        """How far the queue had come when, newest first; of late."""
        return read(self.ledger.caller.command('LRANGE', self.ledger.keys.pace, 0, _LATE_NOTES))

    def wait(self) -> Optional[Wait]:
        """How long the task that is next has waited; `None`: it cannot be known."""
        keys = self.ledger.keys
        now, *found, end = self.ledger.caller.script(
            _scripts.OLDEST, (keys.pace, keys.enqueued, keys.dequeued, keys.waiting), ())
        enqueued_at = stamp_of(end)
        if enqueued_at is not None:
            return wait_of(float(now), enqueued_at * 1000, enqueued_at * 1000)
        waits_since, gone_at = (float(moment) if moment else None for moment in found)
        return wait_of(float(now), waits_since, gone_at)

    def where(self, payload: bytes) -> Whereabouts:
        """Where a task is."""
        keys = self.ledger.keys
        now, place, letter_id = self.ledger.caller.script(
            _scripts.WHEREABOUTS, (keys.enqueued, keys.dequeued, keys.dead), (payload,))
        return Whereabouts(float(now), place.decode(), letter_id.decode())

    def _peek(self, key: str, start: int, count: int, head: int) -> Iterator[List[Any]]:
        keys = self.ledger.keys
        end = start + count
        while start < end:
            _, *page = self.ledger.caller.script(_scripts.PEEK, (key, keys.leases, keys.enqueued), (
                start, min(end - start, _PAGE), head, _PAGE_BYTES))
            yield from page
            if not page:
                return
            start += len(page)


def _running(head: bytes, size: int, score: bytes, holder: bytes, allowance: bytes) -> Running:
    lease_end = float(score)
    taken = None if holder or not allowance else lease_end - float(allowance)
    return Running(Name.of(head), int(size), lease_end, Holder.of(holder.decode('utf-8', 'replace')), taken)


def _worker(name: str, entry: bytes, now: float) -> Optional[WorkerSeen]:
    """`None` for an entry that is not of a worker's making."""
    try:
        told, lasts, text = entry.split(b' ', 2)
        facts, moment = json.loads(text), float(told)
        host, pid, _ = name.rsplit(':', 2)
        return WorkerSeen(name, host, int(pid), moment, facts['up'] + (now - moment) / 1000, {
            call: moment - seconds * 1000 for call, seconds in facts['tasks'].items()}, now - moment <= float(lasts))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _letter_head(head: bytes, size: int, score: bytes, *_: bytes) -> LetterHead:
    header, line_end, payload = head.partition(b'\n')
    reason, lost_at, _outcome = read_header(header)
    if reason == FOREIGN:  # it is longer than what was looked at, or not of our making
        reason = head[:_REASON_SHOWN].decode('utf-8', 'replace') + '...'
    return LetterHead(score.decode(), Name.of(payload), reason, float(score) / 1000, lost_at,
                      int(size) - len(header) - len(line_end))
