"""`delayed sweep`."""

from __future__ import annotations

import argparse
import signal
from typing import Any

from ._exit import Exit
from ._options import described, flag, option, seconds
from ._output import add_json, say, say_json
from ._queues import add_queues, find_queues


def add(commands: Any) -> None:
    parser = described(commands.add_parser, '''\
Brings lost tasks back, those whose worker died. Workers do that by themselves:
this is for queues whose workers are those of 0.5.1b2, or do not sweep.

With --once it looks a single time, and spares nobody: right after Redis was
away, that takes the tasks of workers that live, too. Without, it runs until
SIGTERM or Ctrl-C, and gives them the time to renew their claims.''', '''
  %(prog)s --once --queue default
  %(prog)s --once --url redis://localhost:6379/0 --queue default --queue mail --json
''', name='sweep', help='bring lost tasks back')
    add_queues(parser)
    option(parser, '--interval', type=seconds, metavar='SECONDS', default=60, env='DELAYED_SWEEPER_INTERVAL',
           help='look so often')
    flag(parser, '--once', env=None, help='look a single time, and print how much was repaired')
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    queues = find_queues(args)
    if args.once:
        repaired = {queue.name: queue.requeue_lost() for queue in queues}
        if args.json:
            say_json({'repaired': repaired})
        else:
            for name, count in repaired.items():
                say('queue %s: brought back %d lost tasks or notifications' % (name, count))
        return Exit.OK
    from ..logger import setup_logger
    from ..sweeper import Sweeper
    setup_logger()
    sweeper = Sweeper(queues, args.interval)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: sweeper.stop())
    sweeper.run()
    return Exit.OK
