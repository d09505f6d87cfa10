"""How much memory a process has, and how it has no more than it needs."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Any

MEGABYTE = 1 << 20  # bytes
_PAGE = resource.getpagesize()
_trim: Any = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # glibc alone has it
#: Of `ru_maxrss`, in bytes: getrusage(2) of each system.
PEAK_UNIT = 1 if sys.platform == 'darwin' else 1024


def resident() -> int:
    """The bytes of memory that this process has now, shared ones included; at its peak, where the system does not tell
    (it is Linux that does)."""
    try:
        with open('/proc/self/statm', 'rb') as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT


def trim() -> None:
    """Gives back to the system what was used and is free, as importing modules leaves much of: so there is less to copy
    when a child is forked."""
    if _trim is not None:
        _trim(0)
