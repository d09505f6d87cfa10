"""Makes the ledger's calls on a Redis Cluster, through connections to the one node that has the queue's slot.

`RedisCluster.execute_command` would do, but it repeats a call whose reply was lost, even one that takes a task, and it
waits for as long as its sockets do. Here a redirected call was not carried out, so it may be made again; a call that
got no reply is repeated only where that does no harm.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    SlotNotCoveredError,
    TryAgainError,
)

from . import _pooled
from ._pooled import HELD_SOCKET_TIMEOUT
from ._redis import Caller, Unavailable, calling_all
from ._scripts import Argument

#: For so many seconds a producer bears that its slot is on its way to another node, or that the cluster elects one.
PATIENCE = 10.0
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds before the second try, and before a late one
_AT_ONCE = 4  # so many redirections are followed without a pause
_KEYLESS = ('ACL', 'CLIENT', 'CONFIG', 'INFO', 'PING', 'TIME')  # any node will do
_KEY_OF = {'EVALSHA': 3, 'EVAL': 3}  # where the first key of a command stands, if not behind its name


class ClusterCaller(Caller):
    """Calls for the keys of one slot. `held`: through connections of its own, which never repeat a call that may have
    been carried out, and which do not wait long."""

    def __init__(self, conn: Any, held: bool = False) -> None:
        super().__init__(conn)
        self._held = held
        self._patience = HELD_SOCKET_TIMEOUT if held else PATIENCE
        self._node: Any = None  # has the slot, as far as is known
        self._callers: Dict[str, Caller] = {}  # those that are held, by their node's name
        self._pooled: Dict[Any, Caller] = {}  # by the client of their node

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        if args[0] in _KEYLESS:
            return self._caller(self._node or self._conn.get_default_node()).command(*args, repeat=repeat)
        return self.together((args,), repeat)[0]

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        """Raises what redis-py raises; `TryAgainError` or `ClusterDownError` if this goes on for longer than patience
        lasts."""
        deadline = time.monotonic() + self._patience
        repetitions = _repetitions(self._conn) if repeat and not self._held else 0
        asked = None  # a node that takes the call although the slot is not yet its own
        failures = 0
        while True:
            try:
                if asked is not None:
                    node, asked = asked, None
                    return self._caller(node).together((('ASKING',), *calls), False)[1:]
                return self._caller(self._find(calls[0])).together(calls, False)
            except AskError as error:
                asked = self._known(error)
                continue
            except MovedError as error:
                self._node = self._known(error)
                problem: Exception = error
            except (TryAgainError, ClusterDownError, SlotNotCoveredError) as error:
                problem = error
            except AuthenticationError:
                raise
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                self._node, deadline = None, deadline if failures < repetitions else 0.0
                problem = error
            failures += 1
            if time.monotonic() >= deadline:
                self._refresh()
                raise problem
            self._pause(problem, failures)

    def at_node(self, key: str) -> Tuple[_pooled.HeldCaller, Caller]:
        """Of one that is held: callers to the node that has the slot as far as is known, by a connection of its own,
        and by one of the client's."""
        node = self._find(('', key))
        held = self._caller(node)
        assert isinstance(held, _pooled.HeldCaller)
        return held, self._through_pool(node)

    def lost(self) -> None:
        """The node did not answer, or has the slot no more."""
        self._node = None
        self._refresh()

    def _find(self, args: Sequence[Argument]) -> Any:
        if self._node is None:
            self._node = self._conn.get_node_from_key(args[_KEY_OF.get(str(args[0]), 1)])
        return self._node

    def _caller(self, node: Any) -> Caller:
        if not self._held:
            return self._through_pool(node)
        if node.name not in self._callers:
            self._callers[node.name] = _pooled.PooledCaller(self._conn.get_redis_connection(node)).hold()
        return self._callers[node.name]

    def _through_pool(self, node: Any) -> Caller:
        client = self._conn.get_redis_connection(node)
        if client not in self._pooled:
            self._pooled = {client: _pooled.PooledCaller(client)}  # the slot has one node at a time
        return self._pooled[client]

    def _known(self, error: Any) -> Any:
        """The node that a redirection names; `None` if the client does not know it, even after it has asked."""
        node = self._conn.get_node(error.host, error.port)
        if node is None:
            self._refresh()
            node = self._conn.get_node(error.host, error.port)
        return node

    def _pause(self, problem: Exception, failures: int) -> None:
        if isinstance(problem, MovedError) and failures < _AT_ONCE:
            return
        time.sleep(min(_LONGEST_PAUSE, _PAUSE * 2 ** min(failures - 1, 10)))
        if not isinstance(problem, TryAgainError):
            self.lost()

    def _refresh(self) -> None:
        """Has the client ask the cluster which node has which slot."""
        with contextlib.suppress(*Unavailable):  # then it goes by what it knew
            self._conn.nodes_manager.initialize()

    def _socket_timeout(self) -> Optional[float]:
        timeout = super()._socket_timeout()
        return min(HELD_SOCKET_TIMEOUT if timeout is None else timeout, HELD_SOCKET_TIMEOUT) if self._held else timeout

    def hold(self) -> Caller:
        return ClusterCaller(self._conn, held=True)

    def let_go(self) -> None:
        for caller in self._callers.values():
            caller.let_go()
        self._callers.clear()

    def forgetter(self) -> Callable[[], None]:
        return calling_all([caller.forgetter() for caller in self._callers.values()])


def _repetitions(conn: Any) -> int:
    """How often this client repeats a call whose reply was lost."""
    retry: Any = getattr(conn, 'retry', None)
    if hasattr(retry, 'get_retries'):
        return int(retry.get_retries())
    return int(getattr(conn, 'cluster_error_retry_attempts', 3))
