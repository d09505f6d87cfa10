"""Servers that know of each other: a cluster, and a master with replicas and sentinels. They end with their owner."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import redis
from redis.sentinel import Sentinel

import delayed._guard
from delayed.embedded import find_server
from waiting import DEADLINE, wait_until

SLOTS = 16384
MASTERS = 3
SERVICE = 'tests'  # the name under which the sentinels know the master
#: After so many ms without an answer a server counts as dead. Shorter, and a busy machine makes the living look dead.
TIMEOUT_MS = 2000


def free_port():
    """A port that is free, and the one 10,000 above it, too, on which the nodes of a cluster talk. Both are below those
    that the system gives to clients: the port of a dead server is free until it starts again."""
    while True:
        port = random.SystemRandom().randrange(11000, 22000)  # whatever seed the tests have
        with socket.socket() as probe, socket.socket() as bus, contextlib.suppress(OSError):
            probe.bind(('127.0.0.1', port))
            bus.bind(('127.0.0.1', port + 10000))
            return port


class Node:
    """One server: of a cluster, a master, a replica or, with `--sentinel` among `args`, a sentinel."""

    def __init__(self, *lines, args=()):
        self.host, self.port = '127.0.0.1', free_port()
        self._directory = tempfile.mkdtemp(prefix='delayed-')
        self._config = Path(self._directory, 'redis.conf')
        self._config.write_text('\n'.join((
            'bind 127.0.0.1', 'port %d' % self.port, 'dir "%s"' % self._directory, *lines, '')))
        self._args = args
        self._guard = None

    def start(self):
        """Starts the server, without waiting for it."""
        command = [sys.executable, '-I', delayed._guard.__file__, str(os.getpid()), self._directory,
                   find_server(), str(self._config), *self._args]
        with open(Path(self._directory, 'redis.log'), 'ab') as log:
            self._guard = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True)
        return self

    def await_answer(self):
        wait_until(self._answers, 'the server at port %d' % self.port)
        self.pid = self.call('INFO', 'server')['process_id']
        return self

    def kill(self):
        """Ends it as a crash would. `start` brings it back at the same address, with what it has on disk."""
        if self._guard is not None:
            self._guard.terminate()
            self._guard.wait(DEADLINE)
            self._guard = None

    def close(self):
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def runs(self):
        return self._guard is not None

    def call(self, *args):
        """Sends a command and returns the reply, decoded."""
        return self.ask(lambda client: client.execute_command(*args))

    def ask(self, question):
        """Returns what `question` does, which gets a client of this server."""
        with contextlib.closing(redis.Redis(self.host, self.port, decode_responses=True)) as client:
            try:
                return question(client)
            finally:
                client.connection_pool.disconnect()

    def _answers(self):
        with socket.socket() as probe:
            if probe.connect_ex((self.host, self.port)):
                return False
        try:
            return self.call('PING')
        except redis.RedisError:
            return False


@contextlib.contextmanager
def running(*nodes):
    """Starts servers, all at once, and ends them."""
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.await_answer()
        yield nodes
    finally:
        for node in nodes:
            node.close()


class Cluster:
    """Three masters and a replica of each."""

    def __init__(self, nodes):
        self.nodes = nodes
        self._clients = []
        masters, replicas = nodes[:MASTERS], nodes[MASTERS:]
        for number, node in enumerate(masters):
            node.call('CLUSTER', 'SET-CONFIG-EPOCH', number + 1)
            node.call('CLUSTER', 'ADDSLOTS', *range(SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS))
        for node in nodes[1:]:
            node.call('CLUSTER', 'MEET', nodes[0].host, nodes[0].port)
        wait_until(lambda: all(_known_nodes(node) == len(nodes) for node in nodes), 'that all nodes have met')
        for master, replica in zip(masters, replicas):
            wait_until(lambda: self._replicates(replica, master), 'a replica')  # noqa: B023 (called at once)
        self.await_health()

    @staticmethod
    def _replicates(replica, master):
        try:
            return replica.call('CLUSTER', 'REPLICATE', master.call('CLUSTER', 'MYID'))
        except redis.ResponseError as error:  # it has not heard of its master yet
            assert 'Unknown node' in str(error)
            return False

    def await_health(self):
        """Waits until each slot has a master that all agree on, and each master a replica that is up to date."""
        wait_until(lambda: all(map(self._is_well, self.nodes)), 'a healthy cluster')

    @staticmethod
    def _is_well(node):
        if 'cluster_state:ok' not in str(node.call('CLUSTER', 'INFO')):
            return False
        info = node.call('INFO', 'replication')
        if info['role'] == 'slave':
            return info['master_link_status'] == 'up'
        return info['connected_slaves'] >= 1

    def client(self, **options):
        """A client of the whole cluster; it is closed with it."""
        first = next(node for node in self.nodes if node.runs)
        client = redis.RedisCluster(first.host, first.port, **options)
        self._clients.append(client)
        return client

    def master_of(self, key):
        """The node that has this key's slot, by what a living one knows."""
        client = self.client()
        try:
            port = client.get_node_from_key(key).port
        finally:
            client.close()
        return next(node for node in self.nodes if node.port == port)

    def masters(self):
        return [node for node in self.nodes if node.runs and node.call('INFO', 'replication')['role'] == 'master']

    def move_slot(self, key, batch=1):
        """Moves the key's slot to another master, `batch` keys at a time, as `redis-cli --cluster reshard` does."""
        with self.moving(key, batch) as move:
            while move():
                pass

    @contextlib.contextmanager
    def moving(self, key, batch=1):
        """While the block lasts, a slot is on its way: yields what moves some keys and returns whether any was left."""
        source = self.master_of(key)
        slot = source.call('CLUSTER', 'KEYSLOT', key)
        target = next(node for node in self.masters() if node is not source)
        source_id, target_id = (node.call('CLUSTER', 'MYID') for node in (source, target))
        target.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', source_id)
        source.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', target_id)

        def move():
            keys = source.call('CLUSTER', 'GETKEYSINSLOT', slot, batch)
            if keys:
                source.call('MIGRATE', target.host, target.port, '', 0, 30_000, 'KEYS', *keys)
            return bool(keys)

        yield move
        while move():
            pass
        for node in sorted(self.masters(), key=lambda node: node is not target):  # the target first
            node.call('CLUSTER', 'SETSLOT', slot, 'NODE', target_id)

    def close(self):
        for client in self._clients:
            client.close()


def _known_nodes(node):
    lines = str(node.call('CLUSTER', 'NODES')).splitlines()
    return len([line for line in lines if 'handshake' not in line])


@contextlib.contextmanager
def cluster():
    lines = ('save ""', 'appendonly no', 'cluster-enabled yes', 'cluster-node-timeout %d' % TIMEOUT_MS,
             'cluster-require-full-coverage no', 'cluster-replica-validity-factor 0', 'repl-diskless-sync yes',
             'repl-diskless-sync-delay 0', 'maxmemory 64mb', 'maxmemory-policy noeviction')
    with running(*(Node(*lines) for _ in range(2 * MASTERS))) as nodes:
        with contextlib.closing(Cluster(nodes)) as cluster:
            yield cluster


class Watched:
    """A master with two replicas, and three sentinels that put a replica into its place when it dies."""

    def __init__(self, nodes, sentinels):
        self.nodes = nodes
        self.sentinels = sentinels
        self._clients = []
        self.await_health()

    def master(self):
        """The node that is the master, by what the sentinels say; `None` while they do not agree."""
        said = {sentinel.ask(lambda client: client.sentinel_get_master_addr_by_name(SERVICE))
                for sentinel in self.sentinels}
        found = [node for node in self.nodes if said == {(node.host, node.port)}]
        return found[0] if found and found[0].runs else None

    def replicas(self):
        return [node for node in self.nodes if node is not self.master()]

    def await_health(self, seconds=DEADLINE):
        """Waits until there is a master, both others replicate it, and all sentinels know all of this."""
        wait_until(self._is_well, 'a master with its replicas and sentinels', seconds)

    def _is_well(self):
        master = self.master()
        if master is None or not all(node.runs for node in self.nodes):
            return False
        info = master.call('INFO', 'replication')
        known = [sentinel.ask(lambda client: client.sentinel_master(SERVICE)) for sentinel in self.sentinels]
        links = [node.call('INFO', 'replication') for node in self.nodes if node is not master]
        return (info['role'] == 'master' and info['connected_slaves'] == 2
                and all(link.get('master_link_status') == 'up' for link in links)
                and all((one['flags'], one['num-slaves'], one['num-other-sentinels']) == ('master', 2, 2)
                        for one in known))

    def client(self, **options):
        """A client of whoever is the master; it is closed with all this."""
        sentinel = Sentinel([(each.host, each.port) for each in self.sentinels],
                            sentinel_kwargs={'socket_timeout': 1})
        client = sentinel.master_for(SERVICE, **{'socket_timeout': 3, **options})
        self._clients += [client, *sentinel.sentinels]
        return client

    def close(self):
        for client in self._clients:
            client.close()
            client.connection_pool.disconnect()


@contextlib.contextmanager
def watched():
    lines = ('save ""', 'appendonly no', 'repl-diskless-sync yes', 'repl-diskless-sync-delay 0', 'maxmemory 64mb',
             'maxmemory-policy noeviction')
    master = Node(*lines)
    replicas = [Node(*lines, 'replicaof %s %d' % (master.host, master.port)) for _ in range(2)]
    sentinels = [Node(
        'sentinel monitor %s %s %d 2' % (SERVICE, master.host, master.port),
        'sentinel down-after-milliseconds %s %d' % (SERVICE, TIMEOUT_MS),
        'sentinel failover-timeout %s %d' % (SERVICE, 3 * TIMEOUT_MS), args=('--sentinel',)) for _ in range(3)]
    with running(master, *replicas):
        wait_until(lambda: master.call('INFO', 'replication')['connected_slaves'] == 2, 'the replicas')
        with running(*sentinels):  # later, for they look for replicas when they start, and every ten seconds
            with contextlib.closing(Watched([master, *replicas], sentinels)) as those:
                yield those
