"""The scene of one cell: its queue, its workers, and the points at which they are held."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import tempfile
import time
from pathlib import Path

from delayed._keys import QueueKeys
from delayed.queue import Queue
from delayed.task import Task

from .lane import Process

DEADLINE = 30  # seconds; only a bug meets it
LEASE = 1  # second
WORKER = {'sweep_interval': 0.2, 'kill_timeout': 0.5}


class Hold:
    """A process that waits at a point."""

    def __init__(self, connection, message):
        self._connection = connection
        self.pid, self.child, self.tasks = message['pid'], message['child'], message['tasks']

    def let_go(self):
        with contextlib.suppress(OSError):
            self._connection.sendall(b'g')


class Scene:
    """One cell under way: its queue, its workers, the points they passed, their journal. `pace`: how much longer than
    usual leases and timeouts are."""

    def __init__(self, lane, cell, pace=1):
        self.lane = lane
        self._together = cell.step.together
        pace *= 3 if self._together else 1  # with shorter leases it would not wait for a second
        self.lease, self._others_lease = cell.fault.lease * pace, LEASE * pace
        self.timeout = cell.step.timeout * pace  # of tasks that name none
        self.outlasting = 1.3 * self.lease  # seconds that outlast worker A's lease
        #: Whether the machine stood still for so long that a living worker may have lost a lease.
        self.slow = False
        self._class, self._several = cell.worker, cell.several
        self._variant = {'prefetch': 1} if cell.singly else {}
        self._directory = tempfile.mkdtemp(dir=lane.directory)
        self._journal = os.path.join(self._directory, 'journal')
        self._output = os.path.join(self._directory, 'output')
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self._directory, 'points'))
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._buffers = {}
        self._wanted = set()
        self.held = {}
        self.passed = []  # all points, in the order in which they were reached
        self.workers = {}
        self.killed, self._asked = set(), set()
        self.child = None  # worker A's
        lane.conn.flushall()
        self._queue_options = {'default_timeout': self.timeout, 'requeue_timeout': 0.5}
        self.queue = Queue('faults', lane.conn, **self._queue_options)
        self.payloads, self._names = {}, {}

    # --- tasks

    def enqueue(self, name, func='run', ballast=b'', timeout=None):
        task = Task(None, 'faults.tasks', func, ('task-' + name, ballast), timeout=timeout and timeout * 1000)
        self.queue.enqueue(task)
        self.payloads[name], self._names[task.id] = task.data, name

    def place(self, name):
        """Where a task is: waiting, dequeued, dead or nowhere."""
        keys, payload = QueueKeys('faults'), self.payloads[name]
        with self.lane.conn.pipeline() as pipe:  # at once, for it may be moved at any time
            pipe.lrange(keys.waiting, 0, -1).zscore(keys.dequeued, payload).zscore(keys.enqueued, payload)
            waiting, lease, allowance, letters = pipe.zrange(keys.dead, 0, -1).execute()
        places = {
            'waiting': payload in waiting,
            'dequeued': lease is not None,
            'dead': any(letter.endswith(payload) for letter in letters),
        }
        found = [place for place, there in places.items() if there]
        assert (allowance is not None) == (found in (['waiting'], ['dequeued'])), (found, allowance)
        assert len(found) <= 1, found
        return found[0] if found else 'nowhere'

    def leftovers(self):
        """The keys that still hold something of unfinished tasks."""
        keys = QueueKeys('faults')
        used = (keys.waiting, keys.notifications, keys.enqueued, keys.dequeued, keys.leases, keys.losses)
        return [key for key in used if self.lane.conn.exists(key)]

    def _entries(self):
        try:
            with open(self._journal) as lines:
                return [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []

    def journal(self, what, task, worker=None):
        """The entries of that kind."""
        return [entry for entry in self._entries()
                if entry['what'] == what and worker in (None, entry['worker'])
                and self._names.get(entry['task'], entry['task']) == task]

    def journal_pids(self):
        """All processes that wrote into it."""
        return {entry['pid'] for entry in self._entries()}

    # --- workers

    def start(self, worker, through_proxy=False, half=None, ahead=None, slow=None,
              **options):
        """Starts worker A or B. `ahead`: whether it takes tasks ahead, or three at once (`batch`); makes points of its
        steps. None: only its tasks' running is one. `slow`: from when on, in seconds, it holds none behind one that
        runs."""
        spec = {
            'worker': worker, 'class': self._class, 'name': 'faults', 'queue': self._queue_options,
            'several': self._several,
            'options': {**WORKER, **self._variant, 'lease': self._others_lease, **options},
            'journal': self._journal, 'output': self._output,
            'points': os.path.join(self._directory, 'points'), 'half': half, 'ahead': ahead, 'slow': slow,
            'together': self._together,
            'client': dict(socket_timeout=0.5, **(
                {'host': self.lane.proxy.host, 'port': self.lane.proxy.port} if through_proxy
                else {'unix_socket_path': self.lane.server.socket_path})),
        }
        process = self.workers[worker] = Process(self.lane, self.lane.ask(start=spec))
        return process

    def signal(self, pid, signum):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
        if signum == signal.SIGKILL:
            self.killed.add(pid)
            self.wait(lambda: not lives(pid), 'the death of %d' % pid)
        elif signum == signal.SIGTERM:
            self._asked.add(pid)
        elif signum == signal.SIGSTOP:
            self.wait(lambda: state(pid) in 'TZX', 'the stop of %d' % pid)

    @property
    def orphaned(self):
        """Whether worker A's monitor was killed."""
        return self.workers['A'].pid in self.killed

    # --- points

    def hold(self, point):
        """Whoever reaches `point` next waits there. A point: (role, name, task or None)."""
        self._wanted.add(point)

    def await_hold(self, point):
        self.hold(point)
        return self.wait(lambda: self.held.get(point), 'the point %s' % (point,))

    def count(self, condition):
        """How many of the points that were passed meet `condition(role, name, tasks)`."""
        return sum(condition(*point) for point in self.passed)

    def let_go(self, point):
        self._wanted.discard(point)
        hold = self.held.pop(point, None)
        if hold is not None:
            hold.let_go()

    def let_go_of(self, role):
        """Those that are held in that role go on."""
        for point in [point for point in self.held if point[0] == role]:
            self.let_go(point)

    def let_all_go(self):
        for point in [*self._wanted, *self.held]:
            self.let_go(point)

    def wait(self, condition, what, seconds=DEADLINE):
        """Returns the first true value of `condition()`; meanwhile, workers pass their points."""
        now = time.monotonic()
        deadline = now + seconds
        while True:
            value = condition()
            if value:
                return value
            if now > deadline:
                raise AssertionError('%s did not come within %g s' % (what, seconds))
            self._listen(0.02)
            last, now = now, time.monotonic()
            self.slow |= now - last > self._others_lease / 5

    def pause(self, seconds):
        """Lets time go by: only where something is to outlast a lease."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until, 'the time')

    def _listen(self, seconds):
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                connection, _ = self._listener.accept()
                self._selector.register(connection, selectors.EVENT_READ)
                self._buffers[connection] = b''
            else:
                self._read(key.fileobj)

    def _read(self, connection):
        try:
            data = connection.recv(1 << 16)
        except OSError:
            data = b''
        if not data:
            self._selector.unregister(connection)
            connection.close()
            return
        *lines, self._buffers[connection] = (self._buffers[connection] + data).split(b'\n')
        for line in lines:
            self._reached(Hold(connection, json.loads(line)), json.loads(line))

    def _reached(self, hold, message):
        self.passed.append((message['role'], message['name'], ''.join(message['tasks'])))
        for task in (*message['tasks'], None):
            point = message['role'], message['name'], task
            if point in self._wanted:
                self._wanted.discard(point)
                self.held[point] = hold
                return
        hold.let_go()

    # --- the end

    def stop(self):
        """Stops the workers that live, which must end well."""
        for name, process in self.workers.items():
            if process.status is None and process.pid not in self._asked:
                self.wait(lambda process=process: self._works(process), 'the start of worker %s' % name)
                self.signal(process.pid, signal.SIGTERM)
        for name, process in self.workers.items():
            status = self.wait(lambda process=process: process.status is not None and [process.status],
                               'the end of worker %s' % name)[0]
            assert status == (signal.SIGKILL if process.pid in self.killed else 0), 'worker %s: %d' % (name, status)

    def _works(self, process):
        """Whether it has come so far as to heed signals."""
        return ' %d works on queue' % process.pid in self._log()

    @property
    def leases_ended(self):
        """Whether a task came back because its lease had ended."""
        return 'brought back' in self._log() or 'had lost its lease' in self._log()

    def _log(self):
        with contextlib.suppress(FileNotFoundError):
            return Path(self._output).read_text(errors='replace')
        return ''

    def close(self):
        """Ends whatever is left; after a cell that went well that is nothing."""
        for process in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            deadline = time.monotonic() + DEADLINE
            while group_lives(process.pid) and time.monotonic() < deadline:
                process.status  # noqa: B018 - this is what reaps it
                time.sleep(0.01)
        for connection in list(self._selector.get_map().values()):
            connection.fileobj.close()
        self._selector.close()

    def story(self):
        """What happened, for whoever looks at a failure."""
        lines = ['%s %s %s' % point for point in self.passed[-60:]]
        for path in (self._journal, self._output):
            with contextlib.suppress(FileNotFoundError):
                lines += [path] + Path(path).read_text(errors='replace').splitlines()[-60:]
        return '\n'.join(lines)


def state(pid):
    """The letter of a process's state; X where there is no such process."""
    try:
        with open('/proc/%d/stat' % pid) as stat:
            return stat.read().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return 'X'


def lives(pid):
    return state(pid) not in 'ZX'


def group_lives(pid):
    """Whether a process group has members that are not dead."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True
