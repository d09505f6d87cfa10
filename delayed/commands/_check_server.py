"""What `delayed doctor` checks of a server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Dict, Iterator, Optional

from redis.exceptions import RedisError

from .. import _scripts
from ..queue import Queue
from ._findings import Finding

_OLDEST = 5  # version of Redis
_CLOCK, _FAR = 1.0, 10.0  # seconds of difference that are told, and that are a problem
_FULL = 0.9  # of the memory


@dataclass
class Facts:
    """What a server tells of itself. clock: seconds that it is ahead of this machine's, as far as that is sure. saves:
    whether it writes snapshots; `None`: it does not tell."""

    info: Dict[str, str]
    clock: float
    saves: Optional[bool]

    @property
    def run_id(self) -> str:
        return self.info.get('run_id', '')

    @classmethod
    def of(cls, queue: Queue) -> Facts:
        """Raises what redis-py raises."""
        ledger, before = queue.ledger, time.time()
        now, *sections = ledger.caller.script(_scripts.SERVER_INFO, (ledger.keys.waiting,), ())
        after = time.time()
        text = b'\n'.join(sections).decode('utf-8', 'replace')
        lines = [line.partition(':') for line in text.splitlines()]
        difference = float(now) / 1000 - (before + after) / 2
        sure = max(0.0, abs(difference) - (after - before) / 2)
        return cls({name: value for name, colon, value in lines if colon},
                   sure if difference > 0 else -sure, _saves(queue))


def _saves(queue: Queue) -> Optional[bool]:
    try:
        reply = queue.ledger.caller.command('CONFIG', 'GET', 'save')
    except RedisError:  # hosted servers do not allow it
        return None
    values = list(reply.values()) if isinstance(reply, dict) else list(reply[1:2])
    return bool(values[0]) if values else None


def check_server(facts: Facts) -> Iterator[Finding]:
    info = facts.info
    version = info.get('redis_version', '')
    major = version.partition('.')[0]
    if major.isdecimal() and int(major) < _OLDEST:
        yield Finding('version', None, True, 'it is Redis %s' % version, 'Redis 5 or later is needed', 'update it')
    if info.get('role') == 'slave':
        yield Finding('role', None, True, 'it is a replica', 'it refuses whatever changes a queue',
                      'connect to the master, by Sentinel for instance')
    if abs(facts.clock) > _CLOCK:
        yield Finding(
            'clock', None, abs(facts.clock) > _FAR, 'its clock is %.1f s %s that of this machine' % (
                abs(facts.clock), 'ahead of' if facts.clock > 0 else 'behind'),
            "workers do not mind, for all times are the server's; but a worker or a sweeper of 0.5.1b2 here goes by "
            "this machine's clock, and may take the tasks of others", 'set the clocks by NTP')
    yield from _check_memory(info)
    yield from _check_persistence(facts)


def _check_memory(info: Dict[str, str]) -> Iterator[Finding]:
    most, policy = int(info.get('maxmemory', 0)), info.get('maxmemory_policy', '')
    if most and policy.startswith('allkeys'):
        yield Finding('eviction', None, True, 'its maxmemory-policy is %s' % policy,
                      'when its memory is full, it deletes keys of the queue, with all tasks in them',
                      'set maxmemory-policy to noeviction, or to one of the volatile- policies')
    used = int(info.get('used_memory', 0))
    if most and used > most * _FULL:
        yield Finding('memory', None, True, '%.0f %% of its memory are used' % (100 * used / most),
                      'when it is full, it refuses new tasks', 'give it more, or enqueue less: `delayed status`')


def _check_persistence(facts: Facts) -> Iterator[Finding]:
    info = facts.info
    if info.get('aof_enabled') != '1':
        lost = 'when it crashes, all tasks since its last snapshot are lost'
        yield Finding('persistence', None, facts.saves is False, 'it keeps no log of its changes (appendonly no)%s' % (
            ' and takes no snapshots' if facts.saves is False else ''),
            'when it ends, all tasks are lost' if facts.saves is False else lost, 'set appendonly to yes')
    for name, what in (('rdb_last_bgsave_status', 'snapshot'), ('aof_last_write_status', 'write to its log')):
        if info.get(name, 'ok') != 'ok':
            yield Finding('persistence', None, True, 'its last %s failed' % what,
                          'it may refuse whatever changes a queue', "see the server's log: is its disk full?")
