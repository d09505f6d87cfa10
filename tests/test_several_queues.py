"""A worker that has several queues: what it promises for one it promises for each."""

import os
import signal
import subprocess
import sys

import pytest
import redis

from delayed._attempt import Verdict
from delayed._queue_list import queue_list
from delayed.errors import InvalidArgument, WrongType
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
from proxy import CuttingProxy
from waiting import wait_until
from workers import remains, task, told


@pytest.fixture
def urgent(conn):
    return Queue('urgent', conn)


@pytest.fixture
def other(conn):
    return Queue('other', conn, requeue_timeout=2)


def fill(queue, number):
    for _ in range(number):
        queue.enqueue(task('run', queue.name))


def run_all(lab, worker, last):
    """Has a worker run all that waits; `last` is the queue whose task comes last. Returns whose tasks ran, in order."""
    last.enqueue(task('stop_worker'))
    assert lab.start_worker(worker).wait() == 0
    return [args[0] for args, _ in lab.reports('ran')]


class TestInStrictOrder:
    def test_the_first_queue_that_has_a_task_comes_first(self, lab, conn, urgent, other, worker_class):
        fill(other, 20)
        fill(urgent, 20)
        assert run_all(lab, worker_class([urgent, other]), other) == ['urgent'] * 20 + ['other'] * 20
        assert remains(conn) == set()

    def test_what_comes_while_another_runs_is_the_next(self, lab, urgent, other, worker_class):
        other.enqueue(task('hold'))
        fill(other, 3)
        program = lab.start_worker(worker_class([urgent, other]))
        lab.expect('holds')
        fill(urgent, 2)
        other.enqueue(task('stop_worker'))
        lab.open_gate()
        assert program.wait() == 0
        assert [args[0] for args, _ in lab.reports('ran')] == ['urgent'] * 2 + ['other'] * 3


class TestByWeight:
    def test_each_gets_its_share(self, lab, conn, urgent, other, worker_class):
        fill(urgent, 30)
        fill(other, 10)
        ran = run_all(lab, worker_class({urgent: 3, other: 1}), other)
        assert all(ran[start:start + 4].count('other') == 1 for start in range(0, 40, 4))
        assert remains(conn) == set()

    def test_a_queue_that_is_full_all_the_time_starves_no_other(self, lab, urgent, other, worker_class):
        fill(urgent, 200)
        fill(other, 3)
        ran = run_all(lab, worker_class({urgent: 50, other: 1}), urgent)
        assert ran.count('urgent') == 200
        places = [-50, *(place for place, name in enumerate(ran) if name == 'other')]
        assert max(after - before for before, after in zip(places, places[1:])) == 51


class TestAnIdleWorker:
    def test_waits_for_all_of_them_in_one_call(self, lab, conn, urgent, other, queue, worker_class):
        program = lab.start_worker(worker_class([urgent, other, queue]))
        for each in (queue, other, urgent, other):
            wait_until(lambda: conn.info('clients')['blocked_clients'] == 1)
            fill(each, 1)
            assert lab.expect('ran') == [[each.name], {}]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert remains(conn) == set()

    def test_takes_what_has_no_notification_too(self, lab, conn, urgent, other, worker_class):
        program = lab.start_worker(worker_class([urgent, other], sweep_interval=None))
        wait_until(lambda: conn.info('clients')['blocked_clients'] == 1)
        conn.rpush('other', task('run', 'other').serialize())
        assert lab.expect('ran') == [['other'], {}]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


    def test_is_told_of_in_each_of_them_until_it_stops(self, lab, conn, urgent, other, worker_class):
        program = lab.start_worker(worker_class([urgent, other], sweep_interval=0.02))
        names = [wait_until(lambda key=key: conn.hkeys(key)) for key in ('urgent_workers', 'other_workers')]
        assert names[0] == names[1] and len(names[0]) == 1
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert not conn.exists('urgent_workers', 'other_workers')


class TestATask:
    def test_has_the_timeout_of_its_own_queue(self, lab, conn, urgent, worker_class):
        short = Queue('short', conn, default_timeout=0.3)
        program = lab.start_worker(told(worker_class, [short, urgent]))
        short.enqueue(task('hold'))
        assert lab.expect('failed')[1] == signal.SIGTERM
        urgent.enqueue(task('hold'))
        assert lab.expect('holds') and lab.expect('holds')
        urgent.enqueue(task('stop_worker'))
        lab.open_gate()
        assert program.wait() == 0
        assert lab.reports('failed') == []
        assert remains(conn) == set()

    def test_goes_back_to_its_own_queue(self, lab, conn, urgent, other, worker_class):
        other.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, [urgent, other]))
        lab.expect('holds')
        program.signal(signal.SIGTERM)
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert (urgent.len(), other.len()) == (0, 1)
        assert remains(conn) == {b'other', b'other_noti', b'other_enqueued'}

    def test_is_set_aside_in_its_own_queue(self, lab, conn, urgent, other, worker_class):
        other.enqueue(task('no_such_function'))
        run_all(lab, worker_class([urgent, other]), other)
        assert (urgent.dead_len(), other.dead_len()) == (0, 1)
        assert remains(conn) == {b'other_dead'}

    def test_is_brought_back_to_its_own_queue_when_its_worker_died(self, lab, conn, urgent, other, worker_class):
        options = {'lease': 1, 'sweep_interval': 0.2}
        other.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, [urgent, other], **options))
        pid, _ = lab.expect('holds')
        program.signal_group(signal.SIGKILL)
        program.await_last()
        successor = lab.start_worker(told(worker_class, [urgent, other], **options))
        assert lab.expect('holds')[0] != pid
        assert conn.hkeys('other_losses')
        other.enqueue(task('stop_worker'))
        lab.open_gate()
        assert successor.wait() == 0
        assert remains(conn) == set()

    def test_whose_monitor_alone_died_is_released_in_its_own_queue(self, lab, conn, urgent, other, worker_class):
        other.enqueue(task('hold', timeout=60))
        program = lab.start_worker(told(worker_class, [urgent, other]))
        lab.expect('holds')
        before = conn.zrange('other_dequeued', 0, -1, withscores=True)[0][1]
        program.signal(signal.SIGKILL)
        wait_until(lambda: conn.zrange('other_dequeued', 0, -1, withscores=True)[0][1] - before > 40_000)
        lab.open_gate()
        program.await_last()
        assert lab.reports('succeeded') == [[1]]
        assert remains(conn) == set()

    def test_of_a_lease_longer_than_the_renewals_is_kept(self, lab, conn, urgent, other, worker_class):
        program = lab.start_worker(told(worker_class, [urgent, other], lease=1))
        other.enqueue(task('hold'))
        lab.expect('holds')
        first = conn.zrange('other_dequeued', 0, -1, withscores=True)
        wait_until(lambda: conn.zrange('other_dequeued', 0, -1, withscores=True) not in ([], first))
        other.enqueue(task('stop_worker'))
        lab.open_gate()
        assert program.wait() == 0
        assert remains(conn) == set()


class TestTheSource:
    @pytest.fixture
    def source_of(self):
        sources = []

        def make(*queues):
            sources.append(queue_list(list(queues)).source(15, 3))
            sources[-1].open()
            return sources[-1]

        yield make
        for source in sources:
            source.close()

    def test_works_on_fakeredis_too(self, real_or_fake, source_of):
        first, second = queues = [Queue(name, real_or_fake) for name in ('first', 'second')]
        source = source_of(*queues)
        fill(second, 2)
        fill(first, 1)
        lease = source.take(1)
        assert source.queue_of(lease) is first
        source.advance([lease])
        held, (after,) = source.advanced()
        assert [*held] == [True] and source.queue_of(after) is second
        assert source.settle(after, Verdict.HAND_BACK)
        assert source.extend(source.take(1), 30, lambda: None)
        assert source.sweep() == 0
        assert (first.len(), second.len()) == (0, 1)

    def test_finds_what_a_call_without_reply_has_taken_in_whichever_queue(self, redis_server, conn, source_of):
        with CuttingProxy(redis_server.socket_path) as proxy:
            client = proxy.client()
            first, second = queues = [Queue(name, client) for name in ('first', 'second')]
            source = source_of(*queues)
            fill(second, 1)
            assert source.settle(source.take(1), Verdict.RELEASE)  # the server knows the scripts
            fill(second, 2)
            cut = proxy.cut('EVALSHA')
            with pytest.raises(redis.ConnectionError):
                source.take(1)
            assert cut.seen == 1
            lease = source.take(1)
            assert source.queue_of(lease) is second
            assert conn.llen('second') == 1
            assert source.settle(lease, Verdict.RELEASE)
            source.close()
            client.connection_pool.disconnect()

    def test_tells_in_which_queue_a_user_lacks_permissions(self, redis_server, conn, source_of):
        if int(conn.info('server')['redis_version'].split('.')[0]) < 7:
            pytest.skip('such a server cannot tell')
        conn.acl_setuser('half', enabled=True, nopass=True, commands=['+@all'], keys=['first*', 'second'])
        client = redis_server.client(username='half', password='any')
        source = source_of(Queue('first', client), Queue('second', client))
        with pytest.raises(redis.exceptions.NoPermissionError, match=r'on queue second.*second_(noti|\*)'):
            source.probe()
        client.close()
        client.connection_pool.disconnect()
        conn.acl_deluser('half')


class Other(Queue):
    def release(self, task):
        return super().release(task)


class Cluster:
    """As much of a client of a Redis Cluster as is looked at."""

    def execute_command(self, *args):
        raise NotImplementedError

    register_script = execute_command

    def keyslot(self, key):
        return hash(key[key.find('{'):key.find('}')] or key)


class TestRefusals:
    @pytest.mark.parametrize(('queues', 'error', 'told'), [
        (lambda conn: [], InvalidArgument, 'needs at least one queue'),
        (lambda conn: {}, InvalidArgument, 'needs at least one queue'),
        (lambda conn: None, WrongType, 'or a dict of them'),
        (lambda conn: 'default', WrongType, 'queue must be'),
        (lambda conn: [Queue('a', conn), 'b'], WrongType, "each queue must be .*Queue, not 'b'"),
        (lambda conn: [Queue('a', conn), Queue('a', conn)], InvalidArgument, 'twice: a, a'),
        (lambda conn: {Queue('a', conn): 0}, InvalidArgument, 'weight of queue a must be more than 0, not 0'),
        (lambda conn: {Queue('a', conn): -1.0}, InvalidArgument, 'not -1.0'),
        (lambda conn: {Queue('a', conn): float('inf')}, InvalidArgument, 'not inf'),
        (lambda conn: {Queue('a', conn): float('nan')}, InvalidArgument, 'not nan'),
        (lambda conn: {Queue('a', conn): '2'}, WrongType, "must be a number, not '2'"),
        (lambda conn: {Queue('a', conn): True}, WrongType, 'must be a number, not True'),
        (lambda conn: [Queue('a', conn), Other('b', conn)], InvalidArgument, 'Other overrides .* queue b alone'),
        (lambda conn: [Queue('a', conn), Queue('b', redis.Redis(port=1))], InvalidArgument, 'one Redis server.* a, b'),
        (lambda conn: [Queue('a', redis.Redis(db=1)), Queue('b', redis.Redis())], InvalidArgument, 'one database'),
        (lambda conn: [Queue('{a}', cluster), Queue('{b}', cluster)], InvalidArgument, 'share a slot'),
    ])
    def test_say_what_is_wrong(self, conn, queues, error, told):
        with pytest.raises(error, match=told):
            PreforkedWorker(queues(conn))

    def test_are_not_made_where_one_call_reaches_all(self):
        PreforkedWorker([Queue('{tag}a', cluster), Queue('{tag}b', cluster)])
        PreforkedWorker([Queue('a', redis.Redis()), Queue('b', redis.Redis.from_url('redis://localhost:6379/0'))])
        PreforkedWorker({Queue('a', redis.Redis()): 1, Queue('b', redis.Redis(decode_responses=True)): 0.5})


cluster = Cluster()


def test_a_worker_of_one_has_loaded_nothing_that_serves_several():
    code = ("import redis, sys, typing; from delayed.queue import Queue; from delayed.worker import PreforkedWorker; "
            "PreforkedWorker(Queue('default', redis.Redis())); typing.get_type_hints(PreforkedWorker.__init__); "
            "print(*sys.modules)")
    loaded = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout.split()
    assert 'delayed._queue_list' in loaded
    assert not {'delayed.' + name for name in ('_several_queues', '_source_group', '_source_apart', '_queue_source',
                                               '_turns', '_cluster', 'sharded')} & set(loaded)


def test_the_log_names_all_of_them(lab, conn, urgent, other):
    program = lab.start_worker(PreforkedWorker({urgent: 3, other: 0.5}))
    wait_until(lambda: any(line.endswith(' works on queues urgent (weight 3), other (weight 0.5)')
                           for line in lab.log('INFO')))
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait() == 0
