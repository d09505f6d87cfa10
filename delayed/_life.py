"""What a child is made of: all that can be made before the fork is made here, for in the child, each new thing costs
pages of memory, which is what a short life costs most of."""

from __future__ import annotations

import gc
import os
from typing import Type

from ._blackbox import Recorder, name_of_worker
from ._child import Life, Prepare
from ._limits import Limiter
from ._options import Options
from ._orphan import Orphan
from ._page import Page
from ._runner import Runner
from ._shield import Shield, SignalMask
from ._source import Source
from ._stacks import StackFile
from ._terms import terms_of


def lives_of(runner_class: Type[Runner], source: Source, options: Options, shield: Shield) -> Prepare:
    """Prepares the children of this process, its monitor."""
    monitor_pid = os.getpid()

    def prepare(page: Page, stacks: StackFile, tasks_fd: int, results_fd: int) -> Life:
        terms, forget = terms_of(options.queues), source.forgetter()
        recorder = Recorder(page, terms, name_of_worker(monitor_pid), options.limits)
        orphan = Orphan(page, monitor_pid, source.reopened, options.kill_timeout, terms,
                        recorder.before(options.handlers.failed), shield.alarm, options.keep_failed)
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
