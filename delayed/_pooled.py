"""Makes calls through the connections of a client's pool: `Redis.execute_command` and `Script` cost about half of the
rate that one connection reaches."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from ._denials import explained
from ._exchange import begin, exchange, finish, get_connection, socket_of
from ._packing import Packer, Request
from ._redis import TICK, Caller, block_seconds, do_nothing
from ._scripts import Argument, Script

#: Seconds that a worker waits for a reply, unless its client is set to less: while it waits it cannot watch its child.
HELD_SOCKET_TIMEOUT = 3.0
#: For so many seconds a connection may serve before it is returned, in all and between two calls.
_KEPT_SECONDS, _KEPT_IDLE_SECONDS = 1.0, 0.01
_KEPT_NAME = '_kept_by_delayed'
_LONG_ROW = 20  # calls; a program that enqueues a few between other things has one connection, as before
_ROOMY = 100  # connections; the limit of a client of redis-py 8 that asks for none, older ones have hardly any


class _PackingCaller(Caller):
    """Makes calls with requests that are packed here."""

    def __init__(self, conn: Any, packer: Packer) -> None:
        super().__init__(conn)
        self._packer = packer

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Argument], repeat: bool = True) -> Any:
        try:
            return self._call(self._packer.script(script, keys, args), repeat)
        except NoScriptError:
            return super().script(script, keys, args, repeat)
        except ResponseError as error:
            raise explained(error, script) from None

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        return self._call(self._packer.command(args), repeat)

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        request = [piece for args in calls for piece in self._packer.command(args)]
        if len(calls) == 1:
            return [self._call(request, repeat)]
        replies: List[Any] = self._call(request, repeat, len(calls))
        return replies

    def _call(self, request: Request, repeat: bool, count: int = 1) -> Any:
        """Returns the reply, or if there are more, the list of them."""
        raise NotImplementedError


class _Kept:
    """One connection of a pool, kept between calls of a long row: to get and release one takes a fifth of a call. After
    a second the next call returns it, for the pool must see to its connections: whether they are alive, and to their
    credentials. Until there is one, the pool has a connection less. Methods need no lock, which a fork might copy while
    it is held."""

    def __init__(self, pool: Any) -> None:
        self._is_roomy = _is_roomy(pool)
        self._free: Deque[Tuple[Any, int, float]] = deque()  # with the process, and until when it may be kept
        self._used_at = -math.inf
        self._row = 0  # calls that followed each other at once

    def take(self, pool: Any) -> Tuple[Any, float]:
        """Returns a connection for the caller alone, and until when (monotonic) it may be kept."""
        now = time.monotonic()
        at_once = now < self._used_at + _KEPT_IDLE_SECONDS
        self._row = self._row + 1 if at_once else 0
        free = self._pop()
        if free is not None:
            connection, until = free
            if at_once and now < until:
                return free
            pool.release(connection)
        return get_connection(pool), now + _KEPT_SECONDS

    def _pop(self) -> Optional[Tuple[Any, float]]:
        try:
            connection, pid, until = self._free.pop()
        except IndexError:
            return None
        return (connection, until) if pid == os.getpid() else None

    def give_back(self, pool: Any, connection: Any, until: float) -> None:
        self._used_at = time.monotonic()
        if self._row < _LONG_ROW or self._free or not self._is_roomy:
            pool.release(connection)
            return
        self._free.append((connection, os.getpid(), until))
        while len(self._free) > 1:  # another thread gave one back at the same moment
            pool.release(self._free.popleft()[0])


def _kept_of(pool: Any) -> _Kept:
    """Stands on the pool itself, whose connections may refer to it: so both go together."""
    found: Optional[_Kept] = vars(pool).get(_KEPT_NAME)
    return found or vars(pool).setdefault(_KEPT_NAME, _Kept(pool))


def _is_roomy(pool: Any) -> bool:
    """Whether nobody will miss a connection. Who has a pool that blocks wants to share a few."""
    return not isinstance(pool, redis.BlockingConnectionPool) and (getattr(pool, 'max_connections', 0) or 0) >= _ROOMY


class PooledCaller(_PackingCaller):
    """Calls through the connections of a client's pool."""

    def __init__(self, conn: Any) -> None:
        super().__init__(conn, Packer(conn))

    def _call(self, request: Request, repeat: bool, count: int = 1) -> Any:
        pool = self._conn.connection_pool
        kept = _kept_of(pool)
        connection, until = kept.take(pool)
        answered = False
        try:
            try:
                reply = exchange(connection, request, True, count)
            except Exception as error:
                if not repeat:
                    raise
                return self._call_again(connection, request, count, error)
            answered = True
            return reply
        finally:
            if answered:
                kept.give_back(pool, connection, until)
            else:
                pool.release(connection)

    @staticmethod
    def _call_again(connection: Any, request: Request, count: int, error: Exception) -> Any:
        """Goes on as the client does after a first call that failed; to call by it from the start takes longer."""
        errors = [error]

        def call() -> Any:
            if errors:
                raise errors.pop()
            return exchange(connection, request, count=count)

        return connection.retry.call_with_retry(call, lambda error, *_: connection.disconnect())

    def hold(self) -> Caller:
        return HeldCaller(self._conn, self._packer)


class HeldCaller(_PackingCaller):
    """Calls through one connection of its own, which never repeats a call and does not wait long. For one thread."""

    overlaps = True

    def __init__(self, conn: Any, packer: Packer) -> None:
        super().__init__(conn, packer)
        pool = conn.connection_pool
        self._connection = pool.connection_class(**pool.connection_kwargs)
        self._whole_seconds = False
        self._is_open = False  # for sure: the last call was answered
        self._owed: Optional[Tuple[Script, Sequence[str], Sequence[Argument]]] = None  # whose reply was not read
        # Set here, since the Unix sockets of redis-py before 4.6 do not take all of them as arguments.
        self._connection.retry = Retry(NoBackoff(), 0)
        for name in ('socket_timeout', 'socket_connect_timeout'):
            own = getattr(self._connection, name, None)
            setattr(self._connection, name, HELD_SOCKET_TIMEOUT if own is None else min(own, HELD_SOCKET_TIMEOUT))

    def _call(self, request: Request, repeat: bool, count: int = 1) -> Any:
        reply = exchange(self._connection, request, self._may_send(), count)
        self._is_open = True
        return reply

    def _may_send(self) -> bool:
        """Whether the connection is known to be open. Until the call that comes is answered, nothing is known."""
        if self._owed is not None:
            self._is_open = False
            self._connection.disconnect()  # that reply must not answer the next call
            self._owed = None
        was_open, self._is_open = self._is_open, False
        return was_open

    def begin_script(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> None:
        is_open = self._may_send()
        self._owed = script, keys, args  # from before it is sent until it is read, for a signal's handler may raise
        begin(self._connection, self._packer.script(script, keys, args), is_open)

    def end_script(self) -> Any:
        owed = self._owed
        assert owed is not None, 'another call was made meanwhile'
        try:
            reply = finish(self._connection)
        except NoScriptError:
            self._owed = None
            return self.script(*owed, repeat=False)
        except ResponseError as error:
            self._owed = None
            raise explained(error, owed[0]) from None
        self._owed, self._is_open = None, True
        return reply

    def begin_wait(self, key: str, seconds: float) -> int:
        """Begins to wait for up to `seconds` until something can be popped from the list `key`; `end_wait` is to be
        called next. Returns the name of this connection, for CLIENT UNBLOCK."""
        seconds = block_seconds(seconds, self._socket_timeout())
        if self._whole_seconds:
            seconds = max(1, round(seconds))
        packed = self._packer.command
        begin(self._connection, packed(('CLIENT', 'ID')) + packed(('BLPOP', key, seconds)), self._may_send())
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
        connection, packer = self._connection, self._packer
        try:
            request = packer.command(('BLPOP', key, seconds)) + packer.script(script, keys, args)
            begin(connection, request, self._may_send())
            connection.read_response(disable_decoding=True)
            return connection.read_response(disable_decoding=True)
        except NoScriptError:
            return self.command('EVAL', script.source, len(keys), *keys, *args)
        except BaseException as error:  # be it one that Redis has told: another reply may still be under way
            connection.disconnect()
            if isinstance(error, ResponseError):
                raise explained(error, script) from None
            raise

    def _socket_timeout(self) -> Optional[float]:
        timeout: float = self._connection.socket_timeout
        return timeout

    def let_go(self) -> None:
        self._is_open, self._owed = False, None
        self._connection.disconnect()

    def forgetter(self) -> Callable[[], None]:
        found = socket_of(self._connection)
        if found is None:
            return do_nothing
        return lambda: os.close(found.detach())  # to disconnect runs a lot of code
