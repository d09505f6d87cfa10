import copy
import functools
import math
import operator
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

from delayed._describe import describe
from delayed.errors import DelayedError, InvalidArgument, NotImportable, NotPicklable, UnreadablePayload, WrongType
from delayed.task import Task, get_pickle_protocol_version, set_pickle_protocol_version

#: The task that `OLD_PAYLOADS` hold: every type that pickle writes in ways of its own, and more than one string.
OLD_TASK = (17, 'test.tasks', 'add', (1, 2.5, 'é'), {'b': [b'x', None]}, 5000)

#: Protocol -> what delayed 0.5.1b2 serialized.
OLD_PAYLOADS = {protocol: bytes.fromhex(payload) for protocol, payload in {
    2: '8002284b11580a000000746573742e7461736b737100580300000061646471014b014740040000000000005802000000c3a9'
       '71028771037d710458010000006271055d710628635f636f646563730a656e636f64650a7107580100000078710858060000'
       '006c6174696e31710986710a52710b4e65734d881374710c2e',
    3: '8003284b11580a000000746573742e7461736b737100580300000061646471014b014740040000000000005802000000c3a9'
       '71028771037d710458010000006271055d71062843017871074e65734d88137471082e',
    4: '8004953e00000000000000284b118c0a746573742e7461736b73948c03616464944b014740040000000000008c02c3a99487'
       '947d948c0162945d9428430178944e65734d881374942e',
    5: '8005953e00000000000000284b118c0a746573742e7461736b73948c03616464944b014740040000000000008c02c3a99487'
       '947d948c0162945d9428430178944e65734d881374942e',
}.items()}


@pytest.fixture(autouse=True)
def default_protocol():
    """A test that sets the pickle protocol sets it for itself alone."""
    yield
    set_pickle_protocol_version(pickle.HIGHEST_PROTOCOL)


def add(a, b=0):
    return a + b


class Adder:
    def method(self):
        pass

    @staticmethod
    def static():
        pass

    @classmethod
    def of_class(cls):
        pass

    class Inner:
        pass

    def __call__(self):
        pass


def make_nested():
    def nested():
        pass

    return nested


def fields(task):
    return task.id, task.module_name, task.func_name, task.args, task.kwargs, task.timeout


class TestATask:
    def test_is_made_of_its_fields(self):
        assert fields(Task(7, 'module', 'func', (1,), {'b': 2}, 5000)) == (7, 'module', 'func', (1,), {'b': 2}, 5000)

    def test_takes_its_fields_by_the_names_of_its_properties(self):
        task = Task(id=None, module_name='module', func_name='func', args=(1,), kwargs={'b': 2}, timeout=5000)
        assert fields(task) == (None, 'module', 'func', (1,), {'b': 2}, 5000)

    def test_has_no_arguments_and_no_timeout_by_default(self):
        assert fields(Task(None, 'module', 'func')) == (None, 'module', 'func', (), {}, None)

    def test_does_not_share_its_default_arguments_with_another(self):
        assert Task(None, 'module', 'func').kwargs is not Task(None, 'module', 'func').kwargs

    def test_lets_its_id_be_set_and_nothing_else(self):
        task = Task(None, 'module', 'func')
        task.id = 3
        assert task.id == 3
        for name in ('module_name', 'func_name', 'args', 'kwargs', 'timeout', 'data'):
            with pytest.raises(AttributeError):
                setattr(task, name, None)

    def test_has_no_data_before_it_is_serialized(self):
        task = Task(1, 'module', 'func')
        assert task.data is None
        assert task.serialize() == task.data == task._data

    def test_lets_a_test_suite_set_its_data(self):
        task = Task(1, 'module', 'func')
        task._data = b'payload'
        assert task.data == task.serialize() == b'payload'
        task._data = None
        assert task.data is None

    def test_tells_its_id_and_function(self):
        assert repr(Task(17, 'module', 'func')) == '<Task 17 module.func>'

    def test_runs_its_function_and_returns_the_result(self):
        assert Task(1, __name__, 'add', (1,), {'b': 2}).run() == 3
        assert Task(1, 'operator', 'neg', [5]).run() == -5

    def test_raises_what_its_function_raises(self):
        with pytest.raises(ZeroDivisionError):
            Task(1, 'operator', 'truediv', (1, 0)).run()

    def test_raises_what_the_import_raises(self):
        with pytest.raises(ModuleNotFoundError):
            Task(1, 'no_such_module', 'func').run()
        with pytest.raises(AttributeError):
            Task(1, __name__, 'no_such_function').run()

    @pytest.mark.parametrize(('arguments', 'error', 'named'), [
        ((1, None, 'func'), WrongType, 'module_name'),
        ((1, b'module', 'func'), WrongType, 'module_name'),
        ((1, '', 'func'), InvalidArgument, 'module_name'),
        ((1, 'module', add), WrongType, 'func_name'),
        ((1, 'module', ''), InvalidArgument, 'func_name'),
        ((1, 'module', 'func', 'ab'), WrongType, 'args of module.func'),
        ((1, 'module', 'func', b'ab'), WrongType, 'args of module.func'),
        ((1, 'module', 'func', 1), WrongType, 'args of module.func'),
        ((1, 'module', 'func', (), ()), WrongType, 'kwargs of module.func'),
        ((1, 'module', 'func', (), {1: 2}), WrongType, 'kwargs of module.func'),
        ((1, 'module', 'func', (), {}, '5'), WrongType, 'timeout'),
        ((1, 'module', 'func', (), {}, True), WrongType, 'timeout'),
        ((1, 'module', 'func', (), {}, -1), InvalidArgument, 'timeout'),
        ((1, 'module', 'func', (), {}, math.nan), InvalidArgument, 'timeout'),
        ((1, 'module', 'func', (), {}, math.inf), InvalidArgument, 'timeout'),
    ])
    def test_refuses_what_no_worker_could_run_and_names_it(self, arguments, error, named):
        with pytest.raises(error, match=named):
            Task(*arguments)

    def test_errors_are_those_that_programs_catch(self):
        assert issubclass(InvalidArgument, ValueError)
        assert issubclass(WrongType, TypeError)
        assert issubclass(NotPicklable, (pickle.PicklingError, TypeError))
        assert issubclass(UnreadablePayload, ValueError)
        for error in (InvalidArgument, WrongType, NotImportable, NotPicklable, UnreadablePayload):
            assert issubclass(error, DelayedError)


class TestCreate:
    def test_takes_the_function_itself(self):
        assert fields(Task.create(add, (1,), {'b': 2})) == (None, __name__, 'add', (1,), {'b': 2}, None)

    @pytest.mark.parametrize(('seconds', 'milliseconds'), [(5, 5000), (0.25, 250.0), (0, 0), (None, None)])
    def test_takes_seconds(self, seconds, milliseconds):
        assert Task.create(add, timeout=seconds).timeout == milliseconds

    @pytest.mark.parametrize('func', [os.write, len, operator.add, math.sin, Adder, int])
    def test_takes_built_in_functions_and_classes(self, func):
        assert Task.create(func).load() is func

    def test_takes_a_function_that_stands_for_another(self):
        @functools.wraps(add)
        def wrapper(*args):
            pass

        assert Task.create(wrapper).func_name == 'add'

    def test_goes_by_names_for_a_decorated_function_is_not_bound_yet(self):
        tasks = []
        exec(textwrap.dedent('''
            def decorate(func):
                tasks.append(create(func))
            @decorate
            def func(): pass
        '''), {'__name__': 'module', 'create': Task.create, 'tasks': tasks})
        assert fields(tasks[0])[:3] == (None, 'module', 'func')

    @pytest.mark.parametrize(('func', 'problem'), [
        (make_nested(), 'make_nested.*defined inside another function'),
        (lambda: None, 'is a lambda'),
        (Adder().method, 'Adder.method.*is a method'),
        (Adder.method, 'Adder.method.*is a method'),
        (Adder.static, 'Adder.static.*is a method'),
        (Adder.of_class, 'Adder.of_class.*is a method'),
        (Adder.Inner, 'Adder.Inner.*is a method'),
        ([].append, 'append.*no module and name'),
        (Adder(), 'Adder object.*no module and name'),
        (functools.partial(add, 1), 'partial.*no module and name'),
        ('module.func', "'module.func'.*no module and name"),
        (None, 'None.*no module and name'),
    ])
    def test_refuses_what_no_worker_could_import_and_says_what_to_do(self, func, problem):
        with pytest.raises(NotImportable, match='(?s)%s.*top level of a module' % problem):
            Task.create(func)

    @pytest.mark.parametrize(('timeout', 'error'), [(-1, InvalidArgument), ('5', WrongType), (True, WrongType)])
    def test_refuses_a_wrong_timeout(self, timeout, error):
        with pytest.raises(error, match='timeout'):
            Task.create(add, timeout=timeout)


class TestAPayload:
    @pytest.mark.parametrize('protocol', OLD_PAYLOADS)
    def test_is_byte_for_byte_what_an_older_release_wrote(self, protocol):
        set_pickle_protocol_version(protocol)
        assert Task(*OLD_TASK).serialize() == OLD_PAYLOADS[protocol]

    @pytest.mark.parametrize('protocol', OLD_PAYLOADS)
    def test_of_an_older_release_is_read_and_keeps_its_bytes(self, protocol):
        task = Task.deserialize(OLD_PAYLOADS[protocol])
        assert fields(task) == OLD_TASK
        assert task.data == task.serialize() == OLD_PAYLOADS[protocol]

    @pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
    def test_is_a_plain_tuple_of_six_that_needs_no_module_of_ours(self, protocol):
        set_pickle_protocol_version(protocol)
        payload = Task(1, 'm', 'f', [1], {'a': 2}, 0.5).serialize()
        assert b'delayed' not in payload
        assert pickle.loads(payload) == (1, 'm', 'f', [1], {'a': 2}, 0.5)
        assert type(pickle.loads(payload)) is tuple

    def test_has_six_fields_even_where_all_have_defaults(self):
        assert pickle.loads(Task(None, 'm', 'f').serialize()) == (None, 'm', 'f', (), {}, None)

    def test_is_made_once(self):
        arguments = [1]
        task = Task(1, 'm', 'f', arguments)
        payload = task.serialize()
        arguments.append(2)
        assert task.serialize() is payload

    def test_is_made_anew_with_a_new_id(self):
        task = Task(None, 'm', 'f')
        task.serialize()
        task.id = 5
        assert task.data is None
        assert pickle.loads(task.serialize())[0] == 5

    def test_is_kept_as_it_came_where_this_python_would_write_it_otherwise(self):
        payload = pickle.dumps((1, 'm', 'f', (), {}, None), 0)
        assert Task.deserialize(payload).serialize() == payload

    @pytest.mark.parametrize('payload', [
        b"(I1\nS'module'\np1\nS'func'\np2\n(I2\nV\xe9\ntp3\n(dp4\nS'b'\nI2\nsI5000\nt.",
        b'(K\x01U\x06moduleq\x01U\x04funcq\x02(K\x02X\x02\x00\x00\x00\xc3\xa9tq\x03}q\x04U\x01bK\x02sM\x88\x13t.',
        b'\x80\x02(K\x01U\x06moduleq\x01U\x04funcq\x02K\x02X\x02\x00\x00\x00\xc3\xa9\x86q\x03}q\x04U\x01bK\x02sM\x88\x13t.',
    ])
    def test_of_a_producer_in_python_2_is_read(self, payload):
        assert fields(Task.deserialize(payload)) == (1, 'module', 'func', (2, 'é'), {'b': 2}, 5000)
        assert describe(payload) == 'task 1 (module.func)'

    def test_of_a_list_is_read_too(self):
        assert fields(Task.deserialize(pickle.dumps([1, 'm', 'f', (), {}, None]))) == (1, 'm', 'f', (), {}, None)

    def test_with_args_that_cannot_be_pickled_names_the_function_and_the_argument(self):
        with open(os.devnull) as file:
            with pytest.raises(NotPicklable, match=r'argument 1 of m\.f cannot be pickled'):
                Task(1, 'm', 'f', (1, file)).serialize()
            with pytest.raises(NotPicklable, match=r"argument 'log' of m\.f cannot be pickled"):
                Task(1, 'm', 'f', (1,), {'a': 1, 'log': file}).serialize()

    def test_that_could_not_be_made_leaves_the_task_without_data(self):
        task = Task(1, 'm', 'f', (lambda: None,))
        with pytest.raises(NotPicklable):
            task.serialize()
        assert task.data is None

    @pytest.mark.parametrize(('payload', 'reason'), [
        (b'', 'EOFError'),
        (b'no pickle', 'UnpicklingError'),
        (OLD_PAYLOADS[4][:-10], 'Error'),
        (None, 'TypeError'),
        (b'cno_such_module\nname\n.', 'no_such_module'),
        (b'cos\nno_such_name\n.', 'no_such_name'),
        (pickle.dumps(5), 'int'),
        (pickle.dumps('sixsix'), 'str'),
        (pickle.dumps({1: 2}), 'dict'),
        (pickle.dumps((1, 'm', 'f')), 'tuple of 3'),
        (pickle.dumps((1, 'm', 'f', (), {}, None, 7)), 'tuple of 7'),
        (pickle.dumps((1, None, 'f', (), {}, None)), 'module_name'),
        (pickle.dumps((1, 'm', 3, (), {}, None)), 'func_name'),
        (pickle.dumps((1, 'm', 'f', 3, {}, None)), 'args'),
        (pickle.dumps((1, 'm', 'f', (), 3, None)), 'kwargs'),
        (pickle.dumps((1, 'm', 'f', (), {}, 'soon')), 'timeout'),
    ])
    def test_that_is_no_task_is_told_with_the_reason(self, payload, reason):
        with pytest.raises(UnreadablePayload, match=reason) as caught:
            Task.deserialize(payload)
        assert caught.value.payload == payload
        assert str(caught.value) == caught.value.reason

    def test_is_told_in_text_that_any_log_can_hold(self):
        assert str(UnreadablePayload('\udc80é', b'')).encode() == '\\udc80é'.encode()


class TestThePickleProtocol:
    def test_is_the_highest_by_default(self):
        assert get_pickle_protocol_version() == pickle.HIGHEST_PROTOCOL
        assert Task(1, 'm', 'f').serialize()[1] == pickle.HIGHEST_PROTOCOL

    def test_can_be_set(self):
        set_pickle_protocol_version(2)
        assert get_pickle_protocol_version() == 2
        assert Task(1, 'm', 'f').serialize()[:2] == b'\x80\x02'

    def test_may_be_minus_one_for_the_highest(self):
        set_pickle_protocol_version(-1)
        assert Task(1, 'm', 'f').serialize()[1] == pickle.HIGHEST_PROTOCOL

    def test_leaves_a_payload_alone_that_was_made_before(self):
        task = Task(1, 'm', 'f')
        payload = task.serialize()
        set_pickle_protocol_version(2)
        assert task.serialize() == payload

    @pytest.mark.parametrize('version', [pickle.HIGHEST_PROTOCOL + 1, 99, -2, '2', None, 2.0])
    def test_is_refused_with_a_value_error_where_this_python_lacks_it(self, version):
        with pytest.raises(ValueError, match='protocol'):
            set_pickle_protocol_version(version)
        assert get_pickle_protocol_version() == pickle.HIGHEST_PROTOCOL


class TestACopyOfATask:
    """`Task` objects travel, too: a program may pickle one that it dequeued and release it elsewhere."""

    @pytest.mark.parametrize('make', [copy.copy, copy.deepcopy] + [
        lambda task, protocol=protocol: pickle.loads(pickle.dumps(task, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ])
    def test_is_the_same_task_in_the_same_lease(self, make):
        task = Task.deserialize(OLD_PAYLOADS[4])
        task.tokens = (b'1763904000000.123',)
        made = make(task)
        assert (fields(made), made.data, made.tokens) == (OLD_TASK, OLD_PAYLOADS[4], task.tokens)


class TestATaskWithANewId:
    def test_is_another_task_and_in_nobodys_lease(self):
        task = Task.deserialize(OLD_PAYLOADS[4])
        task.tokens = (b'1763904000000.123',)
        task.id = 18
        assert (task.data, task.tokens) == (None, ())


def run_python(*arguments, cwd):
    """Returns stdout and stderr of a Python that imports what this one does, and what stands in `cwd`."""
    result = subprocess.run([sys.executable, *arguments], cwd=str(cwd), check=True, text=True, timeout=60,
                            capture_output=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    return result.stdout, result.stderr


MAIN = '''
import multiprocessing
from delayed.task import Task

def func(): pass

def create():
    task = Task.create(func)  # the first
    print(task.module_name, task.func_name, flush=True)
    Task.create(func)

if __name__ == '__main__':
    create()
'''
SPAWN = MAIN.replace('    create()\n', '''
    child = multiprocessing.get_context('spawn').Process(target=create)
    child.start()
    child.join()
''')
FIRST = MAIN.splitlines().index('    task = Task.create(func)  # the first') + 1


class TestAFunctionOfMain:
    @pytest.fixture
    def package(self, tmp_path):
        package = tmp_path / 'package'
        package.mkdir()
        for name, source in (('__init__', ''), ('module', MAIN), ('__main__', MAIN), ('spawn', SPAWN)):
            (package / (name + '.py')).write_text(source)
        return package

    @pytest.mark.parametrize(('started', 'stored'), [
        ('package.module', 'package.module'), ('package', 'package.__main__'), ('package.spawn', 'package.spawn')])
    def test_is_stored_under_the_name_of_the_module_that_was_started(self, package, started, stored):
        assert run_python('-m', started, cwd=package.parent) == (stored + ' func\n', '')

    @pytest.mark.parametrize('script', ['package/module.py', 'package', 'package/spawn.py'])
    def test_of_a_script_is_warned_about_once_at_the_line_that_creates_the_task(self, package, script):
        stdout, stderr = run_python(script, cwd=package.parent)
        assert stdout == '__main__ func\n'
        assert stderr.count('UserWarning') == 1
        assert '.py:%d: UserWarning: func is defined in __main__' % FIRST in stderr

    def test_of_a_command_line_is_warned_about_too(self, tmp_path):
        stdout, stderr = run_python('-c', MAIN, cwd=tmp_path)
        assert stdout == '__main__ func\n'
        assert stderr.count('UserWarning') == 1
