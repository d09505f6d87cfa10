"""Runs the programs in examples/ as a user would: in that directory, against a Redis that REDIS_URL names."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import DEADLINE, wait_until
from workers import remains

EXAMPLES = Path(__file__).parent.parent / 'examples'


@pytest.fixture
def environment(conn, redis_server, tmp_path):
    environment = dict(os.environ, REDIS_URL=redis_server.url, TMPDIR=str(tmp_path), PYTHONUNBUFFERED='1')
    environment.pop('PYTHONPATH', None)
    # The package itself, where it is not installed; tests/ stays out, or its modules could stand in for the examples'.
    environment['PYTHONPATH'] = str(EXAMPLES.parent)
    return environment


def produce(environment):
    return subprocess.run([sys.executable, 'producer.py'], cwd=EXAMPLES, env=environment, check=True, timeout=DEADLINE,
                          stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def running(script, environment):
    """Runs a script until the block ends, then stops it as a user would. Yields a function that returns its output."""
    output = Path(environment['TMPDIR']) / (script + '.out')
    with open(output, 'wb') as file:
        process = subprocess.Popen([sys.executable, script], cwd=EXAMPLES, env=environment, stdout=file,
                                   stderr=subprocess.STDOUT)
    try:
        yield output.read_text
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_the_producer_leaves_its_tasks_in_redis(conn, environment, tmp_path):
    assert produce(environment) == '1 + 2 = 3\n6 tasks wait; the last one writes %s\n' % (tmp_path / 'words.txt')
    assert conn.llen('examples') == conn.llen('examples_noti') == 6


def test_the_worker_runs_them_and_survives_the_one_that_fails(conn, environment, tmp_path):
    produce(environment)
    with running('worker.py', environment) as output:
        wait_until(lambda: not remains(conn), 'the release of the last task')
        for result in ('3 + 4 = 7', '5 + 6 = 11', '1 / 2 = 0.5', '7 + 8 = 15'):
            assert result in output()
        assert re.search('task 4 raised ZeroDivisionError', output())
        wait_until(lambda: 'task 6 is done' in output(), 'the success handler of the last task')
    assert re.search(r'^\d+ import$', (tmp_path / 'words.txt').read_text(), re.MULTILINE)


def test_the_sweeper_brings_back_a_task_that_a_worker_of_old_has_lost(conn, environment):
    produce(environment)
    payload = conn.lpop('examples')
    conn.lpop('examples_noti')
    conn.zadd('examples_dequeued', {payload: 1})
    with running('sweeper.py', environment) as output:
        wait_until(lambda: conn.llen('examples') == conn.llen('examples_noti') == 6, 'the lost task')
        wait_until(lambda: 'brought back 1 lost' in output(), 'the log')
    assert conn.lindex('examples', 0) == payload
