"""What a single task may use: limits of the kernel, set in its child while its function runs."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import resource
import signal
from typing import Iterator, NamedTuple, Optional, Tuple

from ._channel import identity
from ._memory import MEGABYTE
from ._usage import own_usage


class Limits(NamedTuple):
    """cpu: seconds of processor time. memory: megabytes that a process may have for its data. `None`: no limit."""

    cpu: Optional[float] = None
    memory: Optional[float] = None

    @property
    def any(self) -> bool:
        return self.cpu is not None or self.memory is not None

    def exceeded_by(self, error: BaseException) -> Optional[str]:
        """The option that explains what a task has raised."""
        return 'task_max_memory' if self.memory is not None and isinstance(error, MemoryError) else None


class Limiter:
    """In a child. `stacks_fd`: where the stacks go when a task is out of processor time. The kernel sends SIGXCPU then,
    whose default action ends the process."""

    def __init__(self, limits: Limits, stacks_fd: int) -> None:
        self._limits = limits
        self._stacks_fd = stacks_fd
        self._file = identity(stacks_fd)
        if limits.cpu is not None:
            faulthandler.register(signal.SIGXCPU, stacks_fd, chain=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The limits hold meanwhile. The hard limits stay as they are, since nobody may raise them again."""
        cpu, memory = self._limits.cpu, self._limits.memory
        before = []
        try:
            if cpu is not None:
                self._begin_stacks()
                used = own_usage()
                before.append(_lower(resource.RLIMIT_CPU, math.ceil(used.user + used.system + cpu)))
            if memory is not None:
                before.append(_lower(resource.RLIMIT_DATA, math.ceil(memory * MEGABYTE)))
            yield
        finally:
            for which, limits in before:
                resource.setrlimit(which, limits)

    def _begin_stacks(self) -> None:
        """What is found in the file is this task's."""
        with contextlib.suppress(OSError):
            if identity(self._stacks_fd) == self._file:  # else an earlier task has closed it
                os.ftruncate(self._stacks_fd, 0)


def _lower(which: int, value: int) -> Tuple[int, Tuple[int, int]]:
    """Sets a soft limit unless a lower one holds. Returns what to restore."""
    soft, hard = before = resource.getrlimit(which)
    least = min(value, *(each for each in (soft, hard) if each != resource.RLIM_INFINITY), value)
    resource.setrlimit(which, (least, hard))
    return which, before
