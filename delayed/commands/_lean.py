"""What a worker of queues that are known by their names leaves to its fork server; see `Recipe`. Nothing is imported
until it is needed, for that process is lean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    import argparse

    from .._fork_server import Recipe
    from .._source import Source


def recipe(args: argparse.Namespace) -> Recipe:
    """args: those of a worker whose queues `are_named`."""
    import logging

    from .._fork_server import Recipe
    from ._queues import DEFAULT_URL
    names = [str(name) for name in args.names]
    connect = partial(_source, str(args.url or DEFAULT_URL), names, args.lease, args.max_losses)
    level: int = logging.getLevelName(args.log_level.upper())
    preload = [str(name) for name in args.preload]
    return Recipe(connect, preload, partial(set_up_log, args.log_level, args.log_format), level)


def _source(url: str, names: Sequence[str], lease: float, max_losses: int) -> Source:
    """An orphan's."""
    from .._queue_list import queue_list
    from ._queues import queues_named
    return queue_list(queues_named(url, names)).source(lease, max_losses).reopened()


def set_up_log(level: str, format: str) -> None:
    """The log of a worker, on the error stream."""
    import logging

    from ..logger import logger, set_handler, setup_logger
    handler = logging.StreamHandler()
    set_handler(handler)
    setup_logger()
    if format == 'json':
        from .._json_lines import JsonLines
        handler.setFormatter(JsonLines())
    logger.setLevel(level.upper())
