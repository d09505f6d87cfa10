"""Who plays in the searches, and the faults that they must find."""

from __future__ import annotations

from typing import Dict, NamedTuple

from .arena import Arena, script_sources
from .reference import Store
from .turn import Cast
from .world import BY_HAND, OLD, OURS, Producer, World

#: What 0.5.1b2, a flushed key or a person may have left: a task that Redis knows no allowance of, and a notification
#: too many.
MESS = World(store=Store(waiting=('A',), notifications=2), producer=Producer(sent=1))
#: A crash took the notification of a task.
SILENCE = World(store=Store(waiting=('A',), enqueued=(('A', 610_000.0),)), producer=Producer(sent=1), missing=1)

#: These take ten seconds of an idle machine.
CASTS: Dict[str, Cast] = {
    'two workers and a person who puts dead tasks back': Cast((OURS, OURS), person=True),
    'workers of both kinds, who begin with a missing notification': Cast((OURS, OLD), begun=SILENCE, max_losses=1),
}

#: These take a minute, and run with the long part of the tests.
LARGE_CASTS: Dict[str, Cast] = {
    'three workers': Cast((OURS, OURS, OURS)),
    'a worker and a program that dequeues by hand, who begin with a mess': Cast((OURS, BY_HAND), begun=MESS),
    'three workers, one of 0.5.1b2': Cast((OURS, OURS, OLD), never=('sets', 'loses', 'hands', 'takes (anyway)')),
    'a worker and one of 0.5.1b2, with sweepers of both': Cast(
        (OURS, OLD), old_sweeper=True, never=('sets', 'loses', 'hands', 'takes (anyway)')),
    'three workers, any of whose calls may be made twice': Cast(
        (OURS, OURS, OURS), lossy=True, never=('sets', 'loses', 'hands', 'takes (anyway)')),
    'two workers that take ahead': Cast((OURS, OURS), brisk=True, never=('sets', 'loses', 'takes (anyway)')),
    'a worker and a program that dequeues by hand, and sweeps in batches of one': Cast((OURS, BY_HAND), batched=True),
    'a worker and a program that dequeues by hand, and one waiting task makes the queue busy': Cast(
        (OURS, BY_HAND), busy=True),
}

#: These take some minutes more.
LONG_CASTS: Dict[str, Cast] = {
    'three workers of both kinds and sweepers of both': Cast((OURS, OURS, OLD), old_sweeper=True),
    'three workers, two of 0.5.1b2, and sweepers of both': Cast((OURS, OLD, OLD), old_sweeper=True),
    'workers of both kinds, any of whose calls may be made twice': Cast((OURS, OLD), lossy=True, old_sweeper=True),
    'three workers that make all moves, and any call twice': Cast((OURS, OURS, OURS), lossy=True),
    'two workers that make all moves, take ahead, and make any call twice': Cast(
        (OURS, OURS), brisk=True, lossy=True, never=('sets', 'loses')),
    'two workers that take ahead, of three tasks': Cast((OURS, OURS), tasks=3, brisk=True, never=('sets', 'loses')),
    'two programs that dequeue three tasks by hand, from a busy queue that is swept in batches of one': Cast(
        (BY_HAND, BY_HAND), tasks=3, busy=True, batched=True),
}


class Fault(NamedTuple):
    """A script made wrong: `right` becomes `wrong`. cast: who must find it."""

    script: str
    right: str
    wrong: str
    cast: Cast

    def sources(self) -> Dict[str, str]:
        source = script_sources()[self.script]
        assert source.count(self.right) == 1, '%s.lua no longer reads %r' % (self.script, self.right)
        return {self.script: source.replace(self.right, self.wrong)}


def arena_for(conn: object, cast: Cast, sources: Dict[str, str] = {}) -> Arena:  # noqa: B006
    return Arena(conn, sources, busy_len=1 if cast.busy else 10)


TWO, LOSSY = Cast((OURS, OURS)), Cast((OURS, OURS), lossy=True)

FAULTS: Dict[str, Fault] = {
    # of 0.5.1b2
    'a notification without a task makes dequeue fail': Fault(
        'common', 'if not payload then', 'if payload == nil then', TWO),
    'a payload without an allowance is gone once it is popped': Fault(
        'common', "local payload = redis.call('lindex', waiting, '0')", "local payload = redis.call('lpop', waiting)",
        Cast((OURS, BY_HAND), begun=MESS)),
    'lost tasks come back in reverse order': Fault(
        'requeue_lost', "'zrevrangebyscore', dequeued, bound, '-inf'", "'zrangebyscore', dequeued, '-inf', bound", TWO),
    'lost tasks never come back while the queue is busy': Fault(
        'requeue_lost', 'lost_before = now - tonumber(ARGV[4])', 'lost_before = 0',
        Cast((BY_HAND, BY_HAND), busy=True)),
    "a worker that was frozen releases another's task": Fault(
        'common', 'local score = held(dequeued, payload, tokens)', "local score = held(dequeued, payload, '')", TWO),
    'a task that is put back has no notification': Fault(
        'requeue', "redis.call('rpush', KEYS[2], '1')", '', TWO),
    # of our own making
    'a renewal knows only the old token': Fault(
        'renew', "ARGV[2] .. ' ' .. ARGV[3]", "string.match(ARGV[2], '%S+')", LOSSY),
    'an enqueue that is repeated adds the task again': Fault(
        'enqueue', 'if last_call == ARGV[1] then', 'if false then', LOSSY),
    'a task that is waiting again runs once more although it is done': Fault(
        'common', "redis.call('lrem', waiting, 1, payload)", '', TWO),
    'a lost task is counted, but not brought back': Fault(
        'common', "    redis.call('lpush', waiting, payload)\n", '', TWO),
    'a sweep passes over what is behind a task that it postpones': Fault(
        'requeue_lost', "bound = '(' .. found[2]", "bound = '-inf'",
        Cast((BY_HAND, BY_HAND), tasks=3, busy=True, batched=True)),
    'a lease that ends stays in the books': Fault(
        'common', "if tokens == '' or redis.call('hdel', leases, tokens) == 0 then", 'if false then', TWO),
    'a task that was taken ahead has begun in secret': Fault(
        'common', 'token, holder, begun, begun_holder)', 'token, holder)', Cast((OURS, OURS), brisk=True)),
}
