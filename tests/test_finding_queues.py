"""Queues as a command's arguments and the environment name them, and what is said where that fails."""

import argparse
import sys
import textwrap

import pytest

from delayed.cli import Exit, _tell
from delayed.commands import _queues
from delayed.commands._exit import NotImported
from delayed.errors import DelayedError, InvalidArgument, ServerNotFound

APPLICATION = '''
import redis
from delayed.queue import Queue

conn = redis.Redis.from_url(%r)
high, low = Queue('high', conn), Queue('low', conn)
both = [high, low]
named = {'first': high, 'second': low}
weighted = {high: 3, low: 1}
number = 17


class Config:
    queue = low


class Sharded:
    shards = [high, low]


def add(a, b):
    return a + b
'''


@pytest.fixture
def app(redis_server, tmp_path, monkeypatch):
    """A directory that is the current one, with a module `shop.tasks` and what a test writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)
    (tmp_path / 'shop').mkdir()
    write(tmp_path, 'shop/__init__.py', '')
    write(tmp_path, 'shop/tasks.py', APPLICATION % redis_server.url)
    for name in 'DELAYED_QUEUES', 'DELAYED_QUEUE', 'DELAYED_URL':
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(('shop', 'broken')):
            del sys.modules[name]


def write(folder, name, text):
    (folder / name).write_text(textwrap.dedent(text))


def find(*argv, by_option=False, reach=True):
    parser = argparse.ArgumentParser()
    _queues.add_queues(parser, by_option)
    args = parser.parse_args(argv)
    return [queue.name for queue in _queues.find_queues(args, reach)]


class TestTheApplicationsQueues:
    @pytest.mark.parametrize('path, names', [
        ('shop.tasks:high', ['high']),
        ('shop.tasks:Config.queue', ['low']),
        ('shop.tasks:both', ['high', 'low']),
        ('shop.tasks:named', ['high', 'low']),
        ('shop.tasks:weighted', ['high', 'low']),
        ('shop.tasks:Sharded', ['high', 'low']),
    ])
    def test_are_found_from_the_current_directory(self, app, path, names):
        assert find(path) == names

    def test_may_be_several(self, app):
        assert find('shop.tasks:low', 'shop.tasks:high') == ['low', 'high']

    def test_come_from_the_environment_where_none_is_typed(self, app, monkeypatch):
        monkeypatch.setenv('DELAYED_QUEUES', 'shop.tasks:low shop.tasks:high')
        assert find() == ['low', 'high']
        assert find('shop.tasks:high') == ['high']

    def test_may_be_named_by_an_option(self, app):
        assert find('--app', 'shop.tasks:low', by_option=True) == ['low']


class TestQueuesByName:
    def test_are_on_the_server_of_the_url(self, app, redis_server):
        assert find('--url', redis_server.url, '--queue', 'a', '--queue', 'b') == ['a', 'b']

    def test_come_from_the_environment(self, app, redis_server, monkeypatch):
        monkeypatch.setenv('DELAYED_URL', redis_server.url)
        monkeypatch.setenv('DELAYED_QUEUE', 'a b')
        assert find() == ['a', 'b']
        assert find('--queue', 'c') == ['c']

    def test_that_are_typed_go_before_those_of_the_application_in_the_environment(self, app, redis_server, monkeypatch):
        monkeypatch.setenv('DELAYED_QUEUES', 'shop.tasks:low')
        assert find('--url', redis_server.url, '--queue', 'a') == ['a']

    def test_need_no_server_before_they_are_used(self, app):
        assert find('--url', 'redis://127.0.0.1:1', '--queue', 'a', reach=False) == ['a']


class TestMistakes:
    @pytest.mark.parametrize('argv, told', [
        ([], 'which queue?'),
        (['--queue', ''], "a queue's name must be a string that is not empty"),
        (['shop.tasks'], "'shop.tasks' names no queue: write the module, a colon"),
        (['shop.tasks:'], 'names no queue'),
        (['shop.tasks:high', '--queue', 'low'], 'shop.tasks:high says where the queue is, and so does --queue'),
        (['--url', 'http://localhost', '--queue', 'a'], 'no URL of a Redis server: http://localhost ('),
        (['--url', 'redis://:secret@localhost:port', '--queue', 'a'], 'no URL of a Redis server: redis://localhost:'),
    ])
    def test_in_arguments_are_told(self, app, argv, told):
        with pytest.raises(InvalidArgument) as caught:
            find(*argv)
        assert told in str(caught.value)
        assert 'secret' not in str(caught.value)
        assert not isinstance(caught.value, NotImported)

    @pytest.mark.parametrize('path, told', [
        ('shop.tsaks:high', 'there is no module shop.tsaks; looked for it in '),
        ('shpo:high', 'there is no module shpo; looked for it in '),
        ('shop.tasks:hihg', "there is no 'hihg' in shop.tasks ("),
        ('shop.tasks:hihg', '; did you mean high?'),
        ('shop.tasks:number', 'is no queue, nor a list or dict of queues, but of type int; queues of that mod'),
        ('shop.tasks:Config.queeu', 'did you mean queue?'),
    ])
    def test_in_paths_are_told_with_what_is_there(self, app, path, told):
        with pytest.raises(NotImported) as caught:
            find(path)
        assert told in str(caught.value)
        assert caught.value.trace == ''

    def test_of_a_module_come_with_its_own_traceback_alone(self, app):
        write(app, 'broken.py', '''
            import shop.tasks
            from shop.deeper import nothing
        ''')
        write(app, 'shop/deeper.py', 'def f():\n    raise RuntimeError("no luck")\nf()\n')
        with pytest.raises(NotImported) as caught:
            find('broken:queue')
        lines = caught.value.trace.splitlines()
        assert lines[0] == 'Traceback (most recent call last):'
        assert [line.strip().rpartition(', in ')[0] for line in lines if line.startswith('  File ')] == [
            'File "%s", line %d' % (app / name, line)
            for name, line in (('broken.py', 3), ('shop/deeper.py', 3), ('shop/deeper.py', 2))]
        assert lines[-1] == 'RuntimeError: no luck'
        assert str(caught.value) == 'importing broken failed at %s:2: RuntimeError' % (app / 'shop' / 'deeper.py')

    @pytest.mark.parametrize('code, last', [
        ('import no_such_module', "ModuleNotFoundError: No module named 'no_such_module'"),
        ('raise SystemExit(3)', 'SystemExit: 3'),
        ('def f(:', 'SyntaxError: invalid syntax'),
    ])
    def test_of_other_kinds_too(self, app, code, last):
        write(app, 'broken.py', code)
        with pytest.raises(NotImported) as caught:
            find('broken:queue')
        assert caught.value.trace.splitlines()[-1] == last
        assert str(app / 'broken.py') in caught.value.trace

    def test_end_a_command_with_a_status_of_their_own(self, capsys):
        errors = InvalidArgument('x'), NotImported('x', 'trace\n'), ServerNotFound('x'), DelayedError('x')
        assert [_tell('delayed', error) for error in errors] == [
            Exit.USAGE, Exit.NOT_IMPORTED, Exit.NO_SERVER, Exit.FAILED]
        assert capsys.readouterr().err == 'delayed: x\ntrace\ndelayed: x\ndelayed: x\ndelayed: x\n'

    def test_a_server_that_does_not_answer_is_told_without_its_password(self, app):
        with pytest.raises(ServerNotFound) as caught:
            find('--url', 'redis://:secret@127.0.0.1:1', '--queue', 'a')
        assert str(caught.value).startswith('cannot reach redis://127.0.0.1:1: ')


class TestFunctions:
    def test_are_found_as_queues_are(self, app):
        assert _queues.function_at('shop.tasks:add')(1, 2) == 3

    @pytest.mark.parametrize('path, told', [
        ('shop.tasks:number', 'is no function but of type int'),
        ('shop.tasks:ad', 'did you mean add?'),
        ('shop.tasks', 'names no function'),
    ])
    def test_that_are_not_there_are_told(self, app, path, told):
        with pytest.raises(DelayedError) as caught:
            _queues.function_at(path)
        assert told in str(caught.value)
