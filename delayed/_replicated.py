"""Makes an enqueueing call that waits until replicas have it, too."""

from __future__ import annotations

from typing import Any, Sequence

from ._redis import Caller
from ._scripts import ENQUEUE, Argument, Script
from .errors import InvalidArgument, NotReplicated

_REMEMBERED = 600  # seconds that Redis remembers a producer's last call; as in enqueue.lua
_MARGIN = 0.2  # seconds: Redis, which may be late by a tenth, is to end the wait before the client does


class Replicated(Caller):
    """Runs a script of one producer through another caller, and waits for replicas on the same connection: Redis tells
    of what this connection wrote, of no other.

    timeout: how long to wait for them, in seconds.
    """

    def __init__(self, caller: Caller, replicas: int, timeout: float) -> None:
        if not caller.keeps_together:
            raise InvalidArgument('min_replicas needs a client with a pool of connections: redis.Redis, a master of '
                                  'redis.sentinel, or redis.RedisCluster')
        self._caller = caller
        self._replicas = replicas
        if caller.socket_timeout is not None:
            timeout = min(timeout, caller.socket_timeout * 0.9 - _MARGIN)
        self._timeout_ms = max(1, int(timeout * 1000))  # 0 would be for ever

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Argument], repeat: bool = True) -> Any:
        """Waits behind enqueue.lua alone. Its fourth key is the producer's record, which is written to once more: a
        repeated call finds that all is done and writes nothing, so that the wait for this connection's writes would end
        at once. Raises `NotReplicated`."""
        if script is not ENQUEUE:
            return self._caller.script(script, keys, args, repeat)
        behind = (('EXPIRE', keys[3], _REMEMBERED), ('WAIT', self._replicas, self._timeout_ms))
        replies = self._caller.script_together(script, keys, args, behind, repeat)
        if replies[-1] < self._replicas:
            raise NotReplicated(self._replicas, replies[-1])
        return replies[0]

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        return self._caller.command(*args, repeat=repeat)
