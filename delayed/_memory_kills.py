"""Whether the kernel has killed processes for want of memory, by its own count."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, Optional

_CGROUPS = Path('/sys/fs/cgroup')
_ITS_OWN = Path('/proc/self/cgroup')
_OF_THE_MACHINE = Path('/proc/vmstat')


class MemoryKills:
    """The count of this process' control group (cgroups(7)), or of the machine where the group has none. The kernel
    counts before it kills, so whoever finds a process dead finds it counted."""

    def __init__(self) -> None:
        self._counter = next((path for path in _counters() if _read(path) is not None), None)
        self._count = self._look()
        self._looked_at = time.monotonic()

    def why_killed(self) -> str:
        """What can be said of a SIGKILL that nobody here has sent. It is most likely only: somebody else's process
        may be what was counted."""
        before, since = self._count, time.monotonic() - self._looked_at
        self._count, self._looked_at = self._look(), time.monotonic()
        if before is None or self._count is None:
            return 'killed from outside; by the kernel for memory, perhaps, which this system does not tell'
        if self._count > before:
            return 'killed by the kernel for memory, most likely: it counts %d such kill(s) in the last %.0f s (%s)' % (
                self._count - before, since, self._counter)
        return 'killed from outside, and not by the kernel for memory, which counts no such kill (%s)' % self._counter

    def _look(self) -> Optional[int]:
        return None if self._counter is None else _read(self._counter)


def _counters() -> Iterator[Path]:
    """Where the count may stand, the most telling place first."""
    try:
        groups = [line.split(':', 2) for line in _ITS_OWN.read_text().splitlines()]
    except OSError:
        groups = []
    for _, controllers, path in groups:
        if 'memory' in controllers.split(','):
            for group in (path.lstrip('/'), ''):  # in a container, its own group may be mounted as the root
                yield _CGROUPS / 'memory' / group / 'memory.oom_control'
    for number, _, path in groups:
        if number == '0':
            for group in (path.lstrip('/'), ''):
                yield _CGROUPS / group / 'memory.events'
    yield _OF_THE_MACHINE


def _read(path: Path) -> Optional[int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith('oom_kill ')), None)
