"""What becomes of tasks whose workers die, crash, are cut off or must stop at once."""

import os
import signal
import socket
import time

import pytest
import redis

from delayed.queue import Queue
from proxy import CuttingProxy
from waiting import runs, wait_until
from workers import remains, task, told

from .scene import lives

SHORT = {'lease': 1, 'sweep_interval': 0.2, 'kill_timeout': 0.5}
KEPT = {**SHORT, 'lease': 2}  # where a busy machine must not keep a living worker from renewing its lease


def kill(*pids):
    """At once: none sees another's death, as a monitor would its child's."""
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, signum)


def stop(*programs):
    for program in programs:
        program.signal(signal.SIGTERM)
    assert [program.wait() for program in programs] == [0] * len(programs)


class TestATaskWhoseWorkerAndChildDied:
    @pytest.mark.long
    def test_runs_again_within_20_seconds_by_default_whatever_its_timeout(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold', timeout=600))
        programs = [lab.start_worker(told(worker_class, queue)) for _ in range(2)]
        child, monitor = lab.expect('holds')
        kill(monitor, child)
        died = time.monotonic()
        lab.expect('holds')
        assert time.monotonic() - died < 20
        lab.open_gate()
        lab.expect('succeeded')
        survivor, = (program for program in programs if program.pid != monitor)
        stop(survivor)
        assert remains(conn) == set()

    def test_is_set_aside_if_it_takes_down_everyone_who_runs_it(self, lab, queue, conn, worker_class):
        dangerous = queue.enqueue(task('faults.chores.take_all_down'))
        programs = [lab.start_worker(told(worker_class, queue, **SHORT)) for _ in range(4)]
        wait_until(queue.dead_len, 'the dead letter')
        assert len(lab.reports('takes down')) == 3
        letter, = queue.dead()
        assert letter.payload == dangerous.data
        assert '3 times' in letter.reason
        def losses():
            return [line for line in lab.log('WARNING') if 'of task 1 (faults.chores.take_all_down) ended' in line]

        wait_until(lambda: len(losses()) == 3, 'the log of three losses')
        lost = losses()
        assert ['it waits again' in line for line in lost] == [True, True, False]
        assert all('which worker %s:' % socket.gethostname() in line for line in lost)
        assert len(letter.lost_at) == 3
        assert list(letter.lost_at) == sorted(letter.lost_at)
        assert letter.lost_at[-1] <= letter.set_aside_at
        assert remains(conn) == {b'default_dead'}
        queue.enqueue(task('run', 'harmless'))
        assert lab.expect('ran') == [['harmless'], {}]
        survivor, = (program for program in programs if lives(program.pid))
        stop(survivor)

    @pytest.mark.long
    def test_is_run_for_ever_if_that_is_wanted(self, lab, queue, worker_class):
        queue.enqueue(task('faults.chores.take_all_down'))
        for _ in range(5):
            lab.start_worker(told(worker_class, queue, max_losses=0, **SHORT))
        for _ in range(5):
            lab.expect('takes down')
        assert queue.dead_len() == 0


class TestATaskThatCrashes:
    def test_is_tried_again_and_set_aside_in_the_end_if_that_is_wanted(self, lab, queue, conn, worker_class):
        queue.enqueue(task('faults.chores.crash'))
        program = lab.start_worker(told(worker_class, queue, on_crash='requeue'))
        wait_until(queue.dead_len, 'the dead letter')
        assert len(lab.reports('crashes')) == 3
        assert len(queue.dead()[0].lost_at) == 3
        assert lab.reports('failed') == []
        stop(program)
        assert remains(conn) == {b'default_dead'}


class TestALivingWorker:
    def test_keeps_a_task_that_holds_the_interpreter_for_longer_than_the_lease(self, lab, queue, conn, worker_class):
        queue.enqueue(task('faults.chores.hold_interpreter', 4))
        programs = [lab.start_worker(told(worker_class, queue, **KEPT)) for _ in range(2)]
        lab.expect('lets go')
        lab.expect('succeeded')
        stop(*programs)
        assert [kind for kind, *_ in lab.reports()] == ['holds']
        assert remains(conn) == set()

    def test_renews_no_lease_of_a_task_that_is_shorter_than_a_third_of_it(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue, lease=60, sweep_interval=0.2))
        lab.expect('holds')
        lease = conn.zrange('default_dequeued', 0, -1, withscores=True)
        looked = conn.get('default_swept')
        wait_until(lambda: conn.get('default_swept') != looked, 'the next sweep')  # it does have things to do meanwhile
        assert conn.zrange('default_dequeued', 0, -1, withscores=True) == lease
        lab.open_gate()
        lab.expect('succeeded')
        stop(program)

    def test_hands_its_task_to_another_within_a_second_if_it_must_stop_now(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        programs = [lab.start_worker(told(worker_class, queue)) for _ in range(2)]
        _, monitor = lab.expect('holds')
        asked = time.monotonic()
        for signum in (signal.SIGTERM, signal.SIGINT):
            os.kill(monitor, signum)
        _, heir = lab.expect('holds')
        assert heir != monitor
        assert time.monotonic() - asked < 5  # seconds, on however slow a machine; some 0.01 without load
        assert not conn.exists('default_losses')
        lab.open_gate()
        lab.expect('succeeded')
        stop(next(program for program in programs if program.pid == heir))
        assert [program.wait() for program in programs] == [0, 0]
        assert remains(conn) == set()


class TestAWorkerThatIsCutOff:
    @pytest.fixture
    def proxy(self, redis_server):
        with CuttingProxy(redis_server.socket_path) as proxy:
            yield proxy

    @pytest.mark.parametrize('on_partition, copies', [
        ('kill', 1), pytest.param('wait', 2, marks=pytest.mark.long)])
    def test_ends_its_task_before_another_begins_it_if_that_is_wanted(self, lab, proxy, queue, conn, worker_class,
                                                                     on_partition, copies):
        through_proxy = Queue('default', redis.Redis(proxy.host, proxy.port, socket_timeout=0.5))
        queue.enqueue(task('hold'))
        cut_off = lab.start_worker(told(worker_class, through_proxy, **dict(SHORT, lease=3), on_partition=on_partition))
        child, _ = lab.expect('holds')
        proxy.partition()
        healthy = lab.start_worker(told(worker_class, queue, **SHORT))
        other_child, _ = lab.expect('holds')
        assert sum(map(runs, (child, other_child))) == copies
        proxy.heal()
        wait_until(lambda: not runs(child), 'the end of the first copy')
        lab.open_gate()
        lab.expect('succeeded')
        stop(cut_off, healthy)
        assert lab.reports('failed') == []
        assert remains(conn) == set()
