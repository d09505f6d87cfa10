"""How a worker works."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional, Sequence

from ._life import ChildOptions
from ._limits import Limits
from ._runner import Handlers
from ._shield import Shield, SignalMask
from ._terms import terms_of
from .queue import Queue

if TYPE_CHECKING:
    from ._fork_server import Recipe, Setup


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


def setup_of(options: ChildOptions, recipe: Optional[Recipe]) -> Optional[
        Callable[[SignalMask, int, Optional[int]], Setup]]:
    """What this process tells its fork server, if it may have one."""
    if recipe is None:
        return None
    from ._fork_server import Setup, fingerprint  # here, for few workers have it
    files = fingerprint()
    plain = options._replace(terms=[each._replace(trust=None) for each in options.terms])  # type: ignore[arg-type]

    def setup(mask: SignalMask, slots: int, stacks_signum: Optional[int]) -> Setup:
        return Setup(sys.path, sys.argv, plain, recipe, mask, slots, stacks_signum, frozenset(sys.modules), files)

    return setup
