"""Output around a fork.

What is buffered before it would be written twice. And where another thread was writing at that moment, its stream's
lock stays locked in the child, which would hang at its next line: so the child of a program with threads gets streams
of its own to the same files.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, List, NoReturn

from . import _log

_kept: List[Any] = []  # a stream that is forgotten flushes itself, and would hang in that


def flush() -> None:
    """Writes what is buffered; bears whatever the program has put in place of its streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def exit_now(code: int) -> NoReturn:
    """Ends this process without its parent's clean-up, its output flushed."""
    try:
        flush()
    finally:
        os._exit(code)


def renew() -> None:
    """In a child: replaces the standard streams and those of the logger's handlers."""
    renewed: Dict[int, Any] = {}

    def renew_one(stream: Any) -> Any:
        if id(stream) not in renewed:
            _kept.append(stream)
            renewed[id(stream)] = _reopened(stream)
        return renewed[id(stream)]

    sys.stdout, sys.stderr = renew_one(sys.stdout), renew_one(sys.stderr)
    import logging
    for handler in _log.logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.stream = renew_one(handler.stream)


def _reopened(stream: Any) -> Any:
    """A new stream to the same file; the same one if it writes to no file."""
    try:
        buffering = 1 if stream.line_buffering else -1
        return open(stream.fileno(), 'w', buffering, stream.encoding, stream.errors, closefd=False)
    except Exception:  # `io.StringIO`, `None`, or whatever has taken a stream's place
        return stream
