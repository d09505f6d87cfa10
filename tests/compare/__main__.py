"""Runs the accidents on both libraries, and may write the table into the documentation.

    python -m tests.compare [--write] [ACCIDENT...]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'tests' / 'interop')]

from peers import clean_environ, python_3  # noqa: E402

from compare.accidents import ACCIDENTS, ours  # noqa: E402

PAGE = ROOT / 'docs' / 'guarantees.md'
BEGIN, END = '<!-- accidents: begin -->', '<!-- accidents: end -->'


def main():
    peer = python_3()
    theirs = peer.python, clean_environ(**peer.environ)
    chosen = [accident for accident in ACCIDENTS if accident.__name__ in sys.argv[1:]] or ACCIDENTS
    rows = ['| Accident | delayed 0.5.1b2 | this package |', '| --- | --- | --- |']
    for accident in chosen:
        rows.append('| %s | %s | %s |' % (accident.__doc__, accident(theirs), accident(ours())))
        print(rows[-1], flush=True)
    if '--write' in sys.argv:
        before, _, rest = PAGE.read_text('utf-8').partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text('%s%s\n%s\n%s%s' % (before, BEGIN, '\n'.join(rows), END, after), 'utf-8')


if __name__ == '__main__':
    main()
