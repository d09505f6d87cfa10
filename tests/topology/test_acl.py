"""Each role under the rules of docs/topology.md: they are enough, and none of their commands is too much."""

import re
from pathlib import Path

import pytest
import redis

from delayed._presence import Presence
from delayed.commands._failures import Failures
from delayed.commands._snapshot import Snapshot
from delayed.outcome import Kind, Outcome
from delayed.queue import Queue
from delayed.task import Task
from delayed.worker import PreforkedWorker
from queues import keys, lose, payload_of, server_ms
from workers import told

PAGE = (Path(__file__).parent.parent.parent / 'docs' / 'topology.md').read_text('utf-8')
RULES = dict(re.findall(r'^ACL SETUSER (\w+) on >SECRET (.+)$', PAGE.replace('NAME', 'default'), re.MULTILINE))


def commands_of(role):
    return re.findall(r'\+(\S+)', RULES[role])


@pytest.fixture
def user(conn, redis_server):
    """Makes a user of a role, without the command `but`, and returns a client of it."""
    try:
        conn.execute_command('ACL', 'WHOAMI')
    except redis.ResponseError as error:
        pytest.skip('this server is older than Redis 6: %s' % error)
    clients = []

    def user(role, but=None):
        rules = [rule for rule in RULES[role].split() if rule != '+%s' % but]
        conn.execute_command('ACL', 'SETUSER', 'tester', 'reset', 'on', '>SECRET', *rules)
        clients.append(redis_server.client(username='tester', password='SECRET'))
        return clients[-1]

    yield user
    for client in clients:
        client.close()
        client.connection_pool.disconnect()
    conn.execute_command('ACL', 'DELUSER', 'tester')


def produce(client, conn):
    conn.flushall()
    conn.script_flush()
    queue = Queue('default', client)
    queue.enqueue(Task(None, 'tasks', 'run'))
    queue.enqueue(Task(None, 'tasks', 'run'))


def observe(client, conn):
    """What `delayed status` looks at, and a program by itself."""
    conn.flushall()
    conn.script_flush()
    lose(conn, 1, ago_ms=-60_000, holder='host:1:a:1')
    Queue('default', conn).enqueue(Task(None, 'tasks', 'run'))
    queue = Queue('default', client)
    assert (queue.len(), queue.dead_len(), queue.dead()) == (1, 0, [])
    snapshot = Snapshot.of(queue, 5)
    assert (snapshot.census.waiting, len(snapshot.running), snapshot.workers) == (1, 1, [])


def announce(client, conn):
    """What a worker tells of itself; twice, and so often that the list of it is shortened."""
    conn.flushall()
    conn.script_flush()
    conn.rpush('default_pace', *['1.000 2.000 3 4\n'] * 301)
    ledger = Queue('default', client).ledger
    for first in (True, False):
        ledger.announce('worker:1', '{}', 15_000, first=first, taken=1)
    ledger.withdraw('worker:1')


def sweep(client, conn):
    """All that a sweep may find: lost once and for good, notifications too many and too few, leftovers."""
    conn.flushall()
    conn.script_flush()
    ledger = Queue('default', client).ledger
    ledger.may_sweep(1000)
    lose(conn, 1)
    lose(conn, 2, 3, holder='worker:1')
    conn.hset('default_losses', payload_of(3), '1,2')
    conn.hset('default_leases', '1.000', 'nobody')
    conn.hset('default_losses', 'of nothing', '1')
    assert ledger.sweep(3) == 3
    conn.lpop('default_noti')
    assert ledger.sweep(3) == 1
    assert keys(conn) == ['default', 'default_dead', 'default_enqueued', 'default_losses', 'default_noti',
                          'default_swept']


def work(client, conn):
    """All moves that a worker makes."""
    sweep(client, conn)
    conn.delete('default', 'default_noti', 'default_losses', 'default_enqueued', 'default_dead')
    admin, ledger = Queue('default', conn), Queue('default', client).ledger
    for number in range(1, 9):
        admin.enqueue(Task(number, 'module', 'func', (number,)))
    assert ledger.wait()
    first = ledger.take('notified', 15_000, 'worker:1')
    assert ledger.take('ready', 15_000, '?worker:2').token == ledger.reclaim('?worker:2').token
    token = b'%.3f' % (server_ms(conn) + 15_000)
    assert ledger.renew(first.payload, (first.token,), token, 15_000, 'worker:1') is True
    ahead = ledger.reclaim('?worker:2')
    ledger.advance(first.payload, (token,), (ahead.token, 'worker:2'), 'ready', 15_000, 'worker:3')
    assert ledger.advanced()[0] == (True,)
    third = ledger.reclaim('worker:3')
    assert ledger.requeue(third.payload, (third.token,), 'front')
    assert ledger.release(third.payload, (third.token,))  # it waits: it is taken out
    assert ledger.lose(ahead.payload, (ahead.token,), 1) == 2
    ledger.advance_many([], (b'', ''), 15_000, 'worker:4', 1)
    _, (fourth,) = ledger.advanced_many()
    assert ledger.set_aside(fourth.payload, (fourth.token,), 'for a test')
    fifth = ledger.take('ready')
    assert ledger.requeue(fifth.payload, (fifth.token,), 'back')
    conn.delete('default')
    assert ledger.take('anyway') is None
    assert not conn.llen('default_noti')


ROLES = {'producer': produce, 'worker': work, 'sweeper': sweep, 'observer': observe}


class TestARole:
    def test_is_on_the_page(self):
        assert list(RULES) == list(ROLES)

    @pytest.mark.parametrize('role', ROLES)
    def test_needs_no_more_than_its_rules(self, conn, user, role):
        ROLES[role](user(role), conn)

    @pytest.mark.parametrize(('role', 'command'), [(role, command) for role in RULES for command in commands_of(role)])
    def test_needs_each_command_and_is_told_which_it_lacks(self, conn, user, role, command):
        with pytest.raises(redis.exceptions.NoPermissionError, match="'%s(\\|\\w+)?'" % command):
            ROLES[role](user(role, but=command), conn)

    def test_is_seen_if_it_is_a_worker_that_may_tell(self, conn, user):
        extra = re.search(r'shows there if it has\n +`(.+?)`', PAGE)[1].split()
        for but in (None, *extra):
            client = user('worker')
            conn.execute_command('ACL', 'SETUSER', 'tester', *(rule for rule in extra if rule != but))
            if but is None:
                announce(client, conn)
            else:
                with pytest.raises(redis.exceptions.NoPermissionError, match="'%s'" % but[1:]):
                    announce(client, conn)

    def test_hears_and_tells_of_failures_if_it_may(self, conn, user):
        listen, tell = re.findall(r'`(\S+ &default_failures)`', PAGE.replace('NAME', 'default'))
        task = Task(1, 'module', 'func')
        record = Outcome(Kind.FAILED, 1, 'module.func').to_json()
        for may_listen, may_tell in ((True, True), (True, False), (False, True)):
            client = user('producer')
            extra = listen.split() * may_listen + tell.split() * may_tell
            conn.execute_command('ACL', 'SETUSER', 'tester', 'resetchannels', *extra)
            with Failures([Queue('default', client)]) as failures:
                Presence('worker:1', ['default']).tell_failure(Queue('default', client).ledger, record)
                queue = Queue('default', client)
                assert (failures.of(queue, task) is not None) == (may_listen and may_tell)
                assert failures.of(queue, Task(2, 'module', 'func')) is None

    @pytest.mark.parametrize('role', ['producer', 'worker', 'sweeper'])
    def test_is_told_of_a_key_that_it_may_not_use(self, conn, user, role):
        with pytest.raises(redis.exceptions.NoPermissionError, match='key'):
            ROLES[role](user(role, but=None), other_keys(conn))


def other_keys(conn):
    conn.execute_command('ACL', 'SETUSER', 'tester', 'resetkeys', '~other')
    return conn


class TestAWorker:
    def test_works_under_its_rules(self, conn, user, lab):
        queue = Queue('default', user('worker'))
        for number in range(5):
            Queue('default', conn).enqueue(Task(None, 'tasks', 'run', (number,)))
        Queue('default', conn).enqueue(Task(None, 'tasks', 'stop_worker'))
        program = lab.start_worker(told(PreforkedWorker, queue))
        assert program.wait() == 0
        assert [args for args, _ in lab.reports('ran')] == [[number] for number in range(5)]

    @pytest.mark.parametrize('command', ['lindex', 'zadd', 'time'])
    def test_ends_at_its_start_if_a_command_is_missing(self, conn, user, command):
        queue = Queue('default', user('worker', but=command))
        Queue('default', conn).enqueue(Task(None, 'tasks', 'run'))
        with pytest.raises(redis.exceptions.NoPermissionError, match=command):
            PreforkedWorker(queue).run()
