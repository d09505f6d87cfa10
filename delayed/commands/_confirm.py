"""Asks before what cannot be undone."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import InvalidArgument
from ._exit import Failed
from ._options import flag


def add_yes(parser: Any) -> None:
    flag(parser, '--yes', env=None, help='do not ask')


def confirm(args: argparse.Namespace, what: str) -> None:
    """Asks on the terminal, unless `--yes` was given. Raises `Failed` where the answer is no, and `InvalidArgument`
    where there is no terminal to ask on."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument('%s There is no terminal to ask on whether that is meant: say --yes' % what)
    print('%s Are you sure? [y/N] ' % what, end='', file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
        raise Failed('nothing was done')
