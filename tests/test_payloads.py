"""What a worker meets in the list that is no task, or a task that cannot be run: it is set aside, and hurts nobody."""

import os
import pickle
import posix
import sys

import pytest

from workers import put, remains, report, task, told


class Evil:
    """Calls `function(*args)` where it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class NoRepr:
    def __repr__(self):
        raise RuntimeError('no text')


def wire(id=7, module_name='tasks', func_name='run', args=(), kwargs=None, timeout=None):
    return pickle.dumps((id, module_name, func_name, args, kwargs or {}, timeout))


NO_TASKS = {
    'empty': b'',
    'no pickle': b'no pickle at all',
    'long and no pickle': b'\xff' * 70_000,
    'cut off': wire()[:-5],
    'of a missing class': b'cno_such_module_at_all\nx\n.',
    'None': pickle.dumps(None),
    'a number': pickle.dumps(17),
    'a text': pickle.dumps('sixsix'),
    'a dict': pickle.dumps(dict.fromkeys(range(6))),
    'no fields': pickle.dumps(()),
    'five fields': pickle.dumps((1, 'tasks', 'run', (), {})),
    'seven fields': pickle.dumps((1, 'tasks', 'run', (), {}, None, None)),
    'a number as module': wire(module_name=5),
    'no module': wire(module_name=''),
    'no function': wire(func_name=None),
    'a module without text': wire(module_name=NoRepr()),
    'a number as args': wire(args=17),
    'a text as args': wire(args='text'),
    'args without text': wire(args=NoRepr()),
    'a list as kwargs': wire(kwargs=[1]),
    'numbers as names': wire(kwargs={1: 2}),
    'a text as timeout': wire(timeout='5'),
    'a negative timeout': wire(timeout=-1),
    'no number as timeout': wire(timeout=float('nan')),
    'exits': wire(args=Evil(sys.exit)),
    'exits with 3': wire(args=Evil(sys.exit, 3)),
    'interrupts': wire(args=Evil(exec, 'raise KeyboardInterrupt')),
    'ends a generator': wire(args=Evil(exec, 'raise GeneratorExit')),
}


class TestAPayload:
    @pytest.mark.parametrize('kind', NO_TASKS)
    def test_that_is_no_task_is_set_aside_with_the_reason(self, lab, queue, conn, worker_class, kind):
        put(conn, NO_TASKS[kind])
        lab.drain(told(worker_class, queue), queue, task('run'))
        assert lab.reports('ran') == [[[], {}]]
        assert lab.reports('failed') == []  # there is no task to be told of
        letter, = queue.dead()
        assert letter.payload == NO_TASKS[kind]
        assert letter.reason
        logged, = lab.log('ERROR')
        assert letter.reason in logged
        assert remains(conn) == {b'default_dead'}

    @pytest.mark.parametrize(('name', 'why'), [
        ('no_such_module_at_all.f', 'no_such_module_at_all'),
        ('tasks.no_such_function', 'no_such_function'),
        ('os.no.such.package.f', 'os.no'),
        ('broken_on_import.f', 'on import'),
        ('exits_on_import.f', 'SystemExit'),
    ])
    def test_whose_function_is_missing_is_a_failure_and_set_aside(
            self, lab, queue, conn, worker_class, tmp_path, monkeypatch, name, why):
        (tmp_path / 'broken_on_import.py').write_text('raise ValueError("on import")')
        (tmp_path / 'exits_on_import.py').write_text('raise SystemExit')
        monkeypatch.syspath_prepend(tmp_path)
        lab.drain(told(worker_class, queue), queue, task(name), task('run'))
        failure, = lab.reports('failed')
        assert failure[:2] == [1, None]
        assert failure[4]  # it has a traceback
        assert lab.reports('ran') == [[[], {}]]
        assert why in queue.dead()[0].reason
        assert remains(conn) == {b'default_dead'}

    @pytest.mark.parametrize('how', [
        # Not `os._exit`: what measures coverage puts a function there that cannot be pickled.
        Evil(posix._exit, 0), Evil(posix._exit, 1), Evil(exec, 'import os; os.kill(os.getpid(), 9)'),
        Evil(exec, 'import os; os.fork() and os._exit(1)'),
    ], ids=['exits', 'exits with 1', 'is killed', 'leaves a copy'])
    def test_that_ends_who_reads_it_ends_the_child_alone(self, lab, queue, conn, worker_class, how):
        put(conn, wire(args=how))
        lab.drain(told(worker_class, queue), queue, task('run', 'next')).await_last()
        assert lab.reports('ran') == [[['next'], {}]]
        assert [id for id, *_ in lab.reports('failed')] == [7]
        assert remains(conn) == set()

    @pytest.mark.parametrize('where', ['while it is read', 'while its module is imported'])
    def test_that_forks_runs_once(self, lab, queue, conn, worker_class, where, tmp_path, monkeypatch):
        (tmp_path / 'forks_on_import.py').write_text('import os; os.fork(); from tasks import run')
        monkeypatch.syspath_prepend(tmp_path)
        if where == 'while it is read':
            put(conn, wire(args=(Evil(os.fork),)))
        else:
            put(conn, wire(module_name='forks_on_import'))
        lab.drain(told(worker_class, queue), queue).await_last()
        assert len(lab.reports('ran')) == 1
        assert lab.reports('succeeded') == [[7], [1]]
        assert remains(conn) == set()

    def test_is_never_unpickled_in_the_monitor(self, lab, queue, conn, worker_class):
        told_of_itself = Evil(report_pid)
        for name in ('run', 'fail', 'where'):
            put(conn, wire(func_name=name, args=(told_of_itself,)))
        put(conn, wire(module_name='os', func_name='abort', args=told_of_itself))
        lab.drain(worker_class(queue), queue, task('where'))
        _, monitor = lab.expect('where')
        read_by = [pid for pid, in lab.reports('unpickled')]
        assert len(read_by) == 4
        assert monitor not in read_by


def report_pid():
    report('unpickled', os.getpid())
    return ()
