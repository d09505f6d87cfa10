"""Tasks that tell when they were enqueued."""

import os
import pickle
import signal
import struct
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from delayed._describe import describe, plain_fields
from delayed._stamp import is_stamped, stamp_of, with_stamp, without_stamp
from delayed.queue import Queue
from delayed.sharded import ShardedQueue
from delayed.task import Task
from queues import task_of
from workers import report, task, told

SECRET = 's' * 32
PICKLE = pickle.dumps((1, 'module', 'func', (), {}, None))


@pytest.fixture
def stamping(conn):
    return Queue('default', conn, stamp=True)


class TestAStamp:
    def test_is_read_again(self):
        assert stamp_of(with_stamp(PICKLE, 1_700_000_000.25)) == 1_700_000_000.25

    def test_takes_the_place_of_another(self):
        assert with_stamp(with_stamp(PICKLE, 1.0), 2.0) == with_stamp(PICKLE, 2.0)

    def test_can_be_taken_away(self):
        assert without_stamp(with_stamp(PICKLE, 1.0)) == PICKLE == without_stamp(PICKLE)

    @pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
    def test_is_passed_over_by_who_reads_the_pickle(self, protocol):
        payload = with_stamp(pickle.dumps((1, 'module', 'func', (), {}, None), protocol), 1.0)
        assert pickle.loads(payload) == (1, 'module', 'func', (), {}, None)
        assert Task.deserialize(payload).id == 1
        assert tuple(plain_fields(payload)) == (1, 'module', 'func', (), {}, None)
        assert describe(payload) == 'task 1 (module.func)'

    @pytest.mark.parametrize('payload', [
        b'', PICKLE, b'\xd5DT1', PICKLE[:3] + b'\xd5DT1', *(
            PICKLE + struct.pack('<d4s', float(moment), b'\xd5DT1') for moment in ('nan', 'inf', '-inf', '-1', '1e300')
        )], ids=range(9))
    def test_that_is_none_tells_nothing(self, payload):
        assert stamp_of(payload) is None


class TestAnEnqueuedTask:
    def test_tells_when_that_was(self, stamping, conn):
        before = time.time()
        sent = stamping.enqueue(task_of(None))
        payload, = conn.lrange('default', 0, -1)
        assert payload == sent.data
        assert before <= stamp_of(payload) <= time.time()
        assert without_stamp(payload) == Task(1, 'module', 'func', (None,)).serialize()

    @pytest.mark.parametrize('act', ['release', 'requeue'])
    @pytest.mark.parametrize('choose', [lambda sent, got: sent, lambda sent, got: got])
    def test_is_the_one_that_was_dequeued(self, stamping, queue, act, choose):
        sent = stamping.enqueue(task_of(1))
        got = queue.dequeue()
        assert (got.args, got.data) == ((1,), sent.data)
        assert getattr(queue, act)(choose(sent, got))

    def test_that_is_enqueued_again_has_the_later_time(self, stamping):
        sent = stamping.enqueue(task_of(1))
        first = sent.data
        assert stamp_of(stamping.enqueue(sent).data) > stamp_of(first)

    def test_of_another_queue_has_none_where_that_wants_none(self, stamping, queue):
        assert queue.enqueue(stamping.enqueue(task_of(1))).data == task_of(1).serialize()

    def test_of_many_has_one_too(self, stamping, conn):
        stamping.enqueue_many(task_of(None) for _ in range(3))
        assert all(map(is_stamped, conn.lrange('default', 0, -1)))

    def test_of_a_shard_has_one_too(self, conn):
        assert is_stamped(ShardedQueue('shards', 2, conn, stamp=True).enqueue(task_of(None)).data)

    def test_of_a_queue_with_a_secret_has_it_signed(self, conn):
        queue = Queue('default', conn, secret=SECRET, stamp=True)
        payload = queue.enqueue(task_of(None)).data
        assert queue.read(payload).args == (None,)
        assert stamp_of(payload) <= time.time()
        with pytest.raises(ValueError, match='signature is wrong'):
            queue.read(with_stamp(payload, 1.0))

    def test_that_was_added_though_its_reply_was_lost_keeps_the_time_when_it_is_repeated(self, proxy, conn, queue):
        queue.enqueue(task_of(None))  # so the server knows the script
        conn.flushall()
        producer = Queue('default', proxy.client(retry=Retry(NoBackoff(), 0)), stamp=True)
        proxy.cut('EVALSHA')
        sent = task_of(1)
        with pytest.raises(redis.ConnectionError):
            producer.enqueue(sent)
        producer.enqueue(sent)
        assert conn.lrange('default', 0, -1) == [sent.data]


def tell(task, *_):
    report('waited', task.outcome.wait_seconds, str(task.outcome))


class TestTheRecord:
    """Of both workers."""

    @pytest.mark.parametrize('name', ['run', 'fail', 'kill_self'])
    def test_tells_how_long_the_task_waited(self, lab, stamping, worker_class, name):
        sent = task(name, *([9] if name == 'kill_self' else []))
        stamping.enqueue(sent)
        queued_at = stamp_of(sent.data)
        time.sleep(0.2)
        before = time.time()
        lab.drain(told(worker_class, stamping, success_handler=tell, error_handler=tell), stamping)
        waited, line = lab.expect('waited')
        assert before - queued_at <= waited <= time.time() - queued_at
        assert 'waited %.3f s' % waited in line

    def test_of_a_task_from_the_future_tells_that_it_did_not_wait(self, lab, conn, queue, worker_class):
        payload = with_stamp(task('run').serialize(), time.time() + 3600)
        conn.rpush('default', payload)
        lab.drain(told(worker_class, queue, success_handler=tell), queue)
        assert lab.expect('waited')[0] == 0

    def test_of_a_task_that_does_not_tell_has_none(self, lab, queue, worker_class):
        queue.enqueue(task('run'))
        lab.drain(told(worker_class, queue, success_handler=tell), queue)
        assert lab.expect('waited')[0] is None

    def test_of_a_task_that_was_handed_back_counts_from_the_first_time(self, lab, stamping, worker_class):
        stamping.enqueue(task('hold'))
        first = lab.start_worker(worker_class(stamping))
        pid, _ = lab.expect('holds')
        for signum in (signal.SIGTERM, signal.SIGINT):
            first.signal(signum)
        assert first.wait() == 0
        handed_back = time.time()
        enqueued_at = stamp_of(stamping.conn.lindex('default', 0))
        second = lab.start_worker(told(worker_class, stamping, error_handler=tell))
        pid, _ = lab.expect('holds')
        os.kill(pid, signal.SIGKILL)
        assert lab.expect('waited')[0] >= handed_back - enqueued_at
        second.signal(signal.SIGTERM)
        assert second.wait() == 0
