"""How long to wait before Redis is asked again."""

from __future__ import annotations

import random
import time
from typing import Iterator

_FIRST, _MOST = 0.1, 3.0  # seconds


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time up to 3, with jitter, lest a whole fleet
    knocks at once."""
    return min(_MOST, _FIRST * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)


def delays(seconds: float) -> Iterator[float]:
    """The delays of tries that go on for about so many seconds; at least one try."""
    end = time.monotonic() + seconds
    failures = 0
    while True:
        failures += 1
        yield delay(failures)
        if time.monotonic() >= end:
            return
