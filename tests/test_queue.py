"""The contract of `Queue`, row by row: what Redis holds before and after."""

import itertools
import os
import pickle
import threading
import time
import weakref

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from delayed.errors import InvalidArgument, NotPicklable, WrongType
from delayed.queue import Queue
from delayed.task import Task
from protocols import PROTOCOLS
from queues import keys, lose, payload_of, server_ms, take_one, task_of, waiting
from waiting import wait_until


@pytest.fixture
def hasty(redis_server, conn):
    """A client that waits half a second for a notification."""
    client = redis_server.client(socket_timeout=1, retry=Retry(NoBackoff(), 10))
    yield client
    client.close()
    client.connection_pool.disconnect()


@pytest.fixture
def hasty_queue(hasty):
    return Queue('default', hasty)


class TestAQueue:
    def test_has_a_name_and_a_default_timeout_in_milliseconds(self, conn):
        queue = Queue('default', conn, 5)
        assert (queue.name, queue.default_timeout, Queue('default', conn).default_timeout) == ('default', 5000, 600_000)

    def test_takes_its_options_by_position_and_name(self, conn):
        Queue('default', conn, 600, 10, 10)
        Queue(name='default', conn=conn, default_timeout=0.5, requeue_timeout=0.5, busy_len=0)

    @pytest.mark.parametrize(('arguments', 'error', 'named'), [
        ({'name': ''}, InvalidArgument, 'name'),
        ({'name': None}, WrongType, 'name'),
        ({'name': b'default'}, WrongType, 'name'),
        ({'conn': None}, WrongType, 'conn'),
        ({'conn': 'redis://localhost'}, WrongType, 'conn'),
        ({'default_timeout': None}, WrongType, 'default_timeout'),
        ({'default_timeout': '5'}, WrongType, 'default_timeout'),
        ({'default_timeout': -1}, InvalidArgument, 'default_timeout'),
        ({'default_timeout': float('inf')}, InvalidArgument, 'default_timeout'),
        ({'requeue_timeout': -0.1}, InvalidArgument, 'requeue_timeout'),
        ({'requeue_timeout': float('nan')}, InvalidArgument, 'requeue_timeout'),
        ({'busy_len': None}, WrongType, 'busy_len'),
        ({'busy_len': -1}, InvalidArgument, 'busy_len'),
    ])
    def test_refuses_what_cannot_work_and_names_it(self, conn, arguments, error, named):
        with pytest.raises(error, match=named):
            Queue(**{'name': 'default', 'conn': conn, **arguments})

    def test_may_have_any_name(self, conn):
        queue = Queue('Schlange mit "é" %s\n', conn)
        queue.enqueue(task_of(1))
        assert queue.dequeue().id == 1

    def test_does_not_meet_another_in_the_same_redis(self, conn):
        one, other = Queue('one', conn), Queue('other', conn)
        one.enqueue(task_of(None))
        assert (one.len(), other.len()) == (1, 0)
        assert other.enqueue(task_of(None)).id == 1

    def test_tells_its_name_and_client(self, conn):
        queue = Queue('default', conn, requeue_timeout=0.5)
        assert queue.requeue_timeout == 500
        assert repr(queue) == '<Queue default on %r>' % conn

    def test_makes_no_call_when_it_is_made(self):
        Queue('default', redis.Redis(port=1))


class TestEnqueue:
    def test_adds_payload_notification_and_allowance(self, queue, conn):
        task = queue.enqueue(task_of(None))
        assert conn.lrange('default', 0, -1) == [task.data]
        assert conn.lrange('default_noti', 0, -1) == [b'1']
        assert conn.zrange('default_enqueued', 0, -1, withscores=True) == [(task.data, 610_000)]
        assert conn.get('default_id') == b'1'
        assert keys(conn) == ['default', 'default_enqueued', 'default_id', 'default_noti']

    def test_adds_behind_the_others(self, queue, conn):
        for number in (7, 3, 5):
            queue.enqueue(task_of(number))
        assert waiting(conn) == [7, 3, 5]

    def test_gives_consecutive_ids(self, queue):
        assert [queue.enqueue(task_of(None)).id for _ in range(3)] == [1, 2, 3]

    def test_gives_ids_that_others_have_not_got(self, queue, conn):
        conn.set('default_id', 41)
        assert queue.enqueue(task_of(None)).id == 42

    @pytest.mark.parametrize('number', [0, 17, 'seventeen'])
    def test_leaves_a_task_the_id_it_has(self, queue, conn, number):
        assert queue.enqueue(task_of(number)).id == number
        assert conn.get('default_id') is None

    def test_returns_the_very_task(self, queue):
        task = task_of(None)
        assert queue.enqueue(task) is task

    @pytest.mark.parametrize(('timeout_ms', 'allowance_ms'), [(None, 60_500), (0, 60_500), (5000, 5500), (0.5, 500.5)])
    def test_allows_the_timeout_and_the_requeue_timeout(self, conn, timeout_ms, allowance_ms):
        task = Queue('default', conn, default_timeout=60, requeue_timeout=0.5).enqueue(task_of(1, timeout_ms))
        assert conn.zscore('default_enqueued', task.data) == allowance_ms

    def test_goes_by_a_default_timeout_that_was_changed(self, queue, conn):
        queue.default_timeout = 1000
        assert conn.zscore('default_enqueued', queue.enqueue(task_of(1)).data) == 11_000

    @pytest.mark.parametrize('task', [None, 'task', ('module', 'func'), len])
    def test_takes_tasks_alone(self, queue, conn, task):
        with pytest.raises(WrongType, match='Task.create'):
            queue.enqueue(task)
        assert conn.keys() == []

    def test_hands_out_no_id_to_what_cannot_be_pickled(self, queue, conn):
        with pytest.raises(NotPicklable):
            queue.enqueue(Task(None, 'module', 'func', (lambda: None,)))
        assert conn.keys() == []

    def test_of_a_task_again_on_purpose_adds_it_again(self, queue, conn):
        task = task_of(None)
        for _ in range(3):
            queue.enqueue(task)
        assert waiting(conn) == [1, 1, 1]

    def test_of_a_finished_task_adds_it_again(self, queue, conn):
        task = queue.enqueue(task_of(None))
        queue.release(queue.dequeue())
        queue.enqueue(task)
        assert waiting(conn) == [1]

    def test_of_a_dequeued_task_adds_it_again(self, queue, conn):
        queue.enqueue(task_of(1))
        task = queue.dequeue()
        queue.enqueue(task)
        assert waiting(conn) == [1]

    def test_leaves_a_record_of_its_caller_that_expires(self, queue, conn):
        queue.enqueue(task_of(1))
        Queue('default', conn).enqueue(task_of(2))  # as a program does that makes a queue for each call
        record, = (key for key in conn.keys() if b'_producer_' in key)
        assert 500_000 < conn.pttl(record) <= 600_000

    def test_may_be_called_by_many_threads(self, queue, conn):
        threads = [threading.Thread(target=lambda: [queue.enqueue(task_of(None)) for _ in range(25)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(waiting(conn))) == 100

    def test_may_be_called_by_parent_and_child(self, queue, conn):
        queue.enqueue(task_of(None))
        pid = os.fork()
        if not pid:
            try:
                queue.enqueue(task_of(None))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        queue.enqueue(task_of(None))
        assert waiting(conn) == [1, 2, 3]


class TestDequeue:
    def test_takes_the_oldest_with_its_data(self, queue, conn):
        for number in (7, 3):
            queue.enqueue(Task(number, 'module', 'func', (1, b'\xff'), {'b': 2}, 5000))
        task = queue.dequeue()
        assert (task.id, task.module_name, task.func_name, task.args, task.kwargs, task.timeout) == (
            7, 'module', 'func', (1, b'\xff'), {'b': 2}, 5000)
        assert conn.zrange('default_dequeued', 0, -1) == [task.data]
        assert waiting(conn) == [3]

    def test_leaves_the_task_among_the_unfinished(self, queue, conn):
        task = queue.enqueue(task_of(1))
        queue.dequeue()
        assert conn.zscore('default_enqueued', task.data) == 610_000

    def test_grants_the_whole_allowance_by_the_servers_clock(self, queue, conn):
        queue.enqueue(task_of(1, timeout=5000))
        before = server_ms(conn)
        task = queue.dequeue()
        assert before <= conn.zscore('default_dequeued', task.data) - 15_000 <= server_ms(conn)
        assert task.tokens == (b'%.3f' % conn.zscore('default_dequeued', task.data),)

    @pytest.mark.parametrize('off', [-86_400, 86_400])
    def test_does_not_ask_the_clients_clock(self, queue, conn, monkeypatch, off):
        right = time.time
        queue.enqueue(task_of(1))
        monkeypatch.setattr(time, 'time', lambda: right() + off)
        task = queue.dequeue()
        assert conn.zscore('default_dequeued', task.data) == pytest.approx(server_ms(conn) + 610_000, abs=60_000)
        assert queue.requeue_lost() == 0
        lose(conn, 2, ago_ms=1000)
        assert queue.requeue_lost() == 1

    def test_returns_nothing_after_a_wait_in_vain(self, hasty_queue, conn):
        assert hasty_queue.dequeue() is None
        assert conn.keys() == []

    def test_waits_for_a_task(self, queue, conn, redis_server):
        tasks = []
        consumer = threading.Thread(target=lambda: tasks.append(take_one(Queue('default', redis_server.client()))))
        consumer.start()
        wait_until(lambda: conn.info('clients')['blocked_clients'], 'a consumer that waits')
        queue.enqueue(task_of(5))
        consumer.join()
        assert tasks[0].id == 5
        assert waiting(conn) == []

    def test_bears_a_notification_without_a_task(self, hasty_queue, conn):
        conn.rpush('default_noti', '1', '1', '1')
        assert hasty_queue.dequeue() is None
        assert conn.keys() == []

    def test_takes_a_task_without_a_notification_after_a_wait_in_vain(self, hasty_queue, conn):
        conn.rpush('default', payload_of(1))
        conn.zadd('default_enqueued', {payload_of(1): 5000})
        assert hasty_queue.dequeue().id == 1
        assert waiting(conn) == []

    def test_runs_a_payload_that_has_no_allowance(self, queue, conn):
        conn.rpush('default', payload_of(1))
        conn.rpush('default_noti', '1')
        task = queue.dequeue()
        assert task.id == 1
        assert conn.zscore('default_enqueued', task.data) == 610_000
        assert queue.release(task)
        assert conn.keys() == []

    def test_may_be_called_by_many_threads(self, conn, redis_server):
        queue = Queue('default', redis_server.client())
        for number in range(100):
            queue.enqueue(task_of(number))
        taken = []
        threads = [threading.Thread(target=lambda: [taken.append(queue.dequeue().id) for _ in range(25)])
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(100))


class TestRequeue:
    def test_puts_a_dequeued_task_at_the_end(self, queue, conn):
        for number in (1, 2):
            queue.enqueue(task_of(number))
        assert queue.requeue(queue.dequeue()) is True
        assert waiting(conn) == [2, 1]
        assert keys(conn) == ['default', 'default_enqueued', 'default_noti']

    def test_leaves_its_allowance(self, queue, conn):
        queue.enqueue(task_of(1, timeout=5000))
        task = queue.dequeue()
        queue.requeue(task)
        assert conn.zscore('default_enqueued', task.data) == 15_000

    @pytest.mark.parametrize('what', ['waiting', 'released', 'requeued', 'never enqueued', 'no data'])
    def test_is_false_for_what_was_not_dequeued(self, queue, conn, what):
        task = task_of(None)
        if what == 'never enqueued':
            task.serialize()
        elif what != 'no data':
            task = queue.enqueue(task)
        if what in ('released', 'requeued'):
            task = queue.dequeue()
            getattr(queue, what[:-1])(task)
        before = waiting(conn)
        assert not queue.requeue(task)
        assert waiting(conn) == before

    def test_is_false_for_a_task_whose_data_was_taken_away(self, queue, conn):
        queue.enqueue(task_of(1))
        task = queue.dequeue()
        task._data = None
        assert not queue.requeue(task)
        assert queue.len() == 0

    @pytest.mark.parametrize('make', [lambda sent, got: sent, lambda sent, got: Task.deserialize(got.data)])
    def test_goes_by_payload_for_a_task_that_was_not_dequeued_here(self, queue, conn, make):
        sent = queue.enqueue(task_of(1))
        assert queue.requeue(make(sent, queue.dequeue())) is True
        assert waiting(conn) == [1]


class TestRelease:
    def test_forgets_a_dequeued_task(self, queue, conn):
        for number in (1, 2):
            queue.enqueue(task_of(number))
        assert queue.release(queue.dequeue())
        assert waiting(conn) == [2]
        assert conn.zrange('default_enqueued', 0, -1) == [payload_of(2)]
        assert queue.release(queue.dequeue())
        assert keys(conn) == []

    @pytest.mark.parametrize('make', [lambda sent, got: sent, lambda sent, got: Task.deserialize(got.data)])
    def test_goes_by_payload_for_a_task_that_was_not_dequeued_here(self, queue, conn, make):
        sent = queue.enqueue(task_of(1))
        queue.release(make(sent, queue.dequeue()))
        assert keys(conn) == []

    def test_bears_a_task_without_data_and_one_that_was_released(self, queue, conn):
        assert not queue.release(task_of(1))
        queue.enqueue(task_of(1))
        task = queue.dequeue()
        queue.release(task)
        queue.release(task)
        assert keys(conn) == []


class TestAHolderWhoLostItsLease:
    """It was frozen past its deadline: a sweep gave its task to somebody else."""

    @pytest.fixture
    def brief(self, conn):
        """A queue whose leases have run out when they are granted."""
        return Queue('default', conn, default_timeout=0, requeue_timeout=0)

    @pytest.fixture
    def frozen(self, brief):
        """The task in the hand of its former holder; it waits again."""
        brief.enqueue(task_of(1))
        task = brief.dequeue()
        assert brief.requeue_lost() == 1
        return task

    @pytest.mark.parametrize('travelled', [False, True])
    @pytest.mark.parametrize('act', ['release', 'requeue'])
    def test_does_not_touch_the_next_owners_claim(self, queue, conn, frozen, act, travelled):
        owner = queue.dequeue()
        token = conn.zscore('default_dequeued', owner.data)
        assert not getattr(queue, act)(pickle.loads(pickle.dumps(frozen)) if travelled else frozen)
        assert conn.zscore('default_dequeued', owner.data) == token
        assert conn.zcard('default_enqueued') == 1
        assert waiting(conn) == []
        assert queue.release(owner)
        assert keys(conn) == []

    def test_takes_what_has_run_out_of_the_list(self, queue, conn, frozen):
        assert queue.release(frozen)
        assert keys(conn) == []

    def test_puts_nothing_back_that_waits(self, queue, conn, frozen):
        assert not queue.requeue(frozen)
        assert waiting(conn) == [1]

    def test_still_holds_a_lease_that_ended_but_that_nobody_took(self, brief, conn):
        brief.enqueue(task_of(1))
        assert brief.release(brief.dequeue())
        brief.enqueue(task_of(2))
        assert brief.requeue(brief.dequeue())
        assert waiting(conn) == [2]


class TestAQueueWithoutTime:
    """All timeouts may be 0: what is dequeued is lost at once."""

    @pytest.fixture
    def brief(self, conn):
        return Queue('default', conn, default_timeout=0, requeue_timeout=0, busy_len=0)

    def test_allows_no_time(self, brief, conn):
        task = brief.enqueue(task_of(1))
        assert conn.zscore('default_enqueued', task.data) == 0
        before = server_ms(conn)
        brief.dequeue()
        assert before <= conn.zscore('default_dequeued', task.data) <= server_ms(conn)

    def test_allows_a_task_the_time_that_it_brings(self, brief, conn):
        task = brief.enqueue(task_of(1, timeout=5000))
        assert conn.zscore('default_enqueued', task.data) == 5000

    def test_can_be_finished(self, brief, conn):
        brief.enqueue(task_of(1))
        assert brief.release(brief.dequeue())
        assert keys(conn) == []


class TestTheKeys:
    def test_of_a_task_at_work_are_those_of_an_older_release(self, queue, conn):
        queue.enqueue(task_of(None))
        queue.enqueue(task_of(None))
        queue.dequeue()
        assert keys(conn) == ['default', 'default_dequeued', 'default_enqueued', 'default_id', 'default_noti']

    def test_of_finished_tasks_are_gone(self, queue, conn):
        for _ in range(3):
            queue.enqueue(task_of(None))
        for _ in range(3):
            queue.release(queue.dequeue())
        assert keys(conn) == ['default_id']

    def test_have_the_suffixes_that_programs_import(self):
        from delayed.queue import _DEQUEUED_KEY_SUFFIX, _ENQUEUED_KEY_SUFFIX, _NOTI_KEY_SUFFIX
        assert (_ENQUEUED_KEY_SUFFIX, _DEQUEUED_KEY_SUFFIX, _NOTI_KEY_SUFFIX) == ('_enqueued', '_dequeued', '_noti')


@pytest.fixture(params=itertools.product(['real', 'fake'], [False, True], PROTOCOLS), ids=str)
def any_client(request):
    """A client of a real server or of fakeredis, which decodes or not, in each protocol."""
    kind, decode, protocol = request.param
    if kind == 'real':
        conn = request.getfixturevalue('conn')
        if protocol and int(conn.info('server')['redis_version'].split('.')[0]) < 6:
            pytest.skip('this server knows protocol 2 only')
        client = request.getfixturevalue('redis_server').client(decode_responses=decode, **protocol)
    else:
        fakeredis = pytest.importorskip('fakeredis')
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=decode, **protocol)
    yield client
    client.close()
    client.connection_pool.disconnect()


class TestAClientThatDecodesOrNot:
    def test_serves_all_that_a_queue_does(self, any_client):
        queue = Queue('default', any_client)
        task = queue.enqueue(Task(None, 'module', 'func', (b'\x80\xff',), {'b': 'é'}))
        assert (task.id, queue.len()) == (1, 1)
        got = queue.dequeue()
        assert (got.data, got.args, got.kwargs) == (task.data, (b'\x80\xff',), {'b': 'é'})
        assert queue.requeue(got)
        got = queue.dequeue()
        assert isinstance(got.tokens[0], bytes)
        assert queue.release(got)
        brief = Queue('default', any_client, default_timeout=0, requeue_timeout=0)
        brief.enqueue(task)
        lost = brief.dequeue()
        assert brief.requeue_lost() == 1
        assert queue.dequeue().data == lost.data
        assert not queue.release(lost)


class Logged(Queue):
    """A queue of the program's own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = []

    def enqueue(self, task):
        self.log.append('enqueue')
        return super().enqueue(task)

    def dequeue(self):
        self.log.append('dequeue')
        return super().dequeue()

    def release(self, task):
        self.log.append('release')
        return super().release(task)


def test_a_subclass_may_override_what_it_likes(conn):
    queue = Logged('default', conn, busy_len=5)
    queue.enqueue(task_of(None))
    assert queue.release(queue.dequeue())
    assert queue.log == ['enqueue', 'dequeue', 'release']
    assert keys(conn) == ['default_id']


class TestAFullServer:
    """One with `maxmemory`, and no policy of dropping data."""

    @pytest.fixture
    def fill(self, conn):
        yield lambda: conn.config_set('maxmemory', 1)
        conn.config_set('maxmemory', 0)

    def test_refuses_tasks_but_lets_those_it_has_be_finished(self, queue, conn, fill):
        for number in range(3):
            queue.enqueue(task_of(number))
        fill()
        with pytest.raises(redis.ResponseError, match='maxmemory'):
            queue.enqueue(task_of(7))
        assert queue.requeue(queue.dequeue())
        for _ in range(3):
            assert queue.release(queue.dequeue())
        assert keys(conn) == []


def test_a_server_that_was_restarted_knows_the_scripts_again(queue, conn):
    queue.enqueue(task_of(1))
    conn.script_flush()
    assert queue.dequeue().id == 1
    conn.script_flush()
    queue.enqueue(task_of(2))
    assert waiting(conn) == [2]


def test_a_queue_that_nobody_uses_any_more_is_gone_at_once(conn):
    queue = Queue('default', conn)
    queue.enqueue(task_of(1))
    gone = weakref.ref(queue)
    del queue
    assert gone() is None
