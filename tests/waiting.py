"""Waits for what other processes do. There is always a deadline; it is so far off that only a bug meets it."""

from __future__ import annotations

import os
import time

DEADLINE = 30  # seconds


def wait_until(condition, what='the condition', seconds=DEADLINE):
    """Returns the first true value of `condition()`; fails after the deadline, naming `what` did not come."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, '%s did not come within %g s' % (what, seconds)
        time.sleep(0.005)


def runs(pid):
    """Whether there is such a process; one that ended and was not reaped counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
