"""`delayed doctor`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence

from ._exit import Exit
from ._options import described, flag
from ._output import add_json, printable, say, say_json
from ._queues import add_queues, find_queues

if TYPE_CHECKING:
    from ..queue import Queue
    from ._findings import Finding


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Checks queues and their servers: the types of the keys, the place of each task,
the notifications, what is lost, who works; the version, clock, memory and
persistence of the server, and what its user may do. Each finding says what it
means and what to do. The status is 1 if a problem remains; notes are no
problems. It reads all unfinished tasks of the queue, in small steps.''', '''
  %(prog)s --fix --queue default
  %(prog)s --fix --url redis://localhost:6379/0 --queue default --queue mail --json
''', name='doctor', help='check queues and their servers, and mend what can be mended')
    add_queues(parser)
    flag(parser, '--fix', env=None, help='mend what can be mended safely')
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    queues = find_queues(args)
    found = list(_findings(queues))
    if args.fix:
        for finding in found:
            finding.mend()
    if args.json:
        say_json({'queues': [queue.name for queue in queues], 'findings': [finding.as_json() for finding in found]})
    else:
        _print(queues, found)
    return Exit.FAILED if any(finding.open for finding in found) else Exit.OK


def _findings(queues: Sequence[Queue]) -> Iterator[Finding]:
    from redis.exceptions import ResponseError

    from ._check_queue import check_queue
    from ._check_server import Facts, check_server
    from ._findings import Finding
    seen = set()
    for queue in queues:
        try:
            facts = Facts.of(queue)
            if facts.run_id not in seen:
                yield from check_server(facts)
            seen.add(facts.run_id)
        except ResponseError as error:
            yield Finding('server', None, False, 'it does not tell how it is set up: %s' % error,
                          'nothing is known of its memory and its persistence', 'ask who runs it')
        try:
            yield from check_queue(queue)
        except ResponseError as error:
            yield Finding('permissions', queue.name, True, 'it cannot be checked to the end: %s' % error,
                          'this user may not do what that needs', 'try it as a user who may')


def _print(queues: Sequence[Queue], found: List[Finding]) -> None:
    for finding in found:
        for line in finding.lines():
            say(printable(line))
    left = sum(finding.open for finding in found)
    names = ', '.join(queue.name for queue in queues)
    say('%s: %s' % (names, 'no problems' if not left else '1 problem' if left == 1 else '%d problems' % left))
