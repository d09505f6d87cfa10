"""Redis goes away, comes back, forgets, is full, or is read only, while workers work."""

import os
import signal
import time

import pytest
import redis

from delayed.embedded import EmbeddedRedis
from delayed.queue import Queue
from delayed.sweeper import Sweeper
from waiting import wait_until
from workers import remains, task, told

from .test_scenarios import KEPT, kill, stop

LEASE = KEPT['lease']


class Site:
    """A server of the test's own, and a queue on it."""

    def __init__(self, server):
        self.server = server
        self.conn = server.client()  # of the test, the other one of the programs
        self.queue = Queue('default', server.client(socket_timeout=0.5))

    def leases(self):
        """When each ends, in Unix ms."""
        return dict(self.conn.zrange('default_dequeued', 0, -1, withscores=True))

    def await_renewals(self, before):
        """Waits until each of the leases was renewed since it was as in `before`."""
        def renewed():
            leases = self.leases()
            assert leases.keys() == before.keys(), 'a task was taken from a living worker'
            return all(leases[payload] > end for payload, end in before.items())
        wait_until(renewed, 'the renewal of all leases')


@pytest.fixture(params=[True], ids=[''])
def site(request):
    with EmbeddedRedis(appendonly=request.param, tcp=False) as server:
        site = Site(server)
        yield site
        for conn in (site.conn, site.queue._conn):
            conn.connection_pool.disconnect()


def freeze(site, seconds):
    os.kill(site.server.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(site.server.pid, signal.SIGCONT)


def restart(site, seconds):
    site.server.kill()
    time.sleep(seconds)
    site.server.start()


class TestAnOutage:
    @pytest.mark.parametrize('outage, leases', [
        (freeze, 1.2), *(pytest.param(*case, marks=pytest.mark.long) for case in (
            (freeze, 3), (restart, 1.2), (restart, 3)))])
    def test_that_is_longer_than_the_leases_costs_no_living_worker_its_task(self, lab, site, worker_class, outage,
                                                                            leases):
        for _ in range(3):
            site.queue.enqueue(task('hold'))
        workers = [lab.start_worker(told(worker_class, site.queue, **KEPT)) for _ in range(4)]  # the fourth is idle
        sweeper = lab.start(lambda: run_until_sigterm(Sweeper(site.queue, interval=0.2)))
        for _ in range(3):
            lab.expect('holds')
        before = site.leases()
        outage(site, leases * LEASE)
        site.await_renewals(before)
        for _ in range(3):  # by now nobody is spared any more, but by the sweeper
            site.await_renewals(site.leases())
        lab.open_gate(3)
        for _ in range(3):
            lab.expect('succeeded')
        stop(*workers, sweeper)
        assert lab.reports() == []  # none was begun again
        assert remains(site.conn) == set()

    def test_hides_no_task_that_was_lost_in_it(self, lab, site, worker_class):
        for _ in range(2):
            site.queue.enqueue(task('hold'))
        workers = [lab.start_worker(told(worker_class, site.queue, **KEPT)) for _ in range(3)]
        lost, _ = (lab.expect('holds') for _ in range(2))
        site.server.kill()
        kill(*lost)
        site.server.start()
        lab.expect('holds')
        lab.open_gate(2)
        for _ in range(2):
            lab.expect('succeeded')
        stop(*(worker for worker in workers if worker.pid not in lost))
        assert remains(site.conn) == set()


def run_until_sigterm(sweeper):
    signal.signal(signal.SIGTERM, lambda *_: sweeper.stop())
    sweeper.run()


def flush_scripts(site, lab):
    site.conn.script_flush()


def kill_connections(site, lab):
    site.conn.client_kill_filter(_type='normal', skipme=True)


def be_a_replica(site, lab):
    """As after a failover that went the other way: it takes no writes."""
    site.conn.config_set('replica-read-only', 'yes')
    site.conn.execute_command('REPLICAOF', '127.0.0.1', '1')
    try:
        wait_until(lambda: [line for line in lab.log() if 'lost Redis' in line], 'the loss of Redis')
    finally:
        site.conn.execute_command('REPLICAOF', 'NO', 'ONE')
    wait_until(lambda: [line for line in lab.log() if 'Redis is back' in line], 'the return of Redis')


class TestAWorkerSurvives:
    @pytest.mark.parametrize('what', [flush_scripts, kill_connections, be_a_replica])
    @pytest.mark.parametrize('busy', [True, False], ids=['busy', 'idle'])
    def test_that_redis(self, lab, site, worker_class, what, busy):
        worker = lab.start_worker(told(worker_class, site.queue, **KEPT))
        if busy:
            site.queue.enqueue(task('hold'))
            lab.expect('holds')
            before = site.leases()
        what(site, lab)
        if busy:
            site.await_renewals(before)
            lab.open_gate()
            lab.expect('succeeded')
        site.queue.enqueue(task('run', 'after it'))
        assert lab.expect('ran') == [['after it'], {}]
        stop(worker)
        assert [kind for kind, *_ in lab.reports()] == ['succeeded']
        assert remains(site.conn) == set()

    def test_that_redis_is_full_and_empties_it(self, lab, site, worker_class):
        site.queue.enqueue(task('hold'))
        for number in range(3):
            site.queue.enqueue(task('run', number))
        worker = lab.start_worker(told(worker_class, site.queue, **KEPT))
        lab.expect('holds')
        site.conn.config_set('maxmemory-policy', 'noeviction')
        site.conn.config_set('maxmemory', 1)
        with pytest.raises(redis.exceptions.ResponseError, match='OOM|maxmemory'):
            site.queue.enqueue(task('run', 'too many'))
        site.await_renewals(site.leases())
        lab.open_gate()
        for number in range(3):
            assert lab.expect('ran') == [[number], {}]
        wait_until(lambda: not remains(site.conn), 'the release of all tasks')
        site.conn.config_set('maxmemory', 0)
        site.queue.enqueue(task('run', 'room again'))
        assert lab.expect('ran') == [['room again'], {}]
        stop(worker)

    @pytest.mark.parametrize('site', [False], ids=[''], indirect=True)
    def test_that_redis_forgets_everything(self, lab, site, worker_class):
        """Nothing is promised of what it forgot; but the worker goes on."""
        worker = lab.start_worker(told(worker_class, site.queue, **KEPT))
        site.queue.enqueue(task('hold'))
        lab.expect('holds')
        restart(site, 0)
        site.queue.enqueue(task('run', 'after it'))
        assert lab.expect('ran') == [['after it'], {}]
        stop(worker)
        assert remains(site.conn) == set()
