"""Each script of the ledger alone: given these keys, then those. Scores are set by the tests, so nothing sleeps.

The keys' names are unlike those of a real queue, and on the real server each call is made by a user who may touch the
script's KEYS alone: a script that makes up a key of its own fails.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from delayed import _scripts

#: Type of each key, and its name in these tests.
KEYS = {
    'waiting': 'list', 'notifications': 'list', 'enqueued': 'zset', 'dequeued': 'zset', 'leases': 'hash',
    'losses': 'hash', 'dead': 'zset', 'swept': 'string', 'producer': 'string',
    'id': 'string', 'workers': 'hash', 'pace': 'list',
    # of another queue:
    'waiting2': 'list', 'notifications2': 'list', 'enqueued2': 'zset', 'dequeued2': 'zset', 'leases2': 'hash',
}
STORE = ('waiting', 'notifications', 'enqueued', 'dequeued', 'leases', 'losses')
KEYS_OF = {
    'enqueue': ('waiting', 'notifications', 'enqueued', 'producer', 'id'),
    'reserve': ('id', 'producer'),
    'dequeue': STORE[:5],
    'release': STORE,
    'advance': STORE,
    'advance_any': (*STORE, 'leases2', *STORE[:5], *(name + '2' for name in STORE[:5])),
    'advance_many': STORE,
    'requeue': ('waiting', 'notifications', 'dequeued', 'leases'),
    'lose': (*STORE, 'dead'),
    'renew': ('dequeued', 'leases'),
    'reclaim': ('dequeued', 'leases'),
    'requeue_lost': (*STORE, 'dead'),
    'may_sweep': ('swept',),
    'probe': (*STORE, 'dead', 'swept'),
    'tidy': ('enqueued', 'dequeued', 'leases', 'losses'),
    'set_aside': ('enqueued', 'dequeued', 'leases', 'losses', 'dead'),
    'requeue_dead': ('waiting', 'notifications', 'enqueued', 'dead'),
    'announce': ('workers', 'pace', 'waiting'),
    'oldest': ('pace', 'enqueued', 'dequeued', 'waiting'),
    'census': (*STORE, 'dead', 'id'),
    'peek': ('dequeued', 'leases', 'enqueued'),
    'whereabouts': ('enqueued', 'dequeued', 'dead'),
    'digests': ('waiting', 'enqueued', 'dequeued'),
    'server_info': ('waiting',),
    'restore': ('waiting', 'notifications', 'enqueued', 'dequeued'),
}
#: A payload is any bytes: these are no text.
A, B, C, D = b'a\x80\x04\x00', b'b\xff\n', b'c \r\n', b'd'
HOUR = 3_600_000


class Bench:
    """A server and the keys of one queue in it."""

    def __init__(self, conn, limited=None):
        """`limited`: a client of the user `script`, who gets what each script needs."""
        self.conn = conn
        self._limited = limited

    def run(self, name, *args):
        """Runs a script. Texts and numbers as the ledger passes them; the reply is Redis' own."""
        keys = KEYS_OF[name]
        script = getattr(_scripts, name.upper())
        if self._limited is not None:
            self.conn.acl_setuser('script', enabled=True, nopass=True, reset_keys=True, commands=['+@all'], keys=keys)
        return (self._limited or self.conn).eval(script.source, len(keys), *keys, *args)

    def give(self, **values):
        """Fills keys: lists as lists, notifications as their number, the others as dicts or bytes."""
        for key, value in values.items():
            self.conn.delete(key)
            if key.startswith('notifications'):
                value = ['1'] * value
            if not value:
                continue
            if KEYS[key] == 'list':
                self.conn.rpush(key, *value)
            elif KEYS[key] == 'zset':
                self.conn.zadd(key, value)
            elif KEYS[key] == 'hash':
                self.conn.hset(key, mapping=value)
            else:
                self.conn.set(key, value)

    def holds(self):
        """What stands in Redis, in the form that `give` takes; a key that is missing is left out."""
        held = {}
        for key in sorted(name.decode() for name in self.conn.keys()):
            kind = KEYS[key]
            assert self.conn.type(key).decode() == kind
            if kind == 'list':
                held[key] = self.conn.lrange(key, 0, -1)
            elif kind == 'zset':
                held[key] = dict(self.conn.zrange(key, 0, -1, withscores=True))
            elif kind == 'hash':
                held[key] = self.conn.hgetall(key)
            else:
                held[key] = self.conn.get(key)
            if key.startswith('notifications'):
                assert set(held[key]) == {b'1'}
                held[key] = len(held[key])
        return held

    def letters(self):
        """The dead letters: their ids (Unix ms), headers and payloads."""
        letters = []
        for letter, score in self.conn.zrange('dead', 0, -1, withscores=True):
            header, _, payload = letter.partition(b'\n')
            letters.append((score, json.loads(header), payload))
        return letters

    def now(self):
        seconds, microseconds = self.conn.time()
        return seconds * 1000 + microseconds / 1000

    @contextmanager
    def measured(self):
        """Yields an object whose `before` and `after` are the server's time around what is done meanwhile."""
        moments = SimpleNamespace(before=self.now())
        yield moments
        moments.after = self.now()


#: fakeredis is never full.
on_the_real_server = pytest.mark.parametrize('real_or_fake', ['real'], indirect=True)


def text(score):
    return b'%.3f' % score


class Sweep:
    """Arguments of a sweep, by name."""

    def __init__(self, bench, busy_len=10, postponement=10_000, leases='all', max_losses=3, most=500,
                 most_bytes=1 << 20, tell=20):
        self._bench = bench
        self._args = (busy_len, postponement, leases, max_losses, 610_000, most, most_bytes, tell)
        self.before, self.bound, self.batches, self.repaired, self.told = '', '', 0, 0, []

    def step(self):
        """One batch. Returns whether there is more."""
        count, self.before, self.bound, more, told = self._bench.run(
            'requeue_lost', self.before, self.bound, *self._args)
        self.batches += 1
        self.repaired += count
        self.told += told
        return bool(more)

    def run(self):
        while self.step():
            pass
        return self.repaired
