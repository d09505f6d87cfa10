"""What the workers run."""

from __future__ import annotations

import os
import time

from .journal import note

#: Set by the worker's program: who this process, or the one that it was forked from, is, and how it works.
worker = {}


def work(journal, key, seconds):
    """A task that takes so long, and tells when it begins and ends."""
    note(journal, 'begin', key=key, pid=os.getpid(), **worker)
    time.sleep(seconds)
    note(journal, 'end', key=key, pid=os.getpid())


def failed(task, kill_signal, exc_info):
    """The error handler."""
    journal, key = task.args[:2]
    note(journal, 'failed', key=key, monitor=worker['monitor'], signal=kill_signal,
         error=exc_info and repr(exc_info[1]))
