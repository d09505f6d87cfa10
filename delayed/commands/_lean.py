"""What a worker of queues that are known by their names leaves to its fork server; see `Recipe`. Nothing is imported
until it is needed, for that process is lean."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    import argparse

    from .._fork_server import Recipe


def recipe(args: argparse.Namespace, secrets: Sequence[str]) -> Recipe:
    """args: those of a worker whose queues `are_named`. secrets: of the environment, when they were made."""
    import logging

    from .._fork_server import Recipe
    level: int = logging.getLevelName(args.log_level.upper())
    late = partial(set_up_log, args.log_level, args.log_format, late=True)
    return Recipe([str(name) for name in args.preload], late, level, secrets)


def set_up_log(level: str, format: str, late: bool = False) -> None:
    """The log of a worker, on the error stream. late: the application may have set up another by now."""
    import logging

    from ..logger import logger, set_handler, setup_logger
    handler = logging.StreamHandler(sys.__stderr__ if late else None)
    (logger.addHandler if late else set_handler)(handler)
    setup_logger()
    if format == 'json':
        from .._json_lines import JsonLines
        handler.setFormatter(JsonLines())
    logger.setLevel(level.upper())
