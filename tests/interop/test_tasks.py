"""Tasks cross over between 0.5.1b2 and this package, whoever enqueues, runs or moves them."""

from __future__ import annotations

import signal

from steps import await_end, await_nothing_left, await_runs, enqueue, leftovers, runs

from delayed._stamp import is_stamped
from delayed.queue import Queue
from delayed.task import Task
from waiting import wait_until

SECRET = 's' * 32


class TestTasksThatThePeerEnqueued:
    def test_run_on_our_worker_whichever_way_they_were_enqueued(self, theirs, ours, conn, worker):
        theirs.hand().enqueue_in_each_way()
        ours.work(worker)
        await_runs(conn, 1, 2, 3, 4, 5)
        await_nothing_left(conn)
        assert conn.hgetall('named') == {b'plain': b'text', b'accents': 'déjà vu'.encode()}

    def test_are_read_with_every_field(self, theirs, queue):
        theirs.hand().enqueue_in_each_way()
        tasks = [queue.dequeue() for _ in range(5)]
        assert [(task.id, task.module_name, task.func_name) for task in tasks] == [
            (id, 'chores', 'record') for id in range(1, 6)]
        assert [tuple(task.args) for task in tasks] == [(1,), (2,), (3,), (4,), (5,)]
        assert [task.kwargs for task in tasks] == [{}, {'plain': 'text'}, {'accents': 'déjà vu'}, {}, {}]
        assert [task.timeout for task in tasks] == [None, 60000, None, 60000, None]


class TestTasksThatWeEnqueued:
    def test_run_on_its_worker_whichever_way_they_were_enqueued(self, theirs, ours, conn, worker):
        ours.hand().enqueue_in_each_way()
        theirs.work(worker)
        await_runs(conn, 1, 2, 3, 4, 5)
        await_nothing_left(conn)
        assert conn.hgetall('named') == {b'plain': b'text', b'accents': 'déjà vu'.encode()}

    def test_are_read_with_every_field(self, theirs, queue):
        queue.enqueue(Task(None, 'chores', 'record', (1,), {'plain': 'text'}, 60000))
        task = theirs.hand().dequeue()
        del task['data']
        assert task == {'id': 1, 'module_name': 'chores', 'func_name': 'record', 'args': (1,),
                        'kwargs': {'plain': 'text'}, 'timeout': 60000}

    def test_run_on_its_worker_after_ours_was_told_to_stop_at_once(self, theirs, ours, queue, conn, worker):
        enqueue(queue, 'hold', 1)
        stopped = ours.work(worker)
        await_runs(conn, 1)
        for signum in (signal.SIGTERM, signal.SIGINT):  # two of a kind might arrive as one
            stopped.signal(signum)
        assert stopped.wait() == 0
        theirs.work(worker)
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_nothing_left(conn)

    def test_run_on_its_worker_after_they_were_set_aside_and_put_back(self, theirs, queue, conn):
        enqueue(queue, 'record', 1)
        task = queue.dequeue()
        queue.ledger.set_aside(task.data, task.tokens, 'a reason')
        hand = theirs.hand()
        assert (hand.requeue_lost(), hand.len()) == (0, 0)
        assert queue.requeue_dead(queue.dead()[0].id)
        theirs.work('ForkedWorker')
        await_runs(conn, 1)
        await_nothing_left(conn)


class TestIds:
    def test_rise_for_each_that_enqueues_and_are_none_of_the_others(self, theirs, ours, queue):
        hands = [theirs.hand(), ours.hand()]
        for number in range(1, 7):
            hands[number % 2].enqueue('record', number, number)
        ids = [queue.dequeue().id for _ in range(6)]
        assert len(set(ids)) == 6
        assert ids[::2] == sorted(ids[::2]) and ids[1::2] == sorted(ids[1::2])


class TestMovesByHand:
    """Nobody's sweep finds anything to repair after the other's moves: list and notifications are in step."""

    def test_of_ours_leave_the_peer_nothing_to_repair(self, theirs, queue, conn):
        for number in range(4):
            enqueue(queue, 'record', number)
        released, requeued = queue.dequeue(), queue.dequeue()
        assert queue.release(released)
        assert queue.requeue(requeued)
        hand = theirs.hand()
        assert (hand.requeue_lost(), hand.len()) == (0, 3)
        assert [hand.dequeue()['args'] for _ in range(3)] == [(2,), (3,), (1,)]

    def test_of_the_peer_leave_us_nothing_to_repair(self, theirs, queue):
        hand = theirs.hand()
        hand.enqueue('record', 0, 3)
        released, requeued = hand.dequeue(), hand.dequeue()
        hand.release(released['data'])
        assert hand.requeue(requeued['data'])
        assert (queue.requeue_lost(), queue.len()) == (0, 3)
        assert [tuple(queue.dequeue().args) for _ in range(3)] == [(2,), (3,), (1,)]

    def test_of_the_peer_act_on_the_tasks_that_we_dequeued(self, theirs, queue, conn):
        hand = theirs.hand()
        hand.enqueue('record', 1, 2)
        assert hand.requeue(queue.dequeue().data)
        assert tuple(queue.dequeue().args) == (2,)
        task = queue.dequeue()
        hand.release(task.data)
        assert not queue.requeue(task)
        assert not hand.requeue(task.data)
        hand.release(conn.zrange('default_dequeued', 0, -1)[0])
        assert leftovers(conn) == []

    def test_of_ours_act_on_the_tasks_that_the_peer_dequeued(self, theirs, queue, conn):
        hand = theirs.hand()
        hand.enqueue('record', 1, 2)
        assert queue.requeue(Task.deserialize(hand.dequeue()['data']))
        assert hand.dequeue()['args'] == (2,)
        task = hand.dequeue()
        assert queue.release(Task.deserialize(task['data']))
        assert not hand.requeue(task['data'])
        queue.release(Task.deserialize(conn.zrange('default_dequeued', 0, -1)[0]))
        assert leftovers(conn) == []

    def test_of_the_peer_that_release_what_our_worker_runs_end_it_for_good(self, theirs, ours, conn, worker):
        hand = theirs.hand()
        hand.enqueue('hold', 1, 1)
        ours.work(worker, lease=1)
        await_runs(conn, 1)
        hand.release(conn.zrange('default_dequeued', 0, -1)[0])
        hand.enqueue('record', 2, 2)
        await_runs(conn, 1, 2)  # although nobody let the first go on
        await_nothing_left(conn)

    def test_of_the_peer_that_requeue_what_our_worker_runs_have_it_run_anew(self, theirs, ours, conn, worker):
        hand = theirs.hand()
        hand.enqueue('hold', 1, 1)
        ours.work(worker, lease=1)
        await_runs(conn, 1)
        assert hand.requeue(conn.zrange('default_dequeued', 0, -1)[0])
        await_runs(conn, 1, 1)
        conn.rpush('go', 1)
        await_nothing_left(conn)

    def test_of_the_peer_that_requeue_what_our_worker_then_ends_have_it_run_but_once(self, theirs, ours, queue, conn):
        hand = theirs.hand()
        hand.enqueue('hold', 1, 1)
        ours.work('PreforkedWorker', lease=600)
        await_runs(conn, 1)
        assert hand.requeue(conn.zrange('default_dequeued', 0, -1)[0])
        conn.rpush('go', 1)
        await_end(conn)
        assert queue.requeue_lost() == 0
        assert leftovers(conn) == []
        assert runs(conn) == [1]

    def test_run_on_its_worker_if_they_tell_when_they_were_enqueued(self, theirs, ours, conn, worker):
        ours.hand(stamp=True).enqueue_in_each_way()
        assert all(map(is_stamped, conn.lrange('default', 0, -1)))
        theirs.work(worker)
        await_runs(conn, 1, 2, 3, 4, 5)
        await_nothing_left(conn)


class TestTasksThatWeSigned:
    def test_are_run_by_no_worker_of_its_and_wait_for_ours(self, theirs, ours, conn, queue, worker):
        signed = Queue('default', conn, secret=SECRET)
        enqueue(signed, 'record', 1)
        enqueue(queue, 'record', 2)
        old = theirs.work(worker)
        await_runs(conn, 2)
        wait_until(lambda: conn.zcard('default_dequeued') == 1, 'the end of the other task')
        old.kill()
        payload, = conn.zrange('default_dequeued', 0, -1)
        assert signed.read(payload).args == (1,)
        conn.zadd('default_dequeued', {payload: 1})  # its lease ends
        assert signed.requeue_lost() == 1
        ours.work(worker, queue={'secret': SECRET})
        await_runs(conn, 2, 1)
        await_nothing_left(conn)
