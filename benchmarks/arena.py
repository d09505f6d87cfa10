"""Runs producers and workers of the contestants against one Redis, and hears what their tasks report."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from delayed._exchange import exchange, get_connection
from delayed._packing import Packer
from delayed.embedded import EmbeddedRedis

from .contestants import Contestant
from .environments import clean_environ, environment
from .sides import readings

SIDES = Path(__file__).with_name('sides')
PATIENCE = 180.0  # seconds for anything at all
_OPENED = b'1'

Fields = Dict[str, Any]


class Failed(Exception):
    """A contestant did not do what it was to do; the message says what, with the end of its output."""


class Arena:
    """A Redis server, and what the processes of all contestants share: a pipe for reports and one that is a gate."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Arena:
        self.server = self._stack.enter_context(EmbeddedRedis())
        self.redis = self.server.client()
        self._directory = Path(tempfile.mkdtemp(prefix='bench-'))
        self._stack.callback(shutil.rmtree, self._directory)
        self._reports, self._gate = self._fifo('reports'), self._fifo('gate')
        self._buffer = b''
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _fifo(self, name: str) -> int:
        path = self._directory / name
        os.mkfifo(path)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # for writing, too: or it would end with its last writer
        self._stack.callback(os.close, fd)
        return fd

    def clear(self) -> None:
        """Forgets all tasks, and reports of the last contestant."""
        self.redis.flushall()
        self.forget_reports()

    def forget_reports(self) -> None:
        while select.select([self._reports], [], [], 0)[0]:
            os.read(self._reports, 1 << 16)
        self._buffer = b''

    def send(self, *commands: Sequence[Any]) -> None:
        """Makes these calls in one go. (To pack a million payloads takes redis-py twice as long.)"""
        packer, pool = Packer(self.redis), self.redis.connection_pool
        connection = get_connection(pool)
        try:
            exchange(connection, [piece for command in commands for piece in packer.command(command)],
                     count=len(commands))
        finally:
            pool.release(connection)

    def expect(self, label: str, watched: Optional[Worker] = None) -> Fields:
        """Waits for the next report, which must have that label."""
        deadline = time.monotonic() + PATIENCE
        while b'\n' not in self._buffer:
            if select.select([self._reports], [], [], 1.0)[0]:
                self._buffer += os.read(self._reports, 1 << 16)
            elif time.monotonic() > deadline or (watched is not None and watched.ended):
                raise Failed('no report %r%s' % (label, watched.tail() if watched is not None else ''))
        line, self._buffer = self._buffer.split(b'\n', 1)
        fields: Fields = json.loads(line)
        if fields['label'] != label:
            raise Failed('the report is %r, not %r' % (fields, label))
        return fields

    def open_gate(self, times: int) -> None:
        os.write(self._gate, _OPENED * times)

    @contextlib.contextmanager
    def producer(self, contestant: Contestant) -> Iterator[Producer]:
        command = [str(environment_of(contestant) / 'python'), str(SIDES / 'producer.py'), contestant.side]
        with Producer(command, self._environ(contestant)) as producer:
            yield producer

    @contextlib.contextmanager
    def worker(self, contestant: Contestant) -> Iterator[Worker]:
        program, *args = (part.format(socket=self.server.socket_path) for part in contestant.worker)
        command = [str(environment_of(contestant) / program), *args]
        with open(self._directory / 'output', 'w+b') as output:
            worker = Worker(command, self._environ(contestant), output)
            try:
                yield worker
            finally:
                worker.kill()

    def _environ(self, contestant: Contestant) -> Dict[str, str]:
        return clean_environ(
            PYTHONPATH=str(SIDES), BENCH_SOCKET=self.server.socket_path, BENCH_REPORTS=str(self._directory / 'reports'),
            BENCH_GATE=str(self._directory / 'gate'), PATH='%s:%s' % (environment_of(contestant), os.environ['PATH']),
            **contestant.environ)


class Producer:
    """Enqueues with a contestant's library, in a process with that library; see sides/producer.py."""

    def __init__(self, command: List[str], environ: Dict[str, str]) -> None:
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Producer:
        self._answer()  # it is ready
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def enqueue(self, name: str, *args: object) -> None:
        self._ask('enqueue', name, *args)

    def stamp(self) -> None:
        self._ask('stamp')

    def fill(self, number: int) -> Fields:
        """Enqueues empty tasks one by one; returns seconds, processor time, and what Redis counted."""
        filled: Fields = self._ask('fill', number)
        return filled

    def many(self, number: int) -> Fields:
        """The same, with as few calls as the library allows."""
        filled: Fields = self._ask('many', number)
        return filled

    def _ask(self, *request: object) -> Any:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: there is no answer
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed('a producer died')
        return json.loads(line)


class Worker:
    """A contestant's worker and all of its processes, which share a session."""

    def __init__(self, command: List[str], environ: Dict[str, str], output: Any) -> None:
        self._output = output
        self._process = subprocess.Popen(command, env=environ, cwd=SIDES, stdin=subprocess.DEVNULL, stdout=output,
                                         stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def pss(self) -> int:
        """Bytes."""
        return readings.pss_bytes(self._process.pid)

    def tail(self) -> str:
        self._output.seek(0)
        return '; the end of its output:\n%s' % self._output.read()[-2000:].decode(errors='replace')

    def kill(self) -> None:
        """Ends all of its processes at once: what they would tell Redis at their end is nobody's task."""
        session = self._process.pid
        while True:
            pids = [pid for pid, fields in readings.processes(session).items() if fields[0] != 'Z']
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait()


_environments: Dict[str, Path] = {}


def environment_of(contestant: Contestant) -> Path:
    """Its environment, made at first use."""
    if contestant.environment not in _environments:
        _environments[contestant.environment] = environment(contestant)
    return _environments[contestant.environment]
