"""A worker with `prefetch`: several tasks go to its child at once, and every promise is kept for each of them."""

import os
import signal
import time

import pytest

from delayed._attempt import Verdict
from delayed._books import Done
from delayed._prefetch import BatchBooks, BatchSource
from delayed._stop import Stop
from delayed.errors import InvalidArgument
from delayed.queue import Queue
from delayed.task import Task
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import wait_until
from workers import remains, report, task, told


@pytest.fixture
def worker(queue, monkeypatch):
    """Takes ten at once whenever so many wait, however slow the machine is. Only its first task comes alone."""
    monkeypatch.setattr(BatchBooks, '_next_size', lambda books: 10)
    return lambda **options: told(PreforkedWorker, queue, **{'prefetch': 10, **options})


@pytest.fixture
def unhurried(monkeypatch):
    """Nothing of a batch goes back because the one before takes long."""
    for name in ('SLOW', '_STARTING'):
        monkeypatch.setattr('delayed._batch_monitor.' + name, 60)


def report_alarm():
    report('alarm', signal.getitimer(signal.ITIMER_REAL)[0])


class AlarmWhenRead:
    def __reduce__(self):
        return report_alarm, ()


def put(queue, *tasks):
    """Behind one that comes alone."""
    for each in (task('where'), *tasks):
        queue.enqueue(each)


def waiting(conn):
    """The ids of the tasks that wait, in order."""
    return [Task.deserialize(payload).id for payload in conn.lrange('default', 0, -1)]


def leases(conn):
    return conn.zcard('default_dequeued')


class TestABatch:
    def test_runs_in_order_and_leaves_nothing(self, lab, queue, conn, worker):
        lab.drain(worker(), queue, *(task('run', number) for number in range(25)))
        assert [args[0] for args, _ in lab.reports('ran')] == list(range(25))
        assert lab.reports('succeeded') == [[number] for number in range(1, 27)]
        assert remains(conn) == set()

    def test_grows_with_tasks_that_prove_short(self, queue, conn):
        source = BatchSource(queue, 15, 3)
        source.open()
        books = BatchBooks(source, None, Stop(), lambda seconds: None, lambda child: None, lambda: 8)
        for _ in range(50):
            queue.enqueue(task('run'))
        sizes = []
        for _ in range(11):
            batch = [books.next(), *books.rest()]
            sizes.append(len(batch))
            for lease in batch:
                books.ended(Done(lease, Verdict.RELEASE), 1.0 if len(sizes) == 6 else 0.0001)
        # The first does not know that more wait; one of the sixth is slow.
        assert sizes == [1, 1, 2, 4, 8, 8, 1, 2, 3, 4, 5]
        books.tell()
        source.close()

    def test_is_marked_as_not_begun(self, lab, queue, conn, worker):
        put(queue, task('hold'), task('run'), task('run'))
        program = lab.start_worker(worker())
        lab.expect('holds')
        wait_until(lambda: waiting(conn) == [3, 4])
        wait_until(lambda: [not holder.startswith(b'?') for holder in conn.hvals('default_leases')] == [True])
        lab.open_gate()
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0

    def test_has_no_alarm_of_one_task_when_the_next_is_read(self, lab, queue, worker):
        """To read one may import what takes long."""
        put(queue, task('run', timeout=1), task('run', AlarmWhenRead()), task('stop_worker'))
        assert lab.start_worker(worker()).wait() == 0
        assert lab.reports('alarm') == [[0.0]]

    def test_of_large_payloads_arrives_whole(self, lab, queue, conn, worker):
        sizes = [1, 50_000, 100_000, 10, 65_536, 1_000_000, 3]
        lab.drain(worker(), queue, *(task('size', b'x' * size) for size in sizes))
        assert [size for size, in lab.reports('size')] == sizes
        assert remains(conn) == set()

    @pytest.mark.parametrize('prefetch', [0, -1, 251, 10 ** 9])
    def test_of_an_absurd_size_is_refused_with_the_range(self, queue, prefetch):
        with pytest.raises(InvalidArgument, match=r'prefetch must be from 1 to 250, not %d' % prefetch):
            PreforkedWorker(queue, prefetch=prefetch)

    @pytest.mark.parametrize('prefetch', [1.5, '2', True])
    def test_of_no_number_is_refused(self, queue, prefetch):
        with pytest.raises(TypeError, match='prefetch must be a whole number or None'):
            PreforkedWorker(queue, prefetch=prefetch)

    def test_is_refused_where_each_task_has_a_process(self, queue):
        with pytest.raises(InvalidArgument, match='prefetch is an option of PreforkedWorker'):
            ForkedWorker(queue, prefetch=2)

    def test_is_not_taken_by_a_queue_class_of_the_users_own(self, lab, conn):
        class Own(Queue):
            def release(self, task):
                report('released', task.id)
                return super().release(task)

        own = Own('default', conn)
        lab.drain(told(PreforkedWorker, own, prefetch=10), own, task('run'), task('run'))
        assert lab.reports('released') == [[1], [2], [3]]
        assert 'prefetch has no effect' in lab.log('WARNING')[0]

    def test_is_a_small_one_by_default(self, lab, queue, monkeypatch):
        advance = BatchSource.advance

        def noting(source, done, begun=None, ahead=False, most=1):
            advance(source, done, begun, ahead, most)
            if len(done) > 1:
                report('size', most)

        monkeypatch.setattr(BatchBooks, '_next_size', lambda books: books._most())
        monkeypatch.setattr(BatchSource, 'advance', noting)
        lab.drain(told(PreforkedWorker, queue), queue, *(task('run') for _ in range(30)))
        assert {size for size, in lab.reports('size')} == {8}

    def test_ends_where_a_child_has_run_as_many_as_it_may(self, lab, queue, conn, worker):
        lab.drain(worker(max_tasks=4), queue, *(task('where') for _ in range(11)))
        pids = [pid for pid, _ in lab.reports('where')]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [4, 4, 3]
        assert remains(conn) == set()
        assert lab.log('WARNING') == []


class TestASlowTask:
    def test_leaves_its_child_as_many_tasks_as_it_may_run(self, lab, queue, conn, worker):
        put(queue, task('hold'), task('where'), task('where'))
        program = lab.start_worker(worker(max_tasks=3))
        lab.expect('holds')
        wait_until(lambda: waiting(conn) == [3, 4])
        lab.open_gate()
        first, second, third = (lab.expect('where')[0] for _ in range(3))
        assert first == second != third
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_is_on_record_as_begun_even_where_none_waits_behind_it(self, lab, queue, conn, worker):
        put(queue, task('run'), task('run'), task('hold'))
        program = lab.start_worker(worker())
        lab.expect('ran')
        lab.expect('ran')
        lab.expect('holds')
        wait_until(lambda: [not holder.startswith(b'?') for holder in conn.hvals('default_leases')] == [True])
        lab.open_gate()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_lets_the_others_of_its_batch_wait_for_another_worker_at_once(self, lab, queue, conn, worker):
        put(queue, task('run', 'first'), task('hold'), task('run', 'second'), task('run', 'third'))
        program = lab.start_worker(worker())
        lab.expect('holds')
        wait_until(lambda: waiting(conn) == [4, 5])
        assert conn.llen('default_noti') == 2
        lab.start_worker(told(PreforkedWorker, queue))
        assert [lab.expect('ran')[0][0] for _ in range(3)] == ['first', 'second', 'third']
        assert lab.expect('succeeded')
        lab.open_gate()
        wait_until(lambda: remains(conn) == set())
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert conn.hlen('default_losses') == 0

    def test_is_ended_when_its_own_time_is_over_and_nothing_else_is(self, lab, queue, conn, worker):
        lab.drain(worker(), queue, task('run', 1), task('time.sleep', 3600, timeout=0.2), task('run', 2))
        assert lab.reports('failed') == [[2, signal.SIGTERM, None, None, False]]
        assert [args[0] for args, _ in lab.reports('ran')] == [1, 2]
        assert remains(conn) == set()

    def test_that_ends_by_an_exception_when_its_time_is_over_takes_no_worker_along(self, lab, queue, conn, worker):
        put(queue, task('raise_on_sigterm', timeout=0.2), *(task('run', number) for number in range(5)))
        lab.drain(worker(kill_timeout=30), queue)
        assert [args[0] for args, _ in lab.reports('ran')] == list(range(5))
        assert lab.reports('failed') == [[2, None, 'TimeoutError', 'on purpose', True]]
        assert remains(conn) == set()

    def test_has_a_timeout_that_counts_from_its_own_beginning(self, lab, queue, conn, worker):
        """Together they would take longer than the timeout of each."""
        lab.drain(worker(), queue, *(task('time.sleep', 0.15, timeout=1) for _ in range(9)))
        assert lab.reports('failed') == []
        assert remains(conn) == set()

    def test_whose_time_is_shorter_than_that_of_a_batch_ends_alone(self, lab, queue, conn, worker):
        put(queue, task('time.sleep', 3600, timeout=0.001), *(task('run', number) for number in range(5)))
        lab.drain(worker(), queue)
        assert lab.reports('failed') == [[2, signal.SIGTERM, None, None, False]]
        assert [args[0] for args, _ in lab.reports('ran')] == list(range(5))


    def test_that_takes_long_keeps_none_of_its_batch_alive_past_their_lease(self, lab, queue, conn, worker,
                                                                             unhurried):
        """A child whose monitor is frozen begins nothing that may have become another's."""
        put(queue, task('run', 1), task('hold'), task('run', 2), task('run', 3))
        program = lab.start_worker(worker(lease=1))
        lab.expect('holds')
        os.kill(program.pid, signal.SIGSTOP)
        wait_until(lambda: all(float(token) / 1000 - 0.5 < conn.time()[0] for token in conn.hkeys('default_leases')))
        assert lab.reports('ran') == [[[1], {}]]
        lab.open_gate()
        assert lab.expect('succeeded') and lab.expect('succeeded') and lab.expect('succeeded')
        assert lab.reports('ran') == []
        os.kill(program.pid, signal.SIGCONT)
        assert [lab.expect('ran')[0][0] for _ in range(2)] == [2, 3]
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert remains(conn) == set()


class TestAnUnusualTask:
    def test_is_set_aside_with_its_reason(self, lab, queue, conn, worker):
        put(queue, task('run', 1), task('no_such_function'))
        conn.rpush('default', b'no pickle')
        conn.rpush('default_noti', '1')
        lab.drain(worker(), queue, task('run', 2))
        assert [args[0] for args, _ in lab.reports('ran')] == [1, 2]
        reasons = [letter.reason for letter in queue.dead()]
        assert 'no_such_function' in reasons[0]
        assert 'cannot be unpickled' in reasons[1]

    def test_that_fails_has_failed(self, lab, queue, conn, worker):
        lab.drain(worker(), queue, task('fail', 'one'), task('run'), task('fail', 'two'))
        assert [(id, text) for id, _, _, text, _ in lab.reports('failed')] == [(1, 'one'), (3, 'two')]
        assert remains(conn) == set()

    def test_that_ends_its_process_has_failed_and_the_others_run_elsewhere(self, lab, queue, conn, worker):
        put(queue, task('run', 1), task('os._exit', 3), task('run', 2), task('kill_self', 9), task('run', 3))
        lab.drain(worker(), queue)
        assert [args[0] for args, _ in lab.reports('ran')] == [1, 2, 3]
        assert [(id, signum) for id, signum, *_ in lab.reports('failed')] == [(3, None), (5, 9)]
        assert remains(conn) == set()

    def test_that_forks_and_comes_back_twice_is_done_once(self, lab, queue, conn, worker):
        put(queue, task('run', 1), task('fork'), task('run', 2))
        lab.drain(worker(), queue)
        assert [args[0] for args, _ in lab.reports('ran')] == [1, 2]
        assert remains(conn) == set()

    def test_that_closes_our_descriptors_hurts_nothing_else(self, lab, queue, conn, worker, tmp_path):
        def program():
            lab.be_silent()
            worker().run()

        put(queue, task('count'), task('close_all', str(tmp_path)), *(task('builtins.int') for _ in range(3)))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert remains(conn) == set()

    def test_keeps_its_handler_from_being_cut_short(self, lab, queue, conn, worker):
        def slow(done):
            time.sleep(0.05)
            report('handled', done.id)

        put(queue, *(task('run', number) for number in range(3)))
        lab.drain(worker(success_handler=slow), queue)
        assert lab.reports('handled') == [[number] for number in range(1, 6)]


class TestDeath:
    def test_of_the_child_returns_what_had_not_begun_at_once(self, lab, queue, conn, worker):
        put(queue, *(task('run', number) for number in range(4)))
        program = lab.start_worker(worker())
        pid, _ = lab.expect('where')
        wait_until(lambda: not remains(conn))
        os.kill(pid, signal.SIGSTOP)
        for number in range(10, 14):
            queue.enqueue(task('run', number))
        wait_until(lambda: leases(conn))
        os.kill(pid, signal.SIGKILL)
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert [args[0] for args, _ in lab.reports('ran')] == [0, 1, 2, 3, 10, 11, 12, 13]
        assert remains(conn) == set()

    def test_of_the_monitor_lets_the_child_finish_its_task_and_return_the_others_at_once(
            self, lab, queue, conn, worker, unhurried):
        put(queue, task('run'), task('hold'), task('run', 'second'), task('run', 'third'))
        program = lab.start_worker(worker())
        lab.expect('holds')
        assert waiting(conn) == []
        program.signal(signal.SIGKILL)
        wait_until(lambda: waiting(conn) == [4, 5])
        lab.open_gate()
        wait_until(lambda: not leases(conn))
        program.await_last()
        assert lab.reports('ran') == [[[], {}]]
        assert conn.hlen('default_losses') == 0
        lab.drain(told(PreforkedWorker, queue), queue)
        assert [args[0] for args, _ in lab.reports('ran')] == ['second', 'third']
        assert remains(conn) == set()

    def test_of_both_leaves_it_on_record_which_have_begun(self, lab, queue, conn, worker, unhurried):
        put(queue, task('hold'), task('run', 'second'), task('run', 'third'))
        program = lab.start_worker(worker())
        child, _ = lab.expect('holds')
        wait_until(lambda: sorted(holder[:1] == b'?' for holder in conn.hvals('default_leases')) == [False, True, True])
        os.kill(program.pid, signal.SIGSTOP)
        os.kill(child, signal.SIGKILL)
        program.signal(signal.SIGKILL)
        program.wait()
        dequeued = conn.zrange('default_dequeued', 0, -1, withscores=True)
        holders = {payload: conn.hget('default_leases', b'%.3f' % score) for payload, score in dequeued}
        assert [Task.deserialize(payload).id for payload, holder in holders.items() if holder[:1] != b'?'] == [2]

    def test_has_those_that_were_lost_run_alone(self, queue, conn):
        """Of several, only the first would be counted as lost, were the machine to go down again."""
        payloads = [queue.enqueue(task('run')).data for _ in range(6)]
        for lost in (payloads[0], payloads[3]):
            conn.hset('default_losses', lost, '1000')
        source = BatchSource(queue, 15, 3)
        source.open()
        taken = []
        for _ in range(5):
            source.advance([], most=8)
            taken.append([payloads.index(lease.payload) for lease in source.advanced()[1]])
        assert taken == [[0], [1, 2], [3], [4, 5], []]
        assert conn.llen('default_noti') == 0
        source.close()


class TestStopping:
    @pytest.fixture
    def stopped(self, lab, queue, conn, worker, unhurried):
        """A worker that was asked to stop while the second of a batch of four runs, and has returned the others."""
        put(queue, task('run'), task('hold'), task('run', 'second'), task('run', 'third'))
        program = lab.start_worker(worker())
        lab.expect('holds')
        program.signal(signal.SIGTERM)
        wait_until(lambda: waiting(conn) == [4, 5])
        return program

    def test_lets_the_running_task_finish_and_returns_the_others(self, lab, conn, stopped):
        lab.open_gate()
        assert stopped.wait() == 0
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == {b'default', b'default_noti', b'default_enqueued'}

    def test_at_once_returns_the_running_task_in_front_of_the_others(self, conn, stopped):
        stopped.signal(signal.SIGTERM)
        assert stopped.wait() == 0
        assert waiting(conn) == [3, 4, 5]
        assert conn.hlen('default_losses') == 0
