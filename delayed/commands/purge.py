"""`delayed purge`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Dict

from ._confirm import add_yes, confirm
from ._exit import Exit
from ._options import described, flag
from ._output import add_json, say, say_json
from ._queues import add_queues, find_queues

if TYPE_CHECKING:
    from ..queue import Queue


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Empties queues: what waits, what runs, and what was set aside. All keys of a
queue go at once. Workers that run one of its tasks end it as soon as they hear
of it, within a third of their lease.

The counter of ids stays, so that no id is given twice; --ids deletes it, too:
for a queue that nobody uses any more.''', '''
  %(prog)s --yes --queue default
  %(prog)s --yes --ids --url redis://localhost:6379/0 --queue default
''', name='purge', help='empty queues, after asking')
    add_queues(parser)
    flag(parser, '--ids', env=None, help='delete the counter of ids, too')
    add_yes(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from .._inspect import Inspection
    queues = find_queues(args)
    for queue in () if args.yes else queues:
        census = Inspection(queue.ledger).census()
        confirm(args, 'Queue %s: %d tasks wait, %d run, %d are set aside. All will be deleted.' % (
            queue.name, census.waiting, census.dequeued, census.dead))
    purged: Dict[str, int] = {queue.name: _purge(queue, args.ids) for queue in queues}
    if args.json:
        say_json({'purged': purged})
    else:
        for name, count in purged.items():
            none = '' if count else ', for there are none: is the name right?'
            say('queue %s: deleted %d keys%s' % (name, count, none))
    return Exit.OK


def _purge(queue: Queue, ids: bool) -> int:
    """One command, so a crash leaves all or nothing. Redis frees the memory in the background."""
    keys = queue.ledger.keys
    doomed = [key for key in keys.all() if ids or key != keys.id]
    return int(queue.ledger.caller.command('UNLINK', *doomed))
