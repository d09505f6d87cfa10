"""A fork server: children of a lean process that are their monitor's own."""

import contextlib
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from delayed._fork_server import Setup, Wanted
from delayed._stacks import live_stacks
from delayed.cli import Exit
from delayed.queue import Queue
from delayed.task import Task
from waiting import DEADLINE, runs, wait_until
from workers import children, end_groups, remains

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs clone(2)')

TASKS = '''
import os, sys, time

VERSION = 1


def note(what='ran', *more):
    line = ' '.join(map(str, (what, os.getpid(), os.getppid(), int('redis' in sys.modules), VERSION, *more)))
    fd = os.open('told', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode() + b'\\n')
    os.close(fd)


def is_mine():
    """Whether this is the first lean process that asks."""
    try:
        return 'redis' not in sys.modules and os.close(os.open('mine', os.O_CREAT | os.O_EXCL)) is None
    except FileExistsError:
        return False


def hold():
    note('holds')
    while not os.path.exists('gate'):
        time.sleep(0.01)
    note('held')


def lean_hold():
    if is_mine():
        hold()


def fail():
    if is_mine():
        note('fails')
        raise ValueError('on purpose')


def look():
    """Tells how many pages it could reach as files."""
    if is_mine():
        links = []
        for fd in os.listdir('/proc/self/fd'):
            try:
                links.append(os.readlink('/proc/self/fd/' + fd))
            except FileNotFoundError:
                pass
        note('looks', sum('delayed-page' in link for link in links))


def spin():
    if is_mine():
        note('spins')
        while not os.path.exists('gate'):
            sum(range(1000))
        note('spun')


def crash():
    if is_mine():
        note('crashes')
        os.kill(os.getpid(), 11)


def hang():
    if is_mine():
        note('hangs')
        while True:
            time.sleep(0.01)
'''
#: A module that needs what the worker has loaded, and tells whether its process had that.
HEAVY = '''
import sys
had = 'redis' in sys.modules
import redis
from plain import note


def run():
    note('heavy', int(had))
'''
#: The command line of a worker that takes tasks for short on the slowest machine.
PATIENT = '''
import sys
from delayed import _books, _monitor, cli
_books.SLOW = _monitor.SLOW = 20.0
sys.exit(cli.main())
'''
MANY = 60  # short tasks, of which most get lean processes


class Yard:
    """A directory with tasks, and workers that are started there."""

    def __init__(self, conn, url, directory):
        self.conn, self.url, self.directory = conn, url, directory
        self.queue = Queue('default', conn)
        self.write('plain.py', TASKS)
        self.write('heavy.py', HEAVY)
        self.write('bin/patient.py', PATIENT)
        self.programs = []
        self.enqueued = 0

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def start(self, *args, **environment):
        with open(self.directory / 'log', 'ab') as log:
            program = subprocess.Popen(
                [sys.executable, '-W', 'error', 'bin/patient.py', 'worker', '--forked', '--url', self.url, '--queue',
                 'default', *args], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **environment})
        self.programs.append(program)
        return program

    @property
    def log(self):
        return (self.directory / 'log').read_text()

    def enqueue(self, name='plain.note', *args, times=1, timeout=None):
        module, _, function = name.rpartition('.')
        for _ in range(times):
            self.queue.enqueue(Task(None, module, function, args, {}, timeout and timeout * 1000))
            self.enqueued += 1

    def keep_busy(self, until, name='plain.note', **kwargs):
        """Enqueues short tasks, so that some always wait."""
        def found():
            if self.queue.len() < MANY:
                self.enqueue(name, times=MANY, **kwargs)
            return until()
        return wait_until(found, 'what many tasks bring about')

    def await_lean(self):
        self.keep_busy(lambda: any(not heavy for _, _, heavy, *_ in self.told()))

    def told(self, what='ran'):
        """Of each task that told this: its process, that one's parent, whether it had redis-py, and more."""
        try:
            lines = (self.directory / 'told').read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(map(int, line.split()[1:])) for line in lines if line.split()[0] == what]

    def await_told(self, count, what='ran'):
        return wait_until(lambda: len(self.told(what)) >= count and self.told(what), '%d tasks that %s' % (count, what))

    def open_gate(self):
        (self.directory / 'gate').touch()

    def server(self, program):
        """The fork server of a worker, if it has one."""
        found = []
        for pid in children(program.pid):
            with contextlib.suppress(OSError), open('/proc/%d/cmdline' % pid) as command, \
                    open('/proc/%d/stat' % pid) as stat:
                if '_fork_server' in command.read():  # as its children
                    found.append((int(stat.read().rpartition(')')[2].split()[19]), pid))
        return min(found)[1] if found and not self.is_lean_child(min(found)[1]) else None

    @staticmethod
    def is_lean_child(pid):
        """A server blocks signals as long as it lives."""
        with contextlib.suppress(OSError), open('/proc/%d/status' % pid) as status:
            return not int(re.search(r'^SigBlk:\s*(\w+)', status.read(), re.MULTILINE)[1], 16)
        return True

    @staticmethod
    def processes(program):
        """Those of a worker's session."""
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError), open('/proc/%s/stat' % pid) as file:
                if int(file.read().rpartition(')')[2].split()[3]) == program.pid:
                    found.append(int(pid))
        return found

    def await_empty(self):
        wait_until(lambda: not remains(self.conn), 'the end of all tasks')

    def close(self):
        print(self.log)
        end_groups(self.programs)


@pytest.fixture
def yard(redis_server, conn, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith('DELAYED_') and name != 'DELAYED_REDIS_SERVER']:
        monkeypatch.delenv(name)
    yard = Yard(conn, redis_server.url, tmp_path)
    yield yard
    yard.close()


def stop(program):
    program.terminate()
    assert program.wait(DEADLINE) == Exit.OK


class TestAProcessThatForks:
    def test_loads_nothing_that_makes_it_heavy(self):
        heavy = ('redis', 'logging', 'threading', 'inspect', 'dataclasses', 'hashlib', 'random', 'tempfile',
                 'traceback', 'json')
        program = 'import sys, delayed._fork_server; print(*sorted({*%r} & {*sys.modules}))' % (heavy,)
        assert subprocess.check_output([sys.executable, '-S', '-E', '-c', 'import sys; sys.path[:] = %r; %s' % (
            sys.path, program)], text=True) == '\n'

    def test_is_not_started_for_few_tasks(self, yard):
        yard.enqueue(times=5)
        program = yard.start()
        yard.await_told(5)
        assert yard.server(program) is None
        stop(program)


class TestManyShortTasks:
    def test_get_lean_processes_that_are_the_workers_own(self, yard):
        program = yard.start()
        yard.await_lean()
        yard.enqueue('plain.hold')
        yard.await_told(1, 'holds')
        server = yard.server(program)
        told = yard.told()
        assert {parent for _, parent, *_ in told} == {program.pid}
        assert len({pid for pid, *_ in told}) == len(told)
        assert told[0][2] == 1  # the server takes a while to start
        yard.open_gate()
        stop(program)
        assert not runs(server)
        yard.await_empty()

    def test_run_once_each_if_the_server_is_killed(self, yard):
        program = yard.start()
        yard.await_lean()
        os.kill(wait_until(lambda: yard.server(program), 'the server'), signal.SIGKILL)
        yard.keep_busy(lambda: 'fork server' in yard.log)
        yard.enqueue('plain.hold')
        yard.await_told(1, 'holds')
        assert len(yard.told()) == yard.enqueued - 1
        assert 'the fork server is not used any more' in yard.log
        yard.open_gate()
        stop(program)
        yard.await_empty()

    @pytest.mark.long
    def test_do_not_wait_for_a_server_that_hangs(self, yard):
        program = yard.start()
        yard.await_lean()
        server = wait_until(lambda: yard.server(program), 'the server')
        os.kill(server, signal.SIGSTOP)
        before = len(yard.told())
        yard.keep_busy(lambda: len(yard.told()) > before + MANY)
        assert any(heavy for _, _, heavy, *_ in yard.told()[before:])
        stop(program)
        assert not runs(server)

    def test_are_finished_after_a_ctrl_c_that_reaches_all_processes(self, yard):
        program = yard.start()
        yard.await_lean()
        yard.enqueue('plain.hold')
        yard.await_told(1, 'holds')
        os.killpg(program.pid, signal.SIGINT)
        time.sleep(0.1)
        assert program.poll() is None
        yard.open_gate()
        assert program.wait(DEADLINE) == Exit.OK
        assert len(yard.told('held')) == 1
        yard.await_empty()

    def test_see_code_that_has_changed(self, yard):
        program = yard.start()
        yard.await_lean()
        yard.enqueue('plain.hold')
        yard.await_told(1, 'holds')
        before = len(yard.told())
        yard.write('plain.py', TASKS.replace('VERSION = 1', 'VERSION = 2002'))
        yard.enqueue(times=MANY)
        yard.open_gate()
        assert {version for _, _, _, version in yard.await_told(before + MANY)[before:]} == {2002}
        stop(program)

    @pytest.mark.long
    def test_may_be_those_of_several_processes(self, yard):
        program = yard.start('-c', '2')
        yard.await_lean()
        yard.keep_busy(lambda: len({parent for _, parent, *_ in yard.told()}) == 2)
        assert {parent for _, parent, *_ in yard.told()} == children(program.pid)
        yard.await_empty()
        stop(program)


class TestASystemThatHasNoSuchThing:
    """Or a module that does what it cannot bear: the worker works as ever."""

    @pytest.mark.parametrize('module, why', [
        ('import threading, time; threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()',
         'OSError: a module that was loaded has started a thread'),
        ('import sys; assert "redis" in sys.modules, "it is too lean"', 'AssertionError: it is too lean')])
    def test_is_told_of_once(self, yard, module, why):
        yard.write('ahead.py', module)
        program = yard.start('--preload', 'ahead')
        yard.keep_busy(lambda: 'fork server' in yard.log)
        yard.await_empty()
        stop(program)
        assert all(heavy for _, _, heavy, *_ in yard.told())
        assert re.findall('the fork server is not used any more: (.*)', yard.log) == [why]
        assert 'Traceback' not in yard.log

    def test_may_be_a_folder_whose_files_would_stand_in_for_others(self, yard):
        yard.write('queue.py', 'raise AssertionError("nobody asked for this one")')
        program = yard.start()
        yard.keep_busy(lambda: 'fork server' in yard.log)
        yard.await_empty()
        stop(program)
        assert '/queue.py is named like ' in yard.log

    def test_may_be_another_version(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        setup = Setup(sys.path, [], None, None, set(), 3, None, frozenset(), [('_page.py', 1, 2)])
        code = 'from delayed._fork_server import main; main(%d, 2)' % theirs.fileno()
        with ours, theirs:
            ours.send(pickle.dumps(setup))
            subprocess.run([sys.executable, '-W', 'error', '-c', code], pass_fds=[theirs.fileno()], check=True,
                           env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
            assert b'the files of delayed are not those that the worker has loaded' in ours.recv(1000)


class TestASecret:
    @pytest.mark.long
    def test_is_that_of_the_worker_whatever_becomes_of_the_environment(self, yard, monkeypatch):
        yard.write('ahead.py', 'import os; os.environ.pop("DELAYED_SECRET", None)')
        monkeypatch.setenv('DELAYED_SECRET', 's' * 40)
        yard.queue = Queue('default', yard.conn)
        program = yard.start('--preload', 'ahead')
        yard.await_lean()
        yard.await_empty()
        stop(program)
        assert len(yard.told()) == yard.enqueued
        assert yard.queue.dead_len() == 0


class TestALeanChild:
    """The first one runs what is to be seen."""

    @pytest.fixture
    def run(self, yard):
        def run(name, what, *args, **kwargs):
            program = yard.start(*args)
            yard.keep_busy(lambda: yard.told(what), name, **kwargs)
            pid = yard.told(what)[0][0]
            return program, pid
        return run

    def test_finishes_its_task_if_the_worker_is_killed(self, yard, run):
        program, pid = run('plain.lean_hold', 'holds')
        program.kill()
        program.wait()
        wait_until(lambda: 'finishes task' in yard.log, 'the orphan')
        number = yard.conn.zcard('default_dequeued')
        yard.open_gate()
        yard.await_told(1, 'held')
        wait_until(lambda: yard.conn.zcard('default_dequeued') < number, 'its end to be told')
        wait_until(lambda: not yard.processes(program), 'the end of the orphan and all others')

    @pytest.mark.long
    def test_keeps_its_lease_if_it_leaves_others_no_time(self, yard, run):
        program, pid = run('plain.spin', 'spins', '--lease', '5')
        program.kill()
        program.wait()
        wait_until(lambda: 'finishes task' in yard.log, 'the orphan')
        second = yard.start('--lease', '5', '--sweep-interval', '0.2')
        time.sleep(8)
        yard.open_gate()
        yard.await_told(1, 'spun')
        yard.await_empty()
        stop(second)
        assert len(yard.told('spins')) == 1

    def test_has_no_page_as_a_file(self, yard, run):
        program, _ = run('plain.look', 'looks')
        assert [pages for *_, pages in yard.told('looks')] == [0]
        stop(program)

    def test_logs_a_failure_as_its_worker_would(self, yard, run):
        program, pid = run('plain.fail', 'fails')
        yard.await_empty()
        stop(program)
        assert re.search(r'\[E \d{6} \S+ %d _runner:\d+\] task \d+ \(plain\.fail\) failed' % pid, yard.log)
        assert 'ValueError: on purpose' in yard.log

    def test_leaves_its_stack_when_it_crashes(self, yard, run):
        program, pid = run('plain.crash', 'crashes')
        yard.await_empty()
        stop(program)
        assert 'child %d ended with SIGSEGV' % pid in yard.log
        assert re.search(r'plain\.py", line \d+ in crash', yard.log)

    def test_is_ended_when_its_time_is_up(self, yard, run):
        program, pid = run('plain.hang', 'hangs', timeout=1)
        yard.await_empty()
        stop(program)
        assert 'child %d ended with SIGTERM' % pid in yard.log
        assert re.search(r'plain\.py", line \d+ in hang', yard.log)

    def test_says_where_it_stands(self, yard, run):
        program, pid = run('plain.lean_hold', 'holds')
        stacks = live_stacks(program.pid)
        assert 'in hold' in stacks[pid]
        assert yard.server(program) not in stacks
        yard.open_gate()
        stop(program)


class TestWhatManyTasksImport:
    def test_is_loaded_once_if_the_worker_has_it_too(self, yard):
        program = yard.start()
        yard.await_lean()
        yard.keep_busy(lambda: 0 in self.had(yard), 'heavy.run')
        yard.keep_busy(lambda: self.had(yard)[-1:] == [1], 'heavy.run')
        stop(program)

    def had(self, yard):
        """Whether each process had it before its task needed it."""
        return [had for *_, had in yard.told('heavy')]

    def test_counts_if_a_quarter_of_them_do(self):
        wanted = Wanted(frozenset(('this', 'colorsys', 'antigravity')))
        for _ in range(3):
            os.write(wanted._write_fd, b'colorsys\nunknown\n')
        sys.modules.pop('colorsys', None)
        assert wanted.load(4)
        assert 'colorsys' in sys.modules
        os.write(wanted._write_fd, b'antigravity\n')
        assert not wanted.load(16)
        assert not {'unknown', 'antigravity'} & {*sys.modules}

    def test_may_be_too_much_to_tell(self):
        names = ['module_%d' % number for number in range(9000)]
        wanted = Wanted(frozenset(names))
        life = wanted.noted_by(lambda mask: sys.modules.update(dict.fromkeys(names)))
        try:
            life(set())
        finally:
            for name in names:
                sys.modules.pop(name, None)
        assert not wanted.load(1)
