"""`delayed worker` as a user types it."""

import datetime
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from delayed.cli import Exit, main
from delayed.queue import Queue
from delayed.task import Task
from waiting import DEADLINE, runs, wait_until
from workers import children, end_groups, remains

APPLICATION = '''
import os
import redis
from delayed.queue import Queue

conn = redis.Redis.from_url(%r)
queue, urgent = Queue('default', conn), Queue('urgent', conn)
both = [urgent, queue]
weighted = {urgent: 3, queue: 1}


def note(what='ran'):
    conn.rpush('told', '%%s %%d %%d' %% (what, os.getpid(), os.getppid()))


def hold():
    note('holds')
    conn.blpop('gate', 60)


def fail():
    raise ValueError('on purpose')


def succeeded(task):
    note('succeeded')


def failed(task, kill_signal, exc_info):
    note(type(exc_info[1]).__name__)
'''


class Shop:
    """The directory of an application `shop`, and the programs that are started there."""

    def __init__(self, conn, directory):
        self.conn, self.directory = conn, directory
        self.queue, self.urgent = Queue('default', conn), Queue('urgent', conn)
        self._programs = []

    def write(self, name, text):
        path = self.directory / name
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, *args, **environment):
        """Types `delayed worker ARGS` in the directory."""
        number = len(self._programs)
        with open(self.directory / ('log%d' % number), 'wb') as log:
            program = subprocess.Popen(
                [sys.executable, '-W', 'error', '-m', 'delayed', 'worker', *args], cwd=self.directory, stdout=log,
                stdin=subprocess.DEVNULL, stderr=log, start_new_session=True, env={**os.environ, **environment})
        self._programs.append(program)
        return program

    def log(self, number=-1):
        return (self.directory / ('log%d' % (number % len(self._programs)))).read_text()

    def enqueue(self, function, *args, queue=None):
        (queue or self.queue).enqueue(Task(None, 'shop', function, args))

    def told(self, count, what='ran'):
        """What so many tasks told of this, once they did: their processes and those processes' parents."""
        def found():
            lines = [line.decode().split() for line in self.conn.lrange('told', 0, -1)]
            lines = [tuple(map(int, line[1:])) for line in lines if line[0] == what]
            return len(lines) >= count and lines
        return wait_until(found, 'what tasks tell')

    def open_gate(self, times=1):
        for _ in range(times):
            self.conn.rpush('gate', 1)

    def close(self):
        for number in range(len(self._programs)):
            print('log %d:\n%s' % (number, self.log(number)))  # shown where a test failed
        end_groups(self._programs)


@pytest.fixture
def shop(redis_server, conn, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith('DELAYED_')]:
        if name != 'DELAYED_REDIS_SERVER':
            monkeypatch.delenv(name)
    shop = Shop(conn, tmp_path)
    shop.write('shop.py', APPLICATION % redis_server.url)
    yield shop
    shop.close()


def stop(program, signum=signal.SIGTERM):
    program.send_signal(signum)
    assert program.wait(DEADLINE) == Exit.OK


class TestAWorker:
    @pytest.mark.parametrize('kind', ['--preforked', '--forked'])
    def test_runs_the_tasks_of_the_applications_queue_and_ends_when_told(self, shop, kind):
        program = shop.start('shop:queue', kind)
        for _ in range(3):
            shop.enqueue('note')
        pids, parents = zip(*shop.told(3))
        assert set(parents) == {program.pid}  # it needs no process beside it
        assert len(set(pids)) == (3 if kind == '--forked' else 1)
        stop(program)
        assert 'works on queue default' in shop.log()
        assert not {key for key in remains(shop.conn) if key.startswith(b'default')}

    def test_finds_tasks_in_the_current_directory_where_queues_are_named_alone(self, shop, redis_server):
        program = shop.start('--url', redis_server.url, '--queue', 'default')
        shop.enqueue('note')
        assert shop.told(1)
        stop(program)

    def test_takes_all_from_the_environment(self, shop):
        program = shop.start(DELAYED_QUEUES='shop:queue', DELAYED_CONCURRENCY='2', DELAYED_WORKER='forked',
                             DELAYED_LOG_LEVEL='debug')
        shop.enqueue('note')
        shop.enqueue('note')
        shop.told(2)
        assert 'running task 1: shop.note' in shop.log() and 'ForkedWorker' in shop.log()
        assert 'pool %d runs 2 workers' % program.pid in shop.log()
        stop(program)

    def test_calls_handlers_and_imports_what_it_is_told_to(self, shop):
        shop.write('extras.py', 'import shop\nshop.note("imported")\n')
        program = shop.start('shop:queue', '--import', 'extras', '--success-handler', 'shop:succeeded',
                             '--error-handler', 'shop:failed')
        shop.enqueue('note')
        shop.enqueue('fail')
        assert shop.told(1, 'succeeded') and shop.told(1, 'ValueError')
        assert [pid for pid, _ in shop.told(1, 'imported')] == [program.pid]
        stop(program)

    def test_preloads_and_replaces_children(self, shop):
        shop.write('extras.py', 'import shop\nshop.note("imported")\n')
        program = shop.start('shop:queue', '--preload', 'extras', '--max-tasks', '2', '--max-rss', '4096')
        for _ in range(4):
            shop.enqueue('note')
        assert len({pid for pid, _ in shop.told(4)}) == 2
        assert [pid for pid, _ in shop.told(1, 'imported')] == [program.pid]
        stop(program)

    @pytest.mark.skipif(sys.platform != 'linux', reason='the limit of memory is one of Linux')
    def test_limits_what_a_task_may_use(self, shop):
        program = shop.start('shop:queue', '--task-max-memory', '1024', '--task-max-cpu', '60',
                             '--error-handler', 'shop:failed')
        shop.queue.enqueue(Task(None, 'builtins', 'bytearray', (4 << 30,)))
        assert shop.told(1, 'MemoryError')
        stop(program)

    @pytest.mark.parametrize(('args', 'known_by'), [
        (['shop:both'], 'queues urgent, default'),
        (['shop:urgent', 'shop:queue'], 'queues urgent, default'),
        (['shop:weighted'], 'queues urgent (weight 3), default (weight 1)'),
        (['shop:both', '--weights', '1,0.5'], 'queues urgent (weight 1), default (weight 0.5)'),
    ])
    def test_works_on_several_queues(self, shop, args, known_by):
        program = shop.start(*args)
        shop.enqueue('note')
        shop.enqueue('note', queue=shop.urgent)
        shop.told(2)
        assert 'works on %s\n' % known_by in shop.log()
        stop(program)

    def test_waits_for_a_redis_that_is_away(self, shop, tmp_path):
        program = shop.start('--url', 'unix://%s' % (tmp_path / 'nobody'), '--queue', 'default')
        wait_until(lambda: 'lost Redis' in shop.log())
        stop(program)

    def test_ends_gracefully_on_ctrl_c_at_a_terminal(self, shop):
        shop.enqueue('hold')
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(shop.directory)
            os.execv(sys.executable, [sys.executable, '-m', 'delayed', 'worker', 'shop:queue', '-c', '2'])
        seen = b''
        try:
            while b'[I' not in seen:
                seen += os.read(terminal, 4096)
            wait_until(lambda: shop.conn.lrange('told', 0, -1))
            os.write(terminal, b'\x03')  # the terminal sends SIGINT to all of them, tasks too
            while seen.count(b'stopping when task') < 1:
                seen += os.read(terminal, 4096)
            assert runs(pid)
            shop.open_gate()
            _, status = os.waitpid(pid, 0)
        finally:
            os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == Exit.OK
        assert not {key for key in remains(shop.conn) if key.startswith(b'default')}


class TestAPool:
    def test_of_four_drains_on_term(self, shop):
        program = shop.start('shop:queue', '-c', '4')
        for _ in range(5):
            shop.enqueue('hold')
        assert len({parent for _, parent in shop.told(4, 'holds')}) == 4
        program.terminate()
        wait_until(lambda: shop.log().count('stopping when task') == 4)
        shop.open_gate(4)
        assert program.wait(DEADLINE) == Exit.OK
        assert (shop.queue.len(), shop.conn.zcard('default_dequeued')) == (1, 0)

    def test_hands_back_what_does_not_end_in_time(self, shop):
        program = shop.start('shop:queue', '-c', '2', '--stop-timeout', '0.1')
        for _ in range(2):
            shop.enqueue('hold')
        shop.told(2, 'holds')
        stop(program)
        assert (shop.queue.len(), shop.conn.zcard('default_dequeued')) == (2, 0)

    def test_replaces_who_dies(self, shop):
        program = shop.start('shop:queue', '-c', '2')
        victim = wait_until(lambda: len(children(program.pid)) == 2 and min(children(program.pid)))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(program.pid) - {victim}) == 2)
        stop(program)
        assert 'worker %d ended with SIGKILL; another takes its place' % victim in shop.log()


class TestTheLog:
    def test_is_json_on_request(self, shop):
        program = shop.start('shop:queue', '-c', '2', '--log-format', 'json', '--log-level', 'debug')
        shop.enqueue('fail')
        wait_until(lambda: 'on purpose' in shop.log())
        stop(program)
        lines = [json.loads(line) for line in shop.log().splitlines()]
        assert all({'time', 'level', 'message', 'pid', 'module', 'line'} <= set(line) for line in lines)
        failure, = [line for line in lines if line['level'] == 'ERROR']
        assert failure['message'].startswith('task 1 (shop.fail) failed')
        assert (failure['outcome'], failure['queue'], failure['task_id']) == ('failed', 'default', 1)
        assert failure['error'].endswith('ValueError: on purpose')
        datetime.datetime.strptime(failure['time'], '%Y-%m-%dT%H:%M:%S.%fZ')
        assert {line['level'] for line in lines} == {'DEBUG', 'INFO', 'ERROR'}

    def test_tells_no_less_than_it_is_asked_to(self, shop):
        program = shop.start('shop:queue', '--log-level', 'error')
        shop.enqueue('fail')
        wait_until(lambda: 'on purpose' in shop.log())
        stop(program)
        assert re.findall(r'^\[(.)', shop.log(), re.MULTILINE) == ['E']

    def test_is_the_applications_own_where_it_has_one(self, shop):
        shop.write('shop.py', (shop.directory / 'shop.py').read_text() + textwrap.dedent('''
            import logging
            from delayed.logger import set_handler
            set_handler(logging.FileHandler('own.log'))
        '''))
        program = shop.start('shop:queue')
        wait_until(lambda: 'works on' in (shop.directory / 'own.log').read_text()
                   if (shop.directory / 'own.log').exists() else False)
        stop(program)
        assert shop.log() == ''


class TestThePidfile:
    def test_holds_the_number_until_the_end(self, shop):
        path = shop.write('pid', '4711\n')  # of one that was killed
        program = shop.start('shop:queue', '-c', '2', '--pidfile', 'pid')
        wait_until(lambda: path.read_text() == '%d\n' % program.pid)
        assert shop.start('shop:queue', '--pidfile', 'pid').wait(DEADLINE) == Exit.FAILED
        assert 'held by process %d, which runs already' % program.pid in shop.log()
        assert path.read_text() == '%d\n' % program.pid
        stop(program)
        assert not path.exists()

    def test_that_cannot_be_written_is_told(self, shop):
        assert shop.start('shop:queue', '--pidfile', 'no/such/folder/pid').wait(DEADLINE) == Exit.FAILED
        assert 'cannot write no/such/folder/pid: No such file' in shop.log()


class TestSystemd:
    def test_is_told_ready_watchdog_and_stopping(self, shop):
        address = str(shop.directory / 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address)
            receiver.settimeout(DEADLINE)
            program = shop.start('shop:queue', NOTIFY_SOCKET=address, WATCHDOG_USEC='50000')
            told = [receiver.recv(100)]
            while b'WATCHDOG=1' not in told:
                told.append(receiver.recv(100))
            shop.enqueue('note')
            shop.told(1)
            program.terminate()
            while told[-1] != b'STOPPING=1':
                told.append(receiver.recv(100))
            assert program.wait(DEADLINE) == Exit.OK
        assert [state for state in told if state != b'WATCHDOG=1'] == [b'READY=1', b'STOPPING=1']

    def test_that_has_gone_is_no_reason_to_fail(self, shop):
        program = shop.start('shop:queue', NOTIFY_SOCKET=str(shop.directory / 'nobody'))
        shop.enqueue('note')
        shop.told(1)
        stop(program)


class TestReload:
    def test_begins_again_when_a_source_file_has_changed_and_tasks_have_ended(self, shop):
        program = shop.start('shop:queue', '--reload', '-c', '2')
        shop.enqueue('hold')
        shop.told(1, 'holds')
        text = (shop.directory / 'shop.py').read_text()
        shop.write('shop.py', text.replace("what='ran'", "what='changed'"))
        wait_until(lambda: 'stopping when task 1' in shop.log())
        assert 'shop.py has changed' in shop.log() and shop.log().count('runs 2 workers') == 1
        shop.open_gate()
        wait_until(lambda: shop.log().count('runs 2 workers') == 2)
        assert not {key for key in remains(shop.conn) if key.startswith(b'default')}
        shop.enqueue('note')
        assert shop.told(1, 'changed')
        stop(program)

    def test_waits_where_what_it_should_import_is_broken(self, shop):
        text = (shop.directory / 'shop.py').read_text()
        shop.write('shop.py', 'def broken(:\n')
        program = shop.start('shop:queue', '--reload')
        wait_until(lambda: 'waiting for a change' in shop.log())
        assert 'SyntaxError' in shop.log()
        shop.write('shop.py', text)
        shop.enqueue('note')
        assert shop.told(1)
        stop(program)


class TestMistakes:
    @pytest.mark.parametrize(('args', 'status', 'told'), [
        ([], Exit.USAGE, 'which queue?'),
        (['shop:queues'], Exit.NOT_IMPORTED, "there is no 'queues' in shop"),
        (['shop:note'], Exit.NOT_IMPORTED, 'shop:note is no queue'),
        (['no_such_shop:queue'], Exit.NOT_IMPORTED, 'there is no module no_such_shop'),
        (['shop:both', '--weights', '1,2,3'], Exit.USAGE, 'there are 2 queues (urgent, default), and 3 weights'),
        (['shop:both', '--weights', '1,0'], Exit.USAGE, "commas between, such as 3,1, not '1,0'"),
        (['shop:queue', '--import', 'no_such_shop'], Exit.NOT_IMPORTED, 'no_such_shop'),
        (['shop:queue', '--preload', 'no_such_shop'], Exit.FAILED, "No module named 'no_such_shop'"),
        (['shop:queue', '--preload', 'no_such_shop', '-c', '2'], Exit.FAILED, "No module named 'no_such_shop'"),
        (['shop:queue', '--error-handler', 'shop:fails'], Exit.NOT_IMPORTED, 'did you mean fail'),
        (['shop:queue', '--success-handler', 'shop:conn.nothing'], Exit.NOT_IMPORTED, "no 'nothing'"),
        (['shop:queue', '--forked', '--max-tasks', '3'], Exit.USAGE, 'options of a PreforkedWorker'),
        (['shop:queue', '--forked', '--preforked'], Exit.USAGE, 'not allowed with'),
        (['shop:queue', '--lease', 'soon'], Exit.USAGE, "a number of seconds, or none, not 'soon'"),
        (['shop:queue', '--lease', '0.5'], Exit.USAGE, 'lease must be at least 1 second'),
        (['shop:queue', '-c', '0'], Exit.USAGE, 'from 1 up'),
        (['--url', 'http://localhost', '--queue', 'default'], Exit.USAGE, 'no URL of a Redis server'),
    ])
    def test_are_told(self, shop, args, status, told):
        assert shop.start(*args).wait(DEADLINE) == status
        assert told in shop.log()

    def test_in_a_variable_are_told_with_its_name(self, shop):
        assert shop.start('shop:queue', DELAYED_WORKER='threaded').wait(DEADLINE) == Exit.USAGE
        assert "DELAYED_WORKER must be forked or preforked, not 'threaded'" in shop.log()

    def test_in_the_application_are_shown_with_its_own_lines(self, shop):
        shop.write('shop.py', 'import os\n\n\nqueue = os.environ["NO_SUCH_VARIABLE_AT_ALL"]\n')
        assert shop.start('shop:queue').wait(DEADLINE) == Exit.NOT_IMPORTED
        assert 'shop.py", line 4, in <module>' in shop.log()
        assert 'delayed/commands' not in shop.log()


def test_its_examples_are_understood(shop, redis_server, capsys):
    """Each is started as it is typed; what stands for the user's own is replaced."""
    main(['worker', '--help'])
    lines = re.findall(r'^  delayed worker (.+)$', capsys.readouterr().out.partition('examples:\n')[2], re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        line = line.replace('myapp.tasks', 'shop').replace('redis://localhost:6379/0', redis_server.url)
        program = shop.start(*line.split())
        wait_until(lambda: 'works on queue' in shop.log())
        stop(program)
