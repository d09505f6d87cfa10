"""How many tasks a child runs, how large it may grow, and what it finds imported."""

import os
import platform
import signal
import sys
import time

import pytest

from delayed._children import Children
from delayed._memory import MEGABYTE, resident, trim
from delayed.errors import InvalidArgument, WrongType
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import DEADLINE, wait_until
from workers import children, remains, report, task, told


def reporting(label, method):
    def reported(self, *args):
        method(self, *args)
        report(label)
    return reported


def pids_of(lab):
    return [pid for pid, _ in lab.reports('where')]


class TestSpares:
    """Children that a forked worker has ahead."""

    @pytest.mark.usefixtures('spares_stay')
    def test_are_several_while_short_tasks_wait_and_one_then(self, lab, queue, monkeypatch):
        monkeypatch.setattr('delayed._books.SLOW', 10 * DEADLINE)  # no machine is so slow that they are not short
        for _ in range(20):
            queue.enqueue(task('siblings'))
        program = lab.start_worker(ForkedWorker(queue))
        assert max(lab.expect('siblings')[0] for _ in range(20)) >= 5
        wait_until(lambda: len(children(program.pid)) == 1, 'the end of the others')
        queue.enqueue(task('where'))
        lab.expect('where')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_are_let_go_when_nothing_comes_nor_forked_for_a_task_that_comes_then(self, lab, conn, queue, monkeypatch):
        monkeypatch.setattr('delayed._children._IDLE', 0.5)
        queue.enqueue(task('where'))
        program = lab.start_worker(ForkedWorker(queue))
        lab.expect('where')
        wait_until(lambda: not children(program.pid), 'the end of the spare')
        time.sleep(0.5)
        queue.enqueue(task('hold'))
        lab.expect('holds')
        time.sleep(0.5)  # in which a spare would be forked
        assert len(children(program.pid)) == 1
        lab.open_gate()
        wait_until(lambda: not children(program.pid), 'the end of the child')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert remains(conn) == set()

    def test_are_let_go_and_reaped_while_a_task_runs_for_long(self, lab, conn, queue, monkeypatch):
        monkeypatch.setattr(Children, '_let_go', reporting('let go', Children._let_go))
        monkeypatch.setattr(Children, '_heard_within', lambda self, seconds: not self._spares)  # idle once there is one
        queue.enqueue(task('where'))
        queue.enqueue(task('hold'))
        program = lab.start_worker(ForkedWorker(queue, sweep_interval=0.5))
        lab.expect('where')
        lab.expect('let go')
        lab.expect('holds')
        lab.expect('let go')
        wait_until(lambda: len(children(program.pid)) == 1, 'the end of the spare')
        lab.open_gate()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert remains(conn) == set()

    @pytest.mark.usefixtures('spares_stay')
    def test_that_die_are_replaced(self, lab, queue):
        queue.enqueue(task('where'))
        program = lab.start_worker(ForkedWorker(queue))
        lab.expect('where')
        for pid in wait_until(lambda: children(program.pid), 'a spare'):
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            queue.enqueue(task('where'))
            lab.expect('where')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


class TestMaxTasks:
    @pytest.mark.parametrize('max_tasks', [1, 2, 5])
    def test_gives_each_child_so_many(self, lab, conn, queue, max_tasks):
        lab.drain(told(PreforkedWorker, queue, max_tasks=max_tasks), queue, *[task('where') for _ in range(10)])
        pids = pids_of(lab)
        assert len(pids) == 10
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [max_tasks] * (10 // max_tasks)
        assert remains(conn) == set()

    def test_counts_tasks_that_fail_or_end_their_process(self, lab, conn, queue):
        lab.drain(told(PreforkedWorker, queue, max_tasks=2), queue,
                  task('fail'), task('where'), task('where'), task('os._exit', 1), task('where'), task('where'))
        first, second, third, also_third = pids_of(lab)
        assert len({first, second, third}) == 3 and third == also_third
        assert remains(conn) == set()

    def test_is_of_no_concern_to_an_orphan(self, lab, conn, queue):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(PreforkedWorker, queue, max_tasks=1))
        lab.expect('holds')
        program.signal(9)
        lab.open_gate()
        program.await_last()
        assert lab.reports('succeeded') == [[1]]
        assert remains(conn) == set()


class TestMaxRss:
    def test_replaces_a_child_that_is_larger_after_a_task(self, lab, conn, queue):
        limit = resident() / MEGABYTE + 60
        lab.drain(told(PreforkedWorker, queue, max_rss=limit), queue, task('where'), task('where'), task('grow', 100),
                  task('where'), task('where'))
        first, second, third, fourth = pids_of(lab)
        assert first == second and third == fourth and first != third
        assert len([line for line in lab.log('INFO') if 'more than max_rss' in line]) == 1
        assert remains(conn) == set()

    def test_leaves_a_child_alone_that_has_given_it_back(self, lab, queue):
        if sys.platform != 'linux':
            pytest.skip('the peak alone is known here')
        limit = resident() / MEGABYTE + 60
        lab.drain(told(PreforkedWorker, queue, max_rss=limit), queue,
                  task('where'), task('builtins.bytearray', 10 ** 8), task('where'))
        assert len(set(pids_of(lab))) == 1

    def test_knows_how_much_there_is(self):
        before = resident()
        data = b'x' * (50 * MEGABYTE)
        assert resident() - before > 40 * MEGABYTE
        assert data

    @pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library cannot be asked to')
    def test_is_given_back_where_it_is_free(self):
        blocks = [bytes(10_000) for _ in range(6000)]
        kept = blocks[-1]  # at the end, so that the C library keeps what is free before it
        blocks.clear()
        before = resident()
        trim()
        assert before - resident() > 40 * MEGABYTE
        assert kept


class TestPreload:
    @pytest.fixture
    def modules(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / 'preloaded.py').write_text('import os\nfrom workers import report\nPID = os.getpid()\n'
                                               'def tell():\n    report("imported in", PID, os.getpid())\n')
        return tmp_path

    def test_imports_modules_before_children_are_forked(self, lab, queue, worker_class, modules):
        program = lab.drain(worker_class(queue, preload=['preloaded']), queue, task('preloaded.tell'))
        imported_in, ran_in = lab.expect('imported in')
        assert imported_in == program.pid != ran_in

    def test_is_off_by_default(self, lab, queue, worker_class, modules):
        lab.drain(worker_class(queue), queue, task('preloaded.tell'))
        imported_in, ran_in = lab.expect('imported in')
        assert imported_in == ran_in

    def test_of_what_cannot_be_imported_ends_the_run_before_it_takes_a_task(self, lab, queue, conn, worker_class):
        def program():
            with pytest.raises(ImportError, match='no_such_module_at_all'):
                worker_class(queue, preload=['no_such_module_at_all']).run()
            report('ended', os.getpid())

        queue.enqueue(task('run'))
        assert lab.start(program).wait() == 0
        assert lab.reports('ended') and queue.len() == 1


class TestRefusals:
    @pytest.mark.parametrize(('worker_class', 'options', 'error', 'told'), [
        (PreforkedWorker, {'max_tasks': 0}, InvalidArgument, 'from 1 up, or None, not 0'),
        (PreforkedWorker, {'max_tasks': 2.5}, InvalidArgument, 'whole number'),
        (PreforkedWorker, {'max_tasks': -1}, InvalidArgument, 'max_tasks'),
        (PreforkedWorker, {'max_tasks': 'all'}, WrongType, 'max_tasks'),
        (PreforkedWorker, {'max_rss': 0}, InvalidArgument, 'more than 0 MB'),
        (PreforkedWorker, {'max_rss': '1G'}, WrongType, 'max_rss'),
        (ForkedWorker, {'max_tasks': 5}, InvalidArgument, 'ForkedWorker runs each task in a process of its own'),
        (ForkedWorker, {'max_rss': 5}, InvalidArgument, 'options of a PreforkedWorker'),
        (ForkedWorker, {'preload': 'tasks'}, WrongType, "a list of modules' names, not 'tasks'"),
        (ForkedWorker, {'preload': [os]}, WrongType, 'preload'),
    ])
    def test_say_what_is_wrong(self, queue, worker_class, options, error, told):
        with pytest.raises(error, match=told):
            worker_class(queue, **options)
