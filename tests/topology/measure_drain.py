"""How fast workers drain a sharded queue, by the nodes that it is on: `python -m topology.measure_drain [TASKS]`, with
tests/ on the path.

Two workers, 6 shards on one node of a cluster and on three, and a queue that is not sharded, measured in turns. All
share this machine's cores, so the rate shows what sharding costs, and the time that each node spends on a task what it
gains: a node is full when it does nothing else.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import sys
import time

from delayed.queue import Queue
from delayed.sharded import ShardedQueue
from delayed.task import Task
from delayed.worker import PreforkedWorker
from waiting import wait_until

from .servers import cluster

SHARDS, WORKERS, TURNS = 6, 2, 3


def sharded_on(site, nodes):
    """A sharded queue that is on so many nodes, whatever its shards are called then."""
    client = site.client()
    ports = sorted({client.get_node_from_key('{%d}' % number).port for number in range(100)})[:nodes]
    queue = ShardedQueue('drain', SHARDS, client)
    for shard in range(SHARDS):
        queue.shards[shard] = next(
            Queue(name, client) for name in map(('{drain:%d:%%d}' % shard).__mod__, itertools.count())
            if client.get_node_from_key(name).port == ports[shard % nodes])
    return queue


def drain(site, make, tasks):
    """Returns tasks per second, and the microseconds of each node's scripts per task, the busiest node first."""
    queue = make()
    for _ in range(tasks):
        queue.enqueue(Task(None, 'os', 'getpid'))
    for node in site.masters():
        node.call('CONFIG', 'RESETSTAT')
    start = time.perf_counter()
    pids = [run(make) for _ in range(WORKERS)]
    wait_until(lambda: queue.len() == 0, 'the end', 120)
    took = time.perf_counter() - start
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    spent = [node.call('INFO', 'commandstats').get('cmdstat_evalsha', {'usec': 0})['usec'] / tasks
             for node in site.masters()]
    return tasks / took, sorted(spent, reverse=True)


def run(make):
    pid = os.fork()
    if not pid:
        try:
            PreforkedWorker(make()).run()
        finally:
            os._exit(0)
    return pid


def main(tasks):
    with cluster() as site:
        kinds = {
            'one queue': lambda: Queue('{drain}', site.client()),
            '%d shards on 1 node' % SHARDS: lambda: sharded_on(site, 1),
            '%d shards on 3 nodes' % SHARDS: lambda: sharded_on(site, 3),
        }
        results = {kind: [] for kind in kinds}
        for _ in range(TURNS):
            for kind, make in kinds.items():
                results[kind].append(drain(site, make, tasks))
        for kind, found in results.items():
            rates, spent = zip(*found)
            print('%-20s %5.0f tasks/s; each node spends %s us on a task' % (
                kind, statistics.median(rates), ', '.join('%.0f' % statistics.median(each) for each in zip(*spent))))


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
