"""What a monitor holds of Redis and owes to it, when Redis fails between two calls."""

import math
import threading
import time

import pytest
import redis

from delayed._attempt import Verdict
from delayed._books import Books, Done
from delayed._lease import Lease
from delayed._page import Page
from delayed._source import Source
from delayed._stop import Stop
from delayed.embedded import EmbeddedRedis
from delayed.queue import Queue
from delayed.task import Task
from waiting import DEADLINE, wait_until


@pytest.fixture
def stop():
    return Stop()


@pytest.fixture
def books_of(stop):
    sources = []

    def make(queue, sweep_interval=0.0):
        source = Source(queue, 15, 3)
        source.open()
        sources.append(source)
        return Books(source, sweep_interval, stop, wait=lambda seconds: None, part=lambda child: None)

    yield make
    for source in sources:
        source.close()


def put_two(queue):
    for number in (1, 2):
        queue.enqueue(Task(None, 'tasks', 'run', (number,)))


def test_a_task_is_held_although_the_sweep_after_taking_it_failed(queue, conn, books_of):
    put_two(queue)
    books = books_of(queue)
    first = books.next()
    conn.delete('default_swept')
    conn.lpush('default_swept', 'not what a sweep expects')
    books.ended(Done(first, Verdict.RELEASE), 1.0)
    second = books.next()
    assert Task.deserialize(second.payload).args == (2,)
    assert conn.zrange('default_dequeued', 0, -1) == [second.payload]


def test_a_task_that_came_when_the_worker_was_to_stop_goes_back(queue, conn, stop, books_of):
    books = books_of(queue)

    def stop_and_enqueue():
        wait_until(lambda: conn.info('clients')['blocked_clients'], 'the wait for a task')
        stop.ask()
        put_two(queue)

    thread = threading.Thread(target=stop_and_enqueue)
    thread.start()
    assert books.next() is None
    thread.join()
    assert books.balanced
    assert [Task.deserialize(payload).args for payload in conn.lrange('default', 0, -1)] == [(1,), (2,)]
    assert conn.llen('default_noti') == 2


def test_a_task_taken_ahead_goes_back_at_once_when_the_worker_is_to_stop(queue, conn, stop, books_of):
    put_two(queue)
    put_two(queue)
    books = books_of(queue)
    for _ in range(2):  # it knows by then that tasks wait, and that they are short
        first = books.next()
        books.ended(Done(first, Verdict.RELEASE), 0.0)
    first = books.next()
    books.take_ahead(first)
    assert conn.llen('default') == 0
    books.ended(Done(first, Verdict.RELEASE), 0.0)
    stop.ask(urgent=True)
    assert books.next() is None
    assert books.balanced
    assert conn.llen('default') == 1


class TestWhereTasksAreVeryShort:
    """One is in hand while one runs, and the call for one more is under way."""

    @pytest.fixture
    def books(self, queue, books_of):
        for number in range(1, 8):
            queue.enqueue(Task(None, 'tasks', 'run', (number,)))
        books = books_of(queue, None)
        for _ in range(2):  # it knows by then that tasks wait, and that they are short
            books.ended(Done(books.next(), Verdict.RELEASE), 0.0)
        return books

    @staticmethod
    def begin(books):
        lease = books.next()
        books.take_ahead(lease)
        return lease

    @staticmethod
    def numbers(payloads):
        return [Task.deserialize(payload).args[0] for payload in payloads]

    def test_two_are_taken_ahead_and_each_end_is_told_with_one_call(self, books, conn):
        calls = conn.info('commandstats')['cmdstat_evalsha']['calls']
        for number in (3, 4, 5):
            lease = self.begin(books)
            assert self.numbers([lease.payload]) == [number]
            wait_until(lambda: conn.llen('default') == 7 - number - 2)  # noqa: B023
            books.ended(Done(lease, Verdict.RELEASE), 0.0)
        # for 3, which was not in hand yet, and two behind it; then for one of each
        assert conn.info('commandstats')['cmdstat_evalsha']['calls'] - calls == 5
        assert self.numbers(conn.zrange('default_dequeued', 0, -1)) == [5, 6, 7]
        books.tell()
        assert books.balanced

    def test_both_wait_again_in_their_order_when_one_is_slow(self, books, conn):
        lease = self.begin(books)
        slot = Page().slots[0]
        assert books.due(lease, 0.0) < time.monotonic()
        assert books.keep(lease, time.monotonic() - 1, slot)
        assert self.numbers(conn.lrange('default', 0, -1)) == [4, 5, 6, 7]
        assert self.numbers(conn.zrange('default_dequeued', 0, -1)) == [3]
        assert conn.llen('default_noti') == 4
        books.ended(Done(lease, Verdict.RELEASE), 1.0)
        lease = self.begin(books)
        assert self.numbers(conn.lrange('default', 0, -1)) == [5, 6, 7]

    def test_both_wait_again_before_anything_else_is_asked(self, books, conn):
        """Or what has come would stand behind what is in hand, and more would be sent to a child than it may get."""
        lease = self.begin(books)
        lease.retry(0.0)
        assert books.keep(lease, time.monotonic(), Page().slots[0])
        assert self.numbers(conn.lrange('default', 0, -1)) == [4, 5, 6, 7]
        assert lease.due > time.monotonic()

    def test_an_end_does_not_have_to_be_told_at_once_while_a_call_is_under_way(self, books):
        lease = self.begin(books)
        before = books.due(lease, time.monotonic())
        books.ended(Done(lease, Verdict.RELEASE), 0.0)
        assert books.due(lease, time.monotonic()) >= before

    def test_it_goes_on_like_that_when_they_are_but_short(self, books, conn):
        books.ended(Done(self.begin(books), Verdict.RELEASE), 0.0)
        lease = books.next()
        assert lease.ahead
        books.ended(Done(lease, Verdict.RELEASE), 0.005)  # it is the pace that counts here
        books._unsettled.clear()
        books.take_ahead(lease)
        wait_until(lambda: lease.holder.encode() in conn.hvals('default_leases'))  # Redis knows that it has begun

    def test_its_child_may_leave_when_redis_knows_of_its_last_end(self, queue, conn, stop):
        class Anyone:
            pass

        for number in range(1, 8):
            queue.enqueue(Task(None, 'tasks', 'run', (number,)))
        source, parted, child, pages = Source(queue, 15, 3), [], Anyone(), Page(9)
        source.open()
        books = Books(source, None, stop, wait=lambda seconds: None, part=parted.append)
        for number in range(4):
            lease = books.next()
            if number > 1:
                books.take_ahead(lease)
            books.ended(Done(lease, Verdict.RELEASE, '', child, pages.slots[number]), 0.0)
        parted.clear()
        books._land()  # of the end before the last one
        assert pages.slots[2].settled and not pages.slots[3].settled
        assert parted == []
        books.tell()
        assert parted == [child]
        source.close()

    def test_both_wait_again_when_the_worker_is_to_stop(self, books, conn, stop):
        books.ended(Done(self.begin(books), Verdict.RELEASE), 0.0)
        stop.ask()
        assert books.next() is None
        assert books.balanced
        assert self.numbers(conn.lrange('default', 0, -1)) == [4, 5, 6, 7]

    def test_one_that_is_handed_back_is_in_front_of_those(self, books, conn):
        books.ended(Done(self.begin(books), Verdict.HAND_BACK), 0.0)
        assert self.numbers([books.next().payload]) == [3]

    def test_a_call_whose_reply_is_lost_has_told_the_end_and_what_it_took_is_found(self, books, conn):
        books.ended(Done(self.begin(books), Verdict.RELEASE), 0.0)
        lease = self.begin(books)  # tells of 3, and takes 6
        wait_until(lambda: conn.llen('default') == 1)
        conn.client_kill_filter(_type='normal', skipme=True)
        books.ended(Done(lease, Verdict.RELEASE), 0.0)
        ran = []
        deadline = time.monotonic() + DEADLINE
        while len(ran) < 3 and time.monotonic() < deadline:
            lease = books.next()
            if lease is not None:
                ran += self.numbers([lease.payload])
                books.take_ahead(lease)
                books.ended(Done(lease, Verdict.RELEASE), 0.0)
        assert sorted(ran) == [5, 6, 7]
        books.next()
        assert books.balanced
        assert not conn.exists('default', 'default_enqueued', 'default_dequeued', 'default_leases')


def test_redis_is_not_back_before_it_has_answered(tmp_path, books_of):
    books = books_of(Queue('default', redis.Redis(unix_socket_path=str(tmp_path / 'nobody'))), None)
    assert books.next() is None
    now = time.monotonic()
    page = Page()
    assert books.keep(Lease(b'payload', (b'1',), 15, 'holder', now), now, page.slots[0])
    assert books.seconds_away > 0


def test_the_tries_of_a_long_outage_leave_little_to_ask_for(books_of):
    with EmbeddedRedis() as server:
        with server.client() as conn:
            queue = Queue('default', conn)
            put_two(queue)
            books = books_of(queue, None)
            first = books.next()
        server.kill()
        books.ended(Done(first, Verdict.RELEASE), 1.0)
        for _ in range(20):
            assert books.next() is None
        server.start()
        with server.client() as conn:
            put_two(Queue('default', conn))
            assert books.next() is not None
            books.tell()
            assert conn.info('commandstats')['cmdstat_hgetall']['calls'] <= 2


@pytest.mark.parametrize('lease, most', [(2, 0.25), (15, 1.875), (60, 3), (None, 3)])
def test_while_redis_is_away_the_tries_are_so_close_that_no_lease_runs_out_when_it_is_back(tmp_path, stop, lease, most):
    pauses = []
    source = Source(Queue('default', redis.Redis(unix_socket_path=str(tmp_path / 'nobody'))), lease, 3)
    source.open()
    books = Books(source, None, stop, wait=pauses.append, part=lambda child: None)
    for _ in range(20):
        assert books.next() is None
    source.close()
    assert max(pauses) <= most
    assert min(pauses[-10:]) >= most / 2


def test_nothing_is_to_be_kept_where_no_lease_is_renewed_and_nobody_sweeps(queue, books_of):
    assert books_of(queue, None).due(Lease(b'payload', (b'1',), None, '', 0.0), 0.0) == math.inf
