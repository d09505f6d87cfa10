"""`delayed dead`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

from ..errors import InvalidArgument
from ._confirm import add_yes, confirm
from ._exit import Exit, Failed
from ._options import described, flag, natural, option, positive
from ._output import add_json, columns_of, printable, say, say_json, table
from ._queues import add_queues, find_queue, find_queues

if TYPE_CHECKING:
    from .._inspect import LetterHead
    from .._letters import DeadLetter
    from ..queue import Queue

_PAGE = 200  # letters


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Tasks that cannot be run are set aside, with the reason: those that were lost
three times, those that cannot be read, and those whose function cannot be
imported; with `delayed worker --on-failure set_aside`, all that failed. They
stay until you put them back or delete them.''', '''
  %(prog)s list --queue default
  %(prog)s list --help
''', name='dead', help='list, show, put back, delete and replay tasks that were set aside')
    parser.set_defaults(run=lambda args: _no_command(parser))
    below = parser.add_subparsers(title='commands', metavar='COMMAND')
    _add_list(below)
    _add_show(below)
    _add_many(below, 'requeue', 'put tasks back at the end of their queue', _requeue)
    _add_many(below, 'delete', 'delete tasks for good', _delete)
    _add_replay(below)


def _add_list(below: Any) -> None:
    parser = described(below.add_parser, 'Lists the tasks that were set aside, oldest first.', '''
  %(prog)s --queue default
  %(prog)s --queue default --queue mail --start 100 --count 20
  %(prog)s --url redis://localhost:6379/0 --queue default --json
''', name='list', help='list what was set aside')
    add_queues(parser, by_option=True)
    option(parser, '--start', type=natural, metavar='N', default=0, env=None, help='leave out the first N')
    option(parser, '--count', type=positive, metavar='N', default=100, env='DELAYED_DEAD_COUNT',
           help='list N of each queue at most')
    add_json(parser)
    parser.set_defaults(run=_list)


def _add_show(below: Any) -> None:
    parser = described(below.add_parser, '''\
Shows all that is known of a task that was set aside. Its arguments are shown
where they are plain data; none of its code is run.''', '''
  %(prog)s 1795445657871.770 --queue default
''', name='show', help='show a task that was set aside')
    _add_id(parser)
    add_queues(parser, by_option=True)
    add_json(parser)
    parser.set_defaults(run=_show)


def _add_many(below: Any, name: str, help: str, run: Any) -> None:
    parser = described(below.add_parser, help[0].upper() + help[1:] + '.', '''
  %(prog)s 1795445657871.770 --queue default
  %(prog)s --all --yes --queue default
''', name=name, help=help)
    parser.add_argument('ids', nargs='*', metavar='ID', help='the id, as `delayed dead list` prints it')
    flag(parser, '--all', env=None, help='all of the queue, instead of some by their ids')
    add_yes(parser)
    add_queues(parser, by_option=True)
    add_json(parser)
    parser.set_defaults(run=run)


def _add_replay(below: Any) -> None:
    parser = described(below.add_parser, '''\
Runs a task that was set aside: here, now, in the foreground, without a worker
and without a timeout. The queue is left as it is.''', '''
  %(prog)s 1795445657871.770 --queue default
  %(prog)s 1795445657871.770 --queue default --pdb
  %(prog)s 1795445657871.770 --queue default --delete
''', name='replay', help='run a task that was set aside, here and now')
    _add_id(parser)
    flag(parser, '--pdb', env=None, help='where the task raises, or you press Ctrl-C, debug it at that line')
    then = parser.add_mutually_exclusive_group()
    flag(then, '--delete', env=None, help='if it returns, delete the dead letter')
    flag(then, '--requeue', env=None, help='if it returns, put it back into the queue, to run once more in a worker')
    add_queues(parser, by_option=True)
    parser.set_defaults(run=_replay)


def _add_id(parser: Any) -> None:
    parser.add_argument('id', metavar='ID', help='the id, as `delayed dead list` prints it')


def _no_command(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return Exit.USAGE


# --- list, show


def _list(args: argparse.Namespace) -> int:
    from .._inspect import Inspection
    found = [(queue, letter) for queue in find_queues(args)
             for letter in Inspection(queue.ledger).dead(args.start, args.count)]
    if args.json:
        say_json({'dead': [_as_json(queue, letter) for queue, letter in found]})
        return Exit.OK
    if not found:
        say('nothing was set aside')
        return Exit.OK
    rows = [(letter.id, queue.name, '-' if letter.name.id is None else str(letter.name.id), letter.name.function or '?',
             _moment(letter.set_aside_at), letter.reason) for queue, letter in found]
    for line in table(('id', 'queue', 'task', 'function', 'set aside', 'reason'), rows, columns_of(sys.stdout)):
        say(line)
    return Exit.OK


def _as_json(queue: Queue, letter: LetterHead) -> Dict[str, Any]:
    return {'id': letter.id, 'queue': queue.name, 'task': letter.name.id, 'function': letter.name.function,
            'reason': letter.reason, 'set_aside_at': letter.set_aside_at, 'lost_at': list(letter.lost_at),
            'bytes': letter.size}


def _moment(unix: float) -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(unix))


def _show(args: argparse.Namespace) -> int:
    from .._describe import plain_fields
    from .._inspect import Name
    queue = find_queue(args)
    letter = _letter(queue, args.id)
    name, fields = Name.of(letter.payload), plain_fields(letter.payload)
    facts: Dict[str, Any] = {
        'id': letter.id, 'queue': queue.name, 'task': name.id, 'function': name.function, 'reason': letter.reason,
        'set_aside_at': letter.set_aside_at, 'lost_at': list(letter.lost_at), 'bytes': len(letter.payload),
        'outcome': letter.outcome and letter.outcome.as_fields(),
        'args': None if fields is None else [repr(value) for value in fields[3]],
        'kwargs': None if fields is None else {str(key): repr(value) for key, value in fields[4].items()},
        'timeout': None if fields is None else fields[5] and fields[5] / 1000}
    facts.update({} if letter.outcome is None else {'worker': letter.outcome.worker})
    if args.json:
        say_json(facts)
        return Exit.OK
    facts.update(set_aside_at=_moment(letter.set_aside_at), lost_at=[_moment(moment) for moment in letter.lost_at],
                 outcome=letter.outcome and str(letter.outcome))
    if not facts['timeout'] and fields is not None:
        facts['timeout'] = "the queue's default"
    if letter.outcome is not None:
        facts.update(note=letter.outcome.note, stack=letter.outcome.stack)
    if fields is None:
        facts['args'] = facts['kwargs'] = 'not shown: they are no plain data'
        facts['begins with'] = repr(letter.payload[:60])
    for what, value in facts.items():
        for line in _lines(value):
            say('%-12s  %s' % (what.replace('_', ' '), printable(line)))
            what = ''
    return Exit.OK


def _lines(value: Any) -> List[str]:
    if isinstance(value, dict):
        return ['%s=%s' % pair for pair in value.items()] or ['none']
    if isinstance(value, list):
        return value or ['none']
    return ['none'] if value is None else str(value).splitlines() or ['']


def _letter(queue: Queue, id: str) -> DeadLetter:
    letter = queue.ledger.dead_letter(id)
    if letter is None:
        raise _gone(queue, id)
    return letter


def _gone(queue: Queue, id: str) -> Failed:
    return Failed('queue %s has no dead letter %s: it was put back or deleted, or is of another queue (see `delayed '
                  'dead list`)' % (queue.name, id))


# --- requeue, delete


def _requeue(args: argparse.Namespace) -> int:
    return _each(args, 'put back', lambda queue, id: queue.requeue_dead(id))


def _delete(args: argparse.Namespace) -> int:
    return _each(args, 'deleted', lambda queue, id: queue.delete_dead(id))


def _each(args: argparse.Namespace, done: str, move: Any) -> int:
    if bool(args.ids) == args.all:
        raise InvalidArgument('name the ids of dead letters, or say --all')
    queue = find_queue(args)
    if args.all:
        confirm(args, 'All %d dead letters of queue %s will be %s.' % (queue.dead_len(), queue.name, done))
    moved: List[str] = []
    gone: List[str] = []
    for id in _all_ids(queue) if args.all else args.ids:
        (moved if move(queue, id) else gone).append(id)
    if args.json:
        say_json({'queue': queue.name, done.replace(' ', '_'): moved, 'gone': gone})
    else:
        for id in moved:
            say('%s %s' % (done, id))
    for id in gone:
        print('%s' % _gone(queue, id), file=sys.stderr)
    return Exit.FAILED if gone and not args.all else Exit.OK


def _all_ids(queue: Queue) -> Iterator[str]:
    """The ids of those that are there now; each is looked for when the last was moved."""
    from .._inspect import Inspection
    inspection, last = Inspection(queue.ledger), ''
    left = queue.dead_len()
    while left > 0:
        page = inspection.dead(0, min(left, _PAGE))
        if not page or page[0].id == last:
            return  # nothing is moved any more
        last = page[0].id
        left -= len(page)
        for letter in page:
            yield letter.id


# --- replay


def _replay(args: argparse.Namespace) -> int:
    from ._queues import search_current_directory
    queue = find_queue(args)
    letter = _letter(queue, args.id)
    search_current_directory()
    task = queue.read(letter.payload)  # a forged one is refused here as by workers
    print('replaying task %s: %s.%s' % (task.id, task.module_name, task.func_name), file=sys.stderr)
    began = time.monotonic()
    try:
        result = task.run()
    except KeyboardInterrupt as error:  # it hangs
        _raised(error, args.pdb)
        raise
    except (Exception, SystemExit) as error:
        return _raised(error, args.pdb)
    print('it returned %s after %.3f s' % (printable(repr(result)), time.monotonic() - began))
    after: Sequence[Any] = ()
    if args.delete:
        after = 'deleted', queue.delete_dead
    elif args.requeue:
        after = 'put back', queue.requeue_dead
    if after and not after[1](letter.id):
        raise _gone(queue, letter.id)
    print('%s dead letter %s' % (after[0], letter.id) if after else 'dead letter %s stays as it is' % letter.id)
    return Exit.OK


def _raised(error: BaseException, debug: bool) -> int:
    """Tells how the task raised, from its own first line on."""
    import traceback

    from ._queues import own_lines
    trace: Optional[Any] = own_lines(error.__traceback__)
    traceback.print_exception(type(error), error, trace)
    if debug and trace is not None:
        import pdb
        sys.stderr.flush()
        pdb.post_mortem(trace)
    return Exit.FAILED
