"""`delayed dead`, as an operator types it."""

import json
import pickle
import signal

import pytest

from delayed._signature import Signer
from delayed.cli import Exit
from delayed.task import Task
from fuzz import canary
from waiting import DEADLINE, wait_until

ID, OTHER = '1795445657871.770', '1795445657872.000'
REASON = 'it was lost 3 times: each time, the processes that ran it died or froze'


class Rogue:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return open, ('/tmp/never-made-by-a-test', 'x')


@pytest.fixture
def set_aside(conn):
    """Sets a call of `myapp.tasks` aside under an id."""
    def set_aside(id, function='divide', *args, payload=None, reason=REASON, **kwargs):
        payload = payload or Task(17, 'myapp.tasks', function, args, kwargs, 5000).serialize()
        header = json.dumps({'reason': reason, 'lost_at': '1795445000000,1795445100000', 'allowance': '610000'})
        conn.zadd('default_dead', {header.encode() + b'\n' + payload: id})
        return payload
    return set_aside


class TestList:
    def test_tells_what_was_set_aside_and_why(self, shell, set_aside):
        set_aside(ID, 'divide', 1, 0)
        set_aside(OTHER, payload=b'no task\n', reason='it cannot be\x1b[2J read')
        lines = shell.out('dead', 'list', '--queue', 'default').splitlines()
        assert [line.split()[0] for line in lines] == ['id', ID, OTHER]
        assert lines[1].endswith(REASON)
        assert '17  myapp.tasks.divide' in lines[1]
        assert lines[2].endswith('it cannot be\\x1b[2J read')

    def test_fits_a_terminal(self, shell, set_aside):
        set_aside(ID)
        status, text = shell.terminal('dead', 'list', '--queue', 'default', columns=60).end()
        assert status == Exit.OK
        assert all(len(line) <= 60 for line in text.splitlines())
        assert ID in text

    def test_prints_json(self, shell, set_aside):
        payload = set_aside(ID)
        assert shell.json('dead', 'list', '--queue', 'default') == {'dead': [{
            'id': ID, 'queue': 'default', 'task': 17, 'function': 'myapp.tasks.divide', 'reason': REASON,
            'set_aside_at': float(ID) / 1000, 'lost_at': [1795445000, 1795445100], 'bytes': len(payload)}]}

    def test_takes_a_part(self, shell, set_aside):
        for number in range(5):
            set_aside(1000 + number, 'divide', number)
        found = shell.json('dead', 'list', '--queue', 'default', '--start', '1', '--count', '2')
        assert [letter['id'] for letter in found['dead']] == ['1001.000', '1002.000']

    def test_says_so_where_there_is_none(self, shell):
        assert shell.out('dead', 'list', '--app', 'myapp.tasks:both') == 'nothing was set aside\n'


class TestShow:
    def test_tells_all_of_a_task(self, shell, set_aside):
        set_aside(ID, 'divide', 1, b='x')
        out = shell.out('dead', 'show', ID, '--app', 'myapp.tasks:queue')
        for part in (ID, 'myapp.tasks.divide', REASON, "b='x'", '2026'):
            assert part in out
        facts = shell.json('dead', 'show', ID, '--queue', 'default')
        assert (facts['args'], facts['kwargs'], facts['timeout']) == (['1'], {'b': "'x'"}, 5)

    def test_runs_no_code_of_the_payload(self, shell, set_aside):
        set_aside(ID, payload=pickle.dumps((17, 'myapp.tasks', 'divide', (Rogue(),), {}, None)))
        out = shell.out('dead', 'show', ID, '--queue', 'default')
        assert 'not shown: they are no plain data' in out
        assert shell.json('dead', 'show', ID, '--queue', 'default')['args'] is None

    @pytest.mark.parametrize('id', [OTHER, 'no-id', '-inf', '1e3'])
    def test_of_an_id_that_is_gone_fails(self, shell, set_aside, id):
        set_aside(ID)
        status, out, err = shell.run('dead', 'show', '--queue', 'default', '--', id)
        assert (status, out) == (Exit.FAILED, '')
        assert err.startswith('python -m delayed: queue default has no dead letter %s: ' % id)


class TestRequeueAndDelete:
    def test_by_id(self, shell, set_aside, conn):
        payload = set_aside(ID)
        set_aside(OTHER, 'fail')
        assert shell.out('dead', 'requeue', ID, '--queue', 'default') == 'put back %s\n' % ID
        assert conn.lrange('default', 0, -1) == [payload]
        assert shell.json('dead', 'delete', OTHER, '--queue', 'default') == {
            'queue': 'default', 'deleted': [OTHER], 'gone': []}
        assert not conn.exists('default_dead')

    def test_of_what_is_gone_fails_and_does_the_others(self, shell, set_aside, conn):
        set_aside(ID)
        status, out, err = shell.run('dead', 'delete', OTHER, ID, '--queue', 'default')
        assert (status, out) == (Exit.FAILED, 'deleted %s\n' % ID)
        assert 'has no dead letter %s' % OTHER in err

    @pytest.mark.parametrize('command', ['requeue', 'delete'])
    def test_of_all(self, shell, set_aside, conn, command):
        for number in range(450):
            set_aside(1000 + number, 'divide', number)
        assert len(shell.out('dead', command, '--all', '--yes', '--queue', 'default').splitlines()) == 450
        assert conn.zcard('default_dead') == 0
        assert conn.llen('default') == conn.llen('default_noti') == (450 if command == 'requeue' else 0)

    def test_of_all_asks(self, shell, set_aside, conn):
        set_aside(ID)
        status, _, err = shell.run('dead', 'delete', '--all', '--queue', 'default')
        assert (status, conn.zcard('default_dead')) == (Exit.USAGE, 1)
        assert 'There is no terminal to ask on' in err
        terminal = shell.terminal('dead', 'delete', '--all', '--queue', 'default')
        terminal.read_until(r'All 1 dead letters of queue default will be deleted\. Are you sure\? \[y/N\] ')
        terminal.type('y\n')
        assert terminal.end()[0] == Exit.OK
        assert conn.zcard('default_dead') == 0

    @pytest.mark.parametrize('args', [[], ['--all', ID]])
    def test_need_either_ids_or_all(self, shell, args):
        assert shell.run('dead', 'delete', *args, '--queue', 'default')[0] == Exit.USAGE


class TestReplay:
    def test_runs_the_task_here_and_leaves_the_queue_alone(self, shell, set_aside, conn):
        set_aside(ID, 'divide', 3, b=2)
        before = {key: conn.dump(key) for key in conn.keys()}
        status, out, _ = shell.run('dead', 'replay', ID, '--queue', 'default')
        assert status == Exit.OK
        assert out.startswith('it returned 1.5 after ')
        assert out.endswith('dead letter %s stays as it is\n' % ID)
        assert {key: conn.dump(key) for key in conn.keys()} == before

    @pytest.mark.parametrize('option, waiting', [('--delete', 0), ('--requeue', 1)])
    def test_moves_the_letter_if_it_was_told_to_and_the_task_returned(self, shell, set_aside, conn, option, waiting):
        set_aside(ID, 'divide', 3, 2)
        shell.run('dead', 'replay', ID, option, '--queue', 'default')
        assert (conn.zcard('default_dead'), conn.llen('default')) == (0, waiting)

    def test_shows_where_the_task_raised_and_keeps_the_letter(self, shell, set_aside, conn):
        set_aside(ID, 'fail')
        status, out, err = shell.run('dead', 'replay', ID, '--delete', '--queue', 'default')
        assert (status, out) == (Exit.FAILED, '')
        lines = err.splitlines()
        assert lines[1] == 'Traceback (most recent call last):'
        assert lines[2].endswith('in fail')
        assert lines[-1] == 'ValueError: on purpose'
        assert conn.zcard('default_dead') == 1

    def test_debugs_it_at_the_raise(self, shell, set_aside):
        set_aside(ID, 'fail', 'a reason')
        terminal = shell.terminal('dead', 'replay', ID, '--pdb', '--queue', 'default')
        terminal.read_until(r'\(Pdb\) ')
        terminal.type('p deeper\n')
        terminal.read_until(r"'a reason'\r\n\(Pdb\) ")
        terminal.type('q\n')
        assert terminal.end()[0] == Exit.FAILED

    def test_shows_where_it_hangs_on_ctrl_c(self, shell, set_aside, conn):
        set_aside(ID, 'hang')
        process = shell.start('dead', 'replay', ID, '--delete', '--queue', 'default')
        process.stderr.readline()
        wait_until((shell.folder / 'hangs').exists, 'the task')
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == Exit.INTERRUPTED
        assert 'in hang' in err
        assert conn.zcard('default_dead') == 1

    def test_of_what_is_no_task_or_is_gone_fails(self, shell, set_aside):
        set_aside(ID, payload=b'no task')
        status, _, err = shell.run('dead', 'replay', ID, '--queue', 'default')
        assert (status, 'it cannot be unpickled' in err) == (Exit.FAILED, True)
        assert shell.run('dead', 'replay', OTHER, '--queue', 'default')[0] == Exit.FAILED

    def test_reads_nothing_that_is_not_signed_where_there_is_a_secret(self, shell, set_aside, tmp_path):
        canary.place(tmp_path / 'canary')
        set_aside(ID, payload=pickle.dumps((1, 'myapp.tasks', 'divide', canary.Canary(), {}, None)))
        shell.env['DELAYED_SECRET'] = 's' * 32
        status, _, err = shell.run('dead', 'replay', ID, '--queue', 'default')
        assert (status, 'it is not signed' in err) == (Exit.FAILED, True)
        assert canary.song() == ''

    def test_reads_what_is_signed(self, shell, set_aside):
        payload = Task(17, 'myapp.tasks', 'divide', (3, 2), {}, 5000).serialize()
        set_aside(ID, payload=Signer('default', 's' * 32).sign(payload))
        shell.env['DELAYED_SECRET'] = 's' * 32
        assert shell.run('dead', 'replay', ID, '--queue', 'default')[1].startswith('it returned 1.5')
        assert 'args          3\n' in shell.out('dead', 'show', ID, '--queue', 'default')


def test_without_a_command_it_shows_its_help(shell):
    status, out, err = shell.run('dead')
    assert (status, out) == (Exit.USAGE, '')
    assert err.startswith('usage: python -m delayed dead ')
