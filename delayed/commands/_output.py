"""What commands print: tables that fit a terminal, plain text in a pipe, and JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, List, Optional, Sequence, TextIO

from ._options import flag

_GAP = '  '
_NUMBER = re.compile(r'[-?]|>?[\d.,]+([a-z]\d*)*')  # or a duration, or none
_NARROWEST = 8  # columns below which a cell is not cut


def add_json(parser: Any) -> None:
    flag(parser, '--json', env='DELAYED_JSON', help='print JSON')


def say(text: str, stream: Optional[TextIO] = None, end: str = '\n') -> None:
    """Prints a text, whatever the encoding of the stream."""
    stream = stream or sys.stdout
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    stream.write(text.encode(encoding, 'backslashreplace').decode(encoding) + end)
    stream.flush()


def say_json(value: Any, lines: bool = False) -> None:
    """Prints a value as JSON; `lines`: in one line."""
    say(json.dumps(value, indent=None if lines else 2, ensure_ascii=False))


def printable(text: str) -> str:
    """The same text on one line, and without what would command a terminal: it may come from a task."""
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in text)


def columns_of(stream: TextIO) -> Optional[int]:
    """How many columns a line may have; `None`: any number, for it is no terminal."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    except (OSError, ValueError):
        return None


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], columns: Optional[int] = None) -> List[str]:
    """The lines of a table. Where it is wider than `columns`, the widest cells are cut, as little as will do, and cells
    of numbers never are."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    right = [bool(rows) and all(_is_number(cell) for cell in column) for column in zip(*rows)] or [False] * len(heads)
    if columns is not None:
        _narrow(widths, [not number for number in right], columns - len(_GAP) * (len(widths) - 1))
    lines = [_GAP.join((cell.rjust if number else cell.ljust)(width) for cell, width, number in zip(
        (_cut(cell, width) for cell, width in zip(row, widths)), widths, right)).rstrip() for row in [heads, *rows]]
    return lines if columns is None else [line[:columns] for line in lines]


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _narrow(widths: List[int], flexible: Sequence[bool], room: int) -> None:
    while sum(widths) > room:
        index = max((i for i, may in enumerate(flexible) if may), key=widths.__getitem__, default=None)
        if index is None or widths[index] <= _NARROWEST:
            return
        widths[index] -= 1


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[:max(width - 3, 0)] + '...'[:width]
