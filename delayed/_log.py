"""Where the logger is found by modules of which a process may never need a line: `logging` is loaded with the first, if
nothing else has loaded it. It brings `threading` along, and both make each fork dearer by half."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    import logging

#: That of `logging`.
DEBUG = 10
#: Below this, nobody hears of what is logged, as long as `logging` is not loaded.
threshold = 0
#: Called when the logger is loaded.
set_up: Optional[Callable[[], object]] = None


class _Late:
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module('delayed.logger').logger, name)


def _is_heard_late(level: int) -> bool:
    return level >= threshold


logger: logging.Logger
logger = _Late()  # type: ignore[assignment]
is_heard: Callable[[int], bool] = _is_heard_late


def loaded(now: logging.Logger, heard: Callable[[int], bool]) -> None:
    """By `logger.py`, when it is imported."""
    global logger, is_heard
    if isinstance(logger, _Late):
        logger, is_heard = now, heard
        if set_up is not None:
            set_up()
