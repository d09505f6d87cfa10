"""How a worker works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from ._limits import Limits
from ._runner import Handlers
from .queue import Queue


@dataclass(frozen=True)
class Options:
    """Times are seconds."""

    max_tasks: Optional[int]  # of one child; 1: a fresh child for each task
    max_rss: Optional[int]  # bytes; a child that has more is replaced
    kill_timeout: float
    handlers: Handlers
    sweep_interval: Optional[float]
    requeue_crashed: bool
    keep_failed: bool
    kill_on_partition: bool
    queues: Sequence[Queue]  # a task's `lease.queue` is a number among them
    limits: Limits
    prefetch: int = 1  # tasks that a child gets at once
