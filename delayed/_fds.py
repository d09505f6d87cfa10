"""Which descriptors belong to the monitors of this process.

No forked process keeps them, whoever forked it: a pipe ends only when nobody else holds its other end, and a child
learns of its monitor's death by that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Iterator, Set, Tuple

_monitors: Set[int] = set()
_fork = threading.local()
#: A fork by another thread waits until what is opened or closed here is on record. Signal handlers may fork, too.
_lock = threading.RLock()


def pipe() -> Tuple[int, int]:
    """A pipe whose ends are the monitor's. Neither is inherited by programs that are executed."""
    with _lock:
        ends = os.pipe()
        _monitors.update(ends)
    return ends


def own(fd: int) -> int:
    """Makes `fd` the monitor's."""
    with _lock:
        _monitors.add(fd)
    return fd


def close(*fds: int) -> None:
    with _lock:
        for fd in fds:
            if fd in _monitors:
                _monitors.discard(fd)
                os.close(fd)


@contextlib.contextmanager
def sparing(*fds: int) -> Iterator[None]:
    """What this thread forks meanwhile keeps these."""
    _fork.spared = set(fds)
    try:
        yield
    finally:
        _fork.spared = set()


def _close_in_child() -> None:
    wakeup = signal.set_wakeup_fd(-1)  # it would write into whatever gets the number
    if wakeup != -1 and wakeup not in _monitors:
        signal.set_wakeup_fd(wakeup)
    close(*(_monitors - getattr(_fork, 'spared', set())))
    _monitors.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_close_in_child)
