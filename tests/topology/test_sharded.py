"""One queue over several slots of a cluster, and workers on queues of different slots."""

import contextlib
import os
import re
import signal

import pytest
import redis

from delayed._ledger import Ledger
from delayed._queue_list import queue_list
from delayed._wait_apart import Place, _ready, wait_apart
from delayed.delay import delay
from delayed.errors import InvalidArgument, NotAllEnqueued, WrongType
from delayed.queue import Queue
from delayed.sharded import ShardedQueue
from delayed.sweeper import Sweeper
from delayed.task import Task
from delayed.worker import PreforkedWorker
from tasks import run
from waiting import wait_until
from workers import remains, task, told

from .load import Account, produce
from .test_acl import PAGE, RULES

pytestmark = pytest.mark.long  # a fleet of servers is costly: with the long part

COUNT = 6


@pytest.fixture(params=['one server', 'a cluster'])
def client(request):
    if request.param == 'one server':
        return request.getfixturevalue('conn')
    return request.getfixturevalue('cluster').client()


@pytest.fixture
def sharded(client):
    return ShardedQueue('orders', COUNT, client)


def call(*args):
    return Task(None, 'tasks', 'run', args)


class TestAShardedQueue:
    def test_spreads_tasks_evenly(self, sharded):
        for number in range(2 * COUNT):
            sharded.enqueue(call(number))
        assert [shard.len() for shard in sharded.shards] == [2] * COUNT
        assert sharded.len() == 2 * COUNT

    def test_keeps_the_order_of_tasks_with_one_key(self, sharded):
        for number in range(5):
            sharded.enqueue(call(number), key='customer 7')
        assert sharded.shard_of('customer 7').len() == 5
        assert [sharded.dequeue().args[0] for _ in range(5)] == list(range(5))

    def test_takes_many_at_once_five_hundred_to_a_shard(self, sharded):
        told = []
        assert sharded.enqueue_many((call(number) for number in range(1100)), told.append) == told[-1] == 1100
        assert sorted(shard.len() for shard in sharded.shards)[-3:] == [100, 500, 500]
        assert told == sorted(told)

    def test_takes_many_with_one_key_to_its_shard(self, sharded):
        assert sharded.enqueue_many([call(number) for number in range(600)], key='a') == 600
        assert sharded.shard_of('a').len() == 600

    @pytest.mark.parametrize('position', [0, 3, 500, 503])
    @pytest.mark.parametrize('wrong', ['no task', None, call(lambda: None), ZeroDivisionError()])
    def test_says_at_which_task_it_failed(self, sharded, position, wrong):
        def tasks():
            for number in range(position):
                yield call(number)
            if isinstance(wrong, Exception):
                raise wrong
            yield wrong

        with pytest.raises(NotAllEnqueued) as caught:
            sharded.enqueue_many(tasks())
        error = caught.value
        assert (error.enqueued, error.position, error.uncertain) == (position // 500 * 500, position, False)
        assert sharded.len() == error.enqueued

    def test_adds_those_once_of_which_it_was_not_known(self, conn, monkeypatch):
        """The replies of the second shard are lost."""
        queue = ShardedQueue('orders', 3, conn)
        tasks, called = [call(number) for number in range(1500)], []
        enqueue = Ledger.enqueue

        def unlucky(ledger, *args):
            called.append(ledger.keys.waiting)
            reply = enqueue(ledger, *args)
            if called[0] != called[-1]:
                raise redis.ConnectionError
            return reply

        monkeypatch.setattr(Ledger, 'enqueue', unlucky)
        with pytest.raises(NotAllEnqueued) as caught:
            queue.enqueue_many(iter(tasks))
        assert (caught.value.enqueued, caught.value.uncertain) == (500, True)
        monkeypatch.setattr(Ledger, 'enqueue', enqueue)
        assert queue.enqueue_many([*caught.value.pending, *tasks[1000:]]) == 1000
        assert sorted(shard.len() for shard in queue.shards) == [500, 500, 500]
        numbers = [Task.deserialize(data).args[0] for shard in queue.shards for data in conn.lrange(shard.name, 0, -1)]
        assert sorted(numbers) == list(range(1500))

    def test_takes_many_to_their_own_shards_whose_calls_are_repeated(self, conn, monkeypatch):
        queue, enqueue = ShardedQueue('orders', 3, conn), Ledger.enqueue

        def unlucky(ledger, *args):
            enqueue(ledger, *args)
            raise redis.ConnectionError

        monkeypatch.setattr(Ledger, 'enqueue', unlucky)
        tasks = [call(number) for number in range(4)]
        for each in tasks:
            with pytest.raises(redis.ConnectionError):
                queue.enqueue(each)
        monkeypatch.setattr(Ledger, 'enqueue', enqueue)
        assert queue.enqueue_many([*tasks, call(4)]) == 5
        assert queue.len() == 5

    def test_serves_a_task_through_its_life(self, sharded):
        sharded.enqueue(call(1))
        task = sharded.dequeue()
        assert (task.args, sharded.len()) == ((1,), 0)
        assert sharded.requeue(task) and not sharded.requeue(task)
        assert sharded.release(sharded.dequeue())
        assert sharded.requeue_lost() == 0
        assert sharded.dequeue() is None

    def test_finds_the_shard_of_a_task_that_was_deserialized_by_hand(self, sharded):
        sharded.enqueue(call(1))
        task = Task.deserialize(sharded.dequeue().data)
        assert sharded.requeue(task) and sharded.len() == 1

    def test_wakes_who_waits_for_a_task_in_any_shard(self, sharded):
        with beside(lambda: sharded.enqueue(call(1))):
            assert wait_until(sharded.dequeue, 'the task').args == (1,)

    def test_shows_and_serves_the_dead_letters_of_all_shards(self, sharded):
        for shard in sharded.shards[1:3]:
            shard.ledger.caller.command('RPUSH', shard.name, b'no task')
            shard.ledger.caller.command('RPUSH', shard.name + '_noti', '1')
            assert shard.dequeue() is None
        first, second = sharded.dead()
        assert (first.id[:2], second.id[:2], sharded.dead_len()) == ('1:', '2:', 2)
        assert sharded.dead(start=1) == [second]
        assert sharded.requeue_dead(first.id) and sharded.delete_dead(second.id)
        assert (sharded.dead_len(), sharded.shards[1].len()) == (0, 1)

    @pytest.mark.parametrize('id', ['1795445657871.770', '7:1', 'x:1', 5])
    def test_refuses_what_is_no_id_of_its_dead_letters(self, sharded, id):
        with pytest.raises(WrongType, match='3:'):
            sharded.delete_dead(id)

    @pytest.mark.parametrize(('name', 'count'), [('', 3), ('{a}', 3), (None, 3), ('a', 0), ('a', 257), ('a', 1.5)])
    def test_refuses_names_and_counts_that_are_none(self, conn, name, count):
        with pytest.raises(InvalidArgument):
            ShardedQueue(name, count, conn)

    def test_sends_a_repeated_call_to_the_shard_of_the_first(self, conn, monkeypatch):
        sharded = ShardedQueue('orders', COUNT, conn)
        task = call(1)
        enqueue = Ledger.enqueue

        def losing(*args):
            enqueue(*args)
            raise redis.ConnectionError('the reply is lost')

        with monkeypatch.context() as patch, pytest.raises(redis.ConnectionError):
            patch.setattr(Ledger, 'enqueue', losing)
            sharded.enqueue(task)
        for _ in range(COUNT):
            sharded.enqueue(task)
        assert sharded.len() == COUNT  # the first of these was the repetition


@contextlib.contextmanager
def beside(action):
    """Does it in a process of its own, which ends with the block."""
    pid = os.fork()
    if not pid:
        try:
            action()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


class TestAWaitForSeveralSlots:
    """On a cluster, where no command can wait for two slots."""

    @pytest.fixture
    def places(self, cluster):
        sharded = ShardedQueue('orders', COUNT, cluster.client())
        callers = [shard.ledger.caller.hold() for shard in sharded.shards]
        yield {number: Place(caller, shard.name + '_noti')
               for number, (caller, shard) in enumerate(zip(callers, sharded.shards))}
        for caller in callers:
            caller.let_go()

    def notify(self, cluster, number):
        """Adds a notification, once all are waited for."""
        wait_until(lambda: sum(node.call('INFO', 'clients')['blocked_clients'] for node in cluster.masters()) == COUNT,
                   'the waits')
        cluster.client().rpush('{orders:%d}_noti' % number, '1')

    def test_ends_with_the_first_notification_and_takes_one_call_for_each(self, cluster, places):
        for node in cluster.masters():
            node.call('CONFIG', 'RESETSTAT')
        with beside(lambda: self.notify(cluster, 4)):
            assert wait_apart(places, 2.0, no_failure) == 4
        assert sum(node.call('INFO', 'commandstats').get('cmdstat_blpop', {'calls': 0})['calls']
                   for node in cluster.masters()) == COUNT
        assert not any(node.call('INFO', 'clients')['blocked_clients'] for node in cluster.masters())

    def test_gives_back_what_another_one_popped_in_the_same_moment(self, cluster, places, monkeypatch):
        def ready(waits, seconds):
            found = _ready(waits, seconds)
            cluster.client().rpush(places[1].key, '1')
            return found

        monkeypatch.setattr('delayed._wait_apart._ready', ready)
        with beside(lambda: self.notify(cluster, 4)):
            assert wait_apart(places, 2.0, no_failure) == 1
        assert [cluster.client().llen(places[number].key) for number in (1, 4)] == [0, 1]

    def test_ends_in_time_where_nothing_comes(self, places):
        assert wait_apart(places, 0.05, no_failure) is None

    def test_goes_on_for_the_others_if_one_cannot_be_asked(self, cluster, places):
        assert wait_apart(places, 0.05, no_failure) is None  # Redis 5 refuses fractions, once
        cluster.client().set(places[1].key, 'no list')
        failed = []
        with beside(lambda: cluster.client().rpush(places[4].key, '1')):
            assert wait_until(lambda: wait_apart(places, 1.0, lambda *args: failed.append(args)), 'it') == 4
        assert failed and {number for number, _ in failed} == {1}


def no_failure(number, error):
    raise AssertionError(error)


class TestAWorkerOnAShardedQueue:
    def test_runs_the_tasks_of_all_shards(self, sharded, lab, worker_class):
        for number in range(3 * COUNT):
            delay(sharded)(run)(number)
        lab.start(told(worker_class, sharded).run)
        ran = sorted(lab.expect('ran')[0][0] for _ in range(3 * COUNT))
        assert ran == list(range(3 * COUNT))

    def test_is_woken_by_a_task_in_any_shard(self, sharded, lab):
        program = lab.start(told(PreforkedWorker, sharded).run)
        for key in ('a', 'b', 'c', 'd', 'e'):
            sharded.enqueue(call(key), key=key)
            assert lab.expect('ran')[0] == [key]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert all(shard.ledger.caller.command('LLEN', shard.name + '_noti') == 0 for shard in sharded.shards)

    def test_leaves_nothing_behind(self, conn, lab):
        sharded = ShardedQueue('orders', COUNT, conn)
        for number in range(20):
            sharded.enqueue(call(number))
        program = lab.start(told(PreforkedWorker, sharded).run)
        for _ in range(20):
            lab.expect('ran')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert not {key for key in remains(conn) if b'_workers' not in key}

    def test_sweeps_all_shards(self, sharded, lab):
        for shard in sharded.shards:
            shard.enqueue(call(shard.name))
            shard.ledger.take('ready', 1.0)
        lab.start(told(PreforkedWorker, sharded, sweep_interval=0.1).run)
        assert sorted(lab.expect('ran')[0][0] for _ in range(COUNT)) == [shard.name for shard in sharded.shards]

    def test_whose_monitor_dies_has_its_task_finished_in_its_shard(self, cluster, lab):
        sharded = ShardedQueue('orders', COUNT, cluster.client())
        sharded.enqueue(task('hold'), key='a')
        program = lab.start(told(PreforkedWorker, sharded, success_handler=None, error_handler=None).run)
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        program.wait()
        lab.open_gate()
        program.await_last()
        shard = sharded.shard_of('a')
        assert shard.ledger.caller.command('ZCARD', shard.name + '_enqueued') == 0


class TestASweeperOfAShardedQueue:
    def test_sweeps_all_shards(self, sharded):
        for shard in sharded.shards:
            shard.enqueue(call())
            shard.ledger.take('ready', 1.0)
        sweeper = Sweeper(sharded)
        wait_until(lambda: [sweeper._sweep(shard) for shard in sharded.shards] and sharded.len() == COUNT, 'the tasks')


class TestAWorkerOnQueuesOfDifferentSlots:
    def test_takes_from_them_in_their_order(self, cluster, lab):
        client = cluster.client()
        queues = [Queue('{%s}' % name, client) for name in 'abc']
        assert len({cluster.master_of(queue.name) for queue in queues}) > 1
        for queue in reversed(queues):
            for number in range(2):
                queue.enqueue(call(queue.name, number))
        queues[2].enqueue(task('stop_worker'))
        program = lab.start(told(PreforkedWorker, queues).run)
        assert program.wait() == 0
        assert [args for args, _ in lab.reports('ran')] == [
            ['{%s}' % name, number] for name in 'abc' for number in range(2)]

    def test_goes_on_with_the_others_while_the_node_of_one_is_away(self, cluster, lab):
        """It is frozen, not dead: nobody takes its place in time."""
        client = cluster.client(socket_timeout=1)
        queues = [Queue('{%s}' % name, client) for name in 'abc']
        frozen = cluster.master_of('{a}')
        other = next(queue for queue in queues if cluster.master_of(queue.name) is not frozen)
        lab.start(told(PreforkedWorker, queues).run)
        other.enqueue(call('before'))
        assert lab.expect('ran')[0] == ['before']
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            for number in range(3):
                other.enqueue(call(number))
                assert lab.expect('ran')[0] == [number]
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        Queue('{a}', cluster.client()).enqueue(call('after'))
        assert lab.expect('ran')[0] == ['after']

    def test_loses_nothing_while_masters_die(self, cluster, lab, tmp_path):
        def make():
            return ShardedQueue('orders', COUNT, cluster.client(), min_replicas=1)

        for _ in range(2):
            lab.start(lambda: PreforkedWorker(make(), lease=5, sweep_interval=1).run())
        lab.start(lambda: produce(make, tmp_path / 'stop'))
        account = Account(lab)
        account.await_more()
        dead = cluster.master_of('{orders:0}')
        dead.kill()
        wait_until(lambda: cluster.master_of('{orders:0}') is not dead, 'another master')
        dead.start().await_answer()
        account.await_more(200)
        (tmp_path / 'stop').touch()
        account.await_all()


class TestAWorkerWithFewRights:
    """Under the rules of docs/topology.md: a worker's, and what a cluster needs beyond them."""

    RULES = ['~{orders:*', *(rule for rule in RULES['worker'].split() if rule[0] == '+'),
             *re.search(r'everybody needs `(.+?)`', PAGE)[1].split(),
             *re.search(r'`(\+client\S+ \S+)`', PAGE)[1].split(), *(['+info'] if redis.VERSION[0] < 8 else [])]

    @pytest.fixture
    def work(self, cluster):
        """Works on 12 tasks as a user without the rule `but`."""
        def work(but=None):
            for node in cluster.nodes:
                node.call('ACL', 'SETUSER', 'tester', 'reset', 'on', '>SECRET', *(
                    rule for rule in self.RULES if rule != but))
            for number in range(12):
                ShardedQueue('orders', COUNT, cluster.client()).enqueue(call(number))
            sharded = ShardedQueue('orders', COUNT, cluster.client(username='tester', password='SECRET'))
            source = queue_list(sharded).source(15, 3)
            source.open()
            try:
                return list(self.drain(source))
            finally:
                source.close()

        if cluster.nodes[0].call('INFO', 'server')['redis_version'] < '6':
            pytest.skip('this server is older than Redis 6')
        yield work
        for node in cluster.nodes:
            node.call('ACL', 'DELUSER', 'tester')

    @staticmethod
    def drain(source):
        source.probe()
        lease = source.take(0.1)
        while lease is not None:
            yield lease
            source.advance([lease])
            _, following = source.advanced()
            lease = following[0] if following else source.take(0.1)
        source.sweep()

    def test_needs_no_more(self, work):
        assert len(work()) == 12

    @pytest.mark.parametrize(('but', 'told'), [('+client|id', 'client'), ('+command', 'command'), ('+hset', 'hset')])
    def test_is_told_what_it_lacks(self, work, but, told):
        with pytest.raises(redis.exceptions.NoPermissionError, match=told):
            work(but)

    def test_goes_on_if_it_may_not_end_a_wait(self, work):
        assert len(work('+client|unblock')) == 12


def test_a_command_without_a_key_goes_to_any_node(cluster):
    assert ShardedQueue('orders', COUNT, cluster.client()).shards[0].ledger.caller.command('PING')
