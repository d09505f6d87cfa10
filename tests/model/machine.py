"""A ledger on a real server under whatever calls Hypothesis thinks of, held to the reference after each.

Here the clock is the server's. Nobody waits for it: a lease ends because the test writes another end of it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from delayed._ledger import Ledger
from delayed._producer import Call
from delayed.queue import Queue

from .reference import AHEAD, Reference, Store

BUSY_LEN = 4
LEASE = 15_000.0
#: How long ago (ms) a lease may have ended: a moment, and longer than a busy queue postpones.
AGES = (2_000.0, 3_600_000.0)


class Grant:
    """A lease as somebody remembers it who may have lost it since."""

    def __init__(self, payload: str, token: float, holder: str) -> None:
        self.payload, self.tokens, self.holder = payload, [token], holder

    def __repr__(self) -> str:
        return '%r taken by %r with token %s' % (self.payload, self.holder, self.tokens)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, conn: Any) -> None:
        super().__init__()
        self._conn = conn
        conn.flushall()
        self._ledger: Ledger = Queue('default', conn, busy_len=BUSY_LEN).ledger
        self._keys = self._ledger.keys
        self._default = self._ledger.default_allowance_ms
        self._reference = Reference(Store(), self._default)
        self._payloads: List[str] = []  # in the order in which they were enqueued
        self._unfinished: set = set()
        self._granted: set = set()
        self._memory: List[Grant] = []
        self._calls: Dict[str, Tuple[str, float, int]] = {}
        self._holders = 0

    @initialize(tasks=st.integers(3, 8), taken=st.lists(st.sampled_from((None, LEASE)), max_size=4))
    def begin(self, tasks, taken):
        """Hypothesis plays without some of the rules at a time; so there is something to play with."""
        self.enqueue('p', tasks, 610_000.0, twice=False)
        for lease in taken:
            self.take('ready', lease, ahead=False)

    @rule(producer=st.sampled_from('pq'), tasks=st.integers(1, 3), allowance=st.sampled_from((10_000, 3_600_500.5)),
          twice=st.booleans())
    def enqueue(self, producer, tasks, allowance, twice):
        for _ in range(tasks):
            payload = 'task %d\n\0\xff' % len(self._payloads)
            self._payloads.append(payload)
            self._unfinished.add(payload)
            self._calls[producer] = payload, allowance, len(self._payloads)
            for _ in range(1 + twice):
                self._enqueue(producer)

    @precondition(lambda self: self._calls)
    @rule(data=st.data())
    def repeat_the_last_enqueue_of_a_producer(self, data):
        self._enqueue(data.draw(st.sampled_from(sorted(self._calls))))

    def _enqueue(self, producer):
        payload, allowance, number = self._calls[producer]
        self._reference.enqueue(payload, allowance, producer, number)
        assert self._ledger.enqueue(Call(producer, number), (allowance, _bytes(payload))) == 0

    @precondition(lambda self: self._reference.notifications)
    @rule()
    def pop_a_notification(self):
        assert self._ledger.wait()
        assert self._reference.pop_notification()

    @rule()
    def notify_too_often(self):
        self._conn.rpush(self._keys.notifications, '1')
        self._reference.notifications += 1

    @precondition(lambda self: self._reference.enqueued)
    @rule(data=st.data())
    def forget_an_allowance(self, data):
        payload = data.draw(st.sampled_from(sorted(self._reference.enqueued)))
        self._conn.zrem(self._keys.enqueued, _bytes(payload))
        del self._reference.enqueued[payload]

    @rule(mode=st.sampled_from(('ready', 'notified', 'anyway', 'waited')), lease=st.sampled_from((None, LEASE)),
          ahead=st.booleans())
    def take(self, mode, lease, ahead):
        holder = self._new_holder(ahead) if lease else ''
        payload = self._reference.next(mode)
        earliest = self._now() + (lease or self._reference.enqueued.get(payload, self._default))
        self._take(payload, self._ledger.take(mode, lease, holder), mode, earliest, holder)

    def _take(self, payload, taken, mode, earliest, holder):
        assert (taken and _text(taken.payload)) == payload
        self._reference.take(mode, taken and self._granted_token(taken.token, earliest), holder)
        if taken:
            self._memory.append(Grant(payload, float(taken.token), holder))

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), ends=st.booleans(), begins=st.booleans())
    def advance(self, data, ends, begins):
        """Who has nothing to release may take ahead, too."""
        ended, begun = self._draw_grant(data), self._draw_grant(data)
        released = 1
        if ends:
            released = self._reference.release(ended.payload, ended.tokens)
            self._finish_if(released, ended.payload)
        mark = (b'', '')
        if begins and begun.holder:
            mark = b'%.3f' % begun.tokens[-1], begun.holder.lstrip(AHEAD)
            self._reference.begin(begun.tokens[-1], mark[1])
        holder, payload, earliest = self._new_holder(ahead=True), self._reference.next('ready'), self._now() + LEASE
        self._ledger.advance(*((_bytes(ended.payload), _texts(ended)) if ends else (b'', ())), mark, 'ready', LEASE,
                             holder)
        (held,), taken = self._ledger.advanced()
        assert held == bool(released)
        self._take(payload, taken[0] if taken else None, 'ready', earliest, holder)

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), ends=st.integers(0, 3), most=st.integers(1, 4))
    def advance_many(self, data, ends, most):
        """No payload waits twice or is released twice, or they would be taken one by one."""
        ended = {grant.payload: grant for grant in (self._draw_grant(data) for _ in range(ends))}
        wanted = []
        for payload, grant in ended.items():
            wanted.append(bool(self._reference.release(payload, grant.tokens)))
            self._finish_if(wanted[-1], payload)
        holder, earliest = self._new_holder(ahead=True), self._now() + LEASE
        most = min(most, self._reference.notifications)
        payloads, losses = self._reference.waiting[:most], self._reference.losses
        alone = [payload in losses for payload in payloads]
        end = next((at for at, payload in enumerate(payloads)
                    if at and (payload in payloads[:at] or alone[at - 1] or alone[at])), most)
        self._ledger.advance_many(
            [(_bytes(payload), _texts(grant)) for payload, grant in ended.items()], (b'', ''), LEASE, holder, most or 1)
        held, taken = self._ledger.advanced_many()
        assert held == wanted
        assert len(taken) == len(payloads[:end])
        for payload, each in zip(payloads, taken):
            self._take(payload, each, 'ready', earliest, holder)
        if len(taken) < most and not self._reference.waiting:
            self._reference.notifications = 0

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), twice=st.booleans())
    def release(self, data, twice):
        grant = self._draw_grant(data)
        for _ in range(1 + twice):
            wanted = self._reference.release(grant.payload, grant.tokens)
            assert self._ledger.release(_bytes(grant.payload), _texts(grant)) == bool(wanted)
            self._finish_if(wanted, grant.payload)

    @precondition(lambda self: self._payloads)
    @rule(data=st.data())
    def release_by_payload(self, data):
        payload = data.draw(st.sampled_from(self._payloads))
        self._finish(payload)
        self._reference.release(payload, ())
        assert self._ledger.release(_bytes(payload), ())

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), where=st.sampled_from(('front', 'back')), fenced=st.booleans(), twice=st.booleans())
    def requeue(self, data, where, fenced, twice):
        grant = self._draw_grant(data)
        for _ in range(1 + twice):
            wanted = self._reference.requeue(grant.payload, grant.tokens if fenced else (), where == 'front')
            assert self._ledger.requeue(_bytes(grant.payload), _texts(grant) if fenced else (), where) == bool(wanted)

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), most=st.integers(0, 3), twice=st.booleans())
    def lose(self, data, most, twice):
        grant = self._draw_grant(data)
        for _ in range(1 + twice):
            wanted = self._reference.lose(grant.payload, grant.tokens, most)
            assert self._ledger.lose(_bytes(grant.payload), _texts(grant), most) == wanted

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), twice=st.booleans())
    def set_aside(self, data, twice):
        grant = self._draw_grant(data)
        for _ in range(1 + twice):
            wanted = self._reference.set_aside(grant.payload, grant.tokens)
            assert self._ledger.set_aside(_bytes(grant.payload), _texts(grant), 'a reason') == bool(wanted)

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), heard=st.booleans(), seconds_off=st.sampled_from((0, 0, 1, -60, 60)))
    def renew(self, data, heard, seconds_off):
        """heard: whether the reply came. If not, it is sent again."""
        grant = self._draw_grant(data)
        holder = grant.holder or 'x'
        token = round(self._now() + LEASE + seconds_off * 1000, 3)
        grant.tokens.append(token)
        plausible = abs(seconds_off) * 1000 < LEASE / 4
        for _ in range(1 if heard else 2):
            wanted = self._reference.renew(grant.payload, grant.tokens, token, holder, plausible)
            found = self._ledger.renew(_bytes(grant.payload), _texts(grant), b'%.3f' % token, LEASE, holder)
            if wanted == 'what time it is':
                assert abs(found - self._now()) < 60_000 and not isinstance(found, bool)
            else:
                assert found is (wanted == 'renewed')
        if wanted == 'renewed':
            self._granted.add(token)
            grant.tokens, grant.holder = [token], holder

    @precondition(lambda self: self._memory)
    @rule(data=st.data(), ahead=st.booleans())
    def reclaim(self, data, ahead):
        grant = self._draw_grant(data)
        holder = AHEAD * ahead + grant.holder.lstrip(AHEAD)
        found = self._ledger.reclaim(holder) if holder else None
        assert (found and (_text(found.payload), float(found.token))) == (
            self._reference.reclaim(holder) if holder else None)

    @precondition(lambda self: self._reference.dequeued)
    @rule(data=st.data())
    def leases_end(self, data):
        ended = data.draw(st.lists(st.tuples(
            st.sampled_from(sorted(self._reference.dequeued)), st.sampled_from(AGES)), min_size=1, max_size=5))
        for payload, age in ended:
            self._end_lease(payload, age)

    def _end_lease(self, payload, age):
        old = self._reference.dequeued[payload]
        new = round(self._now() - age, 3)
        while new in self._granted:
            new = round(new - 0.001, 3)
        self._granted.add(new)
        self._reference.dequeued[payload] = new
        self._conn.zadd(self._keys.dequeued, {_bytes(payload): '%.3f' % new})
        if old in self._reference.leases:
            self._reference.leases[new] = holder = self._reference.leases.pop(old)
            self._conn.hdel(self._keys.leases, '%.3f' % old)
            self._conn.hset(self._keys.leases, '%.3f' % new, holder)
        for grant in self._memory:
            grant.tokens = [new if token == old else token for token in grant.tokens]

    @rule(most=st.integers(0, 3), spare=st.booleans())
    def sweep(self, most, spare):
        now, busy = self._now(), len(self._reference.waiting) >= BUSY_LEN
        unrenewed_before = now - (self._ledger.postponement_ms if busy else 0)
        lost = [payload for payload, token in self._reference.dequeued.items() if token < now and (
            not spare if token in self._reference.leases else token < unrenewed_before)]
        wanted = self._reference.bring_back(lost, most) + self._reference.notify()
        self._reference.tidy()
        assert self._ledger.sweep(most, spare) == wanted

    @precondition(lambda self: self._reference.dead)
    @rule(data=st.data(), put_back=st.booleans(), twice=st.booleans())
    def decide_on_a_dead_letter(self, data, put_back, twice):
        index = data.draw(st.integers(0, len(self._reference.dead) - 1))
        letter = self._ledger.dead_letters(index, 1)[0]
        decide = self._ledger.requeue_dead if put_back else self._ledger.delete_dead
        if put_back:
            self._reference.requeue_dead(index)
        else:
            self._finish(_text(letter.payload))
            self._reference.delete_dead(index)
        assert decide(letter.id)
        assert not (twice and decide(letter.id))

    @precondition(lambda self: self._reference.dequeued)
    @rule(data=st.data(), requeue=st.booleans())
    def a_worker_as_before_releases_or_requeues(self, data, requeue):
        payload = data.draw(st.sampled_from(sorted(self._reference.dequeued)))
        self._conn.zrem(self._keys.dequeued, _bytes(payload))
        if requeue:
            self._reference.requeue_as_before(payload)
            self._conn.rpush(self._keys.waiting, _bytes(payload))
            self._conn.rpush(self._keys.notifications, '1')
        else:
            self._finish(payload)
            self._reference.release_as_before(payload)
            self._conn.zrem(self._keys.enqueued, _bytes(payload))

    @rule()
    def the_server_forgets_its_scripts(self):
        self._conn.script_flush()

    @rule(asked=st.sampled_from((-60_000, 2_000, 6_000, 9_000, 3_600_000)),
          spared=st.sampled_from((-60_000, -1_000, 5_000)))
    def ask_whether_to_sweep(self, asked, spared):
        """asked, spared: how long ago somebody asked, and until when from now leases are spared."""
        now = self._now()
        self._conn.set(self._keys.swept, '%.3f %.3f' % (now - asked, now + spared))
        had_the_chance = 0 <= asked < LEASE / 2
        assert self._ledger.may_sweep(LEASE) == (had_the_chance and spared < 0)

    @invariant()
    def redis_holds_what_the_reference_does(self):
        assert self._read() == self._reference.store()._replace(producers=())

    @invariant()
    def each_unfinished_task_is_in_one_place(self):
        store = self._read()
        places = [*store.waiting, *dict(store.dequeued), *dict(store.dead)]
        assert len(places) == len(set(places))
        assert self._unfinished <= set(places)

    def _finish(self, payload):
        self._unfinished.discard(payload)

    def _finish_if(self, released, payload):
        if released:
            self._finish(payload)

    def _now(self):
        seconds, microseconds = self._conn.time()
        return seconds * 1000 + microseconds / 1000

    def _new_holder(self, ahead):
        self._holders += 1
        return '%sworker:%d' % (AHEAD * ahead, self._holders)

    def _granted_token(self, text, earliest):
        """A token is new, and ends the lease that was asked for."""
        token = float(text)
        assert token not in self._granted
        assert earliest - 0.001 <= token <= earliest + 60_000
        self._granted.add(token)
        return token

    def _draw_grant(self, data):
        """One whose lease may still be held, or one of the last that is lost."""
        held = [grant for grant in self._memory if self._reference.dequeued.get(grant.payload) in grant.tokens]
        lost = [grant for grant in self._memory if grant not in held]
        return data.draw(st.sampled_from(held + lost[-3:]))

    def _read(self) -> Store:
        keys, pipe = self._keys, self._conn.pipeline()
        pipe.lrange(keys.waiting, 0, -1).llen(keys.notifications)
        pipe.zrange(keys.enqueued, 0, -1, withscores=True).zrange(keys.dequeued, 0, -1, withscores=True)
        pipe.hgetall(keys.leases).hgetall(keys.losses)
        waiting, notifications, enqueued, dequeued, leases, losses = pipe.execute()
        dead = self._ledger.dead_letters(0, 1000)
        allowances = [json.loads(letter.partition(b'\n')[0])['allowance']
                      for letter in self._conn.zrange(keys.dead, 0, -1)]
        return Store(
            tuple(map(_text, waiting)), notifications,
            *(tuple(sorted((_text(payload), score) for payload, score in pairs)) for pairs in (enqueued, dequeued)),
            tuple(sorted((float(token), holder.decode()) for token, holder in leases.items())),
            tuple(sorted((_text(payload), len(times.split(b','))) for payload, times in losses.items())),
            tuple((_text(letter.payload), float(allowance)) for letter, allowance in zip(dead, allowances)))


def _bytes(payload: str) -> bytes:
    return payload.encode('latin-1')


def _text(payload: bytes) -> str:
    return payload.decode('latin-1')


def _texts(grant: Grant) -> Tuple[bytes, ...]:
    return tuple(b'%.3f' % token for token in grant.tokens)
