"""What a process has used: processor time and memory, by the kernel's word."""

from __future__ import annotations

import resource
from typing import NamedTuple

from ._memory import PEAK_UNIT


class Usage(NamedTuple):
    """Seconds of processor time, and the most memory there was at a time, in bytes."""

    user: float
    system: float
    peak_rss: int


def usage_of(spent: resource.struct_rusage) -> Usage:
    return Usage(spent.ru_utime, spent.ru_stime, spent.ru_maxrss * PEAK_UNIT)


def own_usage() -> Usage:
    """Of this process alone."""
    return usage_of(resource.getrusage(resource.RUSAGE_SELF))


def usage_of_programs() -> Usage:
    """Of the processes that this one has started and waited for."""
    return usage_of(resource.getrusage(resource.RUSAGE_CHILDREN))
