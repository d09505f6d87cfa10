"""What the tests of queues put into Redis, and find there. The queue is named `default`."""

import contextlib
import pickle

from delayed.task import Task
from waiting import wait_until


@contextlib.contextmanager
def emptied(server):
    """A client of a server that holds no data."""
    client = server.client()
    client.flushall()
    yield client
    client.close()
    client.connection_pool.disconnect()


def task_of(number, timeout=None):
    return Task(number, 'module', 'func', (number,), timeout=timeout)


def payload_of(number):
    return task_of(number).serialize()


def server_ms(conn):
    seconds, microseconds = conn.time()
    return seconds * 1000 + microseconds / 1000


def lose(conn, *numbers, ago_ms=3_600_000, holder=None):
    """Notes tasks as dequeued, the first one lost first, the last one so long ago."""
    now = server_ms(conn)
    for number in numbers:
        score = '%.3f' % (now - ago_ms - (len(numbers) - numbers.index(number)))
        conn.zadd('default_enqueued', {payload_of(number): 610_000})
        conn.zadd('default_dequeued', {payload_of(number): score})
        if holder:
            conn.hset('default_leases', score, holder)


def waiting(conn):
    """The ids of those that wait, next first; there is a notification for each of them."""
    ids = [pickle.loads(payload)[0] for payload in conn.lrange('default', 0, -1)]
    assert conn.llen('default_noti') == len(ids)
    return ids


def keys(conn):
    """What stands in Redis beside the producers' records."""
    return sorted(key.decode() for key in conn.keys() if b'_producer_' not in key)


def take_one(queue):
    """The next task, however long it takes to come."""
    return wait_until(queue.dequeue, 'a task')
