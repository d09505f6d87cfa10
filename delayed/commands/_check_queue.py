"""What `delayed doctor` checks of a queue."""

from __future__ import annotations

import time
from typing import Iterator, List, Tuple

from .._inspect import Census, Inspection
from .._places import PAUSE, Places, find_misplaced, restore
from ..queue import Queue
from ._findings import Finding

#: Of each key, by the name of its property; see docs/design.md.
_TYPES = {
    'waiting': 'list', 'id': 'string', 'notifications': 'list', 'enqueued': 'zset', 'dequeued': 'zset', 'dead': 'zset',
    'leases': 'hash', 'losses': 'hash', 'swept': 'string', 'workers': 'hash', 'pace': 'list',
}
_PATIENCE_MS = 20_000.0  # so long after the end of its lease a task should be back


def check_queue(queue: Queue) -> Iterator[Finding]:
    """Raises what redis-py raises."""
    denied = queue.ledger.denied()
    if denied:
        yield Finding(
            'permissions', queue.name, True, 'this user may not: %s' % ', '.join('%s %s' % pair for pair in denied),
            'a worker that connects as this user ends at once',
            "allow it in the server's ACLs: all keys that begin with the name of the queue, and these commands")
    wrong = list(_check_types(queue))
    yield from wrong
    if wrong:
        return  # nothing else can be counted
    inspection = Inspection(queue.ledger)
    first = inspection.census()
    time.sleep(PAUSE)
    census = inspection.census()
    if census.unused:
        yield Finding('name', queue.name, False, 'nothing was ever enqueued', 'no key of the queue is on this server',
                      'compare name and server with those of your program')
    yield from _check_notifications(queue, first, census)
    yield from _check_lost(queue, census)
    yield from _check_workers(queue, inspection, census)
    yield from _check_places(queue)
    yield from _check_secret(queue, inspection.next(), census)
    if census.dead:
        yield Finding('dead', queue.name, False, '%d tasks are set aside' % census.dead,
                      'they failed, cannot be run, or took their workers down; they stay until a person decides',
                      'see `delayed dead list`, then `delayed dead requeue` or `delayed dead delete`')


def _check_types(queue: Queue) -> Iterator[Finding]:
    keys = queue.ledger.keys
    for name, wanted in _TYPES.items():
        key = getattr(keys, name)
        reply = queue.ledger.caller.command('TYPE', key)
        found = reply.decode() if isinstance(reply, bytes) else str(reply)
        if found not in (wanted, 'none'):
            yield Finding('types', queue.name, True, 'the key %s is a %s; it should be a %s' % (key, found, wanted),
                          'something else uses a key of this name, and the queue cannot work',
                          'give the queue or the other program another name; `delayed purge` deletes the key')


def _sweep(queue: Queue) -> str:
    return 'brought back %d tasks or notifications' % queue.requeue_lost()


def _check_notifications(queue: Queue, *looks: Census) -> Iterator[Finding]:
    """One that was popped, while its task was not taken yet, is on its way: so it counts if it is missing twice."""
    missing = min(look.waiting - look.notifications for look in looks)
    surplus = min(look.notifications - look.waiting for look in looks)
    if missing > 0:
        yield Finding('notifications', queue.name, True, '%d notifications are missing' % missing,
                      'workers of 0.5.1b2 wait although tasks do, too; others are a second late',
                      'let a worker or `delayed sweep` run, or use --fix', lambda: _sweep(queue))
    if surplus > 0:
        yield Finding('notifications', queue.name, True, 'there are %d notifications without a task' % surplus,
                      'each makes a worker of 0.5.1b2 log an error', 'use --fix', lambda: _sweep(queue))


def _check_lost(queue: Queue, census: Census) -> Iterator[Finding]:
    ledger = queue.ledger
    before = census.now - max(_PATIENCE_MS, 2 * ledger.postponement_ms)
    lost = int(ledger.caller.command('ZCOUNT', ledger.keys.dequeued, '-inf', '%.3f' % before))
    if lost:
        yield Finding('lost', queue.name, True, '%d tasks are lost, and nobody brings them back' % lost,
                      'their workers died, and no worker or sweeper looks after this queue',
                      'start a worker, or `delayed sweep`, or use --fix', lambda: _sweep(queue))
    unrenewed = census.dequeued - census.renewed
    if unrenewed > 0:
        yield Finding('mixed', queue.name, False, '%d running tasks have a lease that nobody renews' % unrenewed,
                      'they were taken by workers of 0.5.1b2, by hand, or with lease=None: if their worker dies, they '
                      'come back only after their timeout', 'update these workers')
    if unrenewed < 0:
        yield Finding('leases', queue.name, False, '%d leases are noted whose tasks are gone' % -unrenewed,
                      'something that knows the first five keys alone has released tasks: 0.5.1b2, or by hand',
                      'nothing: the next sweep forgets them')


def _check_workers(queue: Queue, inspection: Inspection, census: Census) -> Iterator[Finding]:
    if census.waiting and not census.dequeued and not any(
            worker.alive for worker in inspection.workers(census.now)):
        yield Finding('workers', queue.name, True, '%d tasks wait, and no worker tells that it lives' % census.waiting,
                      'none runs on this queue; or only such as do not tell: those of 0.5.1b2, and those that do not '
                      'sweep',
                      'start a worker on this very server and name')


def _check_secret(queue: Queue, next_payload: bytes, census: Census) -> Iterator[Finding]:
    signs = queue.trust.signs
    if next_payload and not queue.trust.wants(next_payload):
        what, means = 'the next task is signed, and this queue has no secret', 'workers without it set it aside'
        if signs:
            what, means = 'the next task is not signed', 'workers with the secret set it aside: a stranger may be at it'
        yield Finding('secret', queue.name, True, what, means,
                      'give all producers and workers the same secret (DELAYED_SECRET, or secret= where the queue is '
                      'made); accept_unsigned_until= is for the change-over')
    if signs and census.dequeued > census.renewed:
        yield Finding('unreadable', queue.name, False, 'this queue is signed, and workers of 0.5.1b2 may be on it',
                      'they cannot read signed tasks, log an error for each, and get them again and again',
                      'stop them, or give no secret to this queue until they are gone')


def _check_places(queue: Queue) -> Iterator[Finding]:
    places = find_misplaced(queue.ledger, time.sleep)
    if places.nowhere:
        yield Finding('places', queue.name, True,
                      '%d tasks are enqueued, but neither wait nor run' % len(places.nowhere),
                      'nobody will ever run them: something took them out of the list by itself',
                      'use --fix, which puts them in front of the list where that is sure; a list of more than a '
                      'thousand is to be shorter for that', lambda: _restore(queue, places))
    for check, count, what, means in _oddities(places):
        yield Finding(check, queue.name, True, what % count, means,
                      'find out what enqueues without this library, or puts tasks back by itself')


def _oddities(places: Places) -> List[Tuple[str, int, str, str]]:
    return [row for row in (
        ('both', len(places.both), '%d tasks run and wait at once', 'they will run twice'),
        ('twice', len(places.twice), '%d tasks wait twice', 'they will run twice'),
        ('unlisted', len(places.unlisted), '%d tasks wait without an allowance',
         "they will run with the queue's default timeout; workers of 0.5.1b2 lose them")) if row[1]]


def _restore(queue: Queue, places: Places) -> str:
    restored = restore(queue.ledger, places.nowhere)
    return 'put back %d of %d' % (restored, len(places.nowhere)) if restored else ''
