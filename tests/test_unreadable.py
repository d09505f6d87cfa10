"""A payload that hurts whoever unpickles it hurts the child alone: the monitor never reads such a one."""

import contextlib
import os
import posix
import signal
import subprocess
import sys
import time

import pytest

from delayed.queue import Queue
from delayed.task import Task
from waiting import DEADLINE, wait_until

WORK = '''
import sys
import redis
from delayed.queue import Queue
from delayed.worker import ForkedWorker, PreforkedWorker

def failed(task, kill_signal, exc_info):
    print(task.id, task.module_name, task.func_name, task.args, kill_signal, exc_info and exc_info[1].code, flush=True)

conn = redis.Redis(unix_socket_path=sys.argv[1])
worker = {'forked': ForkedWorker, 'preforked': PreforkedWorker}[sys.argv[2]]
worker(Queue('default', conn, default_timeout=float(sys.argv[3])), error_handler=failed).run()
'''


class Calls:
    """Calls `function` where it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture(params=['forked', 'preforked'])
def working(conn, redis_server, request):
    """Runs a worker whose tasks may take so many seconds."""
    @contextlib.contextmanager
    def working(timeout=600):
        with subprocess.Popen([sys.executable, '-c', WORK, redis_server.socket_path, request.param, str(timeout)],
                              stdout=subprocess.PIPE, text=True) as worker:
            try:
                yield worker
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(DEADLINE) == 0
            finally:
                worker.kill()
    return working


@pytest.mark.parametrize('call, timeout, told', [
    (Calls(posix._exit, 3), 600, 'None 3'),
    (Calls(os.abort), 600, '%d None' % signal.SIGABRT),
    (Calls(time.sleep, 3600), 0.2, '%d None' % signal.SIGTERM),
])
def test_the_error_handler_gets_the_task_without_what_ended_the_child(conn, working, call, timeout, told):
    Queue('default', conn).enqueue(Task(None, 'os', 'getpid', (call,)))
    with working(timeout) as worker:
        assert worker.stdout.readline() == '1 os getpid () %s\n' % told
        wait_until(lambda: not conn.exists('default_enqueued'), 'the release')


def test_the_error_handler_gets_the_whole_task_where_its_function_ended_the_child(conn, working):
    Queue('default', conn).enqueue(Task(None, 'os', '_exit', (4,)))
    with working() as worker:
        assert worker.stdout.readline() == '1 os _exit (4,) None 4\n'
