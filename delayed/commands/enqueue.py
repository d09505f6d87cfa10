"""`delayed enqueue`."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from ..errors import InvalidArgument
from ._exit import Exit
from ._options import described, flag, option, seconds
from ._output import add_json, say, say_json
from ._queues import add_queues, find_queue, function_at, names_queues, reach_queue

if TYPE_CHECKING:
    from .._inspect import Whereabouts
    from .._letters import DeadLetter
    from ..outcome import Outcome
    from ..queue import Queue
    from ..task import Task
    from ._failures import Failures

_BY_NAME = re.compile(r'([^\W\d]\w*)=(.*)', re.DOTALL)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between two looks


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Enqueues a call of a function. Its queue need not be named if @delayed()
decorates the function.

Arguments are Python's numbers, texts in quotes, lists, dicts, True, False and
None; anything else is a text as it stands. NAME=VALUE gives an argument by its
name. A text that begins with - is given behind --.''', '''
  %(prog)s myapp.tasks:add 1 2
  %(prog)s myapp.tasks:add 1 b=3 --timeout 30 --wait 10
  %(prog)s myapp.tasks:add '"1"' 'b="x"' --json-args --queue mail
  %(prog)s reports:build --no-import --queue mail --json
''', name='enqueue', help='enqueue a task')
    parser.add_argument('function', metavar='MODULE:FUNCTION', help='what to call')
    parser.add_argument('arguments', nargs='*', metavar='ARGUMENT', help='VALUE or NAME=VALUE')
    flag(parser, '--json-args', env=None, help='each VALUE is JSON')
    option(parser, '--timeout', type=seconds, metavar='SECONDS', env=None, shown="the function's, or else the queue's",
           help='the task may run for so long')
    flag(parser, '--no-import', env=None, help='do not look whether there is such a function: only workers have it')
    option(parser, '--wait', type=seconds, metavar='SECONDS', env='DELAYED_WAIT', shown='it does not wait',
           help='wait so long at most until the task has ended, and tell how')
    add_queues(parser, by_option=True)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    positional, named = _arguments(args)
    function = None if args.no_import else function_at(args.function)
    queue = _queue(args, function)
    from ._failures import Failures
    with contextlib.ExitStack() as stack:
        failures = None if args.wait is None else stack.enter_context(Failures(getattr(queue, 'shards', [queue])))
        return _enqueue_and_tell(args, queue, _enqueue(args, queue, function, positional, named), failures)


def _enqueue_and_tell(args: argparse.Namespace, queue: Any, task: Task, failures: Optional[Failures]) -> int:
    facts: Dict[str, Any] = {'task': task.id, 'function': '%s.%s' % (task.module_name, task.func_name),
                             'queue': queue.name}
    if not args.json:
        say('enqueued task %s (%s) in queue %s' % (task.id, facts['function'], queue.name))
    status = Exit.OK
    if failures is not None:
        queue, found = _wait(_shards_of(queue, task), task, args.wait, failures)
        letter = queue.ledger.dead_letter(found.letter_id) if found.letter_id else None
        outcome = letter.outcome if letter else failures.of(queue, task) if found.place == 'gone' else None
        status = Exit.OK if found.place == 'gone' and outcome is None else Exit.FAILED
        facts.update(state='failed' if outcome and not letter else _STATES[found.place],
                     dead_letter=found.letter_id or None, reason=letter and letter.reason,
                     outcome=outcome and outcome.as_fields())
        if not args.json:
            say(_told(task, found, letter, outcome))
    if args.json:
        say_json(facts)
    return status


_STATES = {'gone': 'finished', 'dead': 'set aside', 'waiting': 'waiting', 'dequeued': 'running'}


def _told(task: Task, found: Whereabouts, letter: Optional[DeadLetter], outcome: Optional[Outcome]) -> str:
    more = '' if outcome is None else ''.join('\n' + each for each in (outcome.note, outcome.stack) if each)
    if found.place == 'dead':
        reason = letter.reason if letter else 'gone since'
        return 'task %s was set aside as %s: %s%s' % (task.id, found.letter_id, reason, more)
    if outcome is not None:
        return 'task %s %s%s' % (task.id, outcome, more)
    if found.place == 'gone':
        return 'task %s has finished' % task.id
    return 'task %s %s' % (task.id, 'still waits: is there a worker?' if found.place == 'waiting' else 'still runs')


def _shards_of(queue: Any, task: Task) -> List[Queue]:
    """Where the task was put."""
    return [queue] if task.shard is None else queue.shards[task.shard:task.shard + 1]


def _wait(queues: Sequence[Queue], task: Task, seconds: float, failures: Failures) -> Tuple[Queue, Whereabouts]:
    """Where the task is when it has ended, or when the time is over. It is in one of the queues."""
    from .._inspect import Inspection
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    payload = task.serialize()  # which has an id of its own: no other task, before or after, has these bytes
    while True:
        looks = [(queue, Inspection(queue.ledger).where(payload)) for queue in queues]
        queue, found = next((look for look in looks if look[1].place != 'gone'), looks[0])
        left = deadline - time.monotonic()
        if found.place in ('gone', 'dead') or left <= 0:
            return queue, found
        time.sleep(min(pause, left))
        failures.listen()
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _queue(args: argparse.Namespace, function: Optional[Any]) -> Any:
    """The queue that is named, or the one that decorates the function: that may be one with shards, too."""
    own = getattr(getattr(function, 'delay', None), 'queue', None)
    if own is None or names_queues(args):
        return find_queue(args)
    for queue in getattr(own, 'shards', [own]):
        reach_queue(queue)
    return own


def _enqueue(args: argparse.Namespace, queue: Queue, function: Optional[Any], positional: Sequence[Any],
             named: Dict[str, Any]) -> Task:
    from ..task import Task
    if getattr(getattr(function, 'delay', None), 'queue', None) is queue:
        delay: Any = function.delay if args.timeout is None else function.timeout(args.timeout)  # type: ignore[union-attr]
        task: Task = delay(*positional, **named)
        return task
    module_name, colon, func_name = args.function.partition(':')
    if not colon or '.' in func_name:
        raise InvalidArgument('%r names no function: write the module, a colon and the name of a function at its top '
                              'level, such as myapp.tasks:add' % args.function)
    task = Task(None, module_name, func_name, tuple(positional), named,
                None if args.timeout is None else args.timeout * 1000)
    queue.enqueue(task)
    return task


def _arguments(args: argparse.Namespace) -> Tuple[List[Any], Dict[str, Any]]:
    positional: List[Any] = []
    named: Dict[str, Any] = {}
    value_of = _from_json if args.json_args else _literal
    for text in args.arguments:
        match = _BY_NAME.fullmatch(text)
        if match is None:
            if named:
                raise InvalidArgument('the argument %s follows one by name' % text)
            positional.append(value_of(text))
        elif match[1] in named:
            raise InvalidArgument('the argument %s is given twice' % match[1])
        else:
            named[match[1]] = value_of(match[2])
    return positional, named


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgument('the argument %s is no JSON (%s); a text needs its quotes, "..."'
                              % (text, error)) from error
