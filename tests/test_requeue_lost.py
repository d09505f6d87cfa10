"""How lost tasks and missing notifications come back."""

import pytest

from delayed.queue import Queue
from queues import keys, lose, payload_of, server_ms, task_of, waiting

#: As many as made 0.5.1b2's scripts fail, and more.
MANY = 20_000


class TestRequeueLost:
    def test_puts_lost_tasks_in_front_the_longest_lost_first(self, queue, conn):
        queue.enqueue(task_of(9))
        lose(conn, 5, 1, 3)
        assert queue.requeue_lost() == 3
        assert waiting(conn) == [5, 1, 3, 9]
        assert keys(conn) == ['default', 'default_enqueued', 'default_noti']

    def test_leaves_what_is_not_lost(self, queue, conn):
        queue.enqueue(task_of(1))
        queue.dequeue()
        assert queue.requeue_lost() == 0
        assert conn.zcard('default_dequeued') == 1

    def test_adds_missing_notifications_and_counts_them(self, queue, conn):
        for number in range(3):
            queue.enqueue(task_of(number))
        conn.ltrim('default_noti', 0, 0)
        lose(conn, 7)
        assert queue.requeue_lost() == 3
        assert waiting(conn) == [7, 0, 1, 2]

    def test_finds_nothing_in_an_empty_queue(self, queue, conn):
        assert queue.requeue_lost() == 0
        assert conn.keys() == []

    @pytest.mark.parametrize(('requeue_timeout', 'postponement'), [(0, 5), (1, 5), (30, 30)])
    def test_postpones_lost_tasks_of_a_busy_queue_and_no_more(self, conn, requeue_timeout, postponement):
        queue = Queue('default', conn, requeue_timeout=requeue_timeout, busy_len=3)
        for number in range(3):
            queue.enqueue(task_of(number))
        lose(conn, 7, ago_ms=postponement * 1000 + 10)
        now = server_ms(conn)
        conn.zadd('default_dequeued', {payload_of(8): now + 60_000})  # not lost at all
        conn.zadd('default_dequeued', {payload_of(9): now - 1})
        assert queue.requeue_lost() == 1
        assert waiting(conn) == [7, 0, 1, 2]
        queue.release(queue.dequeue())
        queue.release(queue.dequeue())
        assert queue.requeue_lost() == 1
        assert waiting(conn) == [9, 1, 2]

    def test_repairs_the_notifications_of_a_busy_queue(self, conn):
        queue = Queue('default', conn, busy_len=2)
        conn.rpush('default', *map(payload_of, range(5)))
        assert queue.requeue_lost() == 5

    def test_does_not_postpone_what_a_worker_renewed(self, conn):
        queue = Queue('default', conn, requeue_timeout=3600, busy_len=1)
        queue.enqueue(task_of(1))
        lose(conn, 7, ago_ms=10, holder='a worker')
        assert queue.requeue_lost() == 1
        assert waiting(conn) == [7, 1]

    def test_bears_a_busy_len_of_zero(self, conn):
        queue = Queue('default', conn, busy_len=0)
        lose(conn, 1)
        assert queue.requeue_lost() == 1

    def test_leaves_nothing_behind_of_what_an_old_worker_finished(self, queue, conn):
        conn.hset('default_leases', '1000.000', 'gone')
        conn.hset('default_losses', payload_of(1), '1000')
        assert queue.requeue_lost() == 0
        assert conn.keys() == []


class Effort:
    """What Redis' scripts cost inside of the block."""

    def __init__(self, conn):
        self._conn = conn

    def _cpu_ms(self):
        info = self._conn.info('cpu')
        return (info['used_cpu_user'] + info['used_cpu_sys']) * 1000

    def __enter__(self):
        self._conn.config_resetstat()
        self._before = self._cpu_ms()
        return self

    def __exit__(self, *exc_info):
        spent = self._cpu_ms() - self._before
        self.calls = self._conn.info('commandstats')['cmdstat_evalsha']['calls']
        #: Processor time of a call, for the clock on the wall goes on while others have the processor.
        self.ms_a_call = spent / self.calls


class TestASweepOfVeryMany:
    """0.5.1b2 failed for ever from 8000 on."""

    @pytest.fixture(autouse=True)
    def warm(self, queue):
        queue.requeue_lost()  # from now on the server knows the script

    def assert_gentle(self, effort):
        assert effort.calls >= MANY / 1000
        assert effort.ms_a_call < 20

    @pytest.mark.parametrize('holder', [None, 'a worker'])
    def test_brings_all_lost_tasks_back_in_order_and_never_blocks_redis_for_long(self, queue, conn, holder):
        payloads, start = [b'%032d' % number for number in range(MANY)], server_ms(conn) - 3_600_000
        conn.zadd('default_enqueued', dict.fromkeys(payloads, 610_000))
        scores = ['%.3f' % (start + number) for number in range(MANY)]
        conn.zadd('default_dequeued', dict(zip(payloads, scores)))
        if holder:
            conn.hset('default_leases', mapping=dict.fromkeys(scores, holder))
        with Effort(conn) as effort:
            assert queue.requeue_lost() == MANY
        assert conn.lrange('default', 0, -1) == payloads
        assert (conn.llen('default_noti'), conn.zcard('default_dequeued')) == (MANY, 0)
        assert conn.hlen('default_losses') == (MANY if holder else 0)
        self.assert_gentle(effort)

    def test_adds_all_missing_notifications(self, queue, conn):
        conn.rpush('default', *[b'%d' % number for number in range(MANY)])
        with Effort(conn) as effort:
            assert queue.requeue_lost() == MANY
        assert conn.llen('default_noti') == MANY
        self.assert_gentle(effort)

    def test_bears_large_payloads(self, queue, conn):
        payloads = [b'%d' % number * 400_000 for number in range(8)]
        conn.zadd('default_dequeued', {payload: 1000 + number for number, payload in enumerate(payloads)})
        with Effort(conn) as effort:
            assert queue.requeue_lost() == 8
        assert conn.lrange('default', 0, -1) == payloads
        assert effort.calls >= 3
