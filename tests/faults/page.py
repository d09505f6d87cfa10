"""The matrix in the documentation, between two marks."""

from __future__ import annotations

from pathlib import Path

from .table import markdown

PATH = Path(__file__).parent.parent.parent / 'docs' / 'guarantees.md'
BEGIN, END = '<!-- fault matrix: begin -->', '<!-- fault matrix: end -->'


def is_up_to_date():
    text = PATH.read_text('utf-8')
    return text == _with_table(text)


def write():
    text = PATH.read_text('utf-8') if PATH.exists() else '%s\n%s\n' % (BEGIN, END)
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(_with_table(text), 'utf-8')


def _with_table(text):
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return '%s%s\n%s\n%s%s' % (before, BEGIN, markdown(), END, after)
