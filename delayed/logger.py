"""The library's logger. It is silent until the program sets it up, and does not propagate to the root logger."""

from __future__ import annotations

import logging

from . import _log

DEFAULT_DATE_FORMAT = '%y%m%d %H:%M:%S'
DEFAULT_LOG_FORMAT = '[%(levelname)1.1s %(asctime)s %(process)d %(module)s:%(lineno)d] %(message)s'

logger = logging.getLogger('delayed.logger')
logger.setLevel(logging.DEBUG)
logger.propagate = False

_silence: logging.Handler = logging.NullHandler()  # without any, `logging` would print warnings to stderr by itself
if not logger.handlers:  # the program may have configured it by name before this import
    logger.addHandler(_silence)
_SILENT = [_silence]


def is_heard(level: int) -> bool:
    """Whether a record of that level may reach anybody. To make one takes microseconds."""
    if logger.handlers == _SILENT and not logger.propagate and not logger.filters:
        return False
    return logger.isEnabledFor(level) and (logger.propagate or bool(logger.filters) or any(
        handler is not _silence and handler.level <= level for handler in logger.handlers))


def set_handler(handler: logging.Handler) -> None:
    """Makes `handler` the only handler of the logger. Those it replaces are not closed."""
    logger.addHandler(handler)  # before the others go, or a record of another thread finds none
    for other in list(logger.handlers):
        if other is not handler:
            logger.removeHandler(other)


def setup_logger(date_format: str = DEFAULT_DATE_FORMAT, log_format: str = DEFAULT_LOG_FORMAT) -> None:
    """Formats what the logger's handlers write. If the program has set none, the logger gets one for the console.

    That one writes to stderr. Handlers without a level of their own get DEBUG. A second call changes the formats and
    adds no handler.
    date_format: as for `time.strftime`. log_format: %-style, as for `logging.Formatter`, which raises `ValueError`
    for a wrong one.
    """
    formatter = logging.Formatter(log_format, date_format)
    if logger.handlers in ([], _SILENT):
        set_handler(logging.StreamHandler())
    logger.removeHandler(_silence)
    for handler in logger.handlers:
        handler.setFormatter(formatter)
        if handler.level == logging.NOTSET:
            handler.setLevel(logging.DEBUG)


_log.loaded(logger, is_heard)
