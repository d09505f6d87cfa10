import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delayed._describe import describe, plain_fields, without_arguments
from delayed._signature import Signer
from delayed.task import Task, set_pickle_protocol_version

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(params=PROTOCOLS, autouse=True)
def protocol(request):
    set_pickle_protocol_version(request.param)
    yield
    set_pickle_protocol_version(pickle.HIGHEST_PROTOCOL)


class ExitsWhenUnpickled:
    def __reduce__(self):
        return sys.exit, ('a payload ran code of its own',)


class TestATask:
    @pytest.mark.parametrize('task_id', [17, None, 0, 1 << 40])
    def test_is_named_by_its_id_and_function(self, task_id):
        task = Task(task_id, 'package.module', 'func', ('x',) * 3, {'b': 2}, 5)
        assert describe(task.serialize()) == 'task %s (package.module.func)' % task_id

    def test_may_be_named_like_its_module(self):
        name = sys.intern('send')
        assert describe(Task(17, name, name).serialize()) == 'task 17 (send.send)'

    def test_that_is_signed_is_named_too(self):
        payload = Signer('default', 's' * 32).sign(Task(17, 'module', 'func').serialize())
        assert describe(payload) == 'task 17 (module.func)'
        assert without_arguments(payload).id == 17

    def test_has_a_name_that_a_log_can_hold(self):
        for task in (Task(17, 'module', 'f)\nERROR a forged line'), Task('17\nERROR a forged line', 'module', 'f')):
            assert describe(task.serialize()) == 'a payload of %d bytes' % len(task.serialize())

    def test_is_not_unpickled(self):
        assert describe(Task(17, 'module', 'func', (ExitsWhenUnpickled(),)).serialize()) == 'task 17 (module.func)'

    def test_is_named_from_its_beginning_alone(self):
        payload = Task(17, 'module', 'func', (b'x' * 1000,)).serialize()
        assert describe(payload[:100]) == 'task 17 (module.func)'

    def test_is_had_without_its_arguments(self):
        task = without_arguments(Task(17, 'module', 'func', (ExitsWhenUnpickled(),), {'b': 2}, 5).serialize())
        assert (task.id, task.module_name, task.func_name) == (17, 'module', 'func')
        assert (task.args, task.kwargs, task.timeout) == ((), {}, None)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('value', [None, 5, 'text', (1, 2, 3), (1, 'module', 3), (1, 2, 'func'), (1, 'module'), []])
def test_anything_else_is_told_by_its_size(value, protocol):
    payload = pickle.dumps(value, protocol)
    assert describe(payload) == 'a payload of %d bytes' % len(payload)
    assert without_arguments(payload) is None


@pytest.mark.skipif(not hasattr(sys, 'get_int_max_str_digits'), reason='this Python prints ints of any length')
def test_an_id_that_python_refuses_to_print_is_told_by_its_size():
    payload = pickle.dumps((10 ** 5000, 'module', 'func'))
    assert describe(payload) == 'a payload of %d bytes' % len(payload)


@given(st.binary() | st.tuples(st.just(pickle.dumps((1, 'module', 'func'))[:18]), st.binary()).map(b''.join))
def test_whatever_the_bytes_are_they_have_a_name(payload):
    assert describe(payload).startswith(('a payload of', 'task '))
    without_arguments(payload)


class TestPlainFields:
    @pytest.mark.parametrize('args, kwargs', [((1, 'x', None, 1.5), {'b': [True, {'c': (2,)}]}), ((), {})])
    def test_are_all_of_a_task_with_plain_arguments(self, args, kwargs):
        task = Task(17, 'package.module', 'func', args, kwargs, 5)
        assert plain_fields(task.serialize()) == (17, 'package.module', 'func', args, kwargs, 5)

    @pytest.mark.parametrize('payload', [
        b'no pickle', b'', pickle.dumps((1, 2, 3)), pickle.dumps((1, 'm', 'f', 3, {}, None)),
        Task(17, 'module', 'func', (ExitsWhenUnpickled(),)).serialize(),
    ])
    def test_of_any_other_payload_are_none_and_run_no_code(self, payload):
        assert plain_fields(payload) is None
