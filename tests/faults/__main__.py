"""Runs cells of the matrix, and writes it into the documentation.

    python -m tests.faults [--write] [--lanes N] [PART_OF_A_CELLS_NAME...]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from faults import page  # noqa: E402
from faults.runner import Crew  # noqa: E402
from faults.table import cells  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog='python -m tests.faults')
    parser.add_argument('--write', action='store_true', help='write the table into the documentation, and run nothing')
    parser.add_argument('--lanes', type=int, default=12, help='how many cells run at once')
    parser.add_argument('parts', nargs='*', help='run only cells with these words in their names')
    options = parser.parse_args()
    if options.write:
        page.write()
        return 0
    chosen = [cell for cell in cells() if all(part in str(cell) for part in options.parts)]
    began, failures = time.monotonic(), 0
    crew = Crew(chosen, options.lanes)
    for cell in chosen:
        error, seconds = crew.result(cell)
        failures += error is not None
        print('%s %5.1f s  %s' % ('FAILED' if error else 'ok    ', seconds, cell))
        if error:
            print(error if isinstance(error, AssertionError) else repr(error))
    crew.close()
    print('%d cells, %d failed, %.0f s' % (len(chosen), failures, time.monotonic() - began))
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
