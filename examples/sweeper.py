"""Brings lost tasks back, until it gets SIGTERM or SIGINT (Ctrl-C).

Workers do that by themselves. A sweeper is for queues whose workers do not: those of 0.5.1b2, those with
`sweep_interval=None`, and programs that call `queue.dequeue()` by hand.
"""

import signal

from delayed.logger import setup_logger
from delayed.sweeper import Sweeper
from tasks import queue

if __name__ == '__main__':
    setup_logger()
    sweeper = Sweeper(queue, interval=60)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda signum, frame: sweeper.stop())
    sweeper.run()
