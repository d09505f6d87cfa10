"""Calls of a queue that were carried out although their replies never came: nothing is done twice."""

import pickle
import signal
import threading

import pytest
import redis
from redis.backoff import AbstractBackoff, NoBackoff
from redis.retry import Retry

from delayed import _scripts
from delayed.queue import Queue
from queues import keys, lose, payload_of, task_of, waiting

#: What a request begins with.
ENQUEUE, RESERVE = (('EVALSHA', script.sha) for script in (_scripts.ENQUEUE, _scripts.RESERVE))


class Meanwhile(AbstractBackoff):
    """Does something before the client repeats its call."""

    def __init__(self, action):
        self._action = action

    def __deepcopy__(self, memo):
        return self  # the client copies it for each connection

    def compute(self, failures):
        self._action()
        return 0


class TestEnqueueWhoseReplyIsLost:
    """The call was carried out, but who made it cannot know. (An id may be skipped; none is given twice.)"""

    def queue(self, proxy, retries, backoff=None, **options):
        return Queue('default', proxy.client(retry=Retry(backoff or NoBackoff(), retries), **options))

    @pytest.fixture(autouse=True)
    def warm(self, conn):
        """Lets the server know the scripts."""
        Queue('default', conn).enqueue(task_of(None))
        conn.flushall()

    @pytest.mark.parametrize('options', [
        {}, {'decode_responses': True},
        {'single_connection_client': True, 'retry_on_error': [redis.ConnectionError]},  # redis-py < 6 must be told
    ])
    def test_adds_the_task_once_when_the_client_repeats_it(self, proxy, conn, options):
        cut = proxy.cut(*ENQUEUE, times=2)
        self.queue(proxy, 3, **options).enqueue(task_of(None))
        assert cut.seen == 2
        assert waiting(conn) == [1]

    def test_adds_the_task_once_even_if_it_was_finished_before_the_client_repeats_it(self, proxy, conn, queue):
        cut = proxy.cut(*ENQUEUE)
        self.queue(proxy, 3, Meanwhile(lambda: queue.release(queue.dequeue()))).enqueue(task_of(None))
        assert cut.seen == 1
        assert keys(conn) == ['default_id']

    def test_adds_the_task_once_even_if_another_thread_enqueued_before_the_client_repeats_it(self, proxy, conn):
        def enqueue_another():
            thread = threading.Thread(target=lambda: queue.enqueue(task_of(2)))
            thread.start()
            thread.join()

        queue = self.queue(proxy, 3, Meanwhile(enqueue_another))
        cut = proxy.cut(*ENQUEUE)
        queue.enqueue(task_of(1))
        assert cut.seen == 1
        assert waiting(conn) == [1, 2]

    @pytest.mark.parametrize('fault', ['cut', 'drop'])
    def test_adds_the_task_once_when_the_program_repeats_it(self, proxy, conn, fault):
        queue, task = self.queue(proxy, 0, socket_timeout=0.3), task_of(None)
        getattr(proxy, fault)(*ENQUEUE)
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            queue.enqueue(task)
        queue.enqueue(task)
        assert waiting(conn) == [1]

    def test_adds_the_task_once_even_if_it_was_finished_before_the_program_repeats_it(self, proxy, conn, queue):
        producer, task = self.queue(proxy, 0), task_of(None)
        proxy.cut(*ENQUEUE)
        with pytest.raises(redis.ConnectionError):
            producer.enqueue(task)
        queue.release(queue.dequeue())
        producer.enqueue(task)
        assert keys(conn) == ['default_id']

    def test_adds_the_task_once_even_if_others_were_enqueued_before_the_program_repeats_it(self, proxy, conn):
        queue, task = self.queue(proxy, 0), task_of(1)
        queue.enqueue(task_of(0))
        proxy.cut(*ENQUEUE)
        with pytest.raises(redis.ConnectionError):
            queue.enqueue(task)
        queue.enqueue(task_of(2))
        queue.enqueue(task)
        queue.enqueue(task_of(3))
        assert waiting(conn) == [0, 1, 2, 3]

    def test_adds_each_task_once_where_several_were_lost(self, proxy, conn):
        queue, tasks = self.queue(proxy, 0), [task_of(number) for number in range(3)]
        proxy.cut(*ENQUEUE, times=3)
        for _ in range(2):
            for task in tasks:
                try:
                    queue.enqueue(task)
                except redis.ConnectionError:
                    pass
        assert waiting(conn) == [0, 1, 2]

    def test_adds_the_task_once_when_a_signal_broke_it_off_and_the_program_repeats_it(self, proxy, conn):
        queue, task = self.queue(proxy, 0), task_of(None)
        held = proxy.hold(*ENQUEUE)

        class Alarm(Exception):
            pass

        def ring(signum, frame):
            raise Alarm

        def send():
            held.wait()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, ring)
        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(Alarm):
            queue.enqueue(task)
        sender.join()
        signal.signal(signal.SIGUSR1, before)
        held.let_go()
        queue.enqueue(task_of(None))
        queue.enqueue(task)
        assert waiting(conn) == [1, 2]

    def test_adds_the_task_once_when_another_process_repeats_it(self, proxy, conn):
        task = task_of(None)
        proxy.cut(*ENQUEUE)
        with pytest.raises(redis.ConnectionError):
            self.queue(proxy, 0).enqueue(task)
        Queue('default', conn).enqueue(pickle.loads(pickle.dumps(task)))
        assert waiting(conn) == [1]

    def test_is_no_obstacle_to_enqueueing_it_again_on_purpose(self, proxy, conn):
        queue, task = self.queue(proxy, 0), task_of(None)
        proxy.cut(*ENQUEUE)
        with pytest.raises(redis.ConnectionError):
            queue.enqueue(task)
        queue.enqueue(task)
        queue.enqueue(task)
        assert waiting(conn) == [1, 1]

    def test_leaves_the_task_to_be_added_where_the_request_itself_was_lost(self, proxy, conn):
        queue, task = self.queue(proxy, 0), task_of(None)
        for script in (RESERVE, ENQUEUE):
            refused = proxy.refuse(*script)
            with pytest.raises(redis.ConnectionError):
                queue.enqueue(task)
            assert refused.seen == 1
        queue.enqueue(task)
        assert waiting(conn) == [1]

    def test_skips_an_id_but_gives_none_twice_where_that_reply_is_lost(self, proxy, conn):
        queue = self.queue(proxy, 3)
        proxy.cut(*RESERVE)
        assert [queue.enqueue(task_of(None)).id for _ in range(2)] == [2, 3]
        assert waiting(conn) == [2, 3]


class TestAnotherCallWhoseReplyIsLost:
    @pytest.fixture(autouse=True)
    def warm(self, queue):
        """Lets the server know the scripts."""
        queue.enqueue(task_of(0))
        queue.requeue(queue.dequeue())
        queue.release(queue.dequeue())
        queue.requeue_lost()

    @pytest.fixture
    def cut_off(self, proxy):
        """A queue whose client repeats calls."""
        return Queue('default', proxy.client(retry=Retry(NoBackoff(), 3)))

    def test_of_dequeue_has_taken_one_task_and_not_two(self, proxy, conn, queue, cut_off):
        for number in (1, 2):
            queue.enqueue(task_of(number))
        cut = proxy.cut('EVALSHA')
        with pytest.raises(redis.ConnectionError):
            cut_off.dequeue()
        assert cut.seen == 1
        assert (waiting(conn), conn.zrange('default_dequeued', 0, -1)) == ([2], [payload_of(1)])

    def test_of_requeue_has_put_the_task_back_once(self, proxy, conn, queue, cut_off):
        queue.enqueue(task_of(1))
        task = queue.dequeue()
        cut = proxy.cut('EVALSHA')
        cut_off.requeue(task)
        assert cut.seen == 1
        assert waiting(conn) == [1]

    def test_of_release_is_not_told_as_a_lost_lease(self, proxy, conn, queue, cut_off):
        queue.enqueue(task_of(1))
        task = queue.dequeue()
        cut = proxy.cut('EVALSHA')
        assert cut_off.release(task)
        assert cut.seen == 1
        assert keys(conn) == []

    @pytest.mark.parametrize('fault', ['cut', 'refuse'])
    def test_of_a_sweep_has_put_nothing_back_twice(self, proxy, conn, cut_off, fault):
        lose(conn, *range(10))
        befallen = getattr(proxy, fault)('EVALSHA')
        cut_off.requeue_lost()
        assert befallen.seen == 1
        assert waiting(conn) == list(range(10))
