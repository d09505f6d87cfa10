"""Whether others may reach the Redis of a queue that has no secret: then a worker says once what that means."""

from __future__ import annotations

import ipaddress
from typing import Any, List

from ._signature import ENVIRON, MAKE_SECRET
from .logger import logger

_warned = False


def warn_if_exposed(queue_name: str, conn: Any) -> None:
    """Warns once in a process."""
    global _warned
    hosts = [] if _warned else remote_hosts(conn)
    if hosts:
        _warned = True
        logger.warning(
            'whoever can write to the Redis at %s can run code in the workers of queue %s. Let the tasks be signed: '
            'print a secret by the first line, and set it by the second for all that enqueue and work (or say '
            'secret=False where the queue is made):\n    %s\n    export %s=...',
            ', '.join(hosts), queue_name, MAKE_SECRET, ENVIRON)


def remote_hosts(conn: Any) -> List[str]:
    """The hosts that a client connects to and that are not this machine, as far as they are known."""
    pool = getattr(conn, 'connection_pool', None)
    nodes = getattr(conn, 'nodes_manager', None)
    sentinels = getattr(pool, 'sentinel_manager', None)
    if nodes is not None:
        hosts = [node.host for node in list(nodes.nodes_cache.values())]
    elif sentinels is not None:
        hosts = [_host(sentinel.connection_pool) for sentinel in sentinels.sentinels]
    else:
        hosts = [_host(pool)]
    return sorted({host for host in hosts if host and not _is_this_machine(host)})


def _host(pool: Any) -> str:
    """Empty: a Unix socket, or none at all."""
    if getattr(pool, 'connection_class', type(None)).__module__.startswith('fakeredis'):
        return ''
    kwargs = getattr(pool, 'connection_kwargs', {})
    return '' if 'path' in kwargs else str(kwargs.get('host', ''))


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return host.lower() == 'localhost' or host.lower().endswith('.localhost')
    return address.is_loopback or address.is_unspecified
