"""How a worker waits for a task: wait and take are one round trip, and either of the replies may be lost."""

import pytest
import redis

from delayed import _scripts
from delayed._ledger import Ledger
from delayed._source import Source
from delayed.queue import Queue
from delayed.task import Task
from delayed.worker import PreforkedWorker
from workers import remains, task, told


@pytest.fixture
def source_of():
    sources = []

    def make(client, lease=15):
        source = Source(Queue('default', client), lease, 3)
        source.open()
        sources.append(source)
        return source

    yield make
    for source in sources:
        source.close()


def ids(*leases):
    return [lease and Task.deserialize(lease.payload).id for lease in leases]


def dequeued(conn):
    return conn.zcard('default_dequeued')


class TestAWait:
    def test_brings_the_task_in_one_round_trip(self, queue, conn, redis_server, source_of):
        source = source_of(redis_server.client())
        queue.enqueue(task('run'))
        source.take(1.0)
        spent = []
        for _ in range(5):  # that somebody left who was a client before counts, too
            queue.enqueue_many([task('run'), task('run')])
            before = conn.info('stats')
            if 'total_reads_processed' not in before:
                pytest.skip('this server does not count round trips')
            assert None not in (source.take(1.0), source.take(1.0))
            spent.append(conn.info('stats')['total_reads_processed'] - before['total_reads_processed'])
        assert min(spent) == 2 + 1  # and our own
        assert conn.llen('default_noti') == 0

    def test_brings_what_was_enqueued_meanwhile(self, lab, queue, conn):
        program = lab.start_worker(told(PreforkedWorker, queue, sweep_interval=None))
        for number in range(5):
            queue.enqueue(task('run', number))
            assert lab.expect('ran') == [[number], {}]
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert remains(conn) == set()

    def test_in_vain_brings_a_task_that_has_no_notification(self, queue, conn, source_of):
        queue.enqueue(task('run'))
        conn.delete('default_noti')
        source = source_of(conn)
        assert ids(source.take(1.0)) == [1]
        assert source.take(0.01) is None

    def test_knows_a_server_that_has_forgotten_the_script(self, queue, conn, source_of):
        queue.enqueue(task('run'))
        source = source_of(conn)
        conn.script_flush()
        assert ids(source.take(1.0)) == [1]
        assert source.take(0.01) is None

    @pytest.mark.parametrize('words', [('BLPOP',), ('EVALSHA', _scripts.DEQUEUE.sha)])
    @pytest.mark.parametrize('fault', ['cut', 'drop'])
    def test_whose_reply_is_lost_has_taken_one_task_which_is_found(
            self, proxy, queue, conn, source_of, monkeypatch, words, fault):
        monkeypatch.setattr('delayed._pooled.HELD_SOCKET_TIMEOUT', 1.5)
        for _ in range(2):
            queue.enqueue(task('run'))
        source = source_of(proxy.client())
        conn.script_load(_scripts.DEQUEUE.source)
        conn.script_load(_scripts.RECLAIM.source)
        fault = getattr(proxy, fault)(*words)
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            source.take(1.0)
        assert fault.seen == 1
        assert ids(source.take(1.0), source.take(1.0)) == [1, 2]
        assert dequeued(conn) == 2

    def test_that_never_reached_redis_has_taken_nothing(self, proxy, queue, conn, source_of):
        queue.enqueue(task('run'))
        source = source_of(proxy.client())
        proxy.refuse('BLPOP')
        with pytest.raises(redis.ConnectionError):
            source.take(1.0)
        assert ids(source.take(1.0)) == [1]

    def test_that_redis_refuses_leaves_no_reply_for_the_next_call(self, queue, conn, source_of):
        source = source_of(conn)
        conn.set('default_noti', 'no list')
        with pytest.raises(redis.ResponseError):
            source.take(1.0)
        conn.delete('default_noti')
        queue.enqueue(task('run'))
        assert ids(source.take(1.0)) == [1]

    @pytest.mark.parametrize('lease', [2, None])
    def test_is_a_call_of_its_own_where_its_second_would_count(self, queue, conn, source_of, monkeypatch, lease):
        monkeypatch.delattr(Ledger, 'wait_and_take')
        source = source_of(conn, lease)
        queue.enqueue(task('run'))
        assert ids(source.take(1.0)) == [1]
        assert source.take(0.01) is None
