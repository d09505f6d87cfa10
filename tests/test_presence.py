"""What workers tell of themselves, for operators."""

import json
import signal

import pytest
from redis.exceptions import ConnectionError, ResponseError

from delayed import worker as workers
from delayed._keys import QueueKeys
from delayed._presence import Presence
from waiting import wait_until
from workers import task


class Ledger:
    """Notes what is announced; raises `error` instead, if there is one."""

    def __init__(self, error=None, queue='default'):
        self.error, self.announced, self.withdrawn = error, [], []
        self.keys = QueueKeys(queue)

    def announce(self, name, facts, lasts_ms, first, taken):
        if self.error:
            raise self.error
        self.announced.append((name, json.loads(facts), lasts_ms, first, taken))

    def withdraw(self, name):
        self.withdrawn.append(name)


class TestAPresence:
    def test_tells_its_name_and_since_when_it_has_its_last_tasks(self):
        presence, ledger = Presence('host:1:ab', ['default']), Ledger()
        for call in range(10):
            for _ in range(10):  # at once
                presence.took('?host:1:ab:%d' % call, 0.0)
        presence.tell(ledger, 15)
        presence.tell(ledger, 15)
        (name, facts, lasts_ms, first, _), (*_, again, _) = ledger.announced
        assert (name, lasts_ms, first, again) == ('host:1:ab', 15_000, True, False)
        assert list(facts['tasks']) == ['2', '3', '4', '5', '6', '7', '8', '9']
        assert facts['up'] >= 0

    def test_tells_each_queue_how_many_tasks_it_took_since_it_told_last(self):
        presence, first, second = Presence('host:1:ab', ['a', 'b']), Ledger(queue='a'), Ledger(queue='b')
        for queue in 0, 1, 1:
            presence.took('host:1:ab:1', 0.0, queue)
        for ledger in first, second, second:
            presence.tell(ledger, 15)
        assert [announced[-1] for announced in first.announced + second.announced] == [1, 2, 0]

    def test_is_silent_once_redis_has_refused(self):
        presence, ledger = Presence('host:1:ab', ['default']), Ledger(ResponseError('OOM'))
        presence.tell(ledger, 15)
        ledger.error = None
        presence.tell(ledger, 15)
        presence.leave(ledger)
        assert (ledger.announced, ledger.withdrawn) == ([], [])

    def test_does_not_hide_that_redis_is_away(self):
        with pytest.raises(ConnectionError):
            Presence('host:1:ab', ['default']).tell(Ledger(ConnectionError('away')), 15)


class TestAWorker:
    def test_is_known_while_it_lives(self, lab, queue, conn, worker_class):
        queue.enqueue(task('hold'))
        program = lab.start_worker(worker_class(queue, sweep_interval=0.02))
        lab.expect('holds')

        def noted():
            return [json.loads(entry.split(b' ', 2)[2]) for entry in conn.hgetall('default_workers').values()]

        facts, = wait_until(lambda: [facts for facts in noted() if facts['tasks']], 'the note of a running task')
        (call, seconds), = facts['tasks'].items()
        assert call.isdecimal() and 0 <= seconds <= facts['up']
        lab.open_gate()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert conn.exists('default_workers') == 0

    def test_works_where_it_may_not_tell(self, lab, queue, conn):
        conn.set('default_workers', 'no hash')
        lab.drain(workers.PreforkedWorker(queue, sweep_interval=0.02), queue, task('run', 1))
        assert lab.reports('ran') == [[[1], {}]]
        assert any('will not show this worker' in line for line in lab.log('INFO'))
