"""Draws bars as SVG, readable on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import Sequence, Tuple

_WIDTH, _LABELS, _NUMBERS, _ROW, _TOP = 760, 250, 90, 26, 56
_COLORS = {'at least once': '#2f81c7', 'at most once': '#c78b2f'}


def bars(title: str, rows: Sequence[Tuple[str, float, str]]) -> str:
    """`rows`: label, value and kind, which has a color."""
    most = max(value for _, value, _ in rows)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s" '
        'font-family="sans-serif" font-size="13" fill="#808080">'
        % (_WIDTH, _TOP + _ROW * len(rows) + 8, escape(title)),
        '<text x="8" y="20" font-size="15" font-weight="bold">%s</text>' % escape(title)]
    x = _LABELS
    for kind, color in _COLORS.items():
        lines.append('<rect x="%d" y="30" width="12" height="12" fill="%s"/><text x="%d" y="41">%s</text>'
                     % (x, color, x + 18, escape(kind)))
        x += 140
    for index, (label, value, kind) in enumerate(rows):
        y = _TOP + _ROW * index
        width = value / most * (_WIDTH - _LABELS - _NUMBERS)
        lines.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (_LABELS - 8, y + 14, escape(label)))
        lines.append('<rect x="%d" y="%d" width="%.1f" height="18" fill="%s"/>' % (_LABELS, y, width, _COLORS[kind]))
        lines.append('<text x="%.1f" y="%d">%s</text>' % (_LABELS + width + 6, y + 14, format(round(value), ',')))
    return '\n'.join([*lines, '</svg>', ''])
