"""How long to wait before Redis is asked again."""

from __future__ import annotations

import os
import time
from typing import Iterator

#: The longest of these pauses, in seconds.
MOST = 3.0
_FIRST = 0.1


def delay(failures: int, most: float = MOST) -> float:
    """Seconds to wait after so many failures in a row: doubled each time up to `most`, with jitter, lest a whole fleet
    knocks at once."""
    return min(most, _FIRST * 2.0 ** min(failures - 1, 10)) * (1.0 - os.urandom(1)[0] / 512)


def delays(seconds: float, most: float = MOST) -> Iterator[float]:
    """The delays of tries that go on for about so many seconds; at least one try."""
    end = time.monotonic() + seconds
    failures = 0
    while True:
        failures += 1
        yield delay(failures, most)
        if time.monotonic() >= end:
            return
