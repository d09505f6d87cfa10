"""Bytes of any kind, in Redis and in pipes: nothing crashes, nothing is lost, nothing is unpickled that is not to be.

A bounded run; `make fuzz` goes on for longer. See the package `fuzz`.
"""

import contextlib
import os
import pickle
import random
import resource
import signal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from delayed._ledger import ANYWAY
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
from fuzz import canary, chores, seeds
from fuzz.targets import TARGETS
from waiting import wait_until
from workers import put, remains, report, succeeded, task

#: `make fuzz` sets it: how many times as much, and another beginning.
FACTOR, BEGINNING = int(os.environ.get('FUZZ_FACTOR', '1')), int(os.environ.get('FUZZ_SEED', '1'))
_SPARE_MEMORY = 1 << 31  # bytes: a pickle of a few bytes can ask for any number


@pytest.fixture(autouse=True)
def silence(tmp_path):
    """Nobody sings."""
    canary.place(tmp_path / 'canary')
    yield
    assert canary.song() == ''


@contextlib.contextmanager
def bounded_memory():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm') as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE_MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


class TestTheCanary:
    """What would be heard if something were unpickled."""

    @pytest.mark.parametrize('number', range(len(seeds.SINGING)))
    def test_sings_in_each_seed(self, tmp_path, number):
        canary.place(tmp_path / 'heard')
        with contextlib.suppress(Exception):
            pickle.loads(seeds.SINGING[number])
        assert canary.song()
        canary.place(tmp_path / 'canary')


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='this system does not tell how much memory is used')
@pytest.mark.parametrize('name', TARGETS)
def test_no_bytes_break_it(name):
    target, examples = TARGETS[name]

    @settings(max_examples=200 * FACTOR, deadline=None, derandomize=FACTOR == 1, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300) | st.integers(0, 1 << 64).map(
        lambda seed: seeds.mutant(random.Random(seed), examples)))
    def throw(data):
        target(data)

    with bounded_memory():
        for each in examples:
            target(each)
        throw()


class TestPayloads:
    @pytest.fixture
    def forged(self):
        return seeds.mutants(BEGINNING, seeds.FORGED, 60 * FACTOR)

    def test_that_are_forged_are_set_aside_by_workers(self, lab, conn, worker_class, forged):
        queue = Queue('default', conn, secret=seeds.SECRET)
        put(conn, *forged)
        lab.drain(worker_class(queue), queue, task('run', 'genuine'))
        assert lab.reports('ran') == [[['genuine'], {}]]
        self.check_all_are_dead(queue, conn, forged)

    def test_that_are_forged_are_set_aside_by_dequeue(self, conn, forged):
        queue = Queue('default', conn, secret=seeds.SECRET)
        put(conn, *forged)
        assert [queue.dequeue() for _ in forged] == [None] * len(forged)
        self.check_all_are_dead(queue, conn, forged)

    def check_all_are_dead(self, queue, conn, forged):
        letters = queue.dead(0, len(forged) + 1)
        assert sorted(letter.payload for letter in letters) == sorted(forged)
        assert all('sign' in letter.reason for letter in letters)
        assert remains(conn) == {b'default_dead'}

    def test_that_are_not_signed_end_or_are_set_aside(self, lab, conn, worker_class):
        def ended(*args):
            report('ended')

        payloads = seeds.mutants(BEGINNING, seeds.PICKLES, 60 * FACTOR)
        queue = Queue('default', conn, unpickle='plain', allow=['tasks:run', 'tasks:stop_worker'])
        put(conn, *payloads)
        queue.enqueue(task('stop_worker'))
        worker = worker_class(queue, success_handler=ended, error_handler=ended)

        def run():
            with bounded_memory():
                worker.run()

        assert lab.start(run).wait() == 0
        dead = [letter.payload for letter in queue.dead(0, len(payloads))]
        assert len(lab.reports('ended')) - 1 + len(dead) == len(payloads)
        assert set(dead) <= set(payloads)
        assert remains(conn) == ({b'default_dead'} if dead else set())


class TestAResultPipe:
    def test_may_hold_what_a_task_has_written_into_it(self, lab, queue, conn, worker_class):
        scribbles = seeds.FRAMES + seeds.mutants(BEGINNING, seeds.FRAMES, 15 * FACTOR)
        worker = worker_class(queue, kill_timeout=1)

        def run():
            chores.spare()
            worker.run()

        program = lab.start(run)
        for data in scribbles:
            queue.enqueue(task('fuzz.chores.scribble', data, timeout=0.5))  # half a message hides the task's end
            wait_until(lambda: not conn.exists('default_enqueued'), 'the end of the task')
            queue.enqueue(task('run'))
            lab.expect('ran')
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0

    @pytest.mark.parametrize(('data', 'prefetch'), [
        (seeds.frame(b'E'), 1), (seeds.frame(b'E') * 3, 1), (seeds.frame(b'E'), 8), (seeds.frame(b'S') * 3, 8)])
    def test_may_say_that_a_task_has_ended_which_has_not(self, lab, queue, data, prefetch):
        def run():
            chores.spare()
            PreforkedWorker(queue, kill_timeout=1, success_handler=succeeded, prefetch=prefetch).run()

        program = lab.start(run)
        tasks = [queue.enqueue(each) for each in (task('run'), task('fuzz.chores.scribble_and_hold', data))]
        lab.expect('holds')
        tasks += [queue.enqueue(each) for each in (task('run'), task('stop_worker'))]
        lab.open_gate()
        assert program.wait() == 0
        assert [args[0] for args in lab.reports('succeeded')] == [each.id for each in tasks]

    def test_may_say_it_together_with_the_end_itself(self, lab, queue):
        """Its child has done no other harm, and goes on."""
        def run():
            chores.spare()
            PreforkedWorker(queue, success_handler=succeeded, prefetch=1).run()

        program = lab.start(run)
        queue.enqueue(task('fuzz.chores.hold_and_scribble', seeds.frame(b'E') * 3))
        child_pid, _ = lab.expect('holds')
        os.kill(program.pid, signal.SIGSTOP)
        lab.open_gate()
        lab.expect('succeeded')
        os.kill(program.pid, signal.SIGCONT)
        queue.enqueue(task('where'))
        assert lab.expect('where')[0] == child_pid
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    @pytest.mark.parametrize('prefetch', [1, 8])
    def test_may_say_it_in_a_handler_before_its_child_leaves(self, lab, queue, conn, prefetch):
        """Which is then sent a task that it does not run."""
        def handler(done):
            if done.func_name == 'where':
                chores.scribble_and_hold(seeds.frame(b'E'))

        def run():
            chores.spare()
            PreforkedWorker(queue, success_handler=handler, prefetch=prefetch, max_rss=1).run()

        program = lab.start(run)
        queue.enqueue(task('where'))
        lab.expect('where')
        lab.expect('holds')
        second = queue.enqueue(task('stop_worker'))
        wait_until(lambda: conn.zscore('default_dequeued', second.data))
        lab.open_gate()
        assert program.wait() == 0
        assert remains(conn) == set()


#: What makes a key of each type.
TYPES = {
    'string': lambda conn, key: conn.set(key, b'\xff'), 'list': lambda conn, key: conn.rpush(key, b'\xff'),
    'hash': lambda conn, key: conn.hset(key, b'\xff', b'\xff'), 'set': lambda conn, key: conn.sadd(key, b'\xff'),
    'zset': lambda conn, key: conn.zadd(key, {b'\xff': 1}), 'stream': lambda conn, key: conn.xadd(key, {b'\xff': b'x'}),
}
KEYS = {'': 'list', '_noti': 'list', '_enqueued': 'zset', '_dequeued': 'zset', '_leases': 'hash', '_losses': 'hash',
        '_dead': 'zset', '_swept': 'string', '_workers': 'hash', '_pace': 'list'}


class TestAKey:
    @pytest.mark.parametrize('suffix', KEYS)
    def test_may_be_of_a_wrong_type_while_a_worker_waits(self, lab, conn, suffix):
        """It goes on when the key is right again."""
        queue = Queue('default', conn, secret=seeds.SECRET)
        program = lab.start_worker(PreforkedWorker(queue, lease=1, sweep_interval=0.3))
        queue.enqueue(task('run', 'before'))
        assert lab.expect('ran') == [['before'], {}]
        for name in [name for name in TYPES if name != KEYS[suffix]][:2 * FACTOR]:
            wait_until(lambda: not conn.exists('default_enqueued'), 'the end of the task')
            conn.delete('default' + suffix)
            TYPES[name](conn, 'default' + suffix)
            calls = _calls(conn)
            wait_until(lambda: _calls(conn) > calls + 2, 'what the worker does about it')  # noqa: B023
            conn.delete('default' + suffix)
            queue.enqueue(task('run', name))
            assert lab.expect('ran') == [[name], {}]
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0

    @pytest.mark.parametrize(('suffix', 'name'), [
        (suffix, name) for suffix in [*KEYS, '_id'] for name in TYPES
        if suffix not in ('', '_enqueued') and KEYS.get(suffix) != name])  # these two hold the task itself
    def test_of_a_wrong_type_loses_nothing(self, conn, suffix, name):
        """Whatever is called, and whether or not it fails, the task is in one place."""
        queue = Queue('default', conn, secret=seeds.SECRET)
        sent = queue.enqueue(task('run', 1))
        conn.delete('default' + suffix)
        TYPES[name](conn, 'default' + suffix)
        ledger = queue.ledger
        for move in (ledger.requeue, lambda *task: ledger.lose(*task, 9), lambda *task: ledger.lose(*task, 1),
                     lambda *task: ledger.set_aside(*task, 'x'), lambda *task: queue.requeue_lost(),
                     lambda *task: conn.zadd('default_dequeued', {sent.data: 1}, xx=True) + queue.requeue_lost()):
            for call in (lambda: ledger.take(ANYWAY), lambda: move(sent.data, ()),  # noqa: B023
                         lambda: queue.requeue_dead(queue.dead()[0].id)):
                with contextlib.suppress(Exception):
                    call()
                assert _places(conn, queue) == [sent.data]
        conn.delete('default' + suffix)
        assert _places(conn, queue) == [sent.data]


def _places(conn, queue):
    """What stands where a task may be."""
    found = []
    for read in (lambda: conn.lrange('default', 0, -1), lambda: conn.zrange('default_dequeued', 0, -1),
                 lambda: [letter.payload for letter in queue.dead()]):
        with contextlib.suppress(ResponseError):  # a key of a wrong type holds none
            found += read()
    return found


def _calls(conn):
    """How many scripts Redis has run, those that failed too."""
    return conn.info('commandstats').get('cmdstat_evalsha', {}).get('calls', 0)


@example(b'')
@given(st.binary(max_size=50))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_whatever_a_notification_says_it_is_one(conn, notification):
    conn.flushall()
    queue = Queue('default', conn)
    queue.enqueue(task('run', 1))
    conn.lset('default_noti', 0, notification)
    assert queue.dequeue().args == (1,)
    assert conn.llen('default_noti') == 0
