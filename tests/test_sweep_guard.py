"""Leases that workers renew are swept only where the living had the chance to renew them; see may_sweep.lua."""

import os
import signal
import subprocess
import sys

import pytest

from delayed.queue import Queue
from delayed.task import Task
from waiting import DEADLINE, wait_until

LONG_AGO_MS = 3_600_000

WORK = '''
import sys
import redis
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
conn = redis.Redis(unix_socket_path=sys.argv[1])
PreforkedWorker(Queue('default', conn), lease=float(sys.argv[2]), sweep_interval=float(sys.argv[3])).run()
'''


def server_ms(conn):
    seconds, microseconds = conn.time()
    return seconds * 1000 + microseconds / 1000


def note(conn, asked_ms_ago):
    """Somebody asked so long ago, and nothing is spared any more."""
    now = server_ms(conn)
    conn.set('default_swept', '%.3f %.3f' % (now - asked_ms_ago, now - LONG_AGO_MS))


def later(conn, ms):
    """Lets so much time go by for the note."""
    asked, spared, shortest, heard = map(float, conn.get('default_swept').split())
    conn.set('default_swept', '%.3f %.3f %.3f %.3f' % (asked - ms, spared - ms, shortest, heard - ms))


class TestWhoAsks:
    def test_may_sweep_where_somebody_asked_within_half_a_lease(self, conn, queue):
        note(conn, 6000)
        assert queue.ledger.may_sweep(15_000)

    def test_spares_the_living_for_a_lease_where_nobody_did(self, conn, queue):
        note(conn, 8000)
        assert not queue.ledger.may_sweep(15_000)
        assert not queue.ledger.may_sweep(15_000)

    def test_goes_by_the_shortest_lease_of_those_who_ask(self, conn, queue):
        note(conn, 100)
        assert queue.ledger.may_sweep(1000)
        later(conn, 700)
        assert not queue.ledger.may_sweep(15_000)  # a sweeper's, which knows nothing of the workers'

    def test_forgets_a_short_lease_of_which_it_has_not_heard_for_long(self, conn, queue):
        note(conn, 100)
        assert queue.ledger.may_sweep(1000)
        later(conn, 11_000)
        assert not queue.ledger.may_sweep(15_000)
        later(conn, 7000)
        queue.ledger.may_sweep(15_000)
        later(conn, 7000)
        queue.ledger.may_sweep(15_000)
        later(conn, 7000)
        assert queue.ledger.may_sweep(15_000)

    @pytest.mark.parametrize('note', ['', 'x', 'x y z', '%.3f x', '%.3f', 'nan nan', '%.3f %.3f x y'])
    def test_takes_a_note_that_somebody_else_wrote_for_none(self, conn, queue, note):
        now = server_ms(conn)
        conn.set('default_swept', note % ((now,) * note.count('%')))
        queue.ledger.may_sweep(15_000)
        assert float(conn.get('default_swept').split()[0]) >= now

    def test_notices_that_nobody_could_ask_however_short_the_leases_are(self, conn, queue):
        note(conn, 700)
        assert not queue.ledger.may_sweep(1000)


@pytest.mark.parametrize('lease, interval', [(1, 3), (3, 60)])
def test_one_worker_alone_brings_back_what_is_lost_however_short_its_lease(conn, redis_server, lease, interval):
    queue = Queue('default', conn)
    task = Task(1, 'os', 'write', (1, b'ran'))
    lost = '%.3f' % (server_ms(conn) - 1000)
    conn.zadd('default_enqueued', {task.serialize(): 610_000})
    conn.zadd('default_dequeued', {task.data: lost})
    conn.hset('default_leases', lost, 'a worker that is dead')
    with subprocess.Popen([sys.executable, '-c', WORK, redis_server.socket_path, str(lease), str(interval)],
                          stdout=subprocess.PIPE) as worker:
        try:
            wait_until(lambda: not conn.exists('default_enqueued'), 'the release of the lost task')
            assert os.read(worker.stdout.fileno(), 100) == b'ran'
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(DEADLINE) == 0
    assert queue.len() == 0
