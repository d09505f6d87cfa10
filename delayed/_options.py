"""How a worker works."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence

from ._life import ChildOptions
from ._limits import Limits
from ._runner import Handlers
from ._shield import Shield
from ._terms import terms_of
from .queue import Queue

if TYPE_CHECKING:
    from ._fork_server import Recipe


class Options(NamedTuple):
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
    recipe: Optional[Recipe] = None  # of a fork server, where one may be used


def child_options(options: Options, shield: Shield) -> ChildOptions:
    """For the children of this process, their monitor."""
    return ChildOptions(os.getpid(), terms_of(options.queues), options.handlers, options.limits, shield,
                        options.kill_timeout, options.max_tasks, options.max_rss, options.keep_failed)
