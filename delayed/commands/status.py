"""`delayed status`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence

from ._exit import Exit, Failed
from ._options import described, flag, natural, option, seconds
from ._output import add_json, columns_of, printable, say, say_json
from ._queues import add_queues, find_queues

if TYPE_CHECKING:
    from .._wakeup import Wakeup
    from ..queue import Queue

_HOME, _CLEAR_LINE, _CLEAR_BELOW, _CLEAR_ALL = '\x1b[H', '\x1b[K', '\x1b[J', '\x1b[2J'


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Shows what waits, what runs where, what was set aside, and how fast it goes.

oldest  how long the oldest task has waited; with >, it may be longer
in/s    tasks enqueued or put back, and out/s, taken by workers, per second, of
        late
since   how long a worker has had a task; - where nobody has told it yet
lease   when the task comes back unless its worker renews its claim; `over`: it
        is lost, and comes back with the next sweep

Workers tell every few seconds that they live. Those of 0.5.1b2, and those that
do not sweep, are not counted.''', '''
  %(prog)s --queue default
  %(prog)s --queue default --queue mail --workers
  %(prog)s --url redis://localhost:6379/0 --queue default --json
''', name='status', help='show queues, running tasks and workers')
    add_queues(parser)
    flag(parser, '--watch', env=None, help='show it again and again, until Ctrl-C')
    option(parser, '--interval', type=seconds, metavar='SECONDS', default=2, env='DELAYED_WATCH_INTERVAL',
           help='with --watch: so often')
    option(parser, '--tasks', type=natural, metavar='N', default=20, env='DELAYED_STATUS_TASKS',
           help='show N running tasks of each queue at most')
    flag(parser, '--workers', env='DELAYED_STATUS_WORKERS', help='list the workers, too')
    option(parser, '--stack', type=natural, metavar='PID', env=None, shown='not shown',
           help='instead: where the tasks of a worker of this machine stand right now, line by line; they are not '
                'stopped (Linux)')
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.stack is not None:
        return _stacks(args)
    queues = find_queues(args)
    if not args.watch:
        _show(args, queues)
        return Exit.OK
    from .._wakeup import Wakeup
    wakeup = Wakeup()
    try:
        with _told_of_resizing(wakeup):
            _watch(args, queues, wakeup)
    except KeyboardInterrupt:
        pass  # this is how it is meant to end
    finally:
        wakeup.close()
    return Exit.OK


def _stacks(args: argparse.Namespace) -> int:
    from .._stacks import live_stacks
    try:
        found = live_stacks(args.stack)
    except FileNotFoundError:
        raise Failed('there is no process %d on this machine, or nothing tells of it' % args.stack) from None
    except PermissionError:
        raise Failed("process %d is another user's" % args.stack) from None
    if args.json:
        say_json({'pid': args.stack, 'children': [{'pid': pid, 'stack': stack} for pid, stack in found.items()]})
    elif not found:
        raise Failed('process %d is no worker that runs tasks' % args.stack)
    for pid, stack in () if args.json else found.items():
        say('child %d' % pid)
        for line in stack.splitlines():
            say('  ' + printable(line))
    return Exit.OK


def _show(args: argparse.Namespace, queues: Sequence[Queue]) -> None:
    from ._snapshot import Snapshot
    if args.json:
        say_json({'queues': [Snapshot.of(queue, args.tasks).as_json() for queue in queues]}, lines=args.watch)
        return
    for line in _lines(args, queues):
        say(line)


def _lines(args: argparse.Namespace, queues: Sequence[Queue]) -> List[str]:
    from ._snapshot import Snapshot, lines_of
    return lines_of([Snapshot.of(queue, args.tasks) for queue in queues], columns_of(sys.stdout), args.workers)


def _watch(args: argparse.Namespace, queues: Sequence[Queue], wakeup: Wakeup) -> None:
    """Draws in place on a terminal; elsewhere an empty line stands between two looks."""
    from .._redis import Unavailable
    drawn = sys.stdout.isatty() and not args.json
    if drawn:
        sys.stdout.write(_CLEAR_ALL)
    while True:
        try:
            if drawn:
                _draw(_lines(args, queues))
            else:
                _show(args, queues)
        except BrokenPipeError:
            raise
        except Unavailable as error:
            if drawn:
                _draw(['Redis is away: %s' % error])
            else:
                print('Redis is away: %s' % error, file=sys.stderr)
        wakeup.wait(args.interval)
        if not drawn and not args.json:
            say('')


def _draw(lines: Sequence[str]) -> None:
    size = os.get_terminal_size(sys.stdout.fileno())
    height = max((size.lines or 24) - 1, 1)
    shown = [*lines[:height - 1], '...'] if len(lines) > height else lines
    say(_HOME + ''.join('%s%s\n' % (line[:size.columns or None], _CLEAR_LINE) for line in shown) + _CLEAR_BELOW,
        end='')


@contextlib.contextmanager
def _told_of_resizing(wakeup: Wakeup) -> Iterator[None]:
    """A terminal that changes its size is drawn anew at once."""
    before = signal.signal(signal.SIGWINCH, lambda *_: wakeup.wake())
    wakeup.heed_signals()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
