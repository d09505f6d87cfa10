"""Runs the benchmark: `python -m benchmarks`, or `make bench`."""

from __future__ import annotations

import argparse
import json
import sys
import time

from .arena import Arena
from .environments import CHECKOUT
from .report import Report
from .suite import QUICK, Sizes, Suite, tell

_KEPT = CHECKOUT / '.cache' / 'benchmarks' / 'results.json'
_PAGE = CHECKOUT / 'docs' / 'performance.md'
_PLOT, _GROWTH = (_PAGE.with_name(name) for name in ('performance.svg', 'performance-growth.svg'))


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description='Compares delayed with other libraries.')
    parser.add_argument('--quick', action='store_true', help='one small round: to see whether all of it works')
    parser.add_argument('--write', action='store_true', help='put the tables and the plot into docs/performance.md')
    parser.add_argument('--again', action='store_true', help='take the results of the last run instead of measuring')
    args = parser.parse_args()
    if not args.again:
        sizes = QUICK if args.quick else Sizes()
        start = time.monotonic()
        with Arena() as arena:
            suite = Suite(arena, sizes, tell)
            suite.run()
            server = arena.redis.info('server')
        tell('done in %d s' % (time.monotonic() - start))
        kept = {'results': suite.results, 'others': suite.others, 'rounds': sizes.rounds,
                'redis': server['redis_version']}
        _KEPT.write_text(json.dumps(kept))
    report = Report(json.loads(_KEPT.read_text()))
    if args.write:
        report.write(_PAGE, _PLOT, _GROWTH)
    else:
        print(report.text())
    return 0


if __name__ == '__main__':
    sys.exit(main())
