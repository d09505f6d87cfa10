"""Which descriptors belong to the monitors of this process.

A child closes them all but its own: a pipe ends only when nobody else holds its other end, and a child learns of its
monitor's death by that.
"""

from __future__ import annotations

import os
from typing import Set, Tuple

_monitors: Set[int] = set()


def pipe() -> Tuple[int, int]:
    """A pipe whose ends are the monitor's. Neither is inherited by programs that are executed."""
    ends = os.pipe()
    _monitors.update(ends)
    return ends


def own(fd: int) -> int:
    """Makes `fd` the monitor's."""
    _monitors.add(fd)
    return fd


def close(*fds: int) -> None:
    for fd in fds:
        if fd in _monitors:
            _monitors.discard(fd)
            os.close(fd)


def close_all_but(*kept: int) -> None:
    """In a child: closes what is its monitor's, and any other monitor's of the process it was forked from."""
    close(*(_monitors - set(kept)))
    _monitors.clear()
