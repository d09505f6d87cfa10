"""`delayed demo`: hashes Python's standard library with two workers, kills one, and shows that nothing was lost.

A task for each file; the one in the middle waits, half-way and with nothing written yet, until the demo has killed the
worker that runs it: monitor and child. Its lease ends, the other worker brings it back and runs it. In the end the demo
holds everything against what it has computed itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import sysconfig
import threading
import time
from types import FrameType
from typing import Any, Iterator, List, Optional, Sequence, TextIO, Tuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ._demo_crew import Crew
from ._demo_report import Kill, Progress, Report, table, thousands
from ._demo_task import Board, FileHash, Hold, hash_file, note_failure, write_to
from ._keys import QueueKeys
from ._server import ServerUnreachable, client, reached, without_password
from ._shield import STOPPING, is_default
from .embedded import EmbeddedRedis
from .errors import DelayedError
from .queue import Queue
from .task import Task
from .worker import PreforkedWorker

WORKERS = 2
#: Seconds. Short, so that there is little to wait for.
LEASE, SWEEP_INTERVAL = 2.0, 0.5
#: Seconds that a task may take, and until it counts as lost where leases are not renewed (see `Worker`).
TIMEOUT, REQUEUE_TIMEOUT = 10.0, 1.0
#: Seconds without any progress after which the demo gives up.
PATIENCE = 30.0
_TICK = 0.05  # seconds between two looks
_SOCKET_TIMEOUT = 5.0  # seconds


class Interrupted(KeyboardInterrupt):
    """A signal asked the demo to end. `signum` is its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def run(out: TextIO, url: Optional[str] = None, most_files: Optional[int] = None) -> List[str]:
    """Runs the demo and writes what it sees to `out`. Returns what does not hold: nothing, if all is well.

    url: of a Redis server to use instead of one that the demo starts. most_files: take no more than so many.
    Nothing is left behind in any case. Raises `ServerNotFound`, `ServerUnreachable`, `InvalidArgument` for a wrong
    `url`, another `DelayedError` if a worker ends by itself, and `Interrupted`.
    """
    root, names = standard_library()
    names = names[:most_files]
    with _interruptible(), _server(url) as server_url, _connection(server_url) as conn:
        return _Demo(out, server_url, conn, root, names).run()


def standard_library() -> Tuple[str, List[str]]:
    """Returns the folder of Python's standard library and the sorted names of its .py files. Raises `DelayedError`."""
    root = sysconfig.get_path('stdlib')
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in ('site-packages', 'dist-packages')]
        paths = [os.path.join(folder, name) for name in files if name.endswith('.py')]
        names += [os.path.relpath(path, root) for path in paths if os.path.isfile(path) and os.access(path, os.R_OK)]
    if not names:
        raise DelayedError('this Python has no standard library of .py files in %s' % root)
    return root, sorted(names)


def hash_directly(path: str) -> FileHash:
    """What a task should find out, without any queue."""
    with open(path, 'rb') as file:
        content = file.read()
    return FileHash(hashlib.sha256(content).hexdigest(), content.count(b'\n'), len(content))


class _Demo:
    """One run on a server that answers. Its queue has a name of its own."""

    def __init__(self, out: TextIO, url: str, conn: Any, root: str, names: Sequence[str]) -> None:
        self._url = url
        self._conn = conn
        self._root = root
        self._names = names
        self._progress = Progress(out)
        self._queue_name = 'delayed-demo-' + secrets.token_hex(4)
        self._queue = self._queue_on(conn)
        self._board = Board(conn, self._queue_name)
        self._crew = Crew(self._make_worker)
        self._kill: Optional[Kill] = None

    def run(self) -> List[str]:
        """Returns what does not hold."""
        try:
            self._progress.say('Hashing %s files of %s\nwith %d workers, whose leases last %g s'
                               % (thousands(len(self._names)), self._root, WORKERS, LEASE))
            self._enqueue()
            started = time.monotonic()
            self._crew.start(WORKERS)
            self._watch()
            self._crew.stop()
            report = self._report(started)
        finally:
            self._clean_up()
            self._progress.clear()
        self._progress.say('\n' + table(report.rows()))
        return report.problems()

    def _queue_on(self, conn: Any) -> Queue:
        return Queue(self._queue_name, conn, TIMEOUT, REQUEUE_TIMEOUT)

    def _make_worker(self) -> PreforkedWorker:
        """In the process that is to run it."""
        conn = _client(self._url)
        write_to(Board(conn, self._queue_name))
        return PreforkedWorker(self._queue_on(conn), error_handler=note_failure,
                               lease=LEASE, sweep_interval=SWEEP_INTERVAL)

    def _enqueue(self) -> None:
        total = len(self._names)
        for index, name in enumerate(self._names):
            hold = index == total // 2
            self._queue.enqueue(Task.create(hash_file, (index, os.path.join(self._root, name), hold)))
            self._progress.show('enqueued', index + 1, total)

    def _watch(self) -> None:
        """Returns when all tasks have ended, or nothing happens any more. Kills the worker that waits for it."""
        done, changed_at = -1, 0.0
        while True:
            self._crew.check()
            before = done
            done, hold = self._board.look()
            if hold is not None:
                self._kill_worker(hold)
            now = time.monotonic()
            if done > before or hold is not None:
                changed_at = now
            self._progress.show('hashed', done, len(self._names))
            if done >= len(self._names) or now - changed_at >= PATIENCE:
                return
            time.sleep(_TICK)

    def _kill_worker(self, hold: Hold) -> None:
        self._kill = Kill(hold, self._crew.kill(hold.monitor))
        self._progress.say('killed worker %d and its child %d half-way through %s; the lease ends within %g s'
                           % (hold.monitor, hold.child, self._names[hold.number], LEASE))

    def _report(self, started: float) -> Report:
        return Report(
            files=self._names,
            expected=[hash_directly(os.path.join(self._root, name)) for name in self._names],
            traces=self._board.read(), kill=self._kill, started=started,
            left_over=self._conn.zcard(QueueKeys(self._queue_name).enqueued) + self._queue.dead_len())

    def _clean_up(self) -> None:
        """Ends the workers and deletes all keys. It is quick, so signals have to wait."""
        _ignore_signals()
        self._crew.stop()
        self._crew.close()
        try:
            keys = list(self._conn.scan_iter(self._queue_name + '*', count=1000))
            if keys:
                self._conn.delete(*keys)
        except redis.RedisError as error:
            self._progress.say('Could not delete the keys %s* (%s)' % (self._queue_name, error))


@contextlib.contextmanager
def _server(url: Optional[str]) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with EmbeddedRedis() as server:
        yield server.url


@contextlib.contextmanager
def _connection(url: str) -> Iterator[Any]:
    """A client of a server that answers."""
    with reached(url):
        conn = _client(url)
        conn.ping()
    try:
        yield conn
    except redis.RedisError as error:
        raise ServerUnreachable('lost %s: %s' % (without_password(url), error)) from error
    finally:
        conn.connection_pool.disconnect()


def _client(url: str) -> Any:
    # Without repetitions: the tasks' calls count.
    return client(url, socket_timeout=_SOCKET_TIMEOUT, retry=Retry(NoBackoff(), 0))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raises `Interrupted` on the signals that end a program, where it has no handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: Optional[FrameType]) -> None:
        raise Interrupted(signum)

    before = {signum: signal.getsignal(signum) for signum in STOPPING}
    for signum, disposition in before.items():
        if is_default(disposition):
            signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum, disposition in before.items():
            if disposition is not None:
                signal.signal(signum, disposition)


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for signum in STOPPING:
            signal.signal(signum, signal.SIG_IGN)
