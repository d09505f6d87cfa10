"""`delayed worker`."""

from __future__ import annotations

import argparse
import contextlib
import operator
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

from .._signature import ENVIRON
from ..errors import InvalidArgument
from ._exit import Exit, Failed, NotImported
from ._lean import recipe, set_up_log
from ._options import described, flag, natural, option, positive, seconds, seconds_or_none_at_all
from ._queues import add_queues, are_named, find_queues, function_at, import_module, search_current_directory

if TYPE_CHECKING:
    from ..queue import Queue
    from ..worker import Worker
    from ._reload import Sources

_NOTES = '''\
signals:
  SIGTERM, SIGINT (Ctrl-C), SIGHUP
       running tasks are finished, no other is taken, and it ends
  the same again, or --stop-timeout
       running tasks are handed back, for other workers to run, and it ends now
  SIGKILL
       a process of a pool is replaced; if the supervisor is killed, its
       processes finish their tasks and end

'''


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Runs the tasks of one queue or several. Of several queues, the first that has a
task comes first, or each gets its share: see --weights. With -c, so many
processes run tasks under one supervisor, which replaces those that die.

While Redis is away it waits for it. It ends where Redis refuses it.''', '''
  %(prog)s myapp.tasks:queue
  %(prog)s myapp.tasks:queue -c 4 --max-tasks 1000 --stop-timeout 25
  %(prog)s --url redis://localhost:6379/0 --queue urgent --queue other --weights 9,1
''', notes=_NOTES, name='worker', help='run tasks')
    add_queues(parser)
    option(parser, '--weights', type=_weights, metavar='N,N', env='DELAYED_WEIGHTS',
           shown='those of the application, else the first queue comes first',
           help='take tasks by weight, one number for each queue: with 3,1 three of the first and then one of the '
                'second, as long as both have some')
    _add_processes(parser)
    _add_tasks(parser)
    _add_stopping(parser)
    _add_log(parser)
    parser.set_defaults(run=run)


def _add_processes(parser: Any) -> None:
    group = parser.add_argument_group('processes')
    option(group, '-c', '--concurrency', type=positive, metavar='N', default=1, env='DELAYED_CONCURRENCY',
           help='run N processes, each of which runs one task at a time')
    kinds = group.add_mutually_exclusive_group()
    for kind, what in ('preforked', 'in a process that runs task after task'), ('forked', 'in a process of its own'):
        kinds.add_argument('--%s' % kind, dest='kind', action='store_const', const=kind, help=(
            'run each task %s (default: %s; environment: DELAYED_WORKER=%s)'
            % (what, 'yes' if kind == 'preforked' else 'no', kind)))
    option(group, '--max-tasks', type=positive, metavar='N', env='DELAYED_MAX_TASKS', shown='never',
           help='preforked: replace the process that runs tasks after N of them')
    option(group, '--prefetch', type=positive, metavar='N', env='DELAYED_PREFETCH', shown='8',
           help='preforked: take up to N tasks at once, as long as together they take milliseconds; 1: one at a time')
    option(group, '--max-rss', type=positive, metavar='MB', env='DELAYED_MAX_RSS', shown='never',
           help='preforked: replace it when it has more memory than so many MB after a task')
    option(group, '--import', many=True, metavar='MODULE', env='DELAYED_IMPORT', dest='imports',
           help='import a module first, one that sets up logging, say; may be given several times')
    option(group, '--preload', many=True, metavar='MODULE', env='DELAYED_PRELOAD',
           help='import a module in each worker, so that no process that runs tasks has to; may be given several times')
    flag(group, '--reload', env='DELAYED_RELOAD',
         help='for development: begin again when a source file has changed and running tasks have ended')


def _add_tasks(parser: Any) -> None:
    group = parser.add_argument_group('tasks')
    option(group, '--lease', type=_or_none(seconds), metavar='SECONDS', default=15, env='DELAYED_LEASE',
           help='take a task for lost when its worker gave no sign of life for so long; all workers of a queue should '
                'have the same; none: after its timeout')
    option(group, '--kill-timeout', type=seconds_or_none_at_all, metavar='SECONDS', default=5,
           env='DELAYED_KILL_TIMEOUT', help='for a task that is out of time: from SIGTERM to SIGKILL')
    option(group, '--sweep-interval', type=_or_none(seconds), metavar='SECONDS', default=3,
           env='DELAYED_SWEEP_INTERVAL', help='look for lost tasks so often; none: never')
    option(group, '--max-losses', type=natural, metavar='N', default=3, env='DELAYED_MAX_LOSSES',
           help='set a task aside that was lost so often; 0: never')
    option(group, '--task-max-cpu', type=seconds, metavar='SECONDS', env='DELAYED_TASK_MAX_CPU', shown='no limit',
           help='end a task that has used so much processor time, rounded up to the next second of its process')
    option(group, '--task-max-memory', type=positive, metavar='MB', env='DELAYED_TASK_MAX_MEMORY', shown='no limit',
           help='a task whose process would have more data than so many MB gets a MemoryError (Linux)')
    option(group, '--on-failure', choices=('forget', 'set_aside'), default='forget', env='DELAYED_ON_FAILURE',
           help='leave a task that has failed to the error handler and the log, or keep it as a dead letter')
    option(group, '--on-crash', choices=('fail', 'requeue'), default='fail', env='DELAYED_ON_CRASH',
           help='a task whose process crashes has failed, or runs again')
    option(group, '--on-partition', choices=('wait', 'kill'), default='wait', env='DELAYED_ON_PARTITION',
           help='while Redis is away for more than half a lease, the task runs on, or is ended')
    for kind, arguments in ('success', 'task'), ('error', 'task, kill_signal, exc_info'):
        option(group, '--%s-handler' % kind, metavar='MODULE:FUNCTION', env='DELAYED_%s_HANDLER' % kind.upper(),
               help='call FUNCTION(%s) after each %s' % (arguments, 'success' if kind == 'success' else 'failure'))


def _add_stopping(parser: Any) -> None:
    group = parser.add_argument_group('starting and stopping')
    option(group, '--stop-timeout', type=_or_none(seconds_or_none_at_all), metavar='SECONDS',
           env='DELAYED_STOP_TIMEOUT', shown='running tasks are always finished',
           help='hand running tasks back so long after the request to stop; let it be shorter than what your process '
                'manager allows')
    option(group, '--pidfile', metavar='PATH', env='DELAYED_PIDFILE',
           help='write the number of this process there, and refuse to run where another holds the file')


def _add_log(parser: Any) -> None:
    group = parser.add_argument_group('log, on the error stream')
    option(group, '--log-level', choices=('debug', 'info', 'warning', 'error'), default='info',
           env='DELAYED_LOG_LEVEL', help='the least that is told')
    option(group, '--log-format', choices=('text', 'json'), default='text', env='DELAYED_LOG_FORMAT',
           help='json: an object a line')


def run(args: argparse.Namespace) -> int:
    from ._pidfile import pidfile
    from ._reload import Sources, begin_again
    set_up_log(args.log_level, args.log_format)  # before the application is imported, which may set up another
    search_current_directory()  # where tasks are, even if no module named here is
    try:
        worker = _worker(args)
    except NotImported as error:
        if not args.reload:
            raise
        sources = Sources()
        print('%sdelayed worker: %s\nwaiting for a change' % (error.trace, error), file=sys.stderr, flush=True)
        sources.wait()
        begin_again()
    with pidfile(args.pidfile):
        if not _run(args, worker, Sources() if args.reload else None):
            return Exit.OK
    return begin_again()


def _worker(args: argparse.Namespace) -> Worker:
    from .. import worker as workers
    secrets = os.environ.get(ENVIRON, '').split()
    queues = find_queues(args, reach=False)
    for name in args.imports:
        import_module(str(name))
    kind = args.kind or os.environ.get('DELAYED_WORKER', 'preforked')
    if kind not in ('forked', 'preforked'):
        raise InvalidArgument('the environment variable DELAYED_WORKER must be forked or preforked, not %r' % kind)
    make: Callable[..., Worker] = workers.ForkedWorker if kind == 'forked' else workers.PreforkedWorker
    options: Dict[str, Any] = {name: getattr(args, name) for name in (
        'lease', 'sweep_interval', 'max_losses', 'stop_timeout', 'on_failure', 'on_crash', 'on_partition', 'max_tasks',
        'max_rss', 'task_max_cpu', 'task_max_memory', 'prefetch')}
    weights = _weights_of(args, queues)
    worker = make(dict(zip(queues, weights)) if weights else queues, args.kill_timeout, _function(args.success_handler),
                  _function(args.error_handler), preload=[str(name) for name in args.preload], **options)
    if kind == 'forked' and are_named(args) and not (
            args.imports or args.success_handler or args.error_handler):
        worker.fork_lean(recipe(args, secrets))
    return worker


def _weights_of(args: argparse.Namespace, queues: Sequence[Queue]) -> Optional[List[float]]:
    """Those that were given, or those of the application's dict of queues and their weights."""
    if args.weights:
        if len(args.weights) != len(queues):
            raise InvalidArgument('there are %d queues (%s), and %d weights: give one to each' % (
                len(queues), ', '.join(queue.name for queue in queues), len(args.weights)))
        return [float(weight) for weight in args.weights]
    if len(args.queues) == 1:
        found = _object_at(args.queues[0])
        if isinstance(found, Mapping) and all(queue in found for queue in queues):
            return [found[queue] for queue in queues]
    return None


def _function(path: Optional[str]) -> Any:
    if path is None:
        return None
    function_at(path)  # or it says what is wrong
    return _object_at(path)


def _object_at(path: str) -> Any:
    module, _, name = path.partition(':')
    return operator.attrgetter(name)(import_module(module))


def _run(args: argparse.Namespace, worker: Worker, sources: Optional[Sources]) -> bool:
    """Works until it is to stop. Returns whether a source file has changed."""
    from . import _systemd
    from ._reload import INTERVAL
    if args.concurrency == 1 and sources is None and not _systemd.is_waiting():
        _run_alone(worker)
        return False
    from ..logger import logger
    from ..pool import WorkerPool
    changed: List[str] = []

    def look() -> None:
        path = sources.changed() if sources else None
        if path is not None:
            logger.info('%s has changed: beginning again when running tasks have ended', path)
            changed.append(path)
            pool.stop()

    chores: List[Any] = []
    watchdog = _systemd.watchdog_interval()
    if watchdog is not None:
        chores.append((watchdog, lambda: _systemd.notify('WATCHDOG=1')))
    if sources is not None:
        chores.append((INTERVAL, look))
    pool = WorkerPool(worker, args.concurrency, chores=chores, on_ready=lambda: _systemd.notify('READY=1'),
                      on_stopping=lambda: None if changed else _systemd.notify('STOPPING=1'))
    pool.run()
    return bool(changed)


def _run_alone(worker: Worker) -> None:
    from redis.exceptions import AuthenticationError, NoPermissionError
    try:
        worker.run()
    except (AuthenticationError, NoPermissionError, ImportError, SyntaxError) as error:
        if not isinstance(error, (AuthenticationError, NoPermissionError)):  # the worker has told of these
            sys.excepthook(*sys.exc_info())
        raise Failed('the worker cannot work: %s: %s' % (type(error).__name__, error)) from error


def _or_none(convert: Callable[[str], float]) -> Callable[[str], Optional[float]]:
    def converted(text: str) -> Optional[float]:
        if text == 'none':
            return None
        with contextlib.suppress(argparse.ArgumentTypeError):
            return convert(text)
        raise argparse.ArgumentTypeError('must be a number of seconds, or none, not %r' % str(text))
    return converted


def _weights(text: str) -> List[float]:
    try:
        weights = [float(weight) for weight in text.split(',')]
    except ValueError:
        weights = [0.0]
    if not all(0 < weight < float('inf') for weight in weights):
        raise argparse.ArgumentTypeError('must be numbers above 0 with commas between, such as 3,1, not %r' % str(text))
    return weights
