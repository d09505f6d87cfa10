"""`delayed status`, as an operator types it."""

import json
import re
import signal
import time

import pytest

from delayed import worker as workers
from delayed._pace import Wait
from delayed._stamp import with_stamp
from delayed.cli import Exit
from delayed.commands._snapshot import duration, told_wait
from delayed.queue import Queue
from delayed.task import Task
from queues import lose, server_ms
from waiting import DEADLINE, wait_until
from workers import task

FUNCTION = 'a_package_of_a_shop.and_its_tasks.with_a_function_of_a_long_name'


@pytest.fixture
def busy(queue, conn):
    """Two tasks wait, one is dequeued by hand, one by a worker that has told of it, and one was lost."""
    for number in range(3):
        queue.enqueue(Task(None, *FUNCTION.rsplit('.', 1), (number,), timeout=60_000))
    queue.dequeue()
    lose(conn, 100, holder='elsewhere:7:ab:1', ago_ms=3000)
    now = server_ms(conn)
    running = Task(101, 'module', 'func').serialize()
    token = '%.3f' % (now + 3_600_000)
    conn.zadd('default_dequeued', {running: token})
    conn.hset('default_leases', token, 'here:4711:cd:5')
    facts = json.dumps({'up': 3700, 'tasks': {'4': 99, '5': 120}})
    conn.hset('default_workers', 'here:4711:cd', '%.3f 3600000 %s' % (now, facts))
    conn.hset('default_workers', 'gone:1:ef', '%.3f 15000 %s' % (now - 16_000, facts))
    last = conn.lindex('default', -1)
    for age, taken, waiting, payload in ((3000, 5, 2, last), (13_000, 0, 3, last), (22_000, 0, 3, b'')):
        conn.rpush('default_pace', b'%.3f %.3f %d %d\n' % (now - age, now - age, taken, waiting) + payload)
    return queue


class TestStatus:
    def test_shows_queues_and_running_tasks(self, shell, busy, conn):
        conn.set('mail_id', 3)
        text = shell.out('status', 'myapp.tasks:both')
        queues, tasks = [block.splitlines() for block in text.split('\n\n')]
        assert queues[0].split() == ['queue', 'waiting', 'running', 'dead', 'oldest', 'in/s', 'out/s', 'workers']
        assert re.fullmatch(r'default +2 +3 +0 +[1-4]\ds +0.4 +0.5 +1', queues[1])
        assert re.fullmatch(r'mail +0 +0 +0 +- +- +- +0', queues[2])
        assert re.fullmatch(r'100 +module.func +default +elsewhere:7 +- +over', tasks[1].strip())
        assert re.fullmatch(r'101 +module.func +default +here:4711 +\dm\d\ds +(59m\d\ds|1h00m)', tasks[3].strip())
        assert re.fullmatch(r'1 +%s +default +- +[\d.ms]+ +([\d.ms]+|over)' % re.escape(FUNCTION), tasks[2].strip())

    def test_doubts_a_name_that_was_never_used(self, shell, conn):
        _, out, _ = shell.run('status', '--queue', 'defautl')
        assert out.endswith('queue defautl: nothing was ever enqueued on this server; is the name right?\n')

    def test_lists_workers_if_wanted(self, shell, busy):
        assert re.search(r'\nhere:4711 +default +1h0\dm\n$', shell.out('status', '--workers', '--queue', 'default'))

    def test_shows_as_many_tasks_as_wanted(self, shell, busy):
        _, out, _ = shell.run('status', '--queue', 'default', '--tasks', '1')
        assert 'elsewhere' in out and 'here:4711' not in out
        assert out.endswith('and 2 more\n')

    @pytest.mark.parametrize('columns', [60, 100])
    def test_fits_a_terminal(self, shell, busy, columns):
        status, text = shell.terminal('status', '--queue', 'default', columns=columns).end()
        assert status == Exit.OK
        assert max(len(line) for line in text.splitlines()) <= columns
        assert FUNCTION not in text and 'a_pa' in text

    def test_prints_json(self, shell, busy):
        found, = shell.json('status', '--queue', 'default')['queues']
        lost, taken, running = found.pop('tasks')
        rate, wait = found.pop('rate'), found.pop('oldest_wait')
        assert rate == pytest.approx({'enqueued': 0.4, 'taken': 0.5, 'over': 10})
        assert 13 <= wait['at_least'] < wait['at_most']
        assert found.pop('workers')[0]['pid'] == 4711
        assert found == {'queue': 'default', 'waiting': 2, 'running': 3, 'dead': 0, 'overdue': 1, 'notifications': 2}
        assert (lost['host'], lost['since'], lost['lease_left'] < 0) == ('elsewhere', None, True)
        assert (running['task'], running['pid'], running['begun']) == (101, 4711, True)
        assert 120 <= running['since'] < 120 + DEADLINE
        assert (taken['host'], taken['function']) == (None, FUNCTION)
        assert 0 <= taken['since'] < DEADLINE

    def test_knows_not_how_fast_it_goes_where_no_worker_is_left_to_tell(self, shell, busy, conn):
        conn.delete('default_workers')
        found, = shell.json('status', '--queue', 'default')['queues']
        assert (found['rate'], found['workers']) == (None, [])

    def test_knows_how_long_the_next_task_waits_that_tells_when_it_was_enqueued(self, shell, conn):
        conn.rpush('default', with_stamp(task('run').serialize(), time.time() - 3723))
        found, = shell.json('status', '--queue', 'default')['queues']
        assert found['oldest_wait']['at_least'] == found['oldest_wait']['at_most'] >= 3722
        assert ' 1h02m ' in shell.out('status', '--queue', 'default')

    def test_knows_workers_that_run(self, shell, lab, queue, conn):
        queue.enqueue(task('hold'))
        lab.start_worker(workers.PreforkedWorker(queue, sweep_interval=0.02))
        lab.expect('holds')

        def known():
            found, = shell.json('status', '--queue', 'default')['queues']
            return found if found['tasks'][0]['since'] is not None else None

        found = wait_until(known, 'a task with its time')
        (worker,), (running,) = found['workers'], found['tasks']
        assert (running['host'], running['pid']) == (worker['host'], worker['pid'])
        assert running['function'] == 'tasks.hold'
        lab.open_gate()


class TestWatch:
    def test_draws_in_place_and_anew_when_the_terminal_is_resized(self, shell, busy, conn):
        terminal = shell.terminal('status', '--watch', '--interval', '3600', '--queue', 'default', columns=100)
        terminal.read_until(r'\x1b\[J')
        terminal.resize(50)
        frame = terminal.read_until(r'\x1b\[J')
        assert frame.startswith('\x1b[H')
        lines = re.sub(r'\x1b\[\w', '', frame).splitlines()
        assert max(map(len, lines)) <= 50
        terminal.resize(50, 4)
        while lines[-1] != '...':  # one signal may have it draw twice
            lines = re.sub(r'\x1b\[\w', '', terminal.read_until(r'\x1b\[J')).splitlines()
        assert len(lines) == 3
        terminal.type('\x03')
        assert terminal.end()[0] == Exit.OK

    def test_goes_on_looking(self, shell, conn):
        terminal = shell.terminal('status', '--watch', '--interval', '0.01', '--queue', 'default')
        terminal.read_until(r'default +0 ')
        Queue('default', conn).enqueue(Task(None, 'module', 'func'))
        terminal.read_until(r'default +1 ')

    def test_prints_a_line_of_json_each_time(self, shell, conn):
        process = shell.start('status', '--watch', '--json', '--interval', '0.01', '--queue', 'default')
        for _ in range(3):
            assert json.loads(process.stdout.readline())['queues'][0]['waiting'] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == Exit.OK

    def test_ends_when_nobody_reads_it(self, shell, conn):
        process = shell.start('status', '--watch', '--interval', '0.01', '--queue', 'default')
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        assert process.wait(DEADLINE) == Exit.UNREAD

    def test_says_that_redis_is_away_and_goes_on(self, shell, redis_server):
        from delayed.embedded import EmbeddedRedis
        with EmbeddedRedis() as server:
            process = shell.start('status', '--watch', '--json', '--interval', '0.01', '--queue', 'default', '--url',
                                  server.url)
            process.stdout.readline()
            server.kill()
            assert process.stderr.readline().startswith('Redis is away: ')
            server.start().client().rpush('default', 'a task')
            while '"waiting": 1' not in process.stdout.readline():
                assert process.poll() is None


@pytest.mark.parametrize('seconds, text', [
    (0, '0.0s'), (9.94, '9.9s'), (10, '10s'), (59.9, '59s'), (60, '1m00s'), (3599, '59m59s'), (3600, '1h00m'),
    (86_399, '23h59m'), (86_400, '1d00h'), (1_000_000, '11d13h')])
def test_a_duration_is_told_in_its_two_greatest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize('wait, text', [
    (None, '?'), (Wait(42, None), '>42s'), (Wait(42, 500), '>42s'), (Wait(42, 42.5), '42s'), (Wait(0, 500), '<8m20s'),
    (Wait(0, None), '?'), (Wait(0, 0.5), '0.0s')])
def test_a_wait_is_told_as_well_as_it_is_known(wait, text):
    assert told_wait(wait) == text
