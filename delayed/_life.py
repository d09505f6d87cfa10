"""What a child is made of: all that can be made before the fork is made here, for in the child, each new thing costs
pages of memory, which is what a short life costs most of."""

from __future__ import annotations

import gc
import sys
from typing import Any, Callable, NamedTuple, NoReturn, Optional, Sequence, Type

from . import _streams
from ._child_stacks import ChildStacks
from ._limits import Limiter, Limits
from ._orphan import Orphan
from ._page import Page
from ._recorder import Recorder, name_of_worker
from ._runner import Handlers, Runner
from ._shield import Shield, SignalMask
from ._terms import Terms

#: What a child does. It is told which signals had been blocked.
Life = Callable[[SignalMask], None]
#: Makes one before the fork, of a page, a file for stacks and the child's ends of the pipes.
Prepare = Callable[[Page, ChildStacks, int, int], Life]


class ChildOptions(NamedTuple):
    """What all children of a monitor have in common; see `Options`."""

    monitor_pid: int
    terms: Sequence[Terms]
    handlers: Handlers
    limits: Limits
    shield: Shield
    kill_timeout: float
    max_tasks: Optional[int]
    max_rss: Optional[int]
    keep_failed: bool


def lives_of(runner_class: Type[Runner], options: ChildOptions, connect: Callable[[], Any],
             forgetter: Callable[[], Callable[[], None]]) -> Prepare:
    """Prepares children. connect: makes an orphan's source. forgetter: makes what closes a child's copy of the
    monitor's connection to Redis."""
    worker = name_of_worker(options.monitor_pid)

    def prepare(page: Page, stacks: ChildStacks, tasks_fd: int, results_fd: int) -> Life:
        terms, shield, forget = options.terms, options.shield, forgetter()
        recorder = Recorder(page, terms, worker, options.limits)
        failed = recorder.before(options.handlers.failed) if options.handlers.error else _nobody
        orphan = Orphan(page, options.monitor_pid, connect, options.kill_timeout, terms, failed, shield.alarm,
                        options.keep_failed)
        runner = runner_class(page, tasks_fd, results_fd, options.handlers, orphan, terms, options.max_tasks,
                              options.max_rss, recorder)

        def live(mask: SignalMask) -> None:
            stacks.install()
            shield.rise(page, mask - {stacks.signum}, orphan.on_death)
            orphan.watch()
            gc.freeze()  # or its first look for garbage would write to every page that it shares with its monitor
            forget()
            runner.run(Limiter(options.limits, stacks.fd) if options.limits.any else None)

        return live

    return prepare


def _nobody(*args: object) -> None:
    """Who is told of a failure where there is no handler."""


def live_and_exit(live: Life, mask: SignalMask) -> NoReturn:
    """In the child."""
    code = 1
    try:
        live(mask)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _streams.exit_now(code)
