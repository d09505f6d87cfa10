"""Finds the queues that a command is to work on: those of the application, or any by name."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple

from ..errors import InvalidArgument
from ._exit import NotImported
from ._options import is_typed, option

if TYPE_CHECKING:
    import argparse

    from ..queue import Queue

DEFAULT_URL = 'redis://localhost:6379/0'
#: Those that were made here.
_clients: List[Any] = []
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TIMEOUT = 10.0  # seconds that an operator waits for a server that does not answer
_MOST_NAMES = 8  # in an error message


def add_queues(parser: Any, by_option: bool = False) -> None:
    """Adds the arguments that name queues; `find_queues` reads them. `by_option`: those of the application by --app,
    for a command that has other arguments."""
    variable = 'environment: DELAYED_QUEUES, with spaces between several'
    if by_option:
        parser.add_argument('--app', metavar='MODULE:QUEUE', help=(
            'the queue that the application defines, such as myapp.tasks:queue (default: none; %s)' % variable))
    else:
        parser.add_argument('queues', nargs='*', metavar='MODULE:QUEUE', help=(
            'a queue that the application defines, or a list or dict of them, such as myapp.tasks:queue; the module is '
            'looked for in the current directory, too (%s)' % variable))
    option(parser, '--url', metavar='URL', env='DELAYED_URL', shown=DEFAULT_URL, help=(
        'the Redis server of the queues that --queue names'))
    option(parser, '--queue', metavar='NAME', env='DELAYED_QUEUE', many=True, dest='names',
           help='a queue by its name in Redis; may be given several times')


def find_queues(args: argparse.Namespace, reach: bool = True) -> List[Queue]:
    """The queues that the arguments name, each once, in their order. `reach`: make sure that their servers answer.

    Raises `NotImported`, `InvalidArgument` or `ServerUnreachable`.
    """
    paths = _paths(args)
    queues = [queue for path in paths for queue in queues_at(path)] if paths else _by_name(args)
    if reach:
        for queue in queues:
            reach_queue(queue, '' if paths else str(args.url or DEFAULT_URL))
    return queues


def find_queue(args: argparse.Namespace, reach: bool = True) -> Queue:
    """The single queue that the arguments name. Raises as `find_queues`."""
    queues = find_queues(args, reach)
    if len(queues) > 1:
        raise InvalidArgument('this command takes one queue, not %d: %s; name one with --queue' % (
            len(queues), ', '.join(queue.name for queue in queues)))
    return queues[0]


def _paths(args: argparse.Namespace) -> List[str]:
    """The `MODULE:QUEUE`s that were typed; where none was, nor `--queue` or `--url`, those of the environment."""
    typed: List[str] = list(getattr(args, 'queues', None) or filter(None, [getattr(args, 'app', None)]))
    values = ('--url', args.url), ('--queue', args.names and args.names[0])
    by_name = [flag for flag, value in values if is_typed(value)]
    if by_name and typed:
        raise InvalidArgument('%s says where the queue is, and so does %s: leave out one of them' % (
            typed[0], by_name[0]))
    return typed if typed or by_name else os.environ.get('DELAYED_QUEUES', '').split()


def _by_name(args: argparse.Namespace) -> List[Queue]:
    from .._server import client
    from ..queue import Queue
    if not args.names:
        raise InvalidArgument('which queue? Name it as your application does, such as %smyapp.tasks:queue, or as Redis '
                              'does, with --queue NAME and --url URL; or set DELAYED_QUEUES' % (
                                  '--app ' if hasattr(args, 'app') else ''))
    conn = client(str(args.url or DEFAULT_URL), socket_timeout=_TIMEOUT)
    _clients.append(conn)
    return [Queue(str(name), conn) for name in dict.fromkeys(args.names)]


def are_named(args: argparse.Namespace) -> bool:
    """Whether `find_queues` finds its queues by their names in Redis, and imports nothing of the application."""
    return not _paths(args)


def close_clients() -> None:
    """Closes the connections that were opened for queues by name: Python warns of some that are open when it ends."""
    while _clients:
        _clients.pop().connection_pool.disconnect()


def names_queues(args: argparse.Namespace) -> bool:
    """Whether the arguments, or the environment, name any queue."""
    return bool(_paths(args) or args.names)


def reach_queue(queue: Queue, url: str = '') -> None:
    """Raises `ServerUnreachable` unless the queue's server answers. url: where it is, if that is known."""
    from .._server import reached
    with reached(url or 'the Redis server of queue %s' % queue.name):
        queue.ledger.caller.command('PING')


def queues_at(path: str) -> List[Queue]:
    """The queues that `MODULE:QUEUE` stands for: one, or the elements of a list, the values or keys of a dict, or the
    `shards` of what has some.

    Raises `NotImported` or `InvalidArgument`.
    """
    from ..queue import Queue
    found, module = _look_up(path, 'queue', 'myapp.tasks:queue')
    if isinstance(found, Queue):
        return [found]
    found = getattr(found, 'shards', found)
    if isinstance(found, dict):
        found = [*found] if any(isinstance(key, Queue) for key in found) else [*found.values()]
    if isinstance(found, (list, tuple)) and found and all(isinstance(item, Queue) for item in found):
        return list(dict.fromkeys(found))
    named = [name for name, value in vars(module).items() if isinstance(value, Queue)]
    raise NotImported('%s is no queue, nor a list or dict of queues, but of type %s%s' % (
        path, type(found).__name__, '; queues of that module: %s' % _some(named) if named else ''))


def function_at(path: str) -> Callable[..., Any]:
    """The function that `MODULE:FUNCTION` stands for. Raises `NotImported` or `InvalidArgument`."""
    found, _ = _look_up(path, 'function', 'myapp.tasks:add')
    if not callable(found):
        raise NotImported('%s is no function but of type %s' % (path, type(found).__name__))
    if inspect.iscoroutinefunction(found):
        raise InvalidArgument('%s is a coroutine function, which no worker awaits: call asyncio.run in a plain function'
                              % path)
    function: Callable[..., Any] = found
    return function


def _look_up(path: str, what: str, example: str) -> Tuple[Any, ModuleType]:
    module_name, colon, name = path.partition(':')
    if not colon or not module_name or not name:
        raise InvalidArgument('%r names no %s: write the module, a colon and the name of the %s in it, such as %s' % (
            path, what, what, example))
    module = import_module(module_name)
    found: Any = module
    for part in name.split('.'):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotImported(_nothing_like(part, found, path)) from None
    return found, module


def _nothing_like(name: str, holder: Any, path: str) -> str:
    names = [other for other in vars(holder) if not other.startswith('__')] if hasattr(holder, '__dict__') else []
    near = difflib.get_close_matches(name, names, cutoff=0.7)
    where = '%s (%s)' % (holder.__name__, holder.__file__) if getattr(holder, '__file__', None) else path
    return 'there is no %r in %s%s' % (name, where, '; did you mean %s?' % _some(near) if near else '')


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:_MOST_NAMES]) + (', ...' if len(names) > _MOST_NAMES else '')


def import_module(name: str) -> ModuleType:
    """Imports a module of the application; the current directory is searched first, as with `python -m`.

    Raises `NotImported` with the traceback of the application's own lines.
    """
    search_current_directory()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + '.').startswith(error.name + '.'):
            raise NotImported('there is no module %s; looked for it in %s' % (
                error.name, _some([folder or os.curdir for folder in sys.path]))) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def search_current_directory() -> None:
    """Modules are looked for in the current directory first, as with `python -m`."""
    if getattr(sys.flags, 'safe_path', False):
        return
    with contextlib.suppress(OSError):  # it may have been deleted
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _failed(name: str, error: BaseException) -> NotImported:
    where = own_lines(error.__traceback__)
    trace = ''.join(traceback.format_exception(type(error), error, where))
    last = traceback.extract_tb(where)[-1:]
    at = ' at %s:%s' % (last[0].filename, last[0].lineno) if last else ''
    return NotImported('importing %s failed%s: %s' % (name, at, type(error).__name__), trace)


def own_lines(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    """The traceback from the first line on that is neither ours nor of Python's import."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith((_PACKAGE + os.sep, '<frozen importlib')) and filename != importlib.__file__:
            break
        trace = trace.tb_next
    return trace
