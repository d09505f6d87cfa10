"""What tests of both sides do, and what they look for in Redis."""

from __future__ import annotations

from delayed.task import Task
from waiting import wait_until

_OF_THE_TESTS = {b'runs', b'named', b'go'}


def enqueue(queue, function, number):
    """Enqueues a task of ours."""
    return queue.enqueue(Task(None, 'chores', function, (number,)))


def runs(conn):
    """The numbers of the tasks that have begun, in that order."""
    return [int(number) for number in conn.lrange('runs', 0, -1)]


def await_runs(conn, *numbers):
    wait_until(lambda: runs(conn) == list(numbers), 'runs of %s' % (numbers,))


def await_end(conn):
    wait_until(lambda: not conn.exists('default_enqueued'), 'the end of all tasks')


def leftovers(conn):
    """The keys that stay, in order: none where no task is left. The last id should stay; what expires by itself may."""
    return sorted(key for key in conn.keys() if conn.ttl(key) == -1 and key not in _OF_THE_TESTS | {b'default_id'})


def await_nothing_left(conn):
    wait_until(lambda: not leftovers(conn), 'the end of all keys')
