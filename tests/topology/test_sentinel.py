"""A master that dies, the replica that takes its place, and what was acknowledged before."""

import os
import signal

import pytest

from delayed.errors import InvalidArgument, NotReplicated
from delayed.queue import Queue
from delayed.task import Task
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import wait_until

from .load import start

pytestmark = pytest.mark.long  # a fleet of servers is costly: with the long part


@pytest.fixture
def queue(watched):
    return Queue('default', watched.client(), min_replicas=2, replica_timeout=10)


@pytest.fixture
def frozen(watched):
    """Both replicas do not answer, until it is called."""
    replicas = watched.replicas()

    def thaw():
        for replica in replicas:
            os.kill(replica.pid, signal.SIGCONT)

    for replica in replicas:
        os.kill(replica.pid, signal.SIGSTOP)
    yield thaw
    thaw()


class TestAnEnqueueingCallThatWaitsForReplicas:
    def test_returns_when_they_have_the_task(self, watched, queue):
        queue.enqueue(Task(None, 'tasks', 'run'))
        assert [replica.call('LLEN', 'default') for replica in watched.replicas()] == [1, 1]

    def test_says_how_many_have_it_if_too_few_do_and_has_added_it(self, watched, frozen):
        queue = Queue('default', watched.client(), min_replicas=1, replica_timeout=0.05)
        with pytest.raises(NotReplicated, match='was enqueued, but 0 of 1 replicas') as caught:
            queue.enqueue(Task(None, 'tasks', 'run'))
        assert (caught.value.wanted, caught.value.acknowledged) == (1, 0)
        assert queue.len() == 1

    def test_made_again_adds_nothing_and_waits_again(self, watched, frozen):
        queue = Queue('default', watched.client(), min_replicas=1, replica_timeout=0.05)
        task = Task(None, 'tasks', 'run')
        for _ in range(3):  # not one of them may take the silence of the frozen for consent
            with pytest.raises(NotReplicated):
                queue.enqueue(task)
        frozen()
        again = Queue('default', watched.client(), min_replicas=2, replica_timeout=10)
        again.enqueue(task)
        assert again.len() == 1
        assert [replica.call('LLEN', 'default') for replica in watched.replicas()] == [1, 1]

    def test_waits_no_longer_than_the_client_does(self, watched, frozen):
        queue = Queue('default', watched.client(socket_timeout=0.5), min_replicas=1, replica_timeout=60)
        with pytest.raises(NotReplicated):
            queue.enqueue(Task(None, 'tasks', 'run'))

    def test_needs_a_client_that_keeps_to_one_connection(self, redis_server):
        with redis_server.client(single_connection_client=True) as client, pytest.raises(InvalidArgument, match='pool'):
            Queue('default', client, min_replicas=1)

    def test_works_where_redis_knows_the_script_no_more(self, watched, queue):
        watched.master().call('SCRIPT', 'FLUSH')
        queue.enqueue(Task(None, 'tasks', 'run'))
        assert queue.len() == 1


class TestAMasterThatDies:
    def test_takes_nothing_along_that_a_replica_has_and_stops_nobody(self, watched, lab, tmp_path):
        account = start(lab, tmp_path, [PreforkedWorker, ForkedWorker], 'default', watched.client, min_replicas=1)
        account.await_more()
        dead = watched.master()
        dead.kill()
        wait_until(watched.master, 'another master')
        account.await_more(200)
        dead.start().await_answer()
        account.await_more()
        (tmp_path / 'stop').touch()
        account.await_all()
