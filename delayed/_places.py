"""Whether each task of a queue is in its one place. It reads in pages, while others work on the queue: so what looks
wrong counts only if it looks so at two looks."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterator, List, Set

from . import _scripts
from ._ledger import Ledger

#: Seconds between the two looks: a task on its way has arrived by then.
PAUSE = 0.5
_PAGE, _PAGE_BYTES = 500, 4 << 20
_LONGEST_LIST = 1000  # that is looked through in one script


@dataclass
class Places:
    """Digests of the payloads that are not where they should be.

    nowhere: enqueued, but neither waiting nor dequeued; nobody will ever run them.
    both: waiting and dequeued at once. twice: waiting twice. unlisted: waiting without an allowance.
    """

    nowhere: Set[bytes]
    both: Set[bytes]
    twice: Set[bytes]
    unlisted: Set[bytes]


def find_misplaced(ledger: Ledger, sleep: Callable[[float], object]) -> Places:
    """Looks twice. It takes some 100 bytes of memory for each unfinished task."""
    first = _look(ledger)
    if not (first.nowhere or first.both or first.twice or first.unlisted):
        return first
    sleep(PAUSE)
    second = _look(ledger)
    return Places(first.nowhere & second.nowhere, first.both & second.both, first.twice & second.twice,
                  first.unlisted & second.unlisted)


def _look(ledger: Ledger) -> Places:
    # In this order, a task that moves on as it should is found in a later place. One that goes back is not: see above.
    enqueued = set(_digests(ledger, 'enqueued'))
    waiting = Counter(_digests(ledger, 'waiting'))
    dequeued = set(_digests(ledger, 'dequeued'))
    places = Places(enqueued - waiting.keys() - dequeued, dequeued & waiting.keys(),
                    {digest for digest, times in waiting.items() if times > 1}, set())
    places.unlisted = waiting.keys() - enqueued
    return places


def _digests(ledger: Ledger, place: str) -> Iterator[bytes]:
    keys, start = ledger.keys, 0
    while True:
        page: List[bytes] = ledger.caller.script(
            _scripts.DIGESTS, (keys.waiting, keys.enqueued, keys.dequeued), (place, start, _PAGE, _PAGE_BYTES))
        if not page:
            return
        yield from page
        start += len(page)


def restore(ledger: Ledger, nowhere: Set[bytes]) -> int:
    """Puts tasks that are nowhere in front of the list, where that is sure; returns how many."""
    keys, restored = ledger.keys, 0
    for rank, digest in enumerate(list(_digests(ledger, 'enqueued'))):
        if digest not in nowhere:
            continue
        for payload in ledger.caller.command('ZRANGE', keys.enqueued, rank, rank):
            if hashlib.sha1(payload).hexdigest().encode() == digest:
                restored += ledger.caller.script(
                    _scripts.RESTORE, (keys.waiting, keys.notifications, keys.enqueued, keys.dequeued),
                    (payload, _LONGEST_LIST)) == b'restored'
    return restored
