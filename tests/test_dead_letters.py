"""Payloads that are set aside: why, how they are looked at, put back and deleted."""

import json
import pickle

import pytest

from delayed.queue import Queue
from delayed.task import Task
from queues import keys, lose, payload_of, server_ms, task_of, waiting


class Unpickled:
    """Makes unpickling do something."""

    def __init__(self, source):
        self._source = source

    def __reduce__(self):
        return exec, (self._source,)


UNREADABLE = {
    'no pickle': (b'no pickle', 'UnpicklingError'),
    'empty': (b'', 'EOFError'),
    'no task': (pickle.dumps({'a': 1}), 'dict'),
    'a short tuple': (pickle.dumps((1, 'm', 'f')), 'tuple of 3'),
    'a missing class': (b'cno_such_module\nname\n.', 'no_such_module'),
    'raises': (pickle.dumps(Unpickled('raise ValueError("é\\n")')), 'é\n'),
    'raises what is no text': (pickle.dumps(Unpickled(r'raise ValueError("\udc80")')), r'\udc80'),
    'exits': (pickle.dumps(Unpickled('raise SystemExit(3)')), 'SystemExit'),
}


class TestAPayloadThatCannotBeRead:
    def put(self, conn, payload):
        conn.rpush('default', payload)
        conn.rpush('default_noti', '1')
        conn.zadd('default_enqueued', {payload: 5000})

    @pytest.mark.parametrize('kind', UNREADABLE)
    @pytest.mark.parametrize('decode', [False, True])
    def test_is_set_aside_with_the_reason(self, conn, redis_server, kind, decode):
        payload, reason = UNREADABLE[kind]
        self.put(conn, payload)
        before = server_ms(conn)
        client = redis_server.client(decode_responses=decode)
        queue = Queue('default', client)
        assert queue.dequeue() is None
        letter, = queue.dead()
        assert letter.payload == payload
        assert reason in letter.reason
        assert before - 1 <= letter.set_aside_at * 1000 <= server_ms(conn) + 1
        assert letter.lost_at == ()
        assert keys(conn) == ['default_dead']
        client.close()

    def test_does_not_come_back(self, queue, conn):
        self.put(conn, b'no pickle')
        queue.enqueue(task_of(1))
        assert queue.dequeue() is None
        assert queue.dequeue().id == 1
        assert queue.requeue_lost() == 0
        assert waiting(conn) == []

    def test_is_kept_as_a_line_of_json_and_the_payload(self, queue, conn):
        self.put(conn, b'no\npickle')
        queue.dequeue()
        (letter, score), = conn.zrange('default_dead', 0, -1, withscores=True)
        header, _, payload = letter.partition(b'\n')
        assert payload == b'no\npickle'
        assert sorted(json.loads(header)) == ['allowance', 'lost_at', 'reason']
        assert queue.dead()[0].id == '%.3f' % score


class TestDeadLetters:
    @pytest.fixture
    def ids(self, queue, conn):
        """Those of five letters."""
        for number in range(5):
            payload = b'no pickle %d' % number
            conn.rpush('default', payload)
            conn.rpush('default_noti', '1')
            queue.dequeue()
        return [letter.id for letter in queue.dead()]

    def test_are_none_at_first(self, queue):
        assert (queue.dead(), queue.dead_len()) == ([], 0)

    def test_are_listed_oldest_first_in_pages(self, queue, ids):
        assert queue.dead_len() == 5
        assert [letter.payload for letter in queue.dead()] == [b'no pickle %d' % number for number in range(5)]
        for start, count in ((0, 2), (1, 3), (4, 100), (5, 1), (0, 0), (2, 0), (2, -1)):
            assert [letter.id for letter in queue.dead(start, count)] == ids[start:start + max(count, 0)]

    def test_are_put_back_at_the_end(self, queue, conn, ids):
        queue.enqueue(task_of(1))
        assert queue.requeue_dead(ids[2])
        assert conn.lrange('default', 0, -1) == [payload_of(1), b'no pickle 2']
        assert (conn.llen('default_noti'), conn.zscore('default_enqueued', b'no pickle 2')) == (2, 610_000)
        assert [letter.id for letter in queue.dead()] == [*ids[:2], *ids[3:]]
        assert not queue.requeue_dead(ids[2])

    def test_are_deleted(self, queue, conn, ids):
        assert queue.delete_dead(ids[2])
        assert not queue.delete_dead(ids[2])
        assert [letter.id for letter in queue.dead()] == [*ids[:2], *ids[3:]]
        assert queue.len() == 0

    @pytest.mark.parametrize('letter_id', ['', 'x', '-inf', '+inf', '(1', '1 2', '1e3', '0', '5\n'])
    def test_have_no_such_ids(self, queue, ids, letter_id):
        assert not queue.requeue_dead(letter_id)
        assert not queue.delete_dead(letter_id)
        assert queue.dead_len() == 5

    def test_tell_when_a_task_was_lost(self, queue, conn):
        lose(conn, 1, holder='a worker')
        conn.hset('default_losses', payload_of(1), '1000,2500')
        now = server_ms(conn) / 1000
        assert queue.requeue_lost() == 1
        letter, = queue.dead()
        assert letter.lost_at[:2] == (1.0, 2.5)
        assert letter.lost_at[2] == pytest.approx(now, abs=60)
        assert 'lost 3 times' in letter.reason
        assert Task.deserialize(letter.payload).id == 1


class TestALetterThatSomebodyElseWrote:
    OURS = b'{"reason": "r", "lost_at": "", "allowance": "5"}'

    @pytest.mark.parametrize('letter', [
        b'', b'\n', b'payload', b'{}\npayload', b'[]\npayload', b'1\npayload', b'\xff\npayload', b'"\npayload',
        b'[' * 100_000 + b'\npayload', b'{"reason": "r", "lost_at": "x"}\npayload',
        b'{"reason": "r", "lost_at": 5}\npayload', b'{"reason": "r", "lost_at": "%s"}\npayload' % (b'9' * 400),
        b'{"lost_at": "", "allowance": "5"}\npayload', OURS,
    ], ids=lambda letter: repr(letter[:40]))
    def test_is_shown_and_can_be_deleted_only(self, queue, conn, letter):
        conn.zadd('default_dead', {letter: 1000})
        found, = queue.dead()
        if letter == self.OURS:  # one that has no payload
            assert (found.reason, found.payload) == ('r', b'')
        else:
            assert found.reason == 'it was not set aside by this library, and cannot be put back'
            assert found.payload == letter
        if b'allowance' not in letter or letter == self.OURS:
            assert not queue.requeue_dead(found.id)
            assert keys(conn) == ['default_dead']
            assert queue.delete_dead(found.id)
            assert keys(conn) == []

    @pytest.mark.parametrize('allowance', [b'null', b'"x"', b'"nan"', b'{}', b'true'])
    def test_needs_an_allowance_to_be_put_back(self, queue, conn, allowance):
        conn.zadd('default_dead', {b'{"reason": "r", "lost_at": "", "allowance": %s}\npayload' % allowance: 1000})
        assert not queue.requeue_dead('1000')
        assert keys(conn) == ['default_dead']

    @pytest.mark.parametrize('score', [float('inf'), float('-inf'), -5.0, 0.12345, 1e-9, 1e300])
    def test_has_an_id_whatever_its_score(self, queue, conn, score):
        conn.zadd('default_dead', {self.OURS + b'\npayload': score})
        letter, = queue.dead()
        assert queue.requeue_dead(letter.id)
        assert conn.lrange('default', 0, -1) == [b'payload']

    def test_gives_its_reason_in_text_that_any_log_can_hold(self, queue, conn):
        conn.zadd('default_dead', {b'{"reason": "\\udc80", "lost_at": "", "allowance": "5"}\npayload': 1000})
        assert queue.dead()[0].reason == '\\udc80'
