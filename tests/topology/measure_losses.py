"""What a failover costs: `python -m topology.measure_losses [TRIES]`, with tests/ on the path.

Kills the master under load, without and with `min_replicas=1`, and prints how many acknowledged tasks the promoted
replica does not have, and for how long nothing was acknowledged. Then what an enqueueing call takes, with and without,
measured in turns.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

from delayed.errors import NotReplicated
from delayed.queue import Queue
from delayed.task import Task
from waiting import wait_until

from .load import AWAY
from .servers import watched


def lose(site, min_replicas, producers=4):
    """Kills the master. Returns how many tasks were acknowledged, how many of them are gone, and the longest time, in
    seconds, between two acknowledgements."""
    acknowledged, stop = [], threading.Event()

    def produce(number):
        queue = Queue('default', site.client(), min_replicas=min_replicas)
        while not stop.is_set():
            number += 1
            task = Task(number, 'tasks', 'run')
            while not stop.is_set():
                try:
                    queue.enqueue(task)
                    acknowledged.append((number, task.data, time.monotonic()))
                    break
                except (*AWAY, NotReplicated):
                    stop.wait(0.02)

    threads = [threading.Thread(target=produce, args=(1_000_000 * number,)) for number in range(producers)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 1000, 'some load')
    dead = site.master()
    dead.kill()
    wait_until(site.master, 'another master')
    count = len(acknowledged)
    wait_until(lambda: len(acknowledged) > count + 1000, 'more load')
    stop.set()
    for thread in threads:
        thread.join()
    kept = set(site.client().lrange('default', 0, -1))
    times = [moment for _, _, moment in acknowledged]
    dead.start().await_answer()
    return (len(acknowledged), len([data for _, data, _ in acknowledged if data not in kept]),
            max(later - earlier for earlier, later in zip(times, times[1:])))


def price(site, calls=300):
    """The median of an enqueueing call's time, in ms, without and with a wait for one replica and for two."""
    queues = [Queue('default', site.client(), min_replicas=count) for count in range(3)]
    took = [[] for _ in queues]
    for _ in range(calls):
        for queue, times in zip(queues, took):
            start = time.perf_counter()
            queue.enqueue(Task(None, 'tasks', 'run'))
            times.append(1000 * (time.perf_counter() - start))
    return [statistics.median(times) for times in took]


def main(tries):
    with watched() as site:
        print('an enqueueing call, min_replicas 0, 1, 2: %s ms' % ', '.join('%.2f' % each for each in price(site)))
        for min_replicas in (0, 1):
            for _ in range(tries):
                site.await_health(60)
                site.master().call('FLUSHALL')
                print('min_replicas=%d: %d acknowledged, %d of them gone, nothing acknowledged for %.1f s'
                      % (min_replicas, *lose(site, min_replicas)), flush=True)


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
