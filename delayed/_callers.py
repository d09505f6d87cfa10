"""Which way of making calls a client allows."""

from __future__ import annotations

from typing import Any

import redis

from ._pooled import PooledCaller
from ._redis import Caller


def caller(conn: Any) -> Caller:
    """Returns the best one."""
    execute = getattr(type(conn), 'execute_command', None)
    if execute is redis.RedisCluster.execute_command:
        from ._cluster import ClusterCaller  # here, for few have a cluster
        return ClusterCaller(conn)
    return PooledCaller(conn) if execute is redis.Redis.execute_command and conn.connection is None else Caller(conn)
