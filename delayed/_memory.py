"""How much memory a process has."""

from __future__ import annotations

import resource
import sys

MEGABYTE = 1 << 20  # bytes
_PAGE = resource.getpagesize()
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
