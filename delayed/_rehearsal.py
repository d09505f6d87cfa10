"""A child's work, rehearsed by its monitor.

Since 3.11 Python rewrites the code of a function while it learns how it is used (PEP 659). A child that runs one task
would learn all of it and forget it at once, and each page that it writes to while it learns is one to be copied. So its
monitor learns it once, before it forks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Callable, NoReturn, Tuple, Type

from . import _log
from ._attempt import provisional_timeout
from ._channel import Writer
from ._limits import Limits
from ._orphan import Orphan
from ._page import Page
from ._recorder import Recorder
from ._runner import Handlers, Runner
from ._shield import signals_held
from ._terms import Terms
from ._trust import default_trust
from .task import Task

#: Python needs 8 calls to begin to learn, and some more to have learnt.
_TIMES = 40
_MINUTE = 60.0
_NAME = 'rehearsal'
#: Opens a pipe, and closes descriptors of one. No process that is forked meanwhile may keep its ends.
Pipes = Tuple[Callable[[], Tuple[int, int]], Callable[[int], None]]


class _Understudy(Orphan):
    """Its monitor is alive: it is this process."""

    alone = False


def rehearse(runner_class: Type[Runner], pipes: Pipes) -> None:
    """Runs a task that does nothing some times, as a child does, within this process: some 3 ms. Not where each task
    is logged, nor with a Python that learns nothing."""
    if sys.version_info < (3, 11) or _log.is_heard(_log.DEBUG):
        return
    trust = default_trust(_NAME, ())
    payload = trust.payload(Task(1, 'builtins', 'int'))
    terms = Terms(_NAME, _MINUTE, provisional_timeout(_MINUTE), _MINUTE, trust)
    with contextlib.suppress(OSError), signals_held():  # without descriptors: the fork will say so
        for _ in range(_TIMES):
            _run(runner_class, pipes, terms, payload)


def _run(runner_class: Type[Runner], pipes: Pipes, terms: Terms, payload: bytes) -> None:
    open_pipe, close = pipes
    page = Page()
    for slot in page.slots:
        slot.prepare(())
        slot.settled = True  # as if Redis knew of its end
    fds = [*open_pipe()]
    try:
        fds += open_pipe()
        tasks_read, tasks_write, _, results_write = fds
        recorder = Recorder(page, (terms,), _NAME, Limits())
        orphan = _Understudy(page, os.getpid(), _no_source, 0.0, (terms,), _no_handler, False, False)
        runner = runner_class(page, tasks_read, results_write, Handlers(), orphan, (terms,), None, None, recorder)
        vars(runner)['_abandon'] = _fail  # instead of the end of this process
        Writer(tasks_write).send(payload)
        fds.remove(tasks_write)  # first: once it is closed, the number may be another thread's
        close(tasks_write)
        runner.run()
    finally:
        for fd in fds:
            close(fd)


def _fail() -> NoReturn:
    raise OSError('somebody closed the pipes of a rehearsal')


def _no_source() -> NoReturn:
    raise AssertionError('a rehearsal needs no Redis')


def _no_handler(*args: object) -> NoReturn:
    raise AssertionError('nothing fails in a rehearsal')
