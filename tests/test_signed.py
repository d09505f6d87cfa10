"""Queues with a secret: who has none cannot have anything unpickled, imported or run."""

import pickle
import signal
import sys
import time

import pytest

from delayed._signature import is_signed, pickle_in
from delayed.errors import InvalidArgument, NotAllEnqueued, Refused, UnreadablePayload
from delayed.queue import Queue
from delayed.task import Task
from queues import take_one, task_of
from workers import put, remains, report, task, told

SECRET, OTHER = 's' * 32, 'o' * 32


@pytest.fixture
def signed(conn):
    return Queue('default', conn, secret=SECRET)


class Canary:
    """Sings where it is unpickled."""

    def __reduce__(self):
        return report, ('unpickled',)


def forged(module_name='tasks', func_name='run'):
    return pickle.dumps((7, module_name, func_name, Canary(), {}, None))


def foreign(conn, name='default', secret=OTHER):
    """The payload of somebody with another secret, or of another queue."""
    return Queue(name, conn, secret=secret).trust.payload(Task(7, 'tasks', 'run', (Canary(),)))


REFUSED = {
    'that is not signed': lambda conn: forged(),
    'with a header that means nothing': lambda conn: b'\xd5DS1' + b'\0' * 32 + forged(),
    'of another secret': foreign,
    'of another queue': lambda conn: foreign(conn, 'other', SECRET),
    'that is a header alone': lambda conn: b'\xd5DS1',
}


class TestAnEnqueuedTask:
    def test_is_signed_and_stands_in_redis_as_its_data(self, signed, conn):
        sent = signed.enqueue(Task(None, 'module', 'func', (1,)))
        payload, = conn.lrange('default', 0, -1)
        assert is_signed(payload)
        assert sent.data == payload
        assert pickle_in(payload) == task_of(1).serialize()
        assert signed.read(payload).args == (1,)

    def test_is_as_before_without_a_secret(self, queue, conn):
        sent = queue.enqueue(task_of(1))
        assert conn.lrange('default', 0, -1) == [task_of(1).serialize()] == [sent.data]

    @pytest.mark.parametrize('act', ['release', 'requeue'])
    @pytest.mark.parametrize('choose', [
        lambda sent, got: sent, lambda sent, got: got, lambda sent, got: pickle.loads(pickle.dumps(got))])
    def test_is_the_one_that_was_dequeued(self, signed, conn, act, choose):
        sent = signed.enqueue(task_of(1))
        got = signed.dequeue()
        assert (got.args, got.data) == ((1,), sent.data)
        assert getattr(signed, act)(choose(sent, got))
        assert conn.zcard('default_dequeued') == 0
        assert signed.len() == (act == 'requeue')

    def test_is_signed_among_many(self, signed, conn):
        assert signed.enqueue_many(Task(None, 'module', 'func', (number,)) for number in range(1200)) == 1200
        assert [signed.read(payload).args for payload in conn.lrange('default', 0, -1)] == [
            (number,) for number in range(1200)]
        assert conn.lrange('default', 0, -1) == [
            payload for payload in conn.lrange('default', 0, -1) if conn.zscore('default_enqueued', payload)]

    def test_of_one_queue_may_be_enqueued_to_another(self, signed, conn):
        other, plain = Queue('other', conn, secret=OTHER), Queue('plain', conn)
        signed.enqueue(task_of(1))
        got = signed.dequeue()
        for queue in (other, plain, signed):
            queue.enqueue(got)
            assert queue.dequeue().args == (1,)
            assert got.data == conn.zrange(queue.name + '_dequeued', 0, -1)[0]

    def test_is_added_once_however_often_the_call_is_repeated(self, signed, conn, monkeypatch):
        sent = task_of(1)
        with monkeypatch.context() as patch:
            patch.setattr(type(signed.ledger), 'enqueue', lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                signed.enqueue(sent)
        call = sent.enqueue_call
        for _ in range(2):
            sent.enqueue_call = call
            signed.enqueue(sent)
        assert signed.len() == 1
        assert take_one(signed).args == (1,)

    def test_is_read_by_its_queue_alone(self, signed, queue):
        payload = signed.enqueue(task_of(1)).data
        with pytest.raises(UnreadablePayload, match='Queue.read'):
            Task.deserialize(payload)
        with pytest.raises(Refused, match='has no secret'):
            queue.read(payload)


@pytest.mark.parametrize('kind', REFUSED)
class TestAPayload:
    def test_is_set_aside_by_dequeue(self, lab, signed, conn, kind):
        payload = REFUSED[kind](conn)
        put(conn, payload)
        assert signed.dequeue() is None
        letter, = signed.dead()
        assert letter.payload == payload
        assert 'sign' in letter.reason
        assert lab.reports() == []
        assert remains(conn) == {b'default_dead'}

    def test_is_set_aside_by_a_worker(self, lab, signed, conn, worker_class, kind):
        payload = REFUSED[kind](conn)
        put(conn, payload)
        lab.drain(told(worker_class, signed), signed, task('run', 1))
        assert lab.reports('ran') == [[[1], {}]]
        assert [each for each in lab.reports() if each[0] != 'succeeded'] == []
        letter, = signed.dead()
        assert letter.payload == payload
        assert 'sign' in letter.reason
        assert letter.reason in lab.log('ERROR')[0]
        assert remains(conn) == {b'default_dead'}

    def test_is_refused_again_when_it_is_put_back(self, lab, signed, conn, worker_class, kind):
        put(conn, REFUSED[kind](conn))
        signed.dequeue()
        first, = signed.dead()
        assert signed.requeue_dead(first.id)
        lab.drain(told(worker_class, signed), signed)
        again, = signed.dead()
        assert (again.payload, again.reason) == (first.payload, first.reason)
        assert lab.reports('unpickled') == []


class TestAWorker:
    def test_runs_what_is_signed(self, lab, signed, conn, worker_class):
        lab.drain(told(worker_class, signed), signed, task('run', 1, a='b'), task('fail'))
        assert lab.reports('ran') == [[[1], {'a': 'b'}]]
        assert lab.reports('failed') == [[2, None, 'ValueError', 'on purpose', True]]
        assert remains(conn) == set()

    def test_tells_the_error_handler_of_a_killed_task_with_its_arguments(self, lab, signed, conn, worker_class):
        def failed(task, kill_signal, exc_info):
            report('failed', task.id, task.args, kill_signal)

        lab.drain(worker_class(signed, error_handler=failed), signed, task('kill_self', signal.SIGKILL))
        assert lab.reports('failed') == [[1, [signal.SIGKILL], signal.SIGKILL]]

    def test_names_a_signed_task_in_its_log(self, lab, signed, worker_class):
        lab.drain(told(worker_class, signed), signed, task('kill_self', signal.SIGKILL))
        assert any('task 1 (tasks.kill_self)' in line for line in lab.log('ERROR'))

    def test_that_dies_leaves_its_task_to_its_child(self, lab, signed, conn, worker_class):
        program = lab.start_worker(told(worker_class, signed))
        signed.enqueue(task('hold'))
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        program.await_last()
        assert remains(conn) == set()

    def test_calls_the_methods_of_a_queue_class_that_overrides_them(self, lab, conn, worker_class):
        class Custom(Queue):
            def dequeue(self):
                return super().dequeue()

        custom = Custom('default', conn, secret=SECRET)
        put(conn, forged())
        lab.drain(told(worker_class, custom), custom, task('run', 1))
        assert lab.reports('ran') == [[[1], {}]]
        assert remains(conn) == {b'default_dead'}
        assert lab.reports('unpickled') == []

    def test_without_the_secret_sets_signed_tasks_aside(self, lab, queue, signed, conn, worker_class):
        signed.enqueue(task('run'))
        lab.drain(told(worker_class, queue), queue)
        letter, = queue.dead()
        assert 'DELAYED_SECRET' in letter.reason
        assert signed.requeue_dead(letter.id)
        assert take_one(signed).func_name == 'run'

    def test_takes_the_secret_from_the_environment(self, lab, conn, worker_class, monkeypatch):
        monkeypatch.setenv('DELAYED_SECRET', SECRET)
        queue = Queue('default', conn)
        put(conn, forged())
        lab.drain(told(worker_class, queue), queue, task('run'))
        assert len(lab.reports('ran')) == queue.dead_len() == 1
        assert lab.reports('unpickled') == []


class TestAChangeOver:
    def test_accepts_unsigned_tasks_for_a_while(self, lab, queue, conn, worker_class):
        changing = Queue('default', conn, secret=SECRET, accept_unsigned_until=time.time() + 3600)
        queue.enqueue(task('run', 'unsigned'))
        put(conn, b'\xd5DS1' + b'\0' * 32 + forged())
        lab.drain(told(worker_class, changing), changing, task('run', 'signed'))
        assert [args for args, _ in lab.reports('ran')] == [['unsigned'], ['signed']]
        assert 'wrong' in changing.dead()[0].reason
        assert lab.reports('unpickled') == []

    def test_rotates_secrets(self, lab, conn, worker_class):
        old, new = (Queue('default', conn, secret=secret) for secret in (OTHER, [SECRET, OTHER]))
        old.enqueue(task('run', 'old'))
        lab.drain(told(worker_class, new), new, task('run', 'new'))
        assert [args for args, _ in lab.reports('ran')] == [['old'], ['new']]
        assert remains(conn) == set()


class TestAllow:
    @pytest.fixture
    def strict(self, conn):
        return Queue('default', conn, allow=['tasks:*', 'os:getpid'])

    @pytest.mark.parametrize('name', ['os.system', 'os.getppid', 'tasks_.run', 'not_imported.f'])
    def test_sets_aside_what_it_does_not_name_and_imports_nothing(self, lab, strict, conn, worker_class, name, tmp_path,
                                                                  monkeypatch):
        (tmp_path / 'not_imported.py').write_text('import workers; workers.report("imported")')
        monkeypatch.syspath_prepend(tmp_path)
        put(conn, Task(7, *name.split('.')).serialize())
        lab.drain(told(worker_class, strict), strict, task('run'))
        letter, = strict.dead()
        assert letter.reason == '%s is not allowed to run here' % name.replace('.', ':')
        assert [kind for kind, *_ in lab.reports()] == ['ran', 'succeeded', 'succeeded']

    def test_lets_run_what_it_names(self, lab, strict, conn, worker_class):
        lab.drain(told(worker_class, strict), strict, task('run'), task('os.getpid'))
        assert lab.reports('succeeded') == [[1], [2], [3]]
        assert remains(conn) == set()

    def test_has_patterns_for_what_a_module_defines_and_not_for_what_it_imports(self, lab, strict, worker_class):
        lab.drain(told(worker_class, strict), strict, task('tasks.report', 'evil'), task('run'))
        assert 'report is not defined in tasks' in strict.dead()[0].reason
        assert lab.reports('evil') == []
        assert [id for id, *_ in lab.reports('failed')] == [1]

    def test_may_name_in_full_what_a_module_imports(self, lab, conn, worker_class):
        queue = Queue('default', conn, allow=['tasks:*', 'tasks:report'])
        lab.drain(told(worker_class, queue), queue, task('tasks.report', 'wanted'))
        assert lab.reports('wanted') == [[]]

    def test_is_heeded_by_dequeue_and_enqueue(self, strict, conn):
        put(conn, Task(7, 'os', 'system', ('true',)).serialize())
        assert strict.dequeue() is None
        assert strict.dead_len() == 1
        with pytest.raises(InvalidArgument, match='os:system is not allowed'):
            strict.enqueue(Task(None, 'os', 'system'))
        with pytest.raises(NotAllEnqueued, match='os:system is not allowed') as caught:
            strict.enqueue_many([task('run'), Task(None, 'os', 'system')])
        assert strict.len() == caught.value.enqueued == 0

    @pytest.mark.parametrize('allow', [['tasks'], ['tasks.run'], [':run'], ['tasks:'], [''], ['a:b:c']])
    def test_is_checked(self, conn, allow):
        with pytest.raises(InvalidArgument, match='module:function'):
            Queue('default', conn, allow=allow)

    @pytest.mark.parametrize('allow', ['tasks:*', 1, [None], {'tasks:*'}])
    def test_is_a_list(self, conn, allow):
        with pytest.raises(InvalidArgument, match='allow must be a list'):
            Queue('default', conn, allow=allow)


class TestUnpickle:
    def test_sets_aside_what_is_not_plain_and_names_it(self, lab, conn, worker_class):
        queue = Queue('default', conn, unpickle='plain')
        put(conn, forged())
        lab.drain(told(worker_class, queue), queue, task('run', [1, {'a': None}]))
        assert lab.reports('ran') == [[[[1, {'a': None}]], {}]]
        letter, = queue.dead()
        assert letter.reason == 'it holds workers:report, which is not allowed here'
        assert lab.reports('unpickled') == []

    def test_imports_nothing_that_is_not_plain(self, conn):
        assert 'tabnanny' not in sys.modules
        put(conn, b'ctabnanny\ncheck\n.')
        assert Queue('default', conn, unpickle='plain').dequeue() is None
        assert 'tabnanny' not in sys.modules

    def test_takes_classes_of_the_users(self, conn):
        queue = Queue('default', conn, unpickle=['queues:task_of'])
        with pytest.raises(InvalidArgument, match='workers:report'):
            queue.enqueue(Task(None, 'tasks', 'run', (Canary(),)))
        queue.enqueue(Task(None, 'tasks', 'run', (task_of,)))
        assert queue.len() == 1

    def test_goes_with_a_secret(self, conn):
        queue = Queue('default', conn, unpickle='plain', secret=SECRET)
        queue.enqueue(task('run', 1))
        assert take_one(queue).args == (1,)
        put(conn, foreign(conn, secret=SECRET))
        assert queue.dequeue() is None
        assert 'workers:report' in queue.dead()[0].reason
