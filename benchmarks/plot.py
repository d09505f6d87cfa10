"""Draws bars and curves as SVG, readable on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import Iterator, NamedTuple, Sequence, Tuple

_WIDTH, _LABELS, _NUMBERS, _ROW, _TOP = 760, 250, 90, 26, 56
_COLORS = {'at least once': '#2f81c7', 'at most once': '#c78b2f'}
_LINES = '#2f81c7', '#c78b2f', '#4f9d4f'
_PANEL_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 380, 40, 40, 48
_LINE = 26  # between two numbers, one above the other


class Panel(NamedTuple):
    """Curves over the same values. `across`: what those are. lines: label, and what is found at each."""

    title: str
    across: str
    values: Sequence[str]
    lines: Sequence[Tuple[str, Sequence[float]]]


def bars(title: str, rows: Sequence[Tuple[str, float, str]]) -> str:
    """`rows`: label, value and kind, which has a color."""
    most = max(value for _, value, _ in rows)
    lines = [_head(title, _TOP + _ROW * len(rows) + 8), _title(8, title)]
    x = _LABELS
    for kind, color in _COLORS.items():
        lines.append(_key(x, 30, color, kind))
        x += 140
    for index, (label, value, kind) in enumerate(rows):
        y = _TOP + _ROW * index
        width = value / most * (_WIDTH - _LABELS - _NUMBERS)
        lines.append(_text(_LABELS - 8, y + 14, label, 'text-anchor="end"'))
        lines.append('<rect x="%d" y="%d" width="%.1f" height="18" fill="%s"/>' % (_LABELS, y, width, _COLORS[kind]))
        lines.append(_text(_LABELS + width + 6, y + 14, _number(value)))
    return '\n'.join([*lines, '</svg>', ''])


def curves(title: str, panels: Sequence[Panel]) -> str:
    """The panels stand side by side."""
    lines = [_head(title, _PANEL_HEIGHT)]
    width = _WIDTH / len(panels)
    for index, panel in enumerate(panels):
        lines += _panel(panel, index * width, width)
    return '\n'.join([*lines, '</svg>', ''])


def _panel(panel: Panel, left: float, width: float) -> Iterator[str]:
    yield _title(left + 8, panel.title)
    floor, ceiling = _PANEL_HEIGHT - _BOTTOM, _TOP + 20 * len(panel.lines)
    most = max(value for _, found in panel.lines for value in found)
    step = (width - _LEFT - _RIGHT) / max(1, len(panel.values) - 1)
    across = [left + _LEFT + step * index for index in range(len(panel.values))]
    yield '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#808080"/>' % (across[0], floor, across[-1], floor)
    for x, value in zip(across, panel.values):
        yield _text(x, floor + 18, value, 'text-anchor="middle"')
    yield _text(left + width / 2, floor + 38, panel.across, 'text-anchor="middle"')
    heights = [[floor - value / most * (floor - ceiling) for value in found] for _, found in panel.lines]
    for index, (label, found) in enumerate(panel.lines):
        color = _LINES[index % len(_LINES)]
        yield _key(left + 8, 34 + 20 * index, color, label)
        yield '<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (
            ' '.join('%.1f,%.1f' % point for point in zip(across, heights[index])), color)
        for x, y, value, all_heights in zip(across, heights[index], found, zip(*heights)):
            yield '<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, color)
            below = any(0 < y - other < _LINE for other in all_heights)
            yield _text(x, y + 14 if below else y - 8, _number(value), 'text-anchor="middle" font-size="11"')


def _head(title: str, height: int) -> str:
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s" '
            'font-family="sans-serif" font-size="13" fill="#808080">' % (_WIDTH, height, escape(title)))


def _title(x: float, title: str) -> str:
    return _text(x, 20, title, 'font-size="15" font-weight="bold"')


def _key(x: float, y: float, color: str, label: str) -> str:
    """What a color stands for."""
    return '<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>%s' % (x, y, color, _text(x + 18, y + 11, label))


def _text(x: float, y: float, text: str, options: str = '') -> str:
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (x, y, options, escape(text))


def _number(value: float) -> str:
    return format(round(value), ',')
