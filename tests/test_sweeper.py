"""Sweeping by a process of its own."""

import signal
import threading

import pytest

from delayed.errors import DelayedError
from delayed.queue import Queue
from delayed.sweeper import Sweeper
from waiting import wait_until
from workers import open_files, report, task


class Recording(Queue):
    """Reports each sweep; it repairs what `repairs` says, or raises that."""

    repairs = 0

    def requeue_lost(self):
        report('swept', self.name)
        if isinstance(self.repairs, Exception):
            raise self.repairs
        return self.repairs


def lose(queue, *tasks):
    """Has tasks dequeued by hand whose leases ended long ago."""
    for each in tasks:
        queue.enqueue(each)
        payload = queue.dequeue().data
        queue._conn.zadd(queue.name + '_dequeued', {payload: each.id})


def stop_at_sigterm(sweeper):
    signal.signal(signal.SIGTERM, lambda *_: sweeper.stop())
    before = open_files()
    sweeper.run()
    assert open_files().items() <= before.items()  # a connection of the program before the fork may close meanwhile


class TestSweeper:
    def test_brings_lost_tasks_back_at_once_and_in_order(self, lab, queue):
        lose(queue, task('run', 1), task('run', 2))
        def program():
            queue.len()  # opens the client's own connection
            stop_at_sigterm(Sweeper(queue))

        process = lab.start(program)
        wait_until(lambda: queue.len() == 2)
        assert [queue.dequeue().args for _ in range(2)] == [(1,), (2,)]
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert any('brought back 2' in line for line in lab.log('WARNING'))

    def test_sweeps_again_and_again(self, lab, conn):
        program = lab.start(lambda: stop_at_sigterm(Sweeper(Recording('default', conn), interval=0.01)))
        for _ in range(5):
            assert lab.expect('swept') == ['default']
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_sweeps_all_of_several_queues(self, lab, conn):
        queues = [Recording(name, conn) for name in ('one', 'two', 'three')]
        program = lab.start(lambda: stop_at_sigterm(Sweeper(queues, interval=3600)))
        assert [lab.expect('swept') for _ in queues] == [['one'], ['two'], ['three']]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert lab.reports() == []

    @pytest.mark.parametrize('error', [ValueError('on purpose'), OSError(5, 'on purpose')])
    def test_logs_an_error_and_goes_on(self, lab, conn, error):
        failing, other = Recording('failing', conn), Recording('other', conn)
        failing.repairs = error
        program = lab.start(lambda: stop_at_sigterm(Sweeper([failing, other], interval=0.01)))
        for _ in range(3):
            assert lab.expect('swept') == ['failing']
            assert lab.expect('swept') == ['other']
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert any('failing' in line and 'on purpose' in line for line in lab.log('ERROR'))

    def test_stops_although_the_next_sweep_is_far_away(self, conn):
        swept = threading.Event()
        queue = Queue('default', conn)
        queue.__class__ = type('Swept', (Queue,), {'requeue_lost': lambda self: swept.set() or 0})
        before = open_files()
        sweeper = Sweeper(queue, interval=1e9)
        thread = threading.Thread(target=sweeper.run)
        thread.start()
        swept.wait()
        sweeper.stop()
        thread.join()
        assert open_files() == before

    def test_may_run_again(self, lab, conn):
        def program():
            for _ in range(2):
                stop_at_sigterm(sweeper)

        sweeper = Sweeper(Recording('default', conn), interval=1e9)
        process = lab.start(program)
        for _ in range(2):
            lab.expect('swept')
            process.signal(signal.SIGTERM)
        assert process.wait() == 0

    def test_may_be_made_before_the_process_that_runs_it_is_forked(self, lab, conn):
        sweeper = Sweeper(Recording('default', conn), interval=1e9)
        program = lab.start(lambda: stop_at_sigterm(sweeper))
        lab.expect('swept')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    @pytest.mark.parametrize(('queues', 'interval'), [
        (None, 60), ('default', 60), ([], 60), ([None], 60), ('queue', None), ('queue', '60'), ('queue', -1),
        ('queue', float('nan')),
    ])
    def test_refuses_what_it_cannot_sweep(self, queue, queues, interval):
        with pytest.raises(DelayedError) as raised:
            Sweeper(queue if queues == 'queue' else queues, interval)
        assert isinstance(raised.value, ValueError)
