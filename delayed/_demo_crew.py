"""The demo's workers: processes of their own, which end with the demo, however that one ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, List, NoReturn

from ._shield import STOPPING
from ._streams import exit_now
from .errors import DelayedError
from .worker import Worker

#: How to ask the workers to end, and for how many seconds (from the first time on) each is tried.
_REQUESTS = ((signal.SIGTERM, 1.5), (signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0))
_TICK = 0.01  # seconds


class Crew:
    """`make` makes a worker, in the process that is to run it. Each leads a process group of its own, so that Ctrl-C in
    a terminal reaches the demo alone, and one kill a whole worker."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._alive: List[int] = []
        self._lifeline, self._our_end = os.pipe()  # ends with this process

    def start(self, count: int) -> None:
        for _ in range(count):
            self._fork()

    def check(self) -> None:
        """Raises `DelayedError` if a worker has ended by itself."""
        for pid in self._alive:
            if _has_ended(pid):
                self._alive.remove(pid)
                raise _ended_by_itself(pid)

    def kill(self, monitor: int) -> float:
        """Ends a worker, both its processes, with SIGKILL. Returns when (monotonic)."""
        # The monitor is stopped first: if it saw its child die, it would call the task failed, and if it died first,
        # its child would finish the task. Here neither may have the time for that.
        os.kill(monitor, signal.SIGSTOP)
        _, status = os.waitpid(monitor, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._alive.remove(monitor)
            raise _ended_by_itself(monitor)
        os.killpg(monitor, signal.SIGKILL)
        killed_at = time.monotonic()
        self._alive.remove(monitor)
        os.waitpid(monitor, 0)
        return killed_at

    def stop(self) -> None:
        """Ends all that are left. Running tasks are finished, but for long ones. May be called again."""
        start = time.monotonic()
        for signum, seconds in _REQUESTS:
            for pid in self._alive:
                (os.killpg if signum == signal.SIGKILL else os.kill)(pid, signum)
            while self._alive and time.monotonic() < start + seconds:
                self._alive = [pid for pid in self._alive if not _has_ended(pid)]
                time.sleep(_TICK)

    def close(self) -> None:
        os.close(self._lifeline)
        os.close(self._our_end)

    def _fork(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or what is buffered would be written twice
        # No signal may find a child that still has the demo's handlers, or a demo that does not know its child.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            pid = os.fork()
            if pid == 0:
                self._run_and_exit(mask)
            os.setpgid(pid, pid)  # as the child does: whoever comes first
            self._alive.append(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run_and_exit(self, mask: Any) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)
            for signum in STOPPING:
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._our_end)
            worker = self._make()
            threading.Thread(target=self._end_with_demo, args=(worker,), daemon=True).start()
            worker.run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            exit_now(code)

    def _end_with_demo(self, worker: Worker) -> None:
        os.read(self._lifeline, 1)  # returns when the demo is gone, and probably its server with it
        worker.stop()
        os.kill(os.getpid(), signal.SIGTERM)  # the second request is an urgent one


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:  # where SIGCHLD is ignored, nothing is left to wait for
        return True


def _ended_by_itself(pid: int) -> DelayedError:
    return DelayedError('worker %d ended by itself, which it should not' % pid)
