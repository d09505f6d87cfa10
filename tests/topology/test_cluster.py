"""A queue in a Redis Cluster: every operation, and what goes on while its slot moves or its master dies."""

import threading

import pytest
import redis
from redis.exceptions import TryAgainError

from delayed import _pooled, _scripts
from delayed._cluster import ClusterCaller
from delayed.errors import InvalidArgument
from delayed.queue import Queue
from delayed.sweeper import Sweeper
from delayed.task import Task
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import DEADLINE, wait_until
from workers import told

from .load import start

pytestmark = pytest.mark.long  # a fleet of servers is costly: with the long part

NAME = '{tests}'


@pytest.fixture
def queue(cluster):
    return Queue(NAME, cluster.client())


class TestAQueue:
    def test_without_a_tag_is_refused_and_the_name_to_use_is_told(self, cluster):
        with pytest.raises(InvalidArgument, match="call the queue '{plain}'"):
            Queue('plain', cluster.client())

    def test_calls_the_node_of_its_slot(self, queue):
        assert type(queue.ledger.caller) is ClusterCaller

    def test_serves_every_operation(self, queue):
        for number in range(3):
            queue.enqueue(Task(None, 'tasks', 'run', (number,)))
        first, second = queue.dequeue(), queue.dequeue()
        assert (first.args, second.args, queue.len()) == ((0,), (1,), 1)
        assert queue.requeue(first) and queue.release(second) and not queue.requeue(second)
        assert (queue.requeue_lost(), queue.len(), queue.dead_len()) == (0, 2, 0)

    def test_serves_the_moves_of_a_worker(self, queue):
        queue.enqueue(Task(None, 'tasks', 'run'))
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        caller = queue.ledger.caller.hold()
        ledger = queue.ledger.using(caller)
        assert ledger.denied() == []
        assert ledger.wait() and ledger.may_sweep(1000) is False
        taken = ledger.take('notified', 15_000, 'holder:1')
        ledger.advance(taken.payload, (taken.token,), (b'', ''), 'ready', 15_000, 'holder:2')
        released, (second,) = ledger.advanced()
        assert released and ledger.reclaim('holder:2') == second
        now = float(ledger.renew(second.payload, (second.token,), b'1', 15_000, 'holder:2'))
        token = b'%.3f' % (now + 15_000)
        assert ledger.renew(second.payload, (second.token,), token, 15_000, 'holder:2') is True
        assert ledger.lose(second.payload, (token,), 1) == 2
        letter, = ledger.dead_letters(0, 2)
        assert ledger.requeue_dead(letter.id) and ledger.waiting() == 1
        caller.let_go()

    def test_is_emptied_by_each_worker(self, cluster, lab, worker_class):
        queue = Queue(NAME, cluster.client())
        lab.drain(told(worker_class, queue), queue, *(Task(None, 'tasks', 'run', (number,)) for number in range(5)))
        assert [args for args, _ in lab.reports('ran')] == [[number] for number in range(5)]

    def test_is_swept_with_others_of_other_slots(self, cluster):
        queues = [Queue('{tests%d}' % number, cluster.client()) for number in range(3)]
        assert len({cluster.master_of(queue.name) for queue in queues}) > 1
        for queue in queues:
            queue.enqueue(Task(None, 'tasks', 'run'))
            queue.ledger.take('ready', 1.0)  # a lease of a millisecond
        sweeper = Sweeper(queues, interval=0.01)
        sweeping = threading.Thread(target=sweeper.run)
        sweeping.start()
        wait_until(lambda: all(queue.len() == 1 for queue in queues), 'the lost tasks')
        sweeper.stop()
        sweeping.join(DEADLINE)


class TestACallWhoseReplyIsLost:
    def test_is_not_repeated_if_it_would_take_another_task(self, queue, monkeypatch):
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        queue.enqueue(Task(None, 'tasks', 'run', (2,)))
        lose_reply(monkeypatch, _scripts.ADVANCE)
        with pytest.raises(redis.ConnectionError):
            queue.ledger.advance(b'', (), (b'', ''), 'ready', 15_000, 'holder:1')
        assert queue.len() == 1

    def test_is_repeated_where_that_does_no_harm(self, queue, monkeypatch):
        lost = lose_reply(monkeypatch, _scripts.ENQUEUE)
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        assert (queue.len(), len(lost)) == (1, 1)


def lose_reply(monkeypatch, script):
    """The next time that this script has run, its reply does not arrive. Returns a list of what was lost."""
    exchange, lost = _pooled.exchange, []

    def losing(connection, request, *args):
        reply = exchange(connection, request, *args)
        if not lost and any(word.encode() in b''.join(request) for word in (script.sha, script.source)):
            lost.append(reply)
            connection.disconnect()
            raise redis.ConnectionError('lost on purpose')
        return reply

    monkeypatch.setattr(_pooled, 'exchange', losing)
    return lost


class TestASlotOnItsWay:
    def test_leads_calls_to_where_it_is_now(self, cluster, queue):
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        held = queue.ledger.caller.hold()
        assert queue.ledger.using(held).waiting() == 1
        before = cluster.master_of(NAME)
        cluster.move_slot(NAME)
        assert cluster.master_of(NAME) is not before
        assert queue.ledger.using(held).waiting() == queue.len() == 1
        queue.enqueue(Task(None, 'tasks', 'run', (2,)))
        assert [queue.dequeue().args, queue.dequeue().args] == [(1,), (2,)]
        held.let_go()

    def test_leads_a_call_for_a_key_that_has_gone_ahead_to_it(self, cluster, queue):
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        with cluster.moving(NAME, batch=100) as move:
            move()
            assert queue.len() == 1
            assert queue.ledger.wait()

    def test_makes_a_call_wait_that_needs_more_keys_than_one_node_has(self, cluster, queue, monkeypatch):
        """A script needs all of its keys on one node, and those that do not exist are on none."""
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        waits = threading.Event()
        pause = ClusterCaller._pause
        monkeypatch.setattr(ClusterCaller, '_pause', lambda *args: waits.set() or pause(*args))
        second = threading.Thread(target=queue.enqueue, args=(Task(None, 'tasks', 'run', (2,)),))
        with cluster.moving(NAME) as move:
            move()
            second.start()
            assert waits.wait(DEADLINE)
        second.join(DEADLINE)
        assert [queue.dequeue().args, queue.dequeue().args] == [(1,), (2,)]

    def test_makes_no_call_wait_for_longer_than_its_patience(self, cluster, monkeypatch):
        monkeypatch.setattr('delayed._cluster.PATIENCE', 0.0)
        queue = Queue(NAME, cluster.client())
        queue.enqueue(Task(None, 'tasks', 'run', (1,)))
        with cluster.moving(NAME) as move:
            move()
            with pytest.raises(TryAgainError):
                queue.dequeue()
        assert queue.dequeue().args == (1,)

    def test_loses_nothing_under_load_and_runs_nothing_twice(self, cluster, lab, tmp_path):
        account = start(lab, tmp_path, [PreforkedWorker, ForkedWorker], NAME, cluster.client)
        for batch in (1, 3, 100):
            account.await_more()
            cluster.move_slot(NAME, batch)
        account.await_more()
        (tmp_path / 'stop').touch()
        account.await_all()
        assert account.twice == []


class TestAMasterThatDies:
    def test_takes_nothing_along_that_its_replica_has_and_stops_nobody(self, cluster, lab, tmp_path):
        account = start(lab, tmp_path, [PreforkedWorker, ForkedWorker], NAME, cluster.client, min_replicas=1)
        account.await_more()
        dead = cluster.master_of(NAME)
        dead.kill()
        wait_until(lambda: cluster.master_of(NAME) is not dead, 'another master')
        dead.start().await_answer()  # as a replica: without one, nothing is acknowledged
        account.await_more(200)
        cluster.await_health()
        (tmp_path / 'stop').touch()
        account.await_all()
