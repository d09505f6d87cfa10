"""Makes calls through the connections of a client's pool: `Redis.execute_command` and `Script` cost about half of the
rate that one connection reaches."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from ._denials import explained
from ._exchange import as_text, begin, exchange, finish, get_connection, socket_of
from ._redis import TICK, Caller, block_seconds, do_nothing
from ._scripts import Argument, Script

#: Seconds that a worker waits for a reply, unless its client is set to less: while it waits it cannot watch its child.
HELD_SOCKET_TIMEOUT = 3.0
_MOST_HEADS = 1000  # of scripts that are called with the same keys


class PooledCaller(Caller):
    """Calls through the connections of a client's pool, with requests that are packed here: that takes a quarter of the
    time, and what is the same in each call of a script with the same keys is packed once."""

    def __init__(self, conn: Any) -> None:
        super().__init__(conn)
        self._encode: Callable[[str], bytes] = conn.connection_pool.get_encoder().encode
        self._heads: Dict[Tuple[str, Sequence[str]], bytes] = {}

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Argument], repeat: bool = True) -> Any:
        head = self._heads.get((script.sha, keys))
        if head is None:
            head = self._packed(('EVALSHA', script.sha, len(keys), *keys))
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[script.sha, keys] = head
        try:
            return self._call(b'*%d\r\n%b%b' % (3 + len(keys) + len(args), head, self._packed(args)), repeat)
        except NoScriptError:
            return super().script(script, keys, args, repeat)
        except ResponseError as error:
            raise explained(error, script) from None

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        return self._call(b'*%d\r\n%b' % (len(args), self._packed(args)), repeat)

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        requests = [b'*%d\r\n%b' % (len(args), self._packed(args)) for args in calls]
        if len(requests) == 1:
            return [self._call(requests[0], repeat)]
        replies: List[Any] = self._call(b''.join(requests), repeat, len(requests))
        return replies

    def _packed(self, args: Sequence[Argument]) -> bytes:
        """Arguments of a request, each after its length."""
        lines = []
        for arg in args:
            if type(arg) is not bytes:
                arg = self._encode(arg) if isinstance(arg, str) else str(arg).encode()
            lines.append(b'$%d' % len(arg))
            lines.append(arg)
        lines.append(b'')
        return b'\r\n'.join(lines)

    def _call(self, request: bytes, repeat: bool, count: int = 1) -> Any:
        """Returns the reply, or if there are more, the list of them."""
        pool = self._conn.connection_pool
        connection = get_connection(pool)
        try:
            try:
                return exchange(connection, request, True, count)
            except Exception as error:
                if not repeat:
                    raise
                return self._call_again(connection, request, count, error)
        finally:
            pool.release(connection)

    @staticmethod
    def _call_again(connection: Any, request: bytes, count: int, error: Exception) -> Any:
        """Goes on as the client does after a first call that failed; to call by it from the start takes longer."""
        errors = [error]

        def call() -> Any:
            if errors:
                raise errors.pop()
            return exchange(connection, request, count=count)

        return connection.retry.call_with_retry(call, lambda error, *_: connection.disconnect())

    def hold(self) -> Caller:
        return HeldCaller(self._conn)


class HeldCaller(Caller):
    """Calls through one connection of its own, which never repeats a call and does not wait long. For one thread."""

    def __init__(self, conn: Any) -> None:
        super().__init__(conn)
        pool = conn.connection_pool
        self._connection = pool.connection_class(**pool.connection_kwargs)
        self._whole_seconds = False
        # Set here, since the Unix sockets of redis-py before 4.6 do not take all of them as arguments.
        self._connection.retry = Retry(NoBackoff(), 0)
        for name in ('socket_timeout', 'socket_connect_timeout'):
            own = getattr(self._connection, name, None)
            setattr(self._connection, name, HELD_SOCKET_TIMEOUT if own is None else min(own, HELD_SOCKET_TIMEOUT))

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        return exchange(self._connection, args)

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        if len(calls) == 1:
            return [exchange(self._connection, calls[0])]
        replies: List[Any] = exchange(self._connection, self._packed(calls), count=len(calls))
        return replies

    def _packed(self, calls: Sequence[Sequence[Argument]]) -> bytes:
        return b''.join(piece for args in calls for piece in self._connection.pack_command(*as_text(args)))

    def begin_wait(self, key: str, seconds: float) -> int:
        """Begins to wait for up to `seconds` until something can be popped from the list `key`; `end_wait` is to be
        called next. Returns the name of this connection, for CLIENT UNBLOCK."""
        seconds = block_seconds(seconds, self._socket_timeout())
        if self._whole_seconds:
            seconds = max(1, round(seconds))
        begin(self._connection, self._packed((('CLIENT', 'ID'), ('BLPOP', key, seconds))))
        try:
            return int(finish(self._connection))
        except ResponseError:  # this user may not ask
            self._connection.disconnect()
            raise

    def end_wait(self) -> bool:
        """Returns whether something was popped, as soon as that is known."""
        try:
            return finish(self._connection) is not None
        except ResponseError as error:
            if 'not an integer' not in str(error):
                raise
            self._whole_seconds = True  # Redis 5; the next wait shall be one
            return False

    def fileno(self) -> int:
        """Of the connection, which is open: readable when a wait has ended."""
        found = socket_of(self._connection)
        return -1 if found is None else found.fileno()

    def wait_and_run(self, key: str, seconds: float, script: Script, keys: Sequence[str],
                     args: Sequence[Argument]) -> Any:
        """Sends both at once: Redis runs the script as soon as the wait is over."""
        timeout = self._socket_timeout()
        seconds = block_seconds(seconds, timeout)
        if seconds != 1 or (timeout is not None and timeout <= seconds + 2 * TICK):
            return super().wait_and_run(key, seconds, script, keys, args)
        connection, numbered = self._connection, (script.sha, len(keys), *keys, *args)
        try:
            connection.connect()
            connection.send_packed_command(connection.pack_commands(
                [as_text(('BLPOP', key, seconds)), as_text(('EVALSHA', *numbered))]))
            connection.read_response(disable_decoding=True)
            return connection.read_response(disable_decoding=True)
        except NoScriptError:
            return self.command('EVAL', script.source, *numbered[1:])
        except BaseException as error:  # be it one that Redis has told: another reply may still be under way
            connection.disconnect()
            if isinstance(error, ResponseError):
                raise explained(error, script) from None
            raise

    def _socket_timeout(self) -> Optional[float]:
        timeout: float = self._connection.socket_timeout
        return timeout

    def let_go(self) -> None:
        self._connection.disconnect()

    def forgetter(self) -> Callable[[], None]:
        found = socket_of(self._connection)
        if found is None:
            return do_nothing
        return lambda: os.close(found.detach())  # to disconnect runs a lot of code


def caller(conn: Any) -> Caller:
    """Returns the fastest caller that `conn` allows."""
    plain = getattr(type(conn), 'execute_command', None) is redis.Redis.execute_command
    return PooledCaller(conn) if plain and conn.connection is None else Caller(conn)
