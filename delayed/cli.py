"""What operators type: `delayed COMMAND`, or `python -m delayed COMMAND`."""

from __future__ import annotations

import argparse
import enum
import os
import signal
import sys
from typing import Any, Optional, Sequence

from . import __version__
from .errors import DelayedError, InvalidArgument, ServerNotFound


class Exit(enum.IntEnum):
    """How a command ends. One that a signal ends adds the signal's number to 128, as shells do."""

    OK = 0
    FAILED = 1  # it ran, and not all is as it should be
    USAGE = 2  # its arguments are wrong; argparse's own number
    NO_SERVER = 3  # no Redis server can be found or reached
    INTERRUPTED = 128 + signal.SIGINT
    UNREAD = 128 + signal.SIGPIPE  # nobody reads the output any more


def main(argv: Optional[Sequence[str]] = None, prog: str = 'delayed') -> int:
    """Runs a command and returns its exit status, see `Exit`.

    argv: the command's arguments; `None`: those of this process. prog: what the user has typed to get here.
    """
    try:
        args = _parser(prog).parse_args(argv)
    except SystemExit as ending:  # so argparse ends after --help, --version and mistakes
        return int(ending.code or 0)
    try:
        status: int = args.run(args)
        return status
    except KeyboardInterrupt as interruption:
        print('%s: interrupted' % prog, file=sys.stderr)
        return 128 + int(getattr(interruption, 'signum', signal.SIGINT))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return Exit.UNREAD
    except DelayedError as error:
        print('%s: %s' % (prog, error), file=sys.stderr)
        return _status_of(error)


def _status_of(error: DelayedError) -> Exit:
    if isinstance(error, ServerNotFound):
        return Exit.NO_SERVER
    return Exit.USAGE if isinstance(error, InvalidArgument) else Exit.FAILED


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _described(argparse.ArgumentParser, 'A simple but robust task queue on Redis.', '''
  %(prog)s demo
  %(prog)s demo --help
''', prog=prog)
    parser.add_argument('--version', action='version', version='%%(prog)s %s' % __version__)
    parser.set_defaults(run=lambda args: _no_command(parser))
    commands = parser.add_subparsers(title='commands', metavar='COMMAND')
    _add_demo(commands)
    return parser


def _described(make: Any, description: str, examples: str, **kwargs: Any) -> argparse.ArgumentParser:
    """`make`s a parser whose help ends with examples."""
    parser: argparse.ArgumentParser = make(description=description, epilog='examples:' + examples,
                                           formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
    return parser


def _no_command(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return Exit.USAGE


# --- each command: its arguments, and what runs it; it imports what it needs when it runs


def _add_demo(commands: Any) -> None:
    parser = _described(commands.add_parser, '''\
Hashes Python's standard library, a task for each file, with two workers, one of
which is killed in the middle of a task. Shows that each file is hashed exactly
once all the same, and how fast the killed task came back.''', '''
  %(prog)s
  %(prog)s --files 100
  %(prog)s --url redis://localhost:6379/0
''', name='demo', help='show how no task is lost when a worker is killed')
    parser.add_argument('--files', type=_positive, metavar='N', help='hash the first N files alone (default: all)')
    parser.add_argument('--url', metavar='URL', help='use the Redis server at URL, under keys that are deleted at the '
                        'end (default: a server that is started, and ended, by the demo)')
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    from . import demo
    problems = demo.run(sys.stdout, args.url, args.files)
    for problem in problems:
        print('FAILED: %s' % problem, file=sys.stderr)
    if problems:
        return Exit.FAILED
    print('\nAll is well: no task was lost, and each file was hashed exactly once.')
    return Exit.OK


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError('must be a whole number from 1 up, not %r' % text)
    return int(text)
