"""The ledger: where each task of one queue is, and every move it can make. Knows payloads, not what is in them.

A payload is always in exactly one place, and every move is one atomic script of `lua/`:

    (nowhere) --enqueue--> waiting --take--> dequeued --release--> (nowhere)
                              ^                 |
                              +- requeue, sweep +-- set_aside, or a sweep after too many losses --> dead

All times are milliseconds; moments are the Redis server's Unix time. Every call may be made twice and raises what
redis-py raises when Redis is away.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import _scripts
from ._keys import QueueKeys
from ._letters import DeadLetter, is_letter_id, read_letter
from ._producer import Call
from ._redis import Caller
from ._scripts import Argument

Tokens = Tuple[bytes, ...]

#: How a call takes a task; see dequeue.lua.
NOTIFIED, READY, ANYWAY, WAITED = 'notified', 'ready', 'anyway', 'waited'

_MOST_PRODUCERS = 1000  # whose keys are kept
#: Tasks of one batch, of a sweep or of an enqueueing call: some 5 ms of Redis.
MOST_TASKS = 500
MOST_BYTES = 1 << 20
_TOLD = 20  # lost tasks of one sweep that are told one by one
_TAKEN_BYTES = 1 << 16  # taken by one call: what a pipe holds


class Taken(NamedTuple):
    """A payload and the token of its lease: when it ends, as text."""

    payload: bytes
    token: bytes
    queue: int = 0  # which, where a worker has several


#: Whether each of the tasks that were to be released was still held, and those taken.
Advance = Tuple[Sequence[bool], Sequence[Taken]]


class Lost(NamedTuple):
    """A task that a sweep found: the beginning of its payload; its holder, `host:pid:...`, empty where it was no worker
    of this package; whether it waits again or is set aside, for it was lost too often."""

    head: bytes
    holder: str
    waits: bool


class Ledger:
    """The moves. `default_allowance_ms` is that of a payload that has none."""

    def __init__(self, keys: QueueKeys, caller: Caller, default_allowance_ms: float, busy_len: int,
                 postponement_ms: float) -> None:
        self.keys, self.caller = keys, caller
        self.default_allowance_ms = default_allowance_ms
        self.busy_len = busy_len
        self.postponement_ms = postponement_ms
        self._enqueue_keys: Dict[str, Tuple[str, ...]] = {}  # of each producer
        self._store = (keys.waiting, keys.notifications, keys.enqueued, keys.dequeued, keys.leases, keys.losses)

    def using(self, caller: Caller) -> Ledger:
        """The same ledger through another caller."""
        return Ledger(self.keys, caller, self.default_allowance_ms, self.busy_len, self.postponement_ms)

    def denied(self) -> List[Tuple[str, str]]:
        """The commands, each with its key, that a worker needs and this client's user is not allowed."""
        reply = self.caller.script(_scripts.PROBE, (*self._store, self.keys.dead, self.keys.swept), ())
        return [(command.decode(), key.decode()) for command, key in reply]

    def reserve(self, producer: str, count: int, last_id: int) -> int:
        """Reserves ids for a producer, which has those up to `last_id`. Returns the first that it has now."""
        keys = self.keys
        return int(self.caller.script(_scripts.RESERVE, (keys.id, keys.producer(producer)), (count, last_id)))

    def enqueue(self, call: Call, items: Sequence[Argument]) -> int:
        """Adds tasks, all or none: `items` holds the allowance (ms) and the payload of each, `MOST_TASKS` at most.

        Returns the first id that is reserved for the producer now; below 0: none was added, see enqueue.lua.
        """
        keys = self._enqueue_keys.get(call.producer) or self._keys_for(call.producer)
        return int(self.caller.script(_scripts.ENQUEUE, keys, (
            call.number, call.first_id, call.last_id, call.more, *items)))

    def _keys_for(self, producer: str) -> Tuple[str, ...]:
        keys = self.keys
        if len(self._enqueue_keys) >= _MOST_PRODUCERS:
            self._enqueue_keys.clear()
        found = self._enqueue_keys[producer] = (
            keys.waiting, keys.notifications, keys.enqueued, keys.producer(producer), keys.id)
        return found

    def waiting(self) -> int:
        return int(self.caller.command('LLEN', self.keys.waiting))

    def wait(self, seconds: float = 1.0) -> bool:
        """Waits up to `seconds` for a notification and pops it."""
        return self.caller.wait(self.keys.notifications, seconds)

    def take(self, mode: str, lease_ms: Optional[float] = None, holder: str = '') -> Optional[Taken]:
        """Takes the oldest task. `lease_ms` `None`: its whole allowance. A `holder` names a lease that is renewed
        (and begins with `?` where the task is taken ahead).

        The client must not repeat it: it would take another.
        """
        reply = self.caller.script(_scripts.DEQUEUE, self._store[:5], self._lease_args(mode, lease_ms, holder),
                                   repeat=False)
        return Taken(*reply) if reply else None

    def wait_and_take(self, seconds: float, lease_ms: float, holder: str) -> Optional[Taken]:
        """Waits up to `seconds` for a notification and takes the oldest task, if there is one, in one round trip where
        the client can."""
        reply = self.caller.wait_and_run(self.keys.notifications, seconds, _scripts.DEQUEUE, self._store[:5],
                                         self._lease_args(WAITED, lease_ms, holder))
        return Taken(*reply) if reply else None

    def _lease_args(self, mode: str, lease_ms: Optional[float], holder: str) -> Tuple[Any, ...]:
        return (mode, '' if lease_ms is None else lease_ms, self.default_allowance_ms, holder)

    def release(self, payload: bytes, tokens: Tokens) -> bool:
        """Forgets a task. `False` if it has become another's. Without tokens: by payload alone."""
        return bool(self.caller.script(_scripts.RELEASE, self._store, (payload, b' '.join(tokens))))

    def advance(self, payload: bytes, tokens: Tokens, begun: Tuple[bytes, str], mode: str,
                lease_ms: Optional[float], holder: str) -> None:
        """Releases one task (none: an empty payload) and takes the next, in one round trip. `begun`: token and
        holder of a task that was taken ahead and has begun now; empty: none has. `advanced` is to be called next, for
        the reply; see `Caller.begin_script`."""
        self.caller.begin_script(_scripts.ADVANCE, self._store, (
            payload, b' '.join(tokens), *begun, *self._lease_args(mode, lease_ms, holder)))

    def advanced(self) -> Advance:
        """Waits for the reply to `advance`."""
        reply = self.caller.end_script()
        return (reply[0] != 0,), (Taken(reply[1], reply[2]),) if len(reply) > 1 else ()

    def is_dequeued(self, payload: bytes) -> bool:
        return self.caller.command('ZSCORE', self.keys.dequeued, payload) is not None

    def advance_many(self, done: Sequence[Tuple[bytes, Tokens]], begun: Tuple[bytes, str], lease_ms: float,
                     holder: str, most: int) -> None:
        """The same for several tasks: releases those in `done`, takes up to `most`. Those that were taken share the
        holder. `advanced_many` is to be called next."""
        ends = [part for payload, tokens in done for part in (payload, b' '.join(tokens))]
        self.caller.begin_script(_scripts.ADVANCE_MANY, self._store, (
            *begun, lease_ms, self.default_allowance_ms, holder, most, _TAKEN_BYTES, *ends))

    def advanced_many(self) -> Advance:
        """Waits for the reply to `advance_many`."""
        released, *taken = self.caller.end_script()
        return [digit != ord('0') for digit in released], list(map(Taken, taken[::2], taken[1::2]))

    def requeue(self, payload: bytes, tokens: Tokens, where: str = 'back') -> bool:
        """Puts a dequeued task back at the `back` or the `front`. `False` if it was not dequeued, or is another's."""
        keys = self.keys
        return bool(self.caller.script(_scripts.REQUEUE, (keys.waiting, keys.notifications, keys.dequeued, keys.leases),
                                       (payload, b' '.join(tokens), where)))

    def lose(self, payload: bytes, tokens: Tokens, max_losses: int, record: str = '') -> int:
        """Puts a task back and counts a loss: 1 it waits, 2 it was lost too often and is set aside, with the record of
        its end, 0 it is another's."""
        return int(self.caller.script(_scripts.LOSE, (*self._store, self.keys.dead), (
            payload, b' '.join(tokens), max_losses, self.default_allowance_ms, record)))

    def renew(self, payload: bytes, tokens: Tokens, new_token: bytes, lease_ms: float,
              holder: str) -> Union[bool, float]:
        """Renews a lease: whether it still was ours; or the server's time, where `new_token` is too far off."""
        reply = self.caller.script(_scripts.RENEW, (self.keys.dequeued, self.keys.leases),
                                   (payload, b' '.join(tokens), new_token, lease_ms, holder))
        return float(reply[0]) if isinstance(reply, list) else bool(reply == b'renewed')

    def reclaim(self, holder: str) -> Optional[Taken]:
        """What a call of that `holder` took although its reply was lost."""
        return next(iter(self.reclaim_all(holder)), None)

    def reclaim_all(self, holder: str) -> List[Taken]:
        """The same for a call that takes several, in their order."""
        reply = self.caller.script(_scripts.RECLAIM, (self.keys.dequeued, self.keys.leases), (holder,)) or ()
        return sorted((Taken(*pair) for pair in zip(reply[::2], reply[1::2])), key=lambda taken: float(taken.token))

    def set_aside(self, payload: bytes, tokens: Tokens, reason: str, record: str = '') -> bool:
        """Moves a dequeued task to the dead letters. `record`: of its end, as JSON. `False` if it was not dequeued, or
        is another's."""
        keys = self.keys
        return bool(self.caller.script(
            _scripts.SET_ASIDE, (keys.enqueued, keys.dequeued, keys.leases, keys.losses, keys.dead),
            (payload, b' '.join(tokens), reason.encode('utf-8', 'backslashreplace'), self.default_allowance_ms,
             record)))

    def may_sweep(self, lease_ms: float) -> bool:
        """Whether leases that workers renew may be swept now; see may_sweep.lua."""
        return bool(self.caller.script(_scripts.MAY_SWEEP, (self.keys.swept,), (lease_ms,)))

    def sweep(self, max_losses: int, spare_renewed: bool = False,
              tell: Callable[[Lost], None] = lambda lost: None) -> int:
        """Brings back what is lost, and notifications in step; returns how many it repaired. `tell` hears of the first
        lost tasks."""
        lost_before, bound, repaired, more, untold = b'', b'', 0, True, _TOLD
        while more:
            count, lost_before, bound, more, told = self.caller.script(
                _scripts.REQUEUE_LOST, (*self._store, self.keys.dead),
                (lost_before, bound, self.busy_len, self.postponement_ms, 'unrenewed' if spare_renewed else 'all',
                 max_losses, self.default_allowance_ms, MOST_TASKS, MOST_BYTES, untold))
            repaired += count
            untold -= len(told)
            for head, holder, waits in told:
                tell(Lost(head, holder.decode('utf-8', 'replace').lstrip('?'), bool(waits)))
        self._tidy()
        return repaired

    def _tidy(self) -> None:
        keys = self.keys
        for which, key in (('leases', keys.leases), ('losses', keys.losses)):
            if not self.caller.command('EXISTS', key):
                continue
            cursor = b'0'
            while True:
                cursor = self.caller.script(
                    _scripts.TIDY, (keys.enqueued, keys.dequeued, keys.leases, keys.losses), (which, cursor))
                if cursor == b'0':
                    break

    def announce(self, name: str, facts: str, lasts_ms: float, first: bool, taken: int) -> None:
        """Notes that a worker lives. `facts`: JSON, for those who look. `first`: it has just begun. `taken`: how many
        tasks since the last call."""
        keys = self.keys
        self.caller.script(_scripts.ANNOUNCE, (keys.workers, keys.pace, keys.waiting),
                           (name, lasts_ms, facts, 'first' if first else 'again', taken))

    def withdraw(self, name: str) -> None:
        """Forgets what `announce` noted of a worker."""
        self.caller.command('HDEL', self.keys.workers, name)

    def tell_failure(self, record: str) -> None:
        """Tells whoever listens of a task that failed, by the record of its end. Nothing is kept."""
        self.caller.command('PUBLISH', self.keys.failures, record)

    def dead_len(self) -> int:
        return int(self.caller.command('ZCARD', self.keys.dead))

    def dead_letters(self, start: int, count: int) -> List[DeadLetter]:
        """Up to `count` dead letters from the `start`th on, oldest first."""
        if count <= 0:
            return []  # Redis takes -1 for the last
        reply = self.caller.command('ZRANGE', self.keys.dead, start, start + count - 1, 'WITHSCORES')
        return [read_letter(*pair) for pair in _pairs(reply)]

    def dead_letter(self, id: str) -> Optional[DeadLetter]:
        """The dead letter with this id; `None`: there is none."""
        if not is_letter_id(id):
            return None
        reply = self.caller.command('ZRANGEBYSCORE', self.keys.dead, id, id, 'WITHSCORES', 'LIMIT', 0, 1)
        return next((read_letter(*pair) for pair in _pairs(reply)), None)

    def requeue_dead(self, id: str) -> bool:
        """Puts a dead letter's task back at the end of the list. `False` if there is no such letter."""
        keys = self.keys
        return bool(is_letter_id(id) and self.caller.script(
            _scripts.REQUEUE_DEAD, (keys.waiting, keys.notifications, keys.enqueued, keys.dead), (id,)))

    def delete_dead(self, id: str) -> bool:
        """Deletes a dead letter. `False` if there is no such letter."""
        return bool(is_letter_id(id) and self.caller.command('ZREMRANGEBYSCORE', self.keys.dead, id, id))


def _pairs(reply: Sequence[Any]) -> Iterator[Tuple[bytes, float]]:
    """Members and scores: a flat list in RESP2, pairs in RESP3."""
    if reply and isinstance(reply[0], (list, tuple)):
        return ((member, float(score)) for member, score in reply)
    return ((reply[i], float(reply[i + 1])) for i in range(0, len(reply), 2))
