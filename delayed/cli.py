"""What operators type: `delayed COMMAND`, or `python -m delayed COMMAND`."""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
from typing import Optional, Sequence

from . import __version__
from .commands import dead, demo, doctor, enqueue, purge, status, sweep, worker
from .commands._exit import MEANINGS, Exit, NotImported
from .commands._options import described
from .commands._queues import close_clients
from .errors import DelayedError, InvalidArgument, ServerNotFound

__all__ = ['Exit', 'main']

_NEGATIVE = re.compile(r'-\.?\d')  # a number, and no option
_COMMANDS = (worker, status, dead, enqueue, sweep, doctor, purge, demo)


def main(argv: Optional[Sequence[str]] = None, prog: str = 'delayed') -> int:
    """Runs a command and returns its exit status, see `Exit`.

    argv: the command's arguments; `None`: those of this process. prog: what the user has typed to get here.
    """
    try:
        args = _parse(_parser(prog), argv)
    except SystemExit as ending:  # so argparse ends after --help, --version and mistakes
        return int(ending.code or 0)
    except DelayedError as error:
        return _tell(prog, error)
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
        return _tell(prog, error)
    except Exception as error:
        told = _told_by_redis(error)
        if told is None:
            raise
        return _tell(prog, told)
    finally:
        close_clients()


def _parse(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """As `parse_args`, but arguments that a command takes in any number may stand behind options, too; argparse leaves
    those over."""
    if '_ARGCOMPLETE' in os.environ:  # a shell asks for what may come next; see the extra `completion`
        importlib.import_module('argcomplete').autocomplete(parser)
    args, left_over = parser.parse_known_args(argv)
    unknown = [text for text in left_over if text.startswith('-') and not _NEGATIVE.match(text)]
    if left_over and (unknown or not hasattr(args, 'arguments')):
        parser.error('unrecognized arguments: %s' % ' '.join(unknown or left_over))
    if left_over:
        args.arguments += left_over
    return args


def _tell(prog: str, error: DelayedError) -> Exit:
    trace = getattr(error, 'trace', '')
    print('%s%s: %s' % (trace, prog, error), file=sys.stderr)
    if isinstance(error, ServerNotFound):
        return Exit.NO_SERVER
    if isinstance(error, NotImported):
        return Exit.NOT_IMPORTED
    return Exit.USAGE if isinstance(error, InvalidArgument) else Exit.FAILED


def _told_by_redis(error: Exception) -> Optional[DelayedError]:
    """What an error of redis-py means to a user; `None`: it is none."""
    if 'redis' not in sys.modules:
        return None
    from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError
    if isinstance(error, (ConnectionError, TimeoutError, BusyLoadingError)):
        return ServerNotFound('lost the Redis server: %s' % error)
    return DelayedError('Redis refused: %s' % error) if isinstance(error, RedisError) else None


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = described(argparse.ArgumentParser, 'A simple but robust task queue on Redis.', '''
  %(prog)s demo
  %(prog)s demo --help
''', notes='exit status:\n%s\n\n' % '\n'.join('  %3d  %s' % pair for pair in MEANINGS.items()), prog=prog)
    parser.add_argument('--version', action='version', version='%%(prog)s %s' % __version__)
    parser.set_defaults(run=lambda args: _no_command(parser))
    commands = parser.add_subparsers(title='commands', metavar='COMMAND')
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _no_command(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return Exit.USAGE
