"""Starts workers for the test, quickly: all is imported already, and each worker is a fork of this program.

    python -m faults.driver

reads requests from its standard input and answers each with a line, both JSON: `{"start": {...}}` starts a worker and
tells its pid; `{"status": pid}` tells how it ended, as `waitpid` does, or null. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import redis

from delayed import _batch_monitor, _books, _prefetch, _source, logger, worker
from delayed.queue import Queue

from . import points, tasks


def main():
    for line in sys.stdin:
        request = json.loads(line)
        answer = _start(request['start']) if 'start' in request else _status(request['status'])
        print(json.dumps(answer), flush=True)


def _start(spec):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        _redirect(spec['output'])
        work(spec)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _status(pid):
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if ended else None


def _redirect(path):
    with open(os.devnull) as nothing, open(path, 'ab') as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = open(2, 'w', buffering=1, closefd=False)


def work(spec):
    """Runs a worker until it is told to stop. `spec`: see scene.py."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logger.setup_logger('%H:%M:%S', '%(asctime)s.%(msecs)03d %(process)d %(module)s: %(message)s')
    tasks.journal, tasks.worker = spec['journal'], spec['worker']
    points.report_to(spec['points'], spec['worker'])
    conn = redis.Redis(**spec['client'])
    queue = Queue(spec['name'], conn, **spec['queue'])
    queues = {Queue('empty', conn): 1, queue: 2} if spec['several'] else queue
    subject = getattr(worker, spec['class'])(queues, success_handler=tasks.succeeded, error_handler=tasks.failed,
                                             **spec['options'])
    if spec['ahead'] is not None:
        _books.Pace.brisk = property(lambda pace: spec['ahead'] and pace.backlog)  # however fast the machine is
        _books.Pace.rapid = property(lambda pace: spec['ahead'] == 'far' and pace.backlog)
        if spec['ahead'] == 'batch':
            _prefetch.BatchBooks._next_size = lambda books: 3
        if spec['slow'] is not None:
            _books.SLOW = _batch_monitor.SLOW = _batch_monitor._STARTING = spec['slow']
        _source._UNHURRIED_LEASE = 0 if spec['together'] else float('inf')
        _books._UNHURRIED = 0 if spec['together'] else _books._UNHURRIED
        points.install(subject, spec['half'])
    subject.run()


if __name__ == '__main__':
    main()
