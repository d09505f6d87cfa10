"""The demo as a user sees it: piped, in a terminal, on the user's own server, interrupted, and when things go wrong."""

import contextlib
import os
import re
import signal
import sysconfig
import threading

import pytest

from delayed import demo
from delayed.cli import Exit, main
from delayed.embedded import SERVER_VARIABLE, EmbeddedRedis
from demos import Running
from waiting import DEADLINE, wait_until


@pytest.fixture
def run(tmp_path):
    """Prepares a demo."""
    with contextlib.ExitStack() as stack:
        def prepare(*args, **kwargs):
            running = Running(tmp_path, *args, **kwargs)
            stack.callback(lambda: running.close())
            return running
        yield prepare


def rows(out):
    """The table at the end."""
    return dict(re.split('  +', line, maxsplit=1) for line in out.split('\n\n')[-2].splitlines())


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
    """One demo that several tests look at, and how it ended."""
    running = Running(tmp_path_factory.mktemp('demo'), '--files', '60').in_pipe()
    yield (running, *running.end())
    running.close()


@pytest.fixture
def table(ended):
    return rows(ended[2])


class TestADemoInAPipe:
    def test_succeeds_without_a_warning(self, ended):
        _, status, out, err = ended
        assert (status, err) == (Exit.OK, '')
        assert out.endswith('All is well: no task was lost, and each file was hashed exactly once.\n')

    def test_leaves_nothing_behind(self, ended):
        assert ended[0].leftovers() == []

    def test_writes_plain_lines(self, ended):
        assert '\r' not in ended[2] and '\x1b' not in ended[2]
        assert 'enqueued: 60 of 60\n' in ended[2]
        assert 'hashed: 60 of 60\n' in ended[2]

    def test_hashes_each_file_once_and_rightly(self, table):
        assert table['files'] == '60'
        assert table['hashed once'] == '60 of 60'
        assert table['equal'].startswith('60 of 60')

    def test_kills_a_worker_and_its_child_in_the_middle_of_a_task(self, ended, table):
        monitor, child = re.match(r'worker (\d+) and its child (\d+)', table['killed']).groups()
        name = table['interrupted'].split(',')[0]
        assert 'killed worker %s and its child %s half-way through %s;' % (monitor, child, name) in ended[2]

    def test_has_the_other_worker_recover_that_task_alone(self, table):
        killed = re.match(r'worker (\d+)', table['killed']).group(1)
        recovered, seconds = re.match(r'by worker (\d+), ([0-9.]+) s after the kill', table['recovered']).groups()
        assert recovered != killed
        assert float(seconds) > 0
        assert table['begun'] == '59 tasks once, 1 more than once (the interrupted one)'

    def test_tells_its_speed(self, table):
        assert re.match(r'[\d,]+ tasks per second, .*; [\d,]+ until the kill', table['speed'])


class TestADemoInATerminal:
    def test_shows_a_bar_that_gives_way_to_the_table(self, run):
        running = run('--files', '20').in_terminal()
        screen = running.read_screen()
        assert running.process.wait(DEADLINE) == Exit.OK
        assert re.search(r'\r\x1b\[Kenqueued \[#+\] 20/20', screen)
        assert re.search(r'\r\x1b\[Khashed \[#*\.+\]  ?\d+/20', screen)
        assert re.search(r'\r\x1b\[Khashed \[#+\] 20/20\r\x1b\[K\r\nfiles ', screen)
        assert 'All is well' in screen
        assert running.leftovers() == []

    def test_ends_quietly_on_ctrl_c(self, run):
        running = run().in_terminal()
        running.read_screen(rb'hashed \[#')
        os.write(running.terminal, b'\x03')
        screen = running.read_screen()
        assert running.process.wait(DEADLINE) == Exit.INTERRUPTED
        assert screen.endswith('python -m delayed: interrupted\r\n')
        assert 'Traceback' not in screen
        assert running.leftovers() == []


class TestADemoOnTheUsersServer:
    def test_leaves_its_other_data_alone_and_no_key_behind(self, run, conn, redis_server):
        conn.set('mine', 1)
        running = run('--files', '20', '--url', redis_server.url, env={SERVER_VARIABLE: '/no/such/program'}).in_pipe()
        status, out, err = running.end()
        assert (status, err) == (Exit.OK, '')
        assert rows(out)['hashed once'] == '20 of 20'
        assert conn.keys('*') == [b'mine']

    @pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_leaves_nothing_behind_when_a_signal_ends_it(self, run, conn, redis_server, signum):
        running = run('--url', redis_server.url).in_pipe()
        running.read_until('^hashed')
        running.process.send_signal(signum)
        status, _, err = running.end()
        assert (status, err) == (128 + signum, 'python -m delayed: interrupted\n')
        assert running.leftovers() == []
        assert conn.keys('*') == []

    def test_ignores_that_decoding_is_asked_for(self, run, redis_server):
        separator = '&' if '?' in redis_server.url else '?'
        running = run('--files', '3', '--url', redis_server.url + separator + 'decode_responses=yes').in_pipe()
        status, out, err = running.end()
        assert (status, err) == (Exit.OK, '')


class TestADemoThatIsKilled:
    def test_takes_its_workers_and_its_server_along(self, run):
        running = run().in_pipe()
        running.read_until('^hashed')
        running.process.kill()
        wait_until(lambda: running.leftovers() == [], 'the end of all that the demo had started')


class TestADemoWithoutAServer:
    def tell(self, run, *args, **kwargs):
        running = run(*args, **kwargs).in_pipe()
        status, out, err = running.end()
        assert 'Traceback' not in err
        assert running.leftovers() == []
        return status, err

    def test_says_where_it_looked_for_one(self, run):
        status, err = self.tell(run, env={SERVER_VARIABLE: '/no/such/program'})
        assert status == Exit.NO_SERVER
        assert '/no/such/program' in err

    def test_says_that_none_answers_at_the_url_and_keeps_the_password_to_itself(self, run):
        status, err = self.tell(run, '--url', 'redis://:secret@127.0.0.1:1/0')
        assert status == Exit.NO_SERVER
        assert err.startswith('python -m delayed: cannot reach redis://127.0.0.1:1/0: ')
        assert 'secret' not in err

    def test_says_that_the_server_wants_a_password(self, run):
        with EmbeddedRedis(tcp=True) as server:
            status, err = self.tell(run, '--url', re.sub('//.*@', '//', server.url))
        assert status == Exit.NO_SERVER
        assert 'redis://:PASSWORD@HOST' in err

    @pytest.mark.parametrize('url', ['localhost', 'http://localhost', 'redis://localhost:port', 'redis://localhost?pool=big'])
    def test_says_that_the_url_is_none(self, run, url):
        status, err = self.tell(run, '--url', url)
        assert status == Exit.USAGE
        assert err.startswith('python -m delayed: no URL of a Redis server: %s (' % url)

    def test_says_that_it_went_away_in_the_middle(self, run):
        with EmbeddedRedis() as server:
            running = run('--url', server.url).in_pipe()
            running.read_until('^hashed')
            server.kill()
            status, out, err = running.end()
            assert status == Exit.NO_SERVER
            assert re.search('^python -m delayed: lost ', err, re.MULTILINE)  # redis-py < 4.6 leaves sockets open, too
            assert 'Could not delete the keys delayed-demo-' in out
            assert running.leftovers() == []


@pytest.fixture
def nobody_works(monkeypatch):
    """The demo gives up at once."""
    monkeypatch.setattr(demo, 'WORKERS', 0)
    monkeypatch.setattr(demo, 'PATIENCE', 0.0)


class TestADemoThatDoesNotHold:
    def fail(self, capfd, *args):
        status = main(['demo', '--files', '5', *args])
        out, err = capfd.readouterr()
        assert 'All is well' not in out
        assert status == Exit.FAILED
        return out, err

    def test_fails_where_a_hash_is_wrong(self, capfd, monkeypatch):
        monkeypatch.setattr(demo, 'hash_directly', lambda path: demo.FileHash('0', 0, 0))
        out, err = self.fail(capfd)
        assert rows(out + '\n\n')['equal'].startswith('0 of 5')
        assert err.startswith('FAILED: hashed wrongly: ')

    def test_fails_where_nothing_happens_for_long(self, capfd, nobody_works):
        _, err = self.fail(capfd)
        assert 'FAILED: not hashed: ' in err
        assert 'FAILED: no worker was killed in the middle of a task\n' in err
        assert 'FAILED: left over in Redis: 5 tasks\n' in err

    def test_fails_where_a_worker_ends_by_itself(self, capfd, monkeypatch):
        monkeypatch.setattr(demo, 'LEASE', -1)  # which no worker takes
        _, err = self.fail(capfd)
        assert re.search(r'delayed: worker \d+ ended by itself', err)

    def test_fails_where_a_task_fails(self, capfd, monkeypatch, tmp_path):
        for name in 'abcde':
            (tmp_path / (name + '.py')).touch()
        monkeypatch.setattr(demo, 'standard_library', lambda: (str(tmp_path), ['a.py', 'b.py', 'c.py', 'd.py', 'e.py']))
        monkeypatch.setattr(demo, 'hash_directly', lambda path: demo.FileHash('0', 0, 0))
        (tmp_path / 'a.py').unlink()
        _, err = self.fail(capfd)
        assert 'FAILED: a.py failed: FileNotFoundError' in err


class TestTheProgramAroundADemo:
    def test_has_its_signal_handlers_back_afterwards(self, capfd, nobody_works):
        signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
        before = [signal.getsignal(signum) for signum in signals]
        main(['demo'])
        assert [signal.getsignal(signum) for signum in signals] == before

    def test_may_run_it_in_a_thread(self, capfd, nobody_works):
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(main(['demo'])))
        thread.start()
        thread.join(DEADLINE)
        assert statuses == [Exit.FAILED]


class TestTheStandardLibrary:
    def test_is_that_of_this_python_without_what_was_installed(self):
        root, names = demo.standard_library()
        assert os.path.samefile(root, sysconfig.get_path('stdlib'))
        assert {'os.py', os.path.join('json', 'decoder.py')} <= set(names)
        assert not [name for name in names if 'site-packages' in name or not name.endswith('.py')]
        assert names == sorted(set(names))
