"""`delayed enqueue`, `purge` and `sweep`, as an operator types them."""

import json
import os
import pickle
import re
import signal
import sys

import pytest

from delayed.cli import Exit
from delayed.queue import Queue
from delayed.task import Task
from delayed.worker import PreforkedWorker
from queues import keys, lose, payload_of
from waiting import DEADLINE, wait_until


def waiting(conn, name='default'):
    return [pickle.loads(payload) for payload in conn.lrange(name, 0, -1)]


def at_work(shell, worker):
    """Where the application is."""
    os.chdir(shell.folder)
    sys.path.insert(0, '')
    worker.run()


class TestEnqueue:
    def test_needs_no_queue_for_a_decorated_function(self, shell, conn):
        out = shell.out('enqueue', 'myapp.tasks:add', '1', 'b=2')
        assert out == 'enqueued task 1 (myapp.tasks.add) in queue default\n'
        assert waiting(conn) == [(1, 'myapp.tasks', 'add', (1,), {'b': 2}, None)]

    def test_takes_another_queue_and_a_timeout(self, shell, conn):
        shell.out('enqueue', 'myapp.tasks:add', '1', '--app', 'myapp.tasks:mail', '--timeout', '5')
        shell.out('enqueue', '--queue', 'mail', 'myapp.tasks:divide', '-1', 'x')
        assert waiting(conn, 'mail') == [(1, 'myapp.tasks', 'add', (1,), {}, 5000),
                                         (2, 'myapp.tasks', 'divide', (-1, 'x'), {}, None)]

    def test_takes_options_anywhere(self, shell, conn):
        shell.json('enqueue', 'myapp.tasks:divide', '-1', '--queue', 'mail', '-2.5', '--timeout', '5', 'b=3')
        assert waiting(conn, 'mail') == [(1, 'myapp.tasks', 'divide', (-1, -2.5), {'b': 3}, 5000)]
        status, _, err = shell.run('enqueue', 'myapp.tasks:add', '1', '--timeout', '5', '--no-such-option')
        assert (status, 'unrecognized arguments: --no-such-option' in err) == (Exit.USAGE, True)

    def test_gives_a_decorated_function_its_timeout(self, shell, conn):
        shell.out('enqueue', 'myapp.tasks:add', '--timeout', '7')
        assert waiting(conn) == [(1, 'myapp.tasks', 'add', (), {}, 7000)]

    @pytest.mark.parametrize('options, texts, args, kwargs', [
        ([], ['1', '1.5', 'x', "'1'", '[1, 2]', 'None', 'a b'], (1, 1.5, 'x', '1', [1, 2], None, 'a b'), {}),
        ([], ['a=1', 'b=', 'c=x=y'], (), {'a': 1, 'b': '', 'c': 'x=y'}),
        (['--json-args'], ['"1"', 'null', 'b={"c": true}'], ('1', None), {'b': {'c': True}}),
        (['--json-args'], ['"a=b"'], ('a=b',), {}),
    ])
    def test_reads_arguments(self, shell, conn, options, texts, args, kwargs):
        shell.json('enqueue', *options, '--queue', 'mail', 'myapp.tasks:divide', *texts)
        assert waiting(conn, 'mail') == [(1, 'myapp.tasks', 'divide', args, kwargs, None)]

    @pytest.mark.parametrize('args, status, told', [
        (['myapp.tasks:divide', 'b=1', '2'], Exit.USAGE, 'the argument 2 follows one by name'),
        (['myapp.tasks:divide', 'b=1', 'b=2'], Exit.USAGE, 'the argument b is given twice'),
        (['--json-args', 'myapp.tasks:divide', 'x'], Exit.USAGE, 'the argument x is no JSON ('),
        (['myapp.tasks:dvide'], Exit.NOT_IMPORTED, 'did you mean divide?'),
        (['myapp:dvide'], Exit.NOT_IMPORTED, "there is no 'dvide' in myapp"),
        (['--no-import', 'myapp'], Exit.USAGE, "'myapp' names no function"),
        (['--timeout', '0', 'myapp.tasks:divide'], Exit.USAGE, 'must be a number of seconds, more than 0'),
    ])
    def test_refuses_what_makes_no_sense(self, shell, conn, args, status, told):
        code, _, err = shell.run('enqueue', '--queue', 'mail', *args)
        assert (code, told in err) == (status, True), err
        assert not conn.exists('mail')

    def test_of_a_function_without_a_queue_asks_for_one(self, shell):
        status, _, err = shell.run('enqueue', 'myapp.tasks:divide')
        assert (status, 'which queue?' in err) == (Exit.USAGE, True)

    def test_without_looking_for_the_function(self, shell, conn):
        assert shell.json('enqueue', '--no-import', 'reports:build', '--queue', 'mail') == {
            'task': 1, 'function': 'reports.build', 'queue': 'mail'}


class TestEnqueueAndWait:
    def wait_for(self, shell, conn, end):
        """What is told of a task that `end(queue, task)` ends."""
        process = shell.start('enqueue', 'myapp.tasks:add', '1', '2', '--wait', str(DEADLINE), '--json')
        queue = Queue('default', conn)
        end(queue, wait_until(queue.dequeue, 'the task'))
        out, err = process.communicate(timeout=DEADLINE)
        return process.returncode, json.loads(out), err

    def test_tells_that_it_has_ended(self, shell, conn):
        status, facts, _ = self.wait_for(shell, conn, lambda queue, task: queue.release(task))
        assert (status, facts['state'], facts['outcome']) == (Exit.OK, 'finished', None)

    @pytest.mark.parametrize('prefetch', [1, 4])
    def test_tells_how_it_failed(self, shell, lab, conn, prefetch):
        worker = lab.start(lambda: at_work(shell, PreforkedWorker(Queue('default', conn), prefetch=prefetch)))
        out = [shell.run('enqueue', *call, '--queue', 'default', '--wait', str(DEADLINE)) for call in (
            ['myapp.tasks:add', '1', '2'], ['myapp.tasks:divide', '1', '0'], ['myapp.tasks:fail'],
            ['time:sleep', '60', '--timeout', '0.2'], ['os:_exit', '3'], ['myapp.tasks:add', '1', '2'])]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert [status for status, _, _ in out] == [Exit.OK, *[Exit.FAILED] * 4, Exit.OK]
        for (_, text, _), expected in zip(out, (
                'task 1 has finished', r'task 2 failed after .*\nZeroDivisionError: division by zero\n',
                r'task 3 failed after .*\nValueError: on purpose\n', r'task 4 timed out after ',
                'task 5 ended its process after', 'task 6 has finished')):
            assert re.search(expected, text), text

    def test_tells_that_it_was_set_aside(self, shell, conn):
        def set_aside(queue, task):
            queue.ledger.set_aside(task.data, task.tokens, 'no such module')
        status, facts, _ = self.wait_for(shell, conn, set_aside)
        letter, = Queue('default', conn).dead()
        assert (status, facts['state'], facts['dead_letter']) == (Exit.FAILED, 'set aside', letter.id)
        assert facts['reason'] == 'no such module'

    def test_tells_that_it_waits_or_runs_when_the_time_is_over(self, shell, conn):
        status, out, _ = shell.run('enqueue', 'myapp.tasks:add', '--wait', '0.01')
        assert (status, 'still waits: is there a worker?' in out) == (Exit.FAILED, True)


class TestPurge:
    @pytest.fixture
    def full(self, conn):
        queue = Queue('default', conn)
        for _ in range(3):
            queue.enqueue(Task(None, 'module', 'func'))
        queue.dequeue()
        lose(conn, 100, holder='host:1:a:1')
        conn.set('default-other', 1)
        conn.lpush('mail', 'x')
        return queue

    def test_empties_a_queue_and_keeps_its_ids(self, shell, conn, full):
        assert shell.out('purge', '--yes', '--queue', 'default').startswith('queue default: deleted ')
        assert keys(conn) == ['default-other', 'default_id', 'mail']
        assert full.enqueue(Task(None, 'module', 'func')).id == 4

    def test_deletes_the_ids_too_if_told_so(self, shell, conn, full):
        assert set(shell.json('purge', '--yes', '--ids', 'myapp.tasks:both')['purged']) == {'default', 'mail'}
        assert keys(conn) == ['default-other']

    def test_asks(self, shell, conn, full):
        terminal = shell.terminal('purge', '--queue', 'default')
        terminal.read_until(r'Queue default: 2 tasks wait, 2 run, 0 are set aside\. All will be deleted\. Are you sure')
        terminal.type('\n')
        status, text = terminal.end()
        assert (status, 'nothing was done' in text) == (Exit.FAILED, True)
        assert conn.llen('default') == 2

    def test_refuses_where_it_cannot_ask(self, shell, conn, full):
        status, _, err = shell.run('purge', '--queue', 'default')
        assert (status, 'say --yes' in err) == (Exit.USAGE, True)
        assert conn.llen('default') == 2


class TestSweep:
    def test_once_brings_back_what_is_lost(self, shell, conn):
        lose(conn, 1, 2)
        assert shell.out('sweep', '--once', 'myapp.tasks:both') == (
            'queue default: brought back 2 lost tasks or notifications\n'
            'queue mail: brought back 0 lost tasks or notifications\n')
        assert conn.lrange('default', 0, -1) == [payload_of(1), payload_of(2)]
        assert shell.json('sweep', '--once', '--queue', 'default') == {'repaired': {'default': 0}}

    def test_runs_until_it_is_stopped(self, shell, conn):
        process = shell.start('sweep', '--queue', 'default', '--interval', '0.01')
        lose(conn, 1)
        wait_until(lambda: conn.llen('default'), 'the lost task')
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == Exit.OK
        assert 'brought back 1 lost tasks' in err


class TestAnApplicationThatCannotBeImported:
    def test_is_shown_with_its_own_traceback(self, shell):
        shell.write('broken.py', '''
            import myapp.tasks
            queue = undefined
        ''')
        process = shell.start('sweep', '--once', 'broken:queue')
        out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out) == (Exit.NOT_IMPORTED, '')
        path = shell.folder / 'broken.py'
        assert err.splitlines()[:2] == ['Traceback (most recent call last):', '  File "%s", line 3, in <module>' % path]
        assert err.splitlines()[-2:] == ["NameError: name 'undefined' is not defined",
                                         'python -m delayed: importing broken failed at %s:3: NameError' % path]


class TestNoServer:
    @pytest.mark.parametrize('args', [
        ['sweep', '--once'], ['dead', 'list'], ['purge', '--yes'], ['enqueue', 'myapp.tasks:add'], ['status'],
        ['status', '--watch'], ['doctor']])
    def test_ends_every_command_with_its_own_status(self, shell, args):
        status, out, err = shell.run(*args, '--url', 'redis://:secret@127.0.0.1:1', '--queue', 'default')
        assert (status, out) == (Exit.NO_SERVER, '')
        assert err.startswith('python -m delayed: cannot reach redis://127.0.0.1:1: ')

    def test_is_told_of_an_applications_queue_too(self, shell):
        shell.write('away.py', '''
            import redis
            from delayed.queue import Queue
            queue = Queue('default', redis.Redis(port=1))
        ''')
        status, _, err = shell.run('sweep', '--once', 'away:queue')
        assert status == Exit.NO_SERVER
        assert 'cannot reach the Redis server of queue default: ' in err

    def test_keys_of_a_wrong_type_are_what_redis_says(self, shell, conn):
        conn.set('default', 'no list')
        status, _, err = shell.run('sweep', '--once', '--queue', 'default')
        assert (status, 'python -m delayed: Redis refused: ' in err, 'WRONGTYPE' in err) == (Exit.FAILED, True, True)
