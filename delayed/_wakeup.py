"""A self-pipe: turns a signal, or a call from another thread, into something that `poll` can wait for."""

from __future__ import annotations

import os
import select
import signal
from typing import Optional

from . import _fds


class Wakeup:
    """`fd` is readable from `wake()` until `drain()`. `wake` may be called by signal handlers and from any thread; in a
    forked process it does nothing, for a file may have the numbers of the descriptors there."""

    def __init__(self) -> None:
        self.fd, self._write_fd = _fds.pipe()
        self._pid = os.getpid()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._heeds_signals = False

    def wake(self) -> None:
        if os.getpid() != self._pid:
            return
        try:
            os.write(self._write_fd, b'w')
        except (BlockingIOError, OSError):
            pass  # full: it is awake; closed: nobody waits any more

    def heed_signals(self) -> None:
        """Of a program's main thread: from now on, until `close`, each signal that has a handler wakes, even one that
        comes just before the wait begins, when Python runs no handler any more, or that another thread gets. Not where
        the program has such a descriptor of its own, as event loops do."""
        before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        if before == -1:
            self._heeds_signals = True
        else:
            signal.set_wakeup_fd(before)

    def drain(self) -> None:
        try:
            while os.read(self.fd, 512):
                pass
        except BlockingIOError:
            pass

    def wait(self, seconds: Optional[float]) -> None:
        """Sleeps until woken, `seconds` at most."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll(milliseconds(seconds))
        self.drain()

    def close(self) -> None:
        """From now on `wake` does nothing."""
        if self._heeds_signals:
            signal.set_wakeup_fd(-1)
        fds = self.fd, self._write_fd
        self.fd = self._write_fd = -1
        _fds.close(*fds)


def milliseconds(seconds: Optional[float]) -> Optional[int]:
    """What `poll` takes: rounded up, or it would wake just before a deadline and spin; a day at most."""
    return None if seconds is None else int(max(0.0, min(seconds, 86_400.0)) * 1000 + 0.999)
