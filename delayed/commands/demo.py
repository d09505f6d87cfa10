"""`delayed demo`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ._exit import Exit
from ._options import described, option, positive


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Hashes Python's standard library, a task for each file, with two workers, one of
which is killed in the middle of a task. Shows that each file is hashed exactly
once all the same, and how fast the killed task came back.''', '''
  %(prog)s
  %(prog)s --files 100
  %(prog)s --url redis://localhost:6379/0
''', name='demo', help='show how no task is lost when a worker is killed')
    option(parser, '--files', type=positive, metavar='N', env=None, shown='all', help='hash the first N files alone')
    option(parser, '--url', metavar='URL', env=None, shown='a server that is started, and ended, by the demo',
           help='use the Redis server at URL, under keys that are deleted at the end')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from .. import demo
    problems = demo.run(sys.stdout, args.url, args.files)
    for problem in problems:
        print('FAILED: %s' % problem, file=sys.stderr)
    if problems:
        return Exit.FAILED
    print('\nAll is well: no task was lost, and each file was hashed exactly once.')
    return Exit.OK
