"""Runs the ledger's scripts on a real server, from any state, while time stands still.

A search asks for hundreds of thousands of calls. So one script of the server's holds all of the ledger's as functions:
it makes a state, runs a move, tells what is left, and does so again for the next move. The scripts are those of the
package, unchanged; only `TIME` is answered by the arena. The arguments of each call are those that `Ledger` makes.
"""

from __future__ import annotations

import collections
import functools
import json
import pkgutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from delayed import _scripts
from delayed._keys import QueueKeys
from delayed._ledger import Ledger
from delayed._redis import Caller

from .reference import Store

#: The moment at which time stands still, in Unix ms. Tokens are told relative to it: one above 0 has not ended.
NOW = 1_000_000_000_000
DEFAULT_ALLOWANCE = 610_000.0
PRODUCER = 'p'

#: What 0.5.1b2 does, as seen from Redis.
AS_BEFORE = {
    'old_take': '''
        local payload = redis.call('lpop', KEYS[1])
        if payload then
            local allowance = redis.call('zscore', KEYS[3], payload)
            redis.call('zadd', KEYS[4], string.format('%d', now_ms() + allowance), payload)
        end
        return payload''',
    'old_release': '''
        redis.call('zrem', KEYS[3], ARGV[1])
        redis.call('zrem', KEYS[4], ARGV[1])
        return 1''',
    'old_requeue': '''
        if redis.call('zrem', KEYS[4], ARGV[1]) == 0 then return 0 end
        redis.call('rpush', KEYS[1], ARGV[1])
        redis.call('rpush', KEYS[2], '1')
        return 1''',
    'old_sweep': '''
        for _ = redis.call('llen', KEYS[2]) + 1, redis.call('llen', KEYS[1]) do redis.call('rpush', KEYS[2], '1') end
        for _, payload in ipairs(redis.call('zrangebyscore', KEYS[4], '-inf', now_ms())) do
            redis.call('zrem', KEYS[4], payload)
            redis.call('lpush', KEYS[1], payload)
            redis.call('rpush', KEYS[2], '1')
        end
        return 1''',
    'pop_notification': '''return redis.call('lpop', KEYS[2])''',
}


class Call(NamedTuple):
    script: str
    keys: Tuple[str, ...]
    args: Tuple[str, ...]


class _Recorded(Exception):
    """Carries the call that a `Ledger` wanted to make."""


class _Recorder(Caller):
    def __init__(self) -> None:
        pass

    def script(self, script: _scripts.Script, keys: Sequence[str], args: Sequence[Any], repeat: bool = True) -> Any:
        raise _Recorded(Call(script.name, tuple(keys), tuple(
            arg.decode() if isinstance(arg, bytes) else str(arg) for arg in args)))


class Arena:
    """A queue on a real server. `sources`: scripts, by name, to use in place of the package's."""

    def __init__(self, conn: Any, sources: Dict[str, str] = {}, busy_len: int = 10) -> None:  # noqa: B006
        self._conn = conn
        self._keys = QueueKeys('model')
        self._ledger = Ledger(self._keys, _Recorder(), DEFAULT_ALLOWANCE, busy_len, postponement_ms=5000)
        keys = self._keys
        self._key_names = (keys.waiting, keys.notifications, keys.enqueued, keys.dequeued, keys.leases, keys.losses,
                           keys.dead, keys.producer(PRODUCER))
        self._run = conn.register_script(_driver({**script_sources(), **sources}))
        self._read = functools.lru_cache(None)(_read)
        self._known: Dict[Store, Dict[Sequence[Call], Tuple[List[Any], Store]]] = collections.defaultdict(dict)
        #: How many moves the server ran.
        self.moves = 0

    @functools.lru_cache(None)  # noqa: B019
    def call(self, method: str, *args: Any) -> Call:
        """What `Ledger.method(*args)` asks of Redis first."""
        try:
            getattr(self._ledger, method)(*args)
        except _Recorded as recorded:
            return recorded.args[0]
        raise AssertionError('%s asked nothing of Redis' % method)

    def as_before(self, name: str, *args: str) -> Call:
        """A move of 0.5.1b2's."""
        return Call(name, self._key_names, args)

    def tidy(self, which: str) -> Call:
        keys = self._keys
        return Call('tidy', (keys.enqueued, keys.dequeued, keys.leases, keys.losses), (which, '0'))

    def run(self, store: Store, moves: Sequence[Sequence[Call]]) -> List[Tuple[List[Any], Store]]:
        """Runs each move from the same state. Returns its replies and what it left. What ran before is remembered."""
        known = self._known[store]
        new = [move for move in moves if move not in known]
        if new:
            texts = self._run(keys=self._key_names, args=(_write(store), json.dumps(new)))
            for move, replies, left in zip(new, texts[::2], texts[1::2]):
                known[move] = json.loads(replies), self._read(left)
        self.moves += len(new)
        return [known[move] for move in moves]


@functools.lru_cache(None)
def script_sources() -> Dict[str, str]:
    """The package's scripts by name, and what they share as `common`."""
    return {name: pkgutil.get_data('delayed', 'lua/%s.lua' % name).decode()
            for name in ('common', *(script.name for script in _scripts.ALL))}


def _driver(sources: Dict[str, str]) -> str:
    frame = (Path(__file__).parent / 'arena.lua').read_text()
    functions = ['scripts.%s = function(KEYS, ARGV)\n%s\nend' % (name, source)
                 for name, source in {**sources, **AS_BEFORE}.items() if name != 'common']
    return frame % {'now_seconds': NOW // 1000, 'common': sources['common'], 'scripts': '\n'.join(functions)}


def _write(store: Store) -> str:
    """A store as the arguments that make it."""
    return json.dumps((
        store.waiting,
        ['1'] * store.notifications,
        [item for payload, allowance in store.enqueued for item in (allowance, payload)],
        [item for payload, token in store.dequeued for item in (token_text(token), payload)],
        [item for token, holder in store.leases for item in (token_text(token), holder)],
        [item for payload, times in store.losses for item in (payload, ','.join('1' * times))],
        [item for index, letter in enumerate(store.dead) for item in (token_text(dead_id(index)), _letter(*letter))],
        ['%d 0' % call for _, call in store.producers],
    ))


def _read(text: bytes) -> Store:
    waiting, notifications, enqueued, dequeued, leases, losses, dead, producer = json.loads(text)
    return Store(
        tuple(waiting),
        notifications,
        tuple(sorted((payload, float(score)) for payload, score in _pairs(enqueued))),
        tuple(sorted((payload, token_of(score)) for payload, score in _pairs(dequeued))),
        tuple(sorted((token_of(token), holder) for token, holder in _pairs(leases))),
        tuple(sorted((payload, times.count(',') + 1) for payload, times in _pairs(losses))),
        tuple(_read_letter(letter) for letter, _ in _pairs(dead)),
        ((PRODUCER, int(producer.split()[0])),) if producer else (),
    )


def dead_id(index: int) -> float:
    """The id, relative to now, of the dead letter at this index."""
    return index - 1000.0


@functools.lru_cache(None)
def token_text(token: float) -> str:
    return '%.3f' % (NOW + token)


def token_of(text: str) -> float:
    return round(float(text) - NOW, 3)


def _letter(payload: str, allowance: float) -> str:
    return '%s\n%s' % (json.dumps({'reason': '', 'lost_at': '', 'allowance': allowance}), payload)


def _read_letter(letter: str) -> Tuple[str, float]:
    header, payload = letter.split('\n')
    return payload, float(json.loads(header)['allowance'])


def _pairs(flat: Sequence[Any]) -> Iterator[Tuple[Any, Any]]:
    flat = flat or ()  # the server encodes an empty list as {}
    return zip(flat[::2], flat[1::2])
