"""What operators see of a queue, through any client."""

import pytest
import redis

from delayed._inspect import Holder, Inspection, Name
from delayed._places import find_misplaced, restore
from delayed.queue import Queue
from delayed.task import Task
from queues import lose, payload_of, server_ms


@pytest.fixture(params=['plain', 'decoding', 'protocol 3', 'single connection', 'fake'])
def inspection(request, conn, redis_server):
    """Of the queue `default`, and a client that fills it."""
    if request.param == 'fake':
        fakeredis = pytest.importorskip('fakeredis')
        server = fakeredis.FakeServer()
        client, conn = (fakeredis.FakeRedis(server=server) for _ in range(2))
    elif request.param == 'protocol 3' and redis.VERSION < (5,):
        pytest.skip('this redis-py has protocol 2 alone')
    else:
        client = redis_server.client(**{
            'decoding': {'decode_responses': True}, 'protocol 3': {'protocol': 3},
            'single connection': {'single_connection_client': True}}.get(request.param, {}))
    yield Inspection(Queue('default', client).ledger), conn
    client.close()
    client.connection_pool.disconnect()
    if request.param == 'fake':
        conn.close()


class TestAnInspection:
    def test_counts(self, inspection):
        look, conn = inspection
        conn.rpush('default', payload_of(7), payload_of(8))
        conn.set('default_id', 8)
        lose(conn, 1, holder='here:1:ab:1')
        census = look.census()
        assert (census.waiting, census.notifications, census.dequeued, census.overdue) == (2, 0, 1, 1)
        assert census.last_id == 8
        assert abs(census.now - server_ms(conn)) < 60_000

    def test_tells_what_runs(self, inspection):
        look, conn = inspection
        conn.zadd('default_dequeued', {payload_of(1): 1000.125, b'no task': 3000})
        conn.zadd('default_enqueued', {b'no task': 2000})
        conn.hset('default_leases', '1000.125', '?here:1:ab:5')
        first, second = look.running(10)
        assert (first.name, first.lease_end, first.taken) == (Name(1, 'module.func'), 1000.125, None)
        assert first.holder == Holder('here', 1, 'here:1:ab', 5, False)
        assert (second.name, second.holder, second.taken, second.size) == (Name(None, None), None, 1000, 7)

    def test_tells_who_works(self, inspection):
        look, conn = inspection
        conn.hset('default_workers', 'here:1:ab', '5000.000 15000 {"up": 3, "tasks": {"5": 2}}')
        conn.hset('default_workers', 'a:host:2:cd', '1000.000 2000 {"up": 3, "tasks": {}}')
        late, here = look.workers(6000)
        assert (here.host, here.pid, here.up, here.tasks, here.alive) == ('here', 1, 4, {'5': 3000}, True)
        assert (late.host, late.pid, late.alive) == ('a:host', 2, False)

    def test_leaves_out_what_no_worker_has_written(self, inspection):
        look, conn = inspection
        for name, entry in (('x', '1 2 {}'), ('a:1:b', 'x'), ('a:2:b', '1 2 x'), ('a:3:b', '1 2 []')):
            conn.hset('default_workers', name, entry)
        assert look.workers(6000) == []

    def test_tells_dead_letters_that_no_script_has_written(self, inspection):
        look, conn = inspection
        conn.zadd('default_dead', {'{}\nx': 1000, '[]': 2000, '{"reason": 1, "lost_at": 2}\n': 3000})
        assert [letter.id for letter in look.dead(0, 10)] == ['1000.000', '2000.000', '3000.000']

    def test_tells_the_pace(self, inspection):
        look, conn = inspection
        conn.rpush('default_pace', b'3000.000 4000.000 17 2\n' + payload_of(2), b'1000.000 2000.000 16 1\n')
        conn.zadd('default_enqueued', {payload_of(2): 1})
        assert [note.taken for note in look.notes()] == [17, 16]
        wait = look.wait()
        assert wait.at_most - wait.at_least == pytest.approx(1, abs=0.001)

    def test_leaves_out_notes_of_the_pace_that_no_worker_has_written(self, inspection):
        look, conn = inspection
        conn.rpush('default_pace', '', 'x', '1 2', 'a b c d', '3000.000 4000.000 17 2\nhead')
        assert [(note.taken, note.waiting) for note in look.notes()] == [(17, 2)]

    def test_tells_dead_letters_without_their_payloads(self, inspection):
        look, conn = inspection
        queue = Queue('default', conn)
        task = queue.enqueue(Task(None, 'module', 'func', (b'x' * 100_000,)))
        queue.dequeue()
        queue.ledger.set_aside(task.data, (), 'two\nlines')
        letter, = look.dead(0, 10)
        whole, = queue.dead()
        assert (letter.id, letter.name, letter.reason, letter.size) == (
            whole.id, Name(1, 'module.func'), 'two\nlines', len(task.data))
        assert look.ledger.dead_letter(letter.id) == whole

    def test_tells_a_part_of_a_very_long_reason(self, inspection):
        look, conn = inspection
        queue = Queue('default', conn)
        task = queue.enqueue(Task(None, 'module', 'func'))
        queue.dequeue()
        queue.ledger.set_aside(task.data, (), 'why ' * 100_000)
        letter, = look.dead(0, 10)
        assert 'why why' in letter.reason and len(letter.reason) < 20_000

    def test_finds_a_task(self, inspection):
        look, conn = inspection
        conn.zadd('default_enqueued', {payload_of(1): 1})
        assert look.where(payload_of(1)).place == 'waiting'
        assert look.where(payload_of(2)).place == 'gone'


class TestAHolder:
    @pytest.mark.parametrize('text', ['', 'x', 'a:b:c:d', 'here:1:ab', 'here:x:ab:1', 'here:1:ab:x'])
    def test_that_is_no_workers_is_none(self, text):
        assert Holder.of(text) is None


class TestPlaces:
    def test_are_looked_at_once_where_all_is_well(self, queue):
        queue.enqueue(Task(None, 'module', 'func'))
        places = find_misplaced(queue.ledger, lambda seconds: pytest.fail('a second look'))
        assert not places.nowhere and not places.both and not places.twice and not places.unlisted

    def test_that_look_wrong_once_are_right(self, queue, conn):
        """A task is on its way while somebody looks."""
        task = queue.enqueue(Task(None, 'module', 'func'))
        conn.lpop('default')
        places = find_misplaced(queue.ledger, lambda seconds: conn.rpush('default', task.data))
        assert not places.nowhere

    def test_of_tasks_that_are_nowhere_are_found_and_mended(self, queue, conn):
        tasks = [queue.enqueue(Task(None, 'module', 'func')) for _ in range(4)]
        for task in tasks[1:3]:
            conn.lrem('default', 1, task.data)
        places = find_misplaced(queue.ledger, lambda seconds: None)
        assert len(places.nowhere) == 2
        assert restore(queue.ledger, places.nowhere) == 2
        assert set(conn.lrange('default', 0, -1)) == {task.data for task in tasks}
        assert restore(queue.ledger, places.nowhere) == 0
