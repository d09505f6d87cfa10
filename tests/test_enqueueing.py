"""Which ids tasks get, and what becomes of many that are enqueued in one go."""

import os
import threading
from logging.handlers import BufferingHandler

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import delayed.logger
from delayed import _producer, _scripts
from delayed._ledger import MOST_BYTES, MOST_TASKS
from delayed._producer import Producer
from delayed.errors import NotAllEnqueued, NotPicklable, WrongType
from delayed.logger import logger
from delayed.queue import Queue
from delayed.task import Task
from proxy import CuttingProxy
from queues import keys, task_of, waiting

ENQUEUE = 'EVALSHA', _scripts.ENQUEUE.sha


def enqueue(queue, times=1):
    return [queue.enqueue(task_of(None)).id for _ in range(times)]


def unnumbered(times):
    return [task_of(None) for _ in range(times)]


def ids(tasks):
    return [task.id for task in tasks]


def producers(conn):
    return [key for key in conn.keys() if b'_producer_' in key]


@pytest.fixture
def queue(real_or_fake):
    return Queue('default', real_or_fake)


class TestIds:
    def test_are_consecutive_whatever_queue_objects_a_program_uses(self, real_or_fake):
        assert [enqueue(Queue('default', real_or_fake))[0] for _ in range(5)] == [1, 2, 3, 4, 5]

    def test_are_consecutive_over_clients_of_the_same_server(self, conn, redis_server):
        clients = [redis_server.client() for _ in range(4)]
        assert [enqueue(Queue('default', client))[0] for client in clients] == [1, 2, 3, 4]
        for client in clients:
            client.connection_pool.disconnect()

    def test_are_consecutive_over_threads_that_take_turns(self, queue):
        found = []
        for _ in range(5):
            thread = threading.Thread(target=lambda: found.extend(enqueue(queue)))
            thread.start()
            thread.join()
        assert found == [1, 2, 3, 4, 5]

    def test_are_consecutive_whatever_tasks_with_ids_of_their_own_come_between(self, queue):
        found = []
        for number in (100, 200, 300, 400):
            queue.enqueue(task_of(number))
            found += enqueue(queue)
        assert found == [1, 2, 3, 4]

    def test_of_a_program_that_enqueues_one_task_skip_none(self, queue, real_or_fake):
        enqueue(queue)
        assert real_or_fake.get('default_id') == b'1'

    def test_differ_from_those_that_others_take_by_incr(self, queue, real_or_fake):
        found = []
        for _ in range(10):
            found += enqueue(queue, 2)
            found.append(real_or_fake.incr('default_id'))
        assert len(set(found)) == 30

    def test_differ_in_threads_that_enqueue_at_once(self, conn):
        queue, start = Queue('default', conn), threading.Barrier(4)

        def run():
            start.wait()
            enqueue(queue, 50)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(waiting(conn))) == 200
        assert len(producers(conn)) <= 4

    def test_differ_in_parent_and_child(self, conn):
        queue = Queue('default', conn)
        enqueue(queue, 3)
        pid = os.fork()
        if not pid:
            try:
                enqueue(queue, 3)
                os._exit(0)
            finally:
                os._exit(1)
        enqueue(queue, 3)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(set(waiting(conn))) == 9
        assert len(producers(conn)) == 2

    def test_stay_free_where_the_task_cannot_be_pickled(self, queue):
        enqueue(queue, 3)
        task = Task(None, 'module', 'func', (lambda: None,))
        with pytest.raises(NotPicklable):
            queue.enqueue(task)
        assert task.id is None
        assert enqueue(queue) == [4]


class TestReservedIds:
    """The reply to an earlier call has brought them. What Redis has forgotten meanwhile it would give to others."""

    @pytest.fixture
    def queue(self, queue):
        enqueue(queue, 3)
        return queue

    @pytest.mark.parametrize('forget', [
        lambda conn: conn.flushall(),
        lambda conn: conn.delete('default', 'default_id', 'default_noti', 'default_enqueued', 'default_dequeued'),
        lambda conn: conn.set('default_id', 0),
    ], ids=['flushed', 'its keys deleted', 'set back'])
    def test_are_given_up_where_ids_begin_anew(self, queue, real_or_fake, forget):
        forget(real_or_fake)
        assert enqueue(queue) == [1]
        assert real_or_fake.get('default_id') == b'1'
        assert enqueue(queue, 2) == [2, 3]

    def test_are_asked_for_anew_where_ids_begin_anew_and_none_is_left(self, queue, real_or_fake):
        for _ in range(2):
            real_or_fake.flushall()
            assert enqueue(queue) == [1]
            assert real_or_fake.get('default_id') == b'1'

    def test_are_given_up_where_others_have_gone_on_since(self, queue, real_or_fake):
        real_or_fake.flushall()
        taken = {real_or_fake.incr('default_id') for _ in range(20)}
        assert not taken & set(enqueue(queue, 3))

    def test_are_given_up_where_an_earlier_state_was_restored(self, queue, real_or_fake):
        conn = real_or_fake
        if type(conn) is not redis.Redis:
            pytest.skip('fakeredis cannot dump what it holds')
        state = {key: conn.dump(key) for key in conn.keys()}
        enqueue(queue, 5)
        conn.flushall()
        for key, value in state.items():
            conn.restore(key, 0, value)
        taken = {conn.incr('default_id') for _ in range(20)}
        assert not taken & set(enqueue(queue, 5))

    def test_are_given_up_when_the_record_of_their_producer_has_expired(self, queue, real_or_fake):
        for _ in range(3):
            real_or_fake.delete(*producers(real_or_fake))
            enqueue(queue)
        found = waiting(real_or_fake)
        assert len(set(found)) == 6
        assert found == sorted(found)

    def test_are_not_asked_of_a_server_that_forgets_them_at_once(self, conn, redis_server):
        class Forgetful(redis.Redis):
            def execute_command(self, *args, **options):
                if producers(conn):
                    conn.delete(*producers(conn))
                return super().execute_command(*args, **options)

        client = Forgetful(unix_socket_path=redis_server.socket_path)
        queue = Queue('default', client)
        found = enqueue(queue, 4)
        tasks = unnumbered(3)
        queue.enqueue_many(tasks)
        found += ids(tasks)
        assert len(set(found)) == 7
        assert waiting(conn) == found
        client.connection_pool.disconnect()


class TestEnqueueMany:
    @pytest.mark.parametrize('kind', [list, tuple, iter, lambda tasks: (task for task in tasks)])
    @pytest.mark.parametrize('number', [0, 1, 3, MOST_TASKS, MOST_TASKS + 1, 2 * MOST_TASKS + 7])
    def test_adds_the_tasks_of_any_iterable_in_their_order(self, queue, real_or_fake, kind, number):
        tasks = unnumbered(number)
        assert queue.enqueue_many(kind(tasks)) == number
        first = tasks[0].id if tasks else 1  # a client that repeats a reservation skips some ids
        assert ids(tasks) == waiting(real_or_fake) == list(range(first, first + number))
        assert [task.data for task in tasks] == real_or_fake.lrange('default', 0, -1)

    def test_adds_payloads_notifications_and_allowances(self, queue, real_or_fake):
        tasks = [task_of(None), task_of(None, 5000), task_of(None, 0.5)]
        queue.enqueue_many(tasks)
        assert real_or_fake.lrange('default_noti', 0, -1) == [b'1'] * 3
        assert dict(real_or_fake.zrange('default_enqueued', 0, -1, withscores=True)) == {
            tasks[0].data: 610_000, tasks[1].data: 15_000, tasks[2].data: 10_000.5}

    def test_leaves_the_ids_consecutive(self, queue):
        first, second = unnumbered(3), unnumbered(MOST_TASKS + 3)
        found = enqueue(queue, 2)
        queue.enqueue_many(first)
        found += ids(first) + enqueue(queue)
        queue.enqueue_many(second)
        found += ids(second) + enqueue(queue, 2)
        assert found == list(range(1, len(found) + 1))

    def test_uses_the_ids_that_a_short_iterable_has_left(self, queue):
        queue.enqueue_many(task for task in unnumbered(3))
        assert enqueue(queue, 3) == [4, 5, 6]

    def test_gives_ids_in_a_row_within_a_batch_while_others_take_some(self, queue, real_or_fake):
        def tasks():
            for task in made:
                real_or_fake.incr('default_id')
                yield task

        made = unnumbered(MOST_TASKS + 10)
        queue.enqueue_many(tasks())
        found = ids(made)
        assert len(set(found)) == len(found)
        for batch in (found[:MOST_TASKS], found[MOST_TASKS:]):
            assert batch == list(range(batch[0], batch[0] + len(batch)))

    def test_leaves_tasks_the_ids_that_they_have(self, queue, real_or_fake):
        tasks = [task_of(100), task_of('seven'), task_of(None), task_of(None), task_of(0), task_of(None)]
        queue.enqueue_many(tasks)
        assert waiting(real_or_fake) == ids(tasks) == [100, 'seven', 1, 2, 0, 3]

    def test_of_a_task_twice_adds_it_twice(self, queue, real_or_fake):
        task = task_of(None)
        queue.enqueue_many([task, task])
        assert waiting(real_or_fake) == [1, 1]

    def test_goes_in_batches_and_tells_of_each(self, queue):
        told = []
        queue.enqueue_many(unnumbered(2 * MOST_TASKS + 7), told.append)
        assert told == [MOST_TASKS, 2 * MOST_TASKS, 2 * MOST_TASKS + 7]

    def test_sends_no_more_than_some_bytes_at_once(self, queue, real_or_fake):
        told = []
        large = [Task(None, 'module', 'func', (b'.' * (MOST_BYTES // 3),)) for _ in range(7)]
        queue.enqueue_many(large, progress=told.append)
        assert told == [3, 6, 7]
        assert waiting(real_or_fake) == ids(large) == list(range(1, 8))

    def test_may_be_called_while_it_reads(self, queue, real_or_fake):
        def tasks():
            for task in made:
                others.extend(enqueue(queue))
                yield task

        made, others = unnumbered(5), []
        queue.enqueue_many(tasks())
        assert waiting(real_or_fake) == others + ids(made)
        assert len({*others, *ids(made)}) == 10

    @pytest.mark.parametrize('tasks', [None, 7, task_of(1), len])
    def test_takes_iterables_alone(self, queue, real_or_fake, tasks):
        with pytest.raises(WrongType, match='iterable'):
            queue.enqueue_many(tasks)
        assert real_or_fake.keys() == []

    def test_is_told_to_the_log(self, queue, monkeypatch):
        told = BufferingHandler(10)
        monkeypatch.setattr(logger, 'handlers', [told])
        queue.enqueue_many(unnumbered(3))
        assert [record.getMessage() for record in told.buffer] == ['queue default: enqueued 3 tasks']

    def test_survives_a_redis_that_was_flushed_since_the_ids_were_reserved(self, queue, real_or_fake):
        def tasks():
            yield from made[:2]
            real_or_fake.flushall()
            yield from made[2:]

        made = unnumbered(5)
        enqueue(queue, 10)
        queue.enqueue_many(tasks())
        assert waiting(real_or_fake) == ids(made) == [1, 2, 3, 4, 5]


class TestEnqueueManyThatFails:
    """Nothing of the batch is enqueued in which it fails, and the error tells how many are."""

    def fail(self, queue, tasks, progress=None):
        with pytest.raises(NotAllEnqueued) as caught:
            queue.enqueue_many(tasks, progress)
        return caught.value

    @pytest.mark.parametrize('position', [0, 3, MOST_TASKS, MOST_TASKS + 3])
    def test_at_a_task_that_cannot_be_pickled_names_its_position(self, queue, real_or_fake, position):
        tasks = unnumbered(MOST_TASKS + 10)
        tasks[position] = Task(None, 'module', 'func', (1, lambda: None))
        error = self.fail(queue, tasks)
        first = position - position % MOST_TASKS
        assert (error.enqueued, error.position, error.uncertain) == (first, position, False)
        assert 'position %d (NotPicklable: argument 1 of module.func' % position in str(error)
        assert isinstance(error.__cause__, NotPicklable)
        assert error.pending == tasks[first:position + 1]
        assert waiting(real_or_fake) == ids(tasks[:first])
        assert ids(tasks[first:]) == [None] * (len(tasks) - first)

    def test_leaves_tasks_that_can_be_enqueued_then(self, queue, real_or_fake):
        tasks = [*unnumbered(3), Task(None, 'module', 'func', (lambda: None,))]
        error = self.fail(queue, tasks)
        queue.enqueue_many(error.pending[:-1])
        assert len(set(waiting(real_or_fake))) == 3

    @pytest.mark.parametrize('wrong', [None, 'task', task_of, ('module', 'func')])
    def test_at_what_is_no_task_names_its_position(self, queue, real_or_fake, wrong):
        error = self.fail(queue, [task_of(None), wrong, task_of(None)])
        assert (error.enqueued, error.position) == (0, 1)
        assert isinstance(error.__cause__, WrongType)
        assert keys(real_or_fake) in ([], ['default_id'])

    @pytest.mark.parametrize('read', [0, 3, MOST_TASKS, MOST_TASKS + 3])
    def test_since_the_iterable_raises_says_so(self, queue, real_or_fake, read):
        def tasks():
            yield from made
            raise ZeroDivisionError('no more')

        made = unnumbered(read)
        error = self.fail(queue, tasks())
        enqueued = read - read % MOST_TASKS
        assert (error.enqueued, error.position, error.pending) == (enqueued, read, made[enqueued:])
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert waiting(real_or_fake) == ids(made[:enqueued])
        assert queue.enqueue_many(error.pending) == read - enqueued
        assert len(set(waiting(real_or_fake))) == read

    def test_since_progress_raises_says_what_is_enqueued(self, queue, real_or_fake):
        def stop(enqueued):
            raise RuntimeError('enough')

        tasks = unnumbered(MOST_TASKS + 3)
        error = self.fail(queue, tasks, stop)
        assert (error.enqueued, error.pending, error.uncertain) == (MOST_TASKS, [], False)
        assert waiting(real_or_fake) == ids(tasks[:MOST_TASKS])

    def test_lets_what_is_no_error_pass(self, queue, real_or_fake):
        def tasks():
            yield task_of(None)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            queue.enqueue_many(tasks())
        assert waiting(real_or_fake) == []


class TestEnqueueManyWhoseReplyIsLost:
    @pytest.fixture
    def proxy(self, redis_server, conn):
        Queue('default', conn).enqueue_many(unnumbered(1))  # so the server knows the scripts
        conn.flushall()
        with CuttingProxy(redis_server.socket_path) as proxy:
            yield proxy

    def queue(self, proxy, retries):
        return Queue('default', proxy.client(retry=Retry(NoBackoff(), retries)))

    def fail(self, queue, tasks):
        with pytest.raises(NotAllEnqueued) as caught:
            queue.enqueue_many(tasks)
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        assert caught.value.uncertain
        return caught.value

    def test_adds_each_task_once_when_the_client_repeats_the_call(self, proxy, conn):
        tasks = unnumbered(MOST_TASKS + 3)
        cut = proxy.cut(*ENQUEUE, times=2)
        self.queue(proxy, 3).enqueue_many(tasks)
        assert cut.seen == 2
        assert waiting(conn) == ids(tasks)

    @pytest.mark.parametrize('fault', ['cut', 'refuse'])
    def test_adds_each_task_once_when_the_program_goes_on_with_those_that_are_pending(self, proxy, conn, fault):
        queue, tasks = self.queue(proxy, 0), unnumbered(2 * MOST_TASKS + 3)

        def fail_later(enqueued):
            getattr(proxy, fault)(*ENQUEUE)

        rest = iter(tasks)
        with pytest.raises(NotAllEnqueued) as caught:
            queue.enqueue_many(rest, fail_later)
        error = caught.value
        assert (error.enqueued, error.position) == (MOST_TASKS, 2 * MOST_TASKS)
        assert 'of the next %d it is not known' % MOST_TASKS in str(error)
        assert queue.enqueue_many([*error.pending, *rest]) == MOST_TASKS + 3
        assert waiting(conn) == ids(tasks)
        assert len(set(ids(tasks))) == len(tasks)

    def test_adds_each_task_once_although_they_were_finished_before_the_program_repeats_it(self, proxy, conn):
        queue, tasks = self.queue(proxy, 0), unnumbered(3)
        proxy.cut(*ENQUEUE)
        error = self.fail(queue, tasks)
        for _ in tasks:
            queue.release(queue.dequeue())
        queue.enqueue_many(error.pending)
        assert keys(conn) == ['default_id']

    def test_adds_a_task_that_was_read_behind_them_as_well(self, proxy, conn):
        queue, tasks = self.queue(proxy, 0), [task_of(None), task_of(None), task_of(100), task_of(200)]
        rest = iter(tasks)
        proxy.cut(*ENQUEUE)
        error = self.fail(queue, rest)
        assert error.pending == tasks[:3]
        queue.enqueue_many([*error.pending, *rest])
        assert waiting(conn) == [1, 2, 100, 200]

    def test_loses_none_that_the_program_enqueues_one_by_one(self, proxy, conn):
        queue, tasks = self.queue(proxy, 0), unnumbered(3)
        proxy.refuse(*ENQUEUE)
        error = self.fail(queue, tasks)
        for task in error.pending:
            queue.enqueue(task)
        assert waiting(conn) == ids(tasks)

    def test_adds_them_under_other_ids_where_redis_has_lost_its_data_meanwhile(self, proxy, conn):
        queue, tasks = self.queue(proxy, 0), unnumbered(3)
        enqueue(queue, 5)
        proxy.refuse(*ENQUEUE)
        error = self.fail(queue, tasks)
        conn.flushall()
        taken = [conn.incr('default_id') for _ in range(10)]
        queue.enqueue_many(error.pending)
        assert waiting(conn) == ids(tasks)
        assert not set(taken) & set(ids(tasks))

    def test_of_a_single_task_is_likewise_repeated_under_another_id(self, proxy, conn):
        queue, task = self.queue(proxy, 0), task_of(None)
        enqueue(queue, 5)
        proxy.refuse(*ENQUEUE)
        with pytest.raises(redis.ConnectionError):
            queue.enqueue(task)
        assert task.id == 6
        conn.flushall()
        queue.enqueue(task)
        assert waiting(conn) == [task.id]
        assert task.id < 6


class TestASignalWhoseHandlerRaisesJustAfterTheReply:
    @pytest.fixture
    def interrupted(self, monkeypatch):
        def interrupt(*_):
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(_producer, '_known', {})  # who has enqueued before may be told that its ids are forgotten
        monkeypatch.setattr(Producer, 'answered', interrupt)

    def test_leaves_the_task_its_id_and_a_repetition_adds_it_once(self, conn, interrupted):
        queue, task = Queue('default', conn), task_of(None)
        with pytest.raises(KeyboardInterrupt):
            queue.enqueue(task)
        assert waiting(conn) == [task.id]
        queue.enqueue(task)
        assert waiting(conn) == [task.id]
        assert task.id not in enqueue(queue, 3)

    def test_leaves_many_their_ids_and_a_repetition_adds_each_once(self, conn, interrupted):
        queue, tasks = Queue('default', conn), unnumbered(3)
        with pytest.raises(KeyboardInterrupt):
            queue.enqueue_many(tasks)
        queue.enqueue_many(tasks)
        assert waiting(conn) == ids(tasks)


class TestALogThatNobodyReads:
    def test_costs_no_record(self, conn, monkeypatch):
        def make(*args, **kwargs):
            raise AssertionError('a record was made')

        monkeypatch.setattr(logger, 'makeRecord', make)
        monkeypatch.setattr(logger, 'handlers', delayed.logger._SILENT)
        enqueue(Queue('default', conn))
