"""What mypy tells a program about its delayed calls. Runs mypy on them, over the package that the tests import."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import delayed

pytest.importorskip('mypy')

HEAD = '''\
from typing import Any

from delayed.delay import delay, delay_in_time, delayed
from delayed.queue import Queue
from delayed.task import Task

def check(queue: Queue) -> None:
    enqueued, later, in_time = delayed(queue), delay(queue), delay_in_time(queue)

    def g(a: int, b: bytes = b'') -> str: return ''
    @enqueued()
    def f(a: int, b: bytes = b'') -> str: return ''
    @enqueued(timeout=5)
    def in_5_s(a: int) -> None: pass
    @enqueued(0.5)
    async def coroutine(a: int) -> None: pass
'''

RIGHT = [
    "result: str = f(1, b'x')",
    "task: Task = f.delay(1, b='x'.encode())",
    "f.delay(1)",
    "f.delay(a=1)",
    "timed: Task = f.timeout(10)(1, b=b'x')",
    "f.timeout(timeout=0.5)(1)",
    "f.timeout(None)(1)",
    "print(f.__name__, f.__qualname__)",
    "in_5_s.delay(1).run()",
    "coroutine.delay(1)",
    "task_id: Any = later(g)(1, b=b'x').id",
    "by_name: Task = later(func=g)(1)",
    "in_time(g, 10)(1, b=b'x').serialize()",
    "in_time(func=g, timeout=0.5)(a=1)",
    "in_time(g, None)(1)",
]

SECONDS = r'expected "(float \| None|Optional\[float\])"'  # mypy's name for it depends on the Python

WRONG = [  # what, and mypy's code and words for it
    ("f('1')", 'arg-type', 'incompatible type "str"; expected "int"'),
    ("f.delay(1, b='x')", 'arg-type', 'Argument "b" .* incompatible type "str"; expected "bytes"'),
    ("f.delay('1')", 'arg-type', 'Argument 1 .* incompatible type "str"; expected "int"'),
    ("f.delay()", 'call-arg', 'Missing positional argument "a"'),
    ("f.delay(1, c=2)", 'call-arg', 'Unexpected keyword argument "c"'),
    ("f.delay(1, b'x', 3)", 'call-arg', 'Too many arguments'),
    ("result_of_delay: str = f.delay(1)", 'assignment', 'expression has type "Task"'),
    ("f.timeout('10')", 'arg-type', SECONDS),
    ("f.timeout(10)(1, b='x')", 'arg-type', 'incompatible type "str"; expected "bytes"'),
    ("f.timeout()", 'call-arg', 'Missing positional argument "timeout"'),
    ("coroutine.delay('1')", 'arg-type', 'incompatible type "str"; expected "int"'),
    ("enqueued(g)", 'arg-type', SECONDS),
    ("enqueued(timeout='5')", 'arg-type', SECONDS),
    ("enqueued()(42)", 'arg-type', 'incompatible type "int"'),
    ("delayed(g)", 'arg-type', 'expected "(Queue |.*ShardedQueue)'),
    ("later(g)(1, b='x')", 'arg-type', 'incompatible type "str"; expected "bytes"'),
    ("later(g)()", 'call-arg|misc', 'Too few arguments|Missing positional argument "a"'),
    ("later(g, 10)", 'call-arg', 'Too many arguments'),
    ("in_time(g, 10)('1')", 'arg-type', 'incompatible type "str"; expected "int"'),
    ("in_time(g, '10')", 'arg-type', SECONDS),
    ("in_time(g)", 'call-arg', 'Missing positional argument "timeout"'),
]


@pytest.fixture(scope='module')
def complaints(tmp_path_factory):
    """Maps each line of a program that makes all these calls to what mypy says of it, `[(code, message)]`."""
    folder = tmp_path_factory.mktemp('typing')
    calls = RIGHT + [call for call, _, _ in WRONG]
    lines = HEAD.splitlines() + ['    ' + call for call in calls]
    (folder / 'program.py').write_text('\n'.join(lines) + '\n')
    root = Path(delayed.__file__).resolve().parent.parent
    env = dict(os.environ, MYPY_CACHE_DIR=str(folder / 'cache'))
    env.pop('MYPYPATH', None)
    if root.name not in ('site-packages', 'dist-packages'):  # mypy knows what is installed, and refuses to be told
        env['MYPYPATH'] = str(root)
    result = subprocess.run(
        [sys.executable, '-m', 'mypy', '--strict', '--config-file=', '--follow-imports=silent', '--no-error-summary',
         '--no-color-output', '--no-pretty', '--hide-error-context', 'program.py'],
        cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=300)
    assert result.stderr == ''
    complaints = {line.strip(): [] for line in lines}
    for text in result.stdout.splitlines():
        if ': note: ' not in text:
            number, message, code = re.fullmatch(r'program\.py:(\d+): error: (.*)  \[([a-z-]+)\]', text).groups()
            complaints[lines[int(number) - 1].strip()].append((code, message))
    return complaints


class TestMypy:
    def test_accepts_the_definitions(self, complaints):
        assert [complaints[line.strip()] for line in HEAD.splitlines() if complaints[line.strip()]] == []

    @pytest.mark.parametrize('call', RIGHT)
    def test_accepts(self, complaints, call):
        assert complaints[call] == []

    @pytest.mark.parametrize(('call', 'code', 'words'), WRONG, ids=[call for call, _, _ in WRONG])
    def test_refuses(self, complaints, call, code, words):
        (found_code, message), = complaints[call]
        assert re.fullmatch(code, found_code)
        assert re.search(words, message)


class TestTheRunningProgram:
    def test_needs_nothing_that_only_type_checkers_need(self):
        program = "import sys, redis; sys.modules['typing_extensions'] = None; import delayed.delay"
        subprocess.run([sys.executable, '-c', program], check=True, timeout=60,
                       env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
