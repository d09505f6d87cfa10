"""Starts the programs of a soak, starts them again when they are gone, and brings trouble upon them."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from delayed.embedded import EmbeddedRedis

from .journal import note

_TESTS = Path(__file__).parent.parent
#: In the environment of every process of a soak, so that those that are left over are found.
_MARK = 'DELAYED_SOAK'


class Program:
    """A process that is started again whenever it ends. `make_spec` says how, anew each time."""

    def __init__(self, name: str, make_spec: Callable[[], Dict[str, Any]]) -> None:
        self.name = name
        self.make_spec = make_spec
        self.process: Optional[subprocess.Popen] = None
        self.told_to_stop = False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class Crew:
    """All processes of one soak. `directory` takes the journal and the log."""

    def __init__(self, directory: Path, seed: int, lease: float) -> None:
        self.journal = str(directory / 'journal')
        self.redis = EmbeddedRedis(appendonly=True)
        self.problems: List[str] = []
        self._log = open(directory / 'log', 'ab')
        self._mark = '%s-%d' % (seed, os.getpid())
        self._chance = random.Random('crew %d' % seed)
        self._lease = lease
        self._starts = itertools.count()
        self._later: List[Tuple[float, int, Callable[[], None]]] = []
        self._orphans: List[int] = []
        self._killed: set = set()
        self._frozen: set = set()
        self.workers = [Program('worker', self._worker_spec) for _ in range(4)]
        self.producers = [Program('producer', self._producer_spec) for _ in range(2)]

    def _worker_spec(self) -> Dict[str, Any]:
        return {'program': 'worker', 'lease': self._lease, 'socket_timeout': None,
                'class': self._chance.choice(('ForkedWorker', 'PreforkedWorker')),
                'on_crash': self._chance.choice(('fail', 'requeue'))}

    def _producer_spec(self) -> Dict[str, Any]:
        return {'program': 'producer', 'socket_timeout': self._chance.choice((None, 2)),
                'name': 'p%d' % next(self._starts), 'seed': self._chance.random()}

    def start(self) -> None:
        self.redis.start()
        for program in (*self.workers, *self.producers):
            self._start(program)

    def _start(self, program: Program) -> None:
        spec = {**program.make_spec(), 'soak': os.getpid(), 'journal': self.journal, 'socket': self.redis.socket_path}
        program.told_to_stop = False
        program.process = subprocess.Popen(
            [sys.executable, '-m', 'soak.programs', json.dumps(spec)], cwd=_TESTS, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, start_new_session=True,
            env={**os.environ, _MARK: self._mark, 'PYTHONPATH': os.pathsep.join((str(_TESTS.parent), str(_TESTS)))})

    def tend(self) -> None:
        """Does what is due, and starts again what has ended."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for program in (*self.workers, *self.producers):
            if program.process is not None and program.process.poll() is not None:
                self._bury(program)
                self._start(program)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._starts), what))

    def catch_up(self) -> None:
        """Does at once what was to be done later: the frozen go on, and Redis is back."""
        while self._later:
            heapq.heappop(self._later)[2]()

    def children(self, program: Program) -> List[int]:
        """The processes that it forked, the one that runs tasks and, maybe, a spare."""
        try:
            listed = Path('/proc/%d/task/%d/children' % (program.pid, program.pid)).read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in listed.split()]

    def orphans(self) -> List[int]:
        """The children of monitors that were killed, as far as they live."""
        self._orphans = [pid for pid in self._orphans if Path('/proc/%d' % pid).exists()]
        return self._orphans

    def adopt(self, pids: List[int]) -> None:
        """The parent of these is about to be killed."""
        self._orphans += pids

    def kill(self, what: str, pids: List[int], monitor: int = 0) -> None:
        """SIGKILL. monitor: whose child it is."""
        self._killed.update(pids)
        note(self.journal, 'kill', what=what, pids=pids, monitor=monitor)
        for pid in pids:
            _signal(pid, signal.SIGKILL)

    def freeze(self, what: str, pids: List[int], seconds: float) -> None:
        """SIGSTOP, and SIGCONT after some seconds."""
        pids = [pid for pid in pids if pid not in self._frozen]
        self._frozen.update(pids)
        note(self.journal, 'freeze', what=what, pids=pids, seconds=seconds)
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

        def thaw() -> None:
            for pid in pids:
                _signal(pid, signal.SIGCONT)
            self._frozen.difference_update(pids)
            note(self.journal, 'thaw', pids=pids)

        self.later(seconds, thaw)

    def stop(self, program: Program) -> None:
        """SIGTERM: it ends by itself."""
        if not program.told_to_stop:
            program.told_to_stop = True
            note(self.journal, 'stop', what=program.name, pids=[program.pid])
            _signal(program.pid, signal.SIGTERM)

    def await_end(self, programs: List[Program], seconds: float) -> None:
        """Waits until programs that were told to stop have ended; what has not is a problem."""
        deadline = time.monotonic() + seconds
        for program in programs:
            assert program.process is not None
            try:
                program.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.problems.append('%s %d did not stop within %g s' % (program.name, program.pid, seconds))
                self.kill(program.name, [program.pid])
                program.process.wait()
            self._bury(program)

    def _bury(self, program: Program) -> None:
        process, program.process = program.process, None
        assert process is not None
        expected = [0]
        if process.pid in self._killed:
            expected.append(-signal.SIGKILL)
        if program.told_to_stop:
            expected.append(-signal.SIGTERM)  # it had not begun to work yet
        if process.returncode not in expected:
            self.problems.append('%s %d ended with %d' % (program.name, process.pid, process.returncode))

    def left(self) -> List[int]:
        """The processes of this soak that there still are."""
        wanted = ('%s=%s' % (_MARK, self._mark)).encode()
        found = []
        for entry in Path('/proc').iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / 'environ').read_bytes().split(b'\0'):
                    found.append(int(entry.name))
            except OSError:
                pass  # it has ended, or is somebody else's
        return found

    def close(self) -> None:
        """Ends whatever there is."""
        for pid in self.left():
            _signal(pid, signal.SIGKILL)
        for program in (*self.workers, *self.producers):
            if program.process is not None:
                program.process.wait()
        self.redis.stop()
        self._log.close()


def _signal(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass
