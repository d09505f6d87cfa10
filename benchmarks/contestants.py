"""Who is compared, and how each is set up: the fastest recommended settings that keep the guarantee named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, Tuple

#: redis-py's parser in C, which each library names as an extra or a requirement of its own, ours too.
_HIREDIS = 'hiredis==3.5.0'
_NEWEST = ('redis==8.1.0', _HIREDIS)
_UVLOOP = 'uvloop==0.23.0'
_FORKED = ', forked'

AT_LEAST_ONCE, AT_MOST_ONCE = 'at least once', 'at most once'


@dataclass(frozen=True)
class Contestant:
    """One row.

    name: in tables. environment: where its packages are; rows may share it.
    packages: pinned, with the newest redis-py that they run with. None: this checkout's wheel is installed too.
    side: its module in `sides/`. worker: the command; the program stands in the environment's `bin`.
    guarantee: what becomes of a task whose worker is killed while it runs. runs_in: where tasks run.
    tasks: how many it drains a round. Numbers are fixed, and such that each row works for about a second: with one for
    all of them, starting up would weigh on the fastest, and the slowest would take most of the run.
    enqueued: how many are enqueued one by one to measure that. 0: those of the drain, which take long enough.
    in_bulk: how many with as few calls as the library allows. 0: it has no such call, or the row is not in that table.
    forked: each task has a process of its own.
    """

    name: str
    environment: str
    packages: Tuple[str, ...]
    side: str
    worker: Tuple[str, ...]
    guarantee: str
    runs_in: str
    tasks: int
    enqueued: int = 0
    in_bulk: int = 0
    forked: bool = False
    environ: Dict[str, str] = field(default_factory=dict)
    note: str = ''


def _delayed(name: str, environment: str, packages: Tuple[str, ...], tasks: int, in_bulk: int = 0,
             forked: bool = False, prefetch: int = 0) -> Contestant:
    worker = ('ForkedWorker' if forked else 'PreforkedWorker', *([str(prefetch)] if prefetch else []))
    return Contestant(
        name + _FORKED * forked, environment, packages, 'side_delayed', ('python', '-m', 'side_delayed', *worker),
        AT_LEAST_ONCE, 'a fresh child' if forked else 'a child', tasks, in_bulk=in_bulk, forked=forked,
        note='prefetch=%d' % prefetch if prefetch else '')


def _rq(tasks: int, enqueued: int = 0, in_bulk: int = 0, forked: bool = False) -> Contestant:
    return Contestant(
        'rq' + _FORKED * forked, 'rq', ('rq==3.0.0', 'click==8.5.1', 'croniter==7.0.0', *_NEWEST), 'side_rq',
        ('rq', 'worker', '--quiet', '--url', 'unix://{socket}', '--worker-class',
         'rq.Worker' if forked else 'rq.SimpleWorker', 'bench'),
        AT_MOST_ONCE, 'a fresh child' if forked else 'the worker', tasks, enqueued, in_bulk, forked,
        note='a task whose worker was killed is listed as failed')


_CELERY = Contestant(
    'celery', 'celery', ('celery==5.7.0', 'kombu==5.7.0', 'packaging==26.3', *_NEWEST), 'side_celery',
    ('celery', '--app', 'side_celery', '--quiet', 'worker', '--concurrency', '1', '--loglevel', 'WARNING',
     '--without-gossip', '--without-mingle', '--without-heartbeat'),
    AT_LEAST_ONCE, 'a child', 700, note='acks_late, reject_on_worker_lost')


def _taskiq(broker: str, guarantee: str) -> Contestant:
    return Contestant(
        'taskiq (%s)' % broker, 'taskiq', ('taskiq==0.13.0', 'taskiq-redis==1.2.4', *_NEWEST, _UVLOOP), 'side_taskiq',
        ('taskiq', 'worker', 'side_taskiq:broker', '--workers', '1', '--log-level', 'WARNING', '--ack-type',
         'when_executed'),
        guarantee, 'a child, up to 100 coroutines', 2000, environ={'BENCH_BROKER': broker})


_BULK = 50_000
_PUBLISHED = ('published', ('delayed==0.5.1b2', *_NEWEST))
_PUBLISHED_OLD = ('published-redis3', ('delayed==0.5.1b2', 'redis==3.5.3', _HIREDIS))

OURS = _delayed('delayed (this)', 'ours', _NEWEST, 20_000, _BULK)
OURS_SIGNED = replace(OURS, name='delayed (this), signed', tasks=16_000, environ={'DELAYED_SECRET': 's' * 43},
                      note='DELAYED_SECRET is set')
OURS_BATCHES = _delayed('delayed (this), prefetch=64', 'ours', _NEWEST, 30_000, prefetch=64)
OURS_SINGLY = _delayed('delayed (this), prefetch=1', 'ours', _NEWEST, 10_000, prefetch=1)
OURS_FORKED = _delayed('delayed (this)', 'ours', _NEWEST, 400, forked=True)
#: A worker that has loaded no application forks from a lean process.
OURS_LEAN = replace(
    OURS_FORKED, name='delayed (this), forked, by `delayed worker`', tasks=800, note='--preload, as the others have it',
    worker=('delayed', 'worker', '--forked', '--url', 'unix://{socket}', '--queue', 'bench', '--preload', 'chores'))
PUBLISHED = _delayed('delayed 0.5.1b2', *_PUBLISHED, 1500)
PUBLISHED_FORKED = _delayed('delayed 0.5.1b2', *_PUBLISHED, 140, forked=True)
HUEY = Contestant(
    'huey', 'huey', ('huey==3.5.4', *_NEWEST), 'side_huey',
    ('huey_consumer', 'side_huey.huey', '--workers', '1', '--quiet'), AT_MOST_ONCE, 'a thread of the worker', 3500)
RQ_FORKED = _rq(40, forked=True)

#: Ours, with the black box and without, which no user can have: see sides/blindfold.py. Pre-forked: in turns.
WINKING = tuple(replace(OURS, name=name, environ={'BENCH_BLACK_BOX': 'in turns', **environ}) for name, environ in (
    ('pre-forked', {}), ('pre-forked, with a success handler', {'BENCH_HANDLER': 'on'})))
SEEING = replace(OURS_FORKED, name='forked')
BLIND = replace(OURS_FORKED, name='forked, without', environ={'BENCH_BLACK_BOX': 'off'})

PREFORKED = (
    OURS,
    OURS_SIGNED,
    OURS_BATCHES,
    OURS_SINGLY,
    PUBLISHED,
    _delayed('delayed 0.5.1b2, redis-py 3.5.3', *_PUBLISHED_OLD, 2000),
    _rq(250, enqueued=1500, in_bulk=3000),
    HUEY,
    Contestant('dramatiq', 'dramatiq', ('dramatiq==2.2.1', *_NEWEST), 'side_dramatiq',
               ('dramatiq', 'side_dramatiq', '--processes', '1', '--threads', '8', '--skip-logging'), AT_LEAST_ONCE,
               'a child, 8 threads', 2000),
    _CELERY,
    Contestant('arq', 'arq', ('arq==0.28.0', 'redis==5.3.1', _HIREDIS, _UVLOOP), 'side_arq',
               ('arq', 'side_arq.WorkerSettings'), AT_LEAST_ONCE, 'the worker, up to 10 coroutines',
               1300, note='polls every 5 ms instead of 500 ms'),
    Contestant('saq', 'saq', ('saq==0.26.4', 'typing_extensions==4.16.0', 'redis==7.4.1', _HIREDIS, _UVLOOP),
               'side_saq', ('saq', '--quiet', 'side_saq.settings'), AT_LEAST_ONCE, 'the worker, up to 10 coroutines',
               1500, note='retries=3, or a lost task would be aborted'),
    _taskiq('list', AT_MOST_ONCE),
    _taskiq('stream', AT_LEAST_ONCE),
)

# Celery's `--max-tasks-per-child 1` is left out: its pool replaces a child that ended every other second.
FORKED = (
    OURS_FORKED,
    OURS_LEAN,
    PUBLISHED_FORKED,
    _delayed('delayed 0.5.1b2, redis-py 3.5.3', *_PUBLISHED_OLD, 140, forked=True),
    RQ_FORKED,
)

_ABREAST = (PUBLISHED, OURS, HUEY, OURS_BATCHES)
#: In this order they are measured, in every other round the other way round: machines change their speed within
#: seconds, so those that are compared most closely come one right after the other.
IN_TURN = (*_ABREAST, *(row for row in PREFORKED if row not in _ABREAST))
