"""Runs workers in processes of their own, which are forked from the test: so handlers can be written inside it.

Tasks and handlers tell the test with `report`, and wait for it in `pass_gate`. Both go through pipes that every process
inherits. The fixture is `lab`.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import os
import pickle
import select
import signal
import subprocess
import time
import traceback

from delayed.logger import set_handler
from delayed.task import Task
from waiting import DEADLINE, wait_until

#: Prints which signals a program finds blocked, ignored and caught.
SIGNAL_STATE = ('grep', '^Sig[BIC]', '/proc/self/status')
_MOST_FDS = 1100  # those of the stacks of children are high
_lab = None


def report(kind, *values):
    """Tells the test; `values` are plain data. A line is short enough to be written at once."""
    os.write(_lab.reports_fd, json.dumps([kind, *values]).encode() + b'\n')


def pass_gate():
    """Waits until the test calls `lab.open_gate`: each opening lets one pass."""
    os.read(_lab.gate_fd, 1)


def succeeded(task):
    report('succeeded', task.id)


def failed(task, kill_signal, exc_info):
    """Reports how a task failed: the signal, the exception's class, its text, and whether it has a traceback."""
    kind, error, trace = exc_info or (None, None, None)
    assert kind is None or kind is type(error)
    report('failed', task.id, kill_signal, kind and kind.__name__, exc_info and str(error), trace is not None)


def told(worker_class, queue, **options):
    """A worker whose handlers report."""
    return worker_class(queue, **{'success_handler': succeeded, 'error_handler': failed, **options})


def task(name, *args, timeout=None, **kwargs):
    """The call of a function of `tasks`, or of `module.function`. timeout: in seconds."""
    module, _, function = name.rpartition('.')
    return Task(None, module or 'tasks', function, args, kwargs, timeout and timeout * 1000)


def put(conn, *payloads, name='default'):
    """Adds payloads as a producer of 0.5.1b2 does."""
    for payload in payloads:
        conn.zadd(name + '_enqueued', {payload: 610_000})
        conn.rpush(name, payload)
        conn.rpush(name + '_noti', '1')


def payload_of(size, number=1):
    """The payload of a call of `tasks.size` that has exactly so many bytes."""
    length = size
    while True:
        payload = pickle.dumps((number, 'tasks', 'size', (b'x' * length,), {}, None))
        if len(payload) == size:
            return payload
        length -= len(payload) - size


def children(pid):
    """The processes that a process has forked, those that are not reaped too."""
    with subprocess.Popen(['ps', '-A', '-o', 'pid=,ppid='], stdout=subprocess.PIPE, text=True) as ps:
        pairs = [map(int, line.split()) for line in ps.stdout]
    return {child for child, parent in pairs if parent == pid and child != ps.pid}


def remains(conn):
    """The keys of unfinished tasks and whatever else takes room: a queue that is through has none of them."""
    return {key for key in conn.keys()
            if not key.endswith((b'_id', b'_swept', b'_workers', b'_pace')) and b'_producer_' not in key}


def open_files():
    """The open descriptors of this process, and what they are."""
    found = {}
    for fd in range(_MOST_FDS):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        found[fd] = status.st_dev, status.st_ino
    return found


def dispositions():
    return {signum: signal.getsignal(signum) for signum in signal.valid_signals()}


def has_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def end_groups(programs):
    """Ends each that still runs, and all that it has started; each has a process group of its own."""
    for program in programs:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def run_worker(worker):
    """Runs a worker and checks that it leaves nothing behind in its process."""
    worker._queue.len()  # opens the client's own connection
    gc.collect()  # closes those of the process that this one was forked from
    before = open_files(), dispositions()
    worker.run()
    assert (open_files(), dispositions()) == before
    assert not has_children()


class Program:
    """A function in a process of its own, with a session and a process group of its own. Its exit code is 0 if the
    function returns."""

    def __init__(self, function, log):
        alive, inherited = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be(function, log)
        os.close(inherited)
        self._alive = alive
        self._status = None

    def signal(self, signum):
        os.kill(self.pid, signum)

    def signal_group(self, signum):
        os.killpg(self.pid, signum)

    def wait(self, seconds=DEADLINE):
        """Returns the exit code, or the negative number of the signal that ended it."""
        return wait_until(self._ended, 'the end of process %d' % self.pid, seconds)[0]

    def await_last(self):
        """Waits until all processes of this program are gone, those that outlive their parents too."""
        assert select.select([self._alive], [], [], DEADLINE)[0], 'a process was left'

    def close(self):
        if self._status is None or not select.select([self._alive], [], [], 0)[0]:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.wait()
        os.close(self._alive)

    def _ended(self):
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = (os.waitstatus_to_exitcode(status),) if pid else None
        return self._status


def _be(function, log):
    code, stderr = 1, os.dup(2)  # whatever the function does to its own
    try:
        os.setsid()
        faulthandler.disable()  # a task that crashes on purpose says nothing
        handler = logging.FileHandler(log)
        handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
        set_handler(handler)
        function()
        code = 0
    except BaseException:
        os.write(stderr, traceback.format_exc().encode())
    finally:
        os._exit(code)


class Lab:
    """One test's programs, what they report, and their log."""

    def __init__(self, directory):
        self._log = directory / 'log'
        self._log.touch()
        self._reports, self.reports_fd = os.pipe()
        self.gate_fd, self._gate = os.pipe()
        os.set_blocking(self._reports, False)
        self._buffer = b''
        self._unread = []
        self._programs = []

    def __enter__(self):
        global _lab
        _lab = self
        return self

    def __exit__(self, *exc_info):
        for program in self._programs:
            program.close()
        for fd in (self._reports, self.reports_fd, self.gate_fd, self._gate):
            os.close(fd)

    def start(self, function):
        """Runs `function` in a process of its own."""
        program = Program(function, self._log)
        self._programs.append(program)
        return program

    def start_worker(self, worker):
        return self.start(lambda: run_worker(worker))

    def drain(self, worker, queue, *tasks):
        """Has a worker run `tasks` and all that waits, and then end. Returns its program."""
        for each in tasks:
            queue.enqueue(each)
        queue.enqueue(task('stop_worker'))
        program = self.start_worker(worker)
        assert program.wait() == 0
        return program

    @staticmethod
    def be_silent():
        """In a program: from now on nothing is logged."""
        set_handler(logging.NullHandler())

    def expect(self, kind):
        """Waits for the next report of this kind, and returns its values. The others stay for later."""
        deadline = time.monotonic() + DEADLINE
        while True:
            self._read()
            for index, (found, *values) in enumerate(self._unread):
                if found == kind:
                    del self._unread[index]
                    return values
            seconds = deadline - time.monotonic()
            assert seconds > 0, 'no report %r, but %r; log:\n%s' % (kind, self._unread, self._log.read_text())
            select.select([self._reports], [], [], seconds)

    def reports(self, kind=None):
        """Returns all that came and was not expected yet, in order; of one kind: their values alone."""
        self._read()
        if kind is None:
            found, self._unread = self._unread, []
        else:
            found = [values for each, *values in self._unread if each == kind]
            self._unread = [values for values in self._unread if values[0] != kind]
        return found

    def open_gate(self, times=1):
        os.write(self._gate, b'g' * times)

    def log(self, level=''):
        return [line for line in self._log.read_text().splitlines() if line.startswith(level)]

    def _read(self):
        try:
            self._buffer += os.read(self._reports, 1 << 20)
        except BlockingIOError:
            return
        *lines, self._buffer = self._buffer.split(b'\n')
        self._unread += map(json.loads, lines)
