"""Redis goes away and comes back: a worker waits for it patiently, says so once, and goes on."""

import resource
import signal
import threading
import time

import pytest

from delayed.embedded import EmbeddedRedis
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
from waiting import wait_until
from workers import pass_gate, remains, report, task, told


@pytest.fixture
def server(redis_server):
    """A server of one test's own, which keeps its data over a crash."""
    with EmbeddedRedis(appendonly=True) as server:
        yield server


@pytest.fixture
def queue(server):
    client = server.client()
    yield Queue('default', client)
    client.close()
    client.connection_pool.disconnect()


def talk_of_redis(lab):
    """What was logged of Redis, by its beginning."""
    return [line.split(' (')[0].split(' after')[0] for line in lab.log() if 'Redis' in line]


TWO_LINES = ['ERROR lost Redis', 'WARNING Redis is back']


class TestAnOutage:
    def test_of_an_idle_worker_costs_two_lines_and_hardly_any_time(self, lab, server, queue):
        def program():
            threading.Thread(target=told(PreforkedWorker, queue).run, daemon=True).start()
            for _ in range(2):
                pass_gate()
                used = resource.getrusage(resource.RUSAGE_SELF)
                report('used', time.monotonic(), used.ru_utime + used.ru_stime)
            pass_gate()

        lab.start(program)
        queue.enqueue(task('run'))
        assert lab.expect('succeeded') == [1]
        server.kill()
        wait_until(lambda: lab.log('ERROR'))
        lab.open_gate()
        began, used_before = lab.expect('used')
        time.sleep(2)  # it is the rest that is measured
        lab.open_gate()
        ended, used_after = lab.expect('used')
        assert used_after - used_before < 0.02 * (ended - began)
        server.start()
        wait_until(lambda: len(talk_of_redis(lab)) > 1)
        queue.enqueue(task('run'))
        assert lab.expect('succeeded') == [2]
        assert talk_of_redis(lab) == TWO_LINES

    def test_during_a_task_costs_two_lines_and_the_task_runs_once(self, lab, server, queue, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue, lease=1, sweep_interval=0.2))
        lab.expect('holds')
        server.kill()
        wait_until(lambda: lab.log('ERROR'))
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        server.start()
        wait_until(lambda: len(talk_of_redis(lab)) > 1)
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 2]]
        assert talk_of_redis(lab) == TWO_LINES
        assert remains(queue._conn) == set()

    def test_before_the_worker_starts_is_waited_for(self, lab, server, queue, worker_class):
        queue.enqueue(task('run'))
        queue.enqueue(task('stop_worker'))
        server.kill()
        program = lab.start(told(worker_class, queue).run)
        wait_until(lambda: lab.log('ERROR'))
        server.start()
        assert program.wait() == 0
        assert lab.reports('succeeded') == [[1], [2]]
        assert talk_of_redis(lab) == TWO_LINES

    def test_keeps_no_idle_worker_from_stopping(self, lab, server, queue, worker_class):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('run'))
        lab.expect('ran')
        wait_until(lambda: not remains(queue._conn))
        server.kill()
        wait_until(lambda: lab.log('ERROR'))
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_keeps_a_worker_that_owes_redis_an_end_until_it_is_told_to_stop_now(self, lab, server, queue, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue, lease=1, sweep_interval=0.2))
        lab.expect('holds')
        server.kill()
        wait_until(lambda: lab.log('ERROR'))
        program.signal(signal.SIGTERM)
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        wait_until(lambda: any('when Redis is back' in line for line in lab.log('WARNING')), 'word of the delay')
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert any('may run again' in line for line in lab.log('ERROR'))

    def test_that_outlasts_a_tasks_timeout_does_not_delay_it(self, lab, server, queue):
        queue.enqueue(task('hold', timeout=1))
        program = lab.start_worker(told(PreforkedWorker, queue, lease=1, sweep_interval=0.2))
        lab.expect('holds')
        server.kill()
        assert lab.expect('failed') == [1, signal.SIGTERM, None, None, False]
        server.start()
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 2]]
        assert talk_of_redis(lab) in (TWO_LINES, [])
        assert remains(queue._conn) == set()
