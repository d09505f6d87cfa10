"""Machines whose clocks differ by an hour, and a server whose clock is set."""

import time

import pytest

from delayed import _scripts
from delayed.sweeper import Sweeper
from waiting import wait_until
from workers import remains, task, told

from .test_outages import run_until_sigterm
from .test_scenarios import KEPT, kill, stop

HOUR = 3600


def an_hour_off(seconds, run):
    """A program whose clock is so far off."""
    def program():
        now = time.time
        time.time = lambda: now() + seconds
        time.time_ns = lambda: int(time.time() * 1e9)
        run()
    return program


def renewed(conn, leases):
    """How many of the leases were renewed."""
    now = dict(conn.zrange('default_dequeued', 0, -1, withscores=True))
    assert now.keys() == leases.keys(), 'a task was taken from a living worker'
    return sum(now[payload] != end for payload, end in leases.items())


def await_renewals(conn, times):
    for _ in range(times):
        leases = dict(conn.zrange('default_dequeued', 0, -1, withscores=True))
        wait_until(lambda leases=leases: renewed(conn, leases) == len(leases), 'the renewal of all leases')


class TestMachinesThatAreAnHourApart:
    @pytest.mark.long
    @pytest.mark.parametrize('ahead', [HOUR, -HOUR], ids=['worker ahead', 'worker behind'])
    def test_work_as_if_they_were_not(self, lab, queue, conn, worker_class, ahead):
        lab.start(an_hour_off(-ahead, lambda: queue.enqueue(task('hold')))).wait()
        subject = lab.start(an_hour_off(ahead, told(worker_class, queue, **KEPT).run))
        child, monitor = lab.expect('holds')
        others = [lab.start(an_hour_off(-ahead, told(worker_class, queue, **KEPT).run)),
                  lab.start(an_hour_off(-ahead, lambda: run_until_sigterm(Sweeper(queue, interval=0.2))))]
        await_renewals(conn, 4)
        kill(monitor, child)
        _, heir = lab.expect('holds')
        assert (subject.pid, others[0].pid) == (monitor, heir)
        lab.open_gate()
        lab.expect('succeeded')
        stop(*others)
        assert lab.reports() == []
        assert remains(conn) == set()


@pytest.fixture
def set_clock(conn, monkeypatch):
    """Sets the server's clock, as the scripts see it, so many seconds ahead."""
    for name, script in vars(_scripts).items():
        if isinstance(script, _scripts.Script):
            source = script.source.replace(
                "local time = redis.call('time')",
                "local time = redis.call('time')\n    time[1] = time[1] + (redis.call('get', 'seconds_ahead') or 0)")
            if source == script.source:
                continue  # it asks for no time
            changed = _scripts.Script(script.name, source, conn.script_load(source))
            monkeypatch.setattr(_scripts, name, changed)
    return lambda seconds: conn.set('seconds_ahead', seconds)


class TestAServersClock:
    @pytest.mark.parametrize('jump', [HOUR, -HOUR], ids=['ahead', 'back'])
    def test_that_is_set_costs_no_living_worker_its_task(self, lab, queue, conn, set_clock, worker_class, jump):
        for _ in range(2):
            queue.enqueue(task('hold'))
        workers = [lab.start_worker(told(worker_class, queue, **KEPT)) for _ in range(3)]
        for _ in range(2):
            lab.expect('holds')
        set_clock(jump)
        await_renewals(conn, 4)
        lab.open_gate(2)
        for _ in range(2):
            lab.expect('succeeded')
        stop(*workers)
        assert lab.reports() == []
        conn.delete('seconds_ahead')
        assert remains(conn) == set()

    def test_that_is_set_ahead_delays_no_recovery(self, lab, queue, conn, set_clock, worker_class):
        queue.enqueue(task('hold'))
        workers = [lab.start_worker(told(worker_class, queue, **KEPT)) for _ in range(2)]
        lost = lab.expect('holds')
        set_clock(HOUR)
        kill(*lost)
        lab.expect('holds')
        lab.open_gate()
        lab.expect('succeeded')
        stop(*(worker for worker in workers if worker.pid not in lost))
