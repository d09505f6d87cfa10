import functools
import inspect
import os
import subprocess
import sys

import pytest

from delayed.delay import delay, delay_in_time, delayed
from delayed.errors import InvalidArgument, NotImportable, WrongType
from delayed.queue import Queue
from delayed.task import Task


def add(a, b=0):
    """Adds b to a."""
    return a + b


class Adder:
    def __init__(self, a, b=0):
        self.sum = a + b

    def method(self):
        pass


def nested_function():
    def nested():
        pass

    return nested


@pytest.fixture(autouse=True)
def undecorated():
    """Takes from the functions of this module what a test's decorator has added to them."""
    yield
    for function in (add, Adder):
        for name in ('delay', 'timeout'):
            if name in vars(function):
                delattr(function, name)


def dequeue(queue):
    """The one task that waits in `queue`: its function, args, kwargs and timeout (ms)."""
    assert queue.len() == 1
    task = queue.dequeue()
    queue.release(task)
    return task.func_name, tuple(task.args), task.kwargs, task.timeout


class TestDelayed:
    def test_leaves_the_very_function_and_its_meaning(self, queue):
        assert delayed(queue)()(add) is add
        assert add(1, b=2) == 3
        assert queue.len() == 0

    def test_delay_enqueues_the_call(self, queue):
        delayed(queue)()(add).delay(1, b=2)
        assert dequeue(queue) == ('add', (1,), {'b': 2}, None)

    def test_what_it_enqueued_runs(self, queue):
        delayed(queue)()(add).delay(1, b=2)
        assert queue.dequeue().run() == 3

    def test_delay_returns_the_enqueued_task(self, queue):
        task = delayed(queue)()(add).delay(1)
        assert isinstance(task, Task)
        assert task.data == queue.dequeue().data

    def test_delay_gives_the_timeout_of_the_decorator_by_name_or_position(self, queue):
        delayed(queue)(timeout=5)(add).delay(1)
        assert dequeue(queue) == ('add', (1,), {}, 5000)
        delayed(queue)(0.25)(add).delay(1)
        assert dequeue(queue) == ('add', (1,), {}, 250)

    @pytest.mark.parametrize(('seconds', 'milliseconds'), [(10, 10000), (0.5, 500), (0, 0), (None, None)])
    def test_timeout_enqueues_the_call_with_another_timeout(self, queue, seconds, milliseconds):
        task = delayed(queue)(timeout=5)(add).timeout(seconds)(1, b=2)
        assert task.timeout == milliseconds
        assert dequeue(queue) == ('add', (1,), {'b': 2}, milliseconds)

    def test_timeout_takes_its_seconds_by_name_too(self, queue):
        delayed(queue)()(add).timeout(timeout=10)(1)
        assert dequeue(queue) == ('add', (1,), {}, 10000)

    def test_decorates_a_class(self, queue):
        delayed(queue)()(Adder).delay(1, b=2)
        assert queue.dequeue().run().sum == 3

    def test_reaches_the_queue_of_the_last_decorator(self, queue, conn):
        other = Queue('other', conn)
        delayed(queue)()(add)
        delayed(other)()(add).delay(1)
        assert (queue.len(), other.len()) == (0, 1)

    def test_needs_no_result_of_the_queue(self, conn):
        class OldQueue(Queue):
            def enqueue(self, task):
                super().enqueue(task)

        task = delayed(OldQueue('default', conn))()(add).delay(1)
        assert task.id == 1

    def test_without_parentheses_is_refused_and_says_what_to_write(self, queue):
        decorator = delayed(queue)
        with pytest.raises(WrongType, match=r'@delayed\(\).*over add'):
            decorator(add)
        with pytest.raises(WrongType, match=r'@delayed\(\)'):
            decorator(functools.partial(add, 1))

    def test_refuses_what_takes_no_attributes_and_says_what_to_write(self, queue):
        for builtin in (os.write, int):
            with pytest.raises(WrongType, match=r'delay\(queue\)'):
                delayed(queue)()(builtin)


class TestDelay:
    def test_enqueues_the_call(self, queue):
        delay(queue)(add)(1, b=2)
        assert dequeue(queue) == ('add', (1,), {'b': 2}, None)

    def test_returns_the_enqueued_task(self, queue):
        task = delay(queue)(add)(1)
        assert task.data == queue.dequeue().data

    def test_takes_the_function_by_name_too(self, queue):
        delay(queue)(func=add)(1)
        assert dequeue(queue) == ('add', (1,), {}, None)

    def test_adds_nothing_to_the_function(self, queue):
        delay(queue)(add)
        assert not hasattr(add, 'delay')

    def test_takes_a_built_in_function(self, queue, tmp_path):
        delay(queue)(os.mkdir)(str(tmp_path / 'made'))
        queue.dequeue().run()
        assert (tmp_path / 'made').is_dir()

    def test_passes_on_arguments_named_like_its_own(self, queue):
        delay(queue)(add)(func=1, queue=2, timeout=3)
        assert dequeue(queue) == ('add', (), {'func': 1, 'queue': 2, 'timeout': 3}, None)


class TestDelayInTime:
    def test_enqueues_the_call_with_a_timeout_by_name_or_position(self, queue):
        delay_in_time(queue)(add, timeout=10)(1, b=2)
        assert dequeue(queue) == ('add', (1,), {'b': 2}, 10000)
        delay_in_time(queue)(add, 0.5)(1, 2)
        assert dequeue(queue) == ('add', (1, 2), {}, 500)

    def test_needs_a_timeout(self, queue):
        with pytest.raises(TypeError, match='timeout'):
            delay_in_time(queue)(add)

    def test_returns_the_enqueued_task(self, queue):
        task = delay_in_time(queue)(add, 10)(1)
        assert task.data == queue.dequeue().data


WAYS = {
    'delayed': lambda queue, func, timeout=None: delayed(queue)(timeout)(func),
    'timeout': lambda queue, func, timeout=None: delayed(queue)()(func).timeout(timeout),
    'delay_in_time': lambda queue, func, timeout=None: delay_in_time(queue)(func, timeout),
}


class TestEachWay:
    @pytest.mark.parametrize('wrap', [*WAYS.values(), lambda queue, func: delay(queue)(func)], ids=[*WAYS, 'delay'])
    @pytest.mark.parametrize('func', [
        lambda: 0, nested_function(), Adder.method, Adder(1).method, functools.partial(add, 1), 42,
    ], ids=['lambda', 'nested', 'function of a class', 'method', 'partial', 'number'])
    def test_refuses_where_it_is_wrapped_what_no_worker_could_import(self, queue, wrap, func):
        with pytest.raises(NotImportable):
            wrap(queue, func)

    @pytest.mark.parametrize('wrap', WAYS.values(), ids=WAYS)
    @pytest.mark.parametrize(('timeout', 'error'), [
        (-1, InvalidArgument), (float('inf'), InvalidArgument), (float('nan'), InvalidArgument), ('5', WrongType),
        (True, WrongType)])
    def test_refuses_a_wrong_timeout_where_it_is_given(self, queue, wrap, timeout, error):
        with pytest.raises(error, match='timeout'):
            wrap(queue, add, timeout)

    def test_refuses_a_wrong_timeout_before_there_is_a_function(self, queue):
        with pytest.raises(InvalidArgument):
            delayed(queue)(timeout=-1)

    @pytest.mark.parametrize('way', [delayed, delay, delay_in_time])
    def test_takes_a_queue_first_and_says_so(self, way):
        with pytest.raises(WrongType, match=rf'{way.__name__} = {way.__name__}\(queue\)'):
            way(add)

    @pytest.mark.parametrize('wrap', [
        lambda queue: delayed(queue)()(add).delay, lambda queue: delayed(queue)()(add).timeout(1),
        lambda queue: delay(queue)(add), lambda queue: delay_in_time(queue)(add, 1),
    ], ids=['delayed', 'timeout', 'delay', 'delay_in_time'])
    def test_shows_the_signature_and_docstring_of_the_function_but_cannot_be_enqueued_as_it(self, queue, wrap):
        wrapped = wrap(queue)
        assert inspect.signature(wrapped) == inspect.signature(add)
        assert inspect.getdoc(wrapped) == 'Adds b to a.'
        assert not hasattr(wrapped, 'delay')
        with pytest.raises(NotImportable):
            delay(queue)(wrapped)


SCRIPT = '''
import redis
from delayed.delay import {way}
from delayed.queue import Queue

def add(a, b):
    return a + b

class Unconnected(Queue):
    def enqueue(self, task):
        print(task.module_name, task.func_name)

queue = Unconnected('default', redis.Redis())
enqueue = {wrapped}
assert add(1, 2) == 3
enqueue(1, 2)  # the line
'''


class TestAFunctionOfAScript:
    @pytest.mark.parametrize(('way', 'wrapped'), [
        ('delayed', 'delayed(queue)()(add).delay'), ('delayed', 'delayed(queue)()(add).timeout(1)'),
        ('delay', 'delay(queue)(add)'), ('delay_in_time', 'delay_in_time(queue)(add, 1)')])
    def test_can_be_called_and_is_warned_about_at_the_line_that_enqueues_it(self, tmp_path, way, wrapped):
        script = tmp_path / 'script.py'
        script.write_text(SCRIPT.format(way=way, wrapped=wrapped))
        line = SCRIPT.splitlines().index('enqueue(1, 2)  # the line') + 1
        result = subprocess.run([sys.executable, '-W', 'default', str(script)], check=False, timeout=60, text=True,
                                capture_output=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
        assert result.stdout == '__main__ add\n'
        assert f'{script}:{line}: UserWarning: add is defined in __main__' in result.stderr
