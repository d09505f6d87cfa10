"""`delayed doctor`, as an operator types it."""

import contextlib
import json

import pytest

from delayed.cli import Exit
from delayed.commands._check_server import Facts, check_server
from delayed.embedded import EmbeddedRedis
from delayed.queue import Queue
from delayed.task import Task
from queues import emptied, lose, payload_of, server_ms


@pytest.fixture(scope='module')
def sound_server():
    """It keeps what it acknowledges."""
    with EmbeddedRedis(appendonly=True) as server:
        yield server


@pytest.fixture
def conn(sound_server):
    with emptied(sound_server) as client:
        yield client


@pytest.fixture
def doctor(shell, sound_server, conn):
    """Runs it, and returns its findings as {check: finding}; its status must be that it should have."""
    shell.env['DELAYED_URL'] = sound_server.url

    def doctor(*args, queue='default', **kwargs):
        status, out, err = shell.run('doctor', '--queue', queue, '--json', *args, **kwargs)
        found = json.loads(out)['findings']
        assert status == (Exit.FAILED if any(f['problem'] and not f['fixed'] for f in found) else Exit.OK), err
        assert len({finding['check'] for finding in found}) == len(found)
        return {finding['check']: finding for finding in found}
    return doctor


def tell(conn, name='here:1:ab'):
    """A worker tells that it lives."""
    conn.hset('default_workers', name, '%.3f 3600000 {"up": 1, "tasks": {}}' % server_ms(conn))


class TestASoundQueue:
    def test_has_no_findings(self, doctor, conn, queue):
        for _ in range(3):
            queue.enqueue(Task(None, 'module', 'func'))
        tell(conn)
        assert doctor() == {}

    def test_is_called_so(self, shell, doctor, conn):
        conn.mset({'default_id': 1, 'mail_id': 1})
        assert shell.out('doctor', '--queue', 'default', '--queue', 'mail') == 'default, mail: no problems\n'

    def test_may_have_a_wrong_name(self, doctor, conn):
        found = doctor(queue='defautl')
        assert (list(found), found['name']['problem']) == (['name'], False)


class TestAQueueInTrouble:
    def test_with_a_key_of_a_wrong_type(self, doctor, conn):
        conn.set('default_noti', 'no list')
        found = doctor()
        assert list(found) == ['types']
        assert found['types']['what'] == 'the key default_noti is a string; it should be a list'

    @pytest.mark.parametrize('waiting, notifications, what', [
        (3, 1, '2 notifications are missing'), (1, 3, 'there are 2 notifications without a task')])
    def test_whose_notifications_are_not_in_step(self, doctor, conn, waiting, notifications, what):
        for number in range(waiting):
            conn.rpush('default', payload_of(number))
            conn.zadd('default_enqueued', {payload_of(number): 610_000})
        conn.rpush('default_noti', *['1'] * notifications)
        tell(conn)
        assert doctor()['notifications']['what'] == what
        assert doctor('--fix')['notifications']['fixed']
        assert conn.llen('default_noti') == waiting
        assert doctor() == {}

    def test_whose_tasks_are_lost(self, doctor, conn):
        lose(conn, 1, 2, holder='gone:1:ab:1')
        tell(conn)
        assert doctor()['lost']['what'] == '2 tasks are lost, and nobody brings them back'
        assert doctor('--fix')['lost']['fixed'] == 'brought back 2 tasks or notifications'
        assert conn.llen('default') == 2
        assert doctor() == {}

    def test_whose_tasks_are_nowhere(self, doctor, conn, queue):
        for _ in range(3):
            queue.enqueue(Task(None, 'module', 'func'))
        tell(conn)
        payload = conn.lpop('default')
        conn.lpop('default_noti')
        assert doctor()['places']['what'] == '1 tasks are enqueued, but neither wait nor run'
        assert doctor('--fix')['places']['fixed'] == 'put back 1 of 1'
        assert conn.lindex('default', 0) == payload
        assert doctor() == {}

    @pytest.mark.parametrize('check, break_it', [
        ('both', lambda conn: conn.zadd('default_dequeued', {payload_of(1): server_ms(conn) + 60_000})),
        ('twice', lambda conn: conn.rpush('default', payload_of(1)) + conn.rpush('default_noti', '1')),
        ('unlisted', lambda conn: conn.zrem('default_enqueued', payload_of(1))),
    ])
    def test_whose_tasks_are_in_more_places_or_fewer(self, doctor, conn, check, break_it):
        conn.zadd('default_enqueued', {payload_of(1): 610_000})
        conn.rpush('default', payload_of(1))
        conn.rpush('default_noti', '1')
        tell(conn)
        break_it(conn)
        found = doctor()
        assert found[check]['problem'] and not found[check]['can_be_fixed']

    @pytest.mark.parametrize(('ours', 'theirs', 'what'), [
        ('s' * 32, False, 'the next task is not signed'), ('', 's' * 32, 'the next task is signed, and this queue')])
    def test_whose_tasks_are_signed_and_its_workers_not_or_the_other_way(self, doctor, shell, conn, ours, theirs, what):
        tell(conn)
        Queue('default', conn, secret=theirs).enqueue(Task(None, 'module', 'func'))
        if ours:
            shell.env['DELAYED_SECRET'] = ours
        assert doctor()['secret']['what'].startswith(what)
        shell.env['DELAYED_SECRET'] = theirs or ours
        conn.delete('default', 'default_noti', 'default_enqueued')
        Queue('default', conn, secret='s' * 32).enqueue(Task(None, 'module', 'func'))
        assert doctor() == {}

    def test_that_is_signed_and_has_old_workers_is_told_that_they_cannot_read_it(self, doctor, shell, conn):
        shell.env['DELAYED_SECRET'] = 's' * 32
        queue = Queue('default', conn, secret='s' * 32)
        queue.enqueue(Task(None, 'module', 'func'))
        queue.dequeue()
        assert '0.5.1b2' in doctor()['unreadable']['what']

    def test_that_nobody_works_on(self, doctor, conn, queue):
        queue.enqueue(Task(None, 'module', 'func'))
        conn.hset('default_workers', 'gone:1:ab', '%.3f 15000 {"up": 1, "tasks": {}}' % (server_ms(conn) - 20_000))
        assert doctor()['workers']['what'] == '1 tasks wait, and no worker tells that it lives'

    def test_of_a_mixed_fleet_and_with_dead_letters_is_told_of_them(self, doctor, conn, queue):
        queue.enqueue(Task(None, 'module', 'func'))
        queue.dequeue()
        conn.zadd('default_dead', {'{}\nx': 1})
        found = doctor()
        assert set(found) == {'mixed', 'dead'}
        assert not any(finding['problem'] for finding in found.values())

    def test_is_found_in_steps_where_it_is_long(self, doctor, conn):
        with conn.pipeline() as pipe:
            for number in range(1700):
                pipe.zadd('default_enqueued', {payload_of(number): 610_000})
                if number % 1000:
                    pipe.rpush('default', payload_of(number)).rpush('default_noti', '1')
            pipe.execute()
        tell(conn)
        found = doctor('--fix')['places']
        assert (found['what'][:7], found['fixed']) == ('2 tasks', None)  # too long to be sure
        conn.ltrim('default', 0, 900)
        conn.ltrim('default_noti', 0, 900)

    def test_is_told_of_in_words(self, shell, doctor, conn):
        lose(conn, 1)
        status, out, _ = shell.run('doctor', '--fix', '--queue', 'default')
        lines = out.splitlines()
        assert lines[0] == 'PROBLEM  queue default: 1 tasks are lost, and nobody brings them back'
        assert [line.split(':')[0].strip() for line in lines[1:4]] == ['It means', 'To do', 'Fixed']
        assert (status, lines[-1]) == (Exit.OK, 'default: no problems')


@contextlib.contextmanager
def limited_to(conn, shell, server, *denied):
    """The shell's user may not call some commands."""
    conn.acl_setuser('limited', enabled=True, nopass=True, commands=['+@all', '-config', *denied], keys=['default*'])
    shell.env['DELAYED_URL'] = server.url + ('&' if '?' in server.url else '?') + 'username=limited&password=any'
    yield
    conn.acl_deluser('limited')


class TestAUser:
    def test_who_may_not_do_what_workers_must_is_found(self, doctor, conn, shell, sound_server):
        if int(conn.info('server')['redis_version'].split('.')[0]) < 7:
            pytest.skip('this server cannot tell')
        with limited_to(conn, shell, sound_server, '-zrem'):
            assert 'zrem default_enqueued' in doctor()['permissions']['what']

    def test_who_may_not_even_look_is_found(self, conn, shell, sound_server):
        with limited_to(conn, shell, sound_server, '-llen'):
            found = shell.json('doctor', '--queue', 'default', status=Exit.FAILED)['findings']
        assert {finding['check'] for finding in found} == {'permissions'}
        assert 'it cannot be checked to the end: ' in found[-1]['what']


class TestAServer:
    SOUND = {'redis_version': '7.2.4', 'role': 'master', 'maxmemory': '0', 'used_memory': '1', 'aof_enabled': '1',
             'maxmemory_policy': 'noeviction', 'rdb_last_bgsave_status': 'ok', 'aof_last_write_status': 'ok'}

    @pytest.mark.parametrize('facts, clock, saves, check, problem', [
        ({'redis_version': '4.0.1'}, 0, True, 'version', True),
        ({'role': 'slave'}, 0, True, 'role', True),
        ({}, 2, True, 'clock', False),
        ({}, -11, True, 'clock', True),
        ({'maxmemory': '100', 'maxmemory_policy': 'allkeys-lru'}, 0, True, 'eviction', True),
        ({'maxmemory': '100', 'used_memory': '95'}, 0, True, 'memory', True),
        ({'aof_enabled': '0'}, 0, True, 'persistence', False),
        ({'aof_enabled': '0'}, 0, None, 'persistence', False),
        ({'aof_enabled': '0'}, 0, False, 'persistence', True),
        ({'rdb_last_bgsave_status': 'err'}, 0, True, 'persistence', True),
        ({'aof_last_write_status': 'err'}, 0, True, 'persistence', True),
    ])
    def test_in_trouble_is_found(self, facts, clock, saves, check, problem):
        found, = check_server(Facts({**self.SOUND, **facts}, clock, saves))
        assert (found.check, found.problem, found.queue) == (check, problem, None)

    @pytest.mark.parametrize('facts', [
        {}, {'maxmemory_policy': 'allkeys-lru'}, {'maxmemory': '100', 'maxmemory_policy': 'volatile-lru'}])
    def test_without_trouble_is_not(self, facts):
        assert list(check_server(Facts({**self.SOUND, **facts}, 0.5, True))) == []

    def test_tells_its_facts(self, conn):
        facts = Facts.of(Queue('default', conn))
        assert facts.info['role'] == 'master'
        assert facts.info['aof_enabled'] == '1'
        assert abs(facts.clock) < 1  # it is this very machine

    def test_that_keeps_nothing_is_a_problem(self, shell, conn, redis_server):
        with emptied(redis_server):
            told = shell.json('doctor', '--queue', 'default', '--url', redis_server.url, status=Exit.FAILED)
        found = [(finding['check'], finding['problem']) for finding in told['findings']]
        assert found == [('persistence', True), ('name', False)]
