"""Makes the ledger's calls on any redis-py client.

Replies come as bytes whatever the client decodes. A call goes straight through the client's own connections where it
has them: `Redis.execute_command` and `Script` cost about half of the rate that one connection reaches.
"""

from __future__ import annotations

import inspect
import os
import socket
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

from ._denials import explained
from ._scripts import Argument, Script
from .errors import InvalidArgument, WrongType

#: What a call raises when Redis is away or refuses it: worth trying again later.
Unavailable = (RedisError, RedisClusterException, OSError)

#: Seconds that a worker waits for a reply, unless its client is set to less: while it waits it cannot watch its child.
HELD_SOCKET_TIMEOUT = 3.0
_PLAIN_CONNECTIONS = (redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection)
_BLOCK = 1.0  # seconds that one wait for a notification lasts
_COUNTS_BY_NUMBER = redis.VERSION < (5,)  # whose clusters find the keys of a script only if their number is no text
_CHUNK = 1 << 16  # bytes that are sent at once
_MOST_HEADS = 1000  # of scripts that are called with the same keys
_TICK = 0.1  # seconds that Redis may be late when it ends a wait


def check_client(conn: object) -> None:
    """Raises `WrongType` unless `conn` is a synchronous redis-py client."""
    execute = getattr(conn, 'execute_command', None)
    if isinstance(conn, type) or not callable(execute) or not callable(getattr(conn, 'register_script', None)):
        problem = 'it is no redis-py client'
    elif inspect.iscoroutinefunction(execute) or type(conn).__module__.startswith('redis.asyncio'):
        problem = 'it is an asynchronous client'
    elif hasattr(conn, 'immediate_execute_command') or hasattr(conn, 'command_stack'):
        problem = 'it is a pipeline'
    else:
        return
    raise WrongType('conn must be a client such as redis.Redis(), redis.RedisCluster() or fakeredis.FakeRedis(), '
                    'not %r: %s' % (conn, problem))


def check_slot(conn: Any, name: str, other_key: str) -> None:
    """Raises `InvalidArgument` if the keys of a queue of that name would be on different nodes of a Redis Cluster."""
    keyslot = getattr(conn, 'keyslot', None)
    if callable(keyslot) and keyslot(name) != keyslot(other_key):
        raise InvalidArgument("in a Redis Cluster, the keys of a queue must share a slot: call the queue '{%s}', not %r"
                              % (name, name))


def check_one_server(conns: Sequence[Any], names: Sequence[str]) -> None:
    """Raises `InvalidArgument` unless one call can reach all queues of these names, each through its client."""
    if len(set(map(_place, conns))) > 1:
        raise InvalidArgument('the queues of one worker must be in one database of one Redis server: give them one '
                              'client, or run a worker for each of %s' % ', '.join(names))
    keyslot = getattr(conns[0], 'keyslot', None)
    if callable(keyslot) and len({keyslot(name) for name in names}) > 1:
        raise InvalidArgument('in a Redis Cluster, the queues of one worker must share a slot: give %s one tag, such '
                              "as '{tag}name', or run a worker for each" % ', '.join(names))


def _place(conn: Any) -> Tuple[Any, ...]:
    """Which server and database a client leads to, as far as can be told; that of a Sentinel, for instance, changes."""
    pool: Any = getattr(conn, 'connection_pool', None) or conn
    if getattr(pool, 'connection_class', None) not in _PLAIN_CONNECTIONS:
        return (id(pool),)
    kwargs = pool.connection_kwargs
    return (*(kwargs.get(name) for name in ('path', 'host', 'port', 'username')), kwargs.get('db') or 0)


class Caller:
    """Calls through any client. Repeats a call as the client does, so every call must bear that."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Argument], repeat: bool = True) -> Any:
        """Runs a script; loads it where the server does not know it (it was restarted, flushed or failed over)."""
        return self.script_together(script, keys, args, (), repeat)[0]

    def script_together(self, script: Script, keys: Sequence[str], args: Sequence[Argument],
                        behind: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        """The same, with commands behind it through the same connection; those only if `keeps_together`."""
        for name, text in (('EVALSHA', script.sha), ('EVAL', script.source)):
            call = (name, text, len(keys), *keys, *args)
            try:
                return self.together((call, *behind), repeat) if behind else [self.command(*call, repeat=repeat)]
            except NoScriptError:
                continue
            except ResponseError as error:
                raise explained(error, script) from None
        raise AssertionError('Redis does not know a script that came along')

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        """Sends a command. `repeat=False`: never twice, if the client allows that; else as often as it likes."""
        words: List[Argument] = [*_as_text(args)]
        if _COUNTS_BY_NUMBER and args[0] in ('EVALSHA', 'EVAL'):
            words[2] = args[2]
        return self._conn.execute_command(*words, NEVER_DECODE=True)

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        """Sends commands through one connection, at once, and returns their replies. Only if `keeps_together`."""
        raise NotImplementedError('%r says not which connection it uses' % (self._conn,))

    def wait(self, key: str, seconds: float = _BLOCK) -> bool:
        """Pops from the list `key`; waits for up to `seconds` (less where the client's own timeout is shorter)."""
        return self.wait_any((key,), seconds) is not None

    def wait_any(self, keys: Sequence[str], seconds: float = _BLOCK) -> Optional[int]:
        """As `wait`, for several lists: pops from the first of `keys` that has something, and returns which it is."""
        timeout = self._socket_timeout()
        seconds = _block_seconds(seconds, timeout)
        if timeout is None or timeout > seconds + 2 * _TICK:
            try:
                popped = self.command('BLPOP', *keys, seconds)
                if popped is None or len(keys) == 1:
                    return None if popped is None else 0
                return [key.encode() for key in keys].index(popped[0])
            except ResponseError as error:
                if 'not an integer' not in str(error):
                    raise  # Redis 5 waits for whole seconds only
        time.sleep(max(seconds, _TICK))
        return next((number for number, key in enumerate(keys) if self.command('LPOP', key) is not None), None)

    @property
    def keeps_together(self) -> bool:
        """Whether it can send several commands through one connection."""
        return type(self).together is not Caller.together

    @property
    def socket_timeout(self) -> Optional[float]:
        """How long the client waits for a reply, in seconds; `None`: for ever."""
        return self._socket_timeout()

    def wait_and_run(self, key: str, seconds: float, script: Script, keys: Sequence[str],
                     args: Sequence[Argument]) -> Any:
        """Waits as `wait` does, and runs a script then, whether or not something came. The script is not repeated."""
        self.wait(key, seconds)
        return self.script(script, keys, args, repeat=False)

    def _socket_timeout(self) -> Optional[float]:
        pool = getattr(self._conn, 'connection_pool', None) or getattr(self._conn, 'nodes_manager', None)
        timeout: Optional[float] = getattr(pool, 'connection_kwargs', {}).get('socket_timeout')
        return timeout

    def hold(self) -> Caller:
        """Returns a caller for a worker's own use; to be closed by `let_go`."""
        return self

    def let_go(self) -> None:
        """Gives back what `hold` took."""

    def forgetter(self) -> Callable[[], None]:
        """Returns what closes, in a process that is forked next, its copy of the connection that is used here."""
        connection = getattr(self._conn, 'connection', None)  # of a client that has a single one
        if connection is None:
            return _do_nothing
        disconnect: Callable[[], None] = connection.disconnect
        return disconnect  # by its pid it knows not to shut down that of its parent


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
        connection = _get_connection(pool)
        try:
            try:
                return _exchange(connection, request, True, count)
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
            return _exchange(connection, request, count=count)

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
        return _exchange(self._connection, args)

    def together(self, calls: Sequence[Sequence[Argument]], repeat: bool = True) -> List[Any]:
        if len(calls) == 1:
            return [_exchange(self._connection, calls[0])]
        replies: List[Any] = _exchange(self._connection, self._packed(calls), count=len(calls))
        return replies

    def _packed(self, calls: Sequence[Sequence[Argument]]) -> bytes:
        return b''.join(piece for args in calls for piece in self._connection.pack_command(*_as_text(args)))

    def begin_wait(self, key: str, seconds: float) -> int:
        """Begins to wait for up to `seconds` until something can be popped from the list `key`; `end_wait` is to be
        called next. Returns the name of this connection, for CLIENT UNBLOCK."""
        seconds = _block_seconds(seconds, self._socket_timeout())
        if self._whole_seconds:
            seconds = max(1, round(seconds))
        _begin(self._connection, self._packed((('CLIENT', 'ID'), ('BLPOP', key, seconds))))
        try:
            return int(_finish(self._connection))
        except ResponseError:  # this user may not ask
            self._connection.disconnect()
            raise

    def end_wait(self) -> bool:
        """Returns whether something was popped, as soon as that is known."""
        try:
            return _finish(self._connection) is not None
        except ResponseError as error:
            if 'not an integer' not in str(error):
                raise
            self._whole_seconds = True  # Redis 5; the next wait shall be one
            return False

    def fileno(self) -> int:
        """Of the connection, which is open: readable when a wait has ended."""
        fd: int = self._connection._sock.fileno()
        return fd

    def wait_and_run(self, key: str, seconds: float, script: Script, keys: Sequence[str],
                     args: Sequence[Argument]) -> Any:
        """Sends both at once: Redis runs the script as soon as the wait is over."""
        timeout = self._socket_timeout()
        seconds = _block_seconds(seconds, timeout)
        if seconds != 1 or (timeout is not None and timeout <= seconds + 2 * _TICK):
            return super().wait_and_run(key, seconds, script, keys, args)
        connection, numbered = self._connection, (script.sha, len(keys), *keys, *args)
        try:
            connection.connect()
            connection.send_packed_command(connection.pack_commands(
                [_as_text(('BLPOP', key, seconds)), _as_text(('EVALSHA', *numbered))]))
            connection.read_response(disable_decoding=True)
            return connection.read_response(disable_decoding=True)
        except NoScriptError:
            return self.command('EVAL', script.source, *numbered[1:])
        except BaseException:  # be it an error that Redis has told: another reply may still be under way
            connection.disconnect()
            raise

    def _socket_timeout(self) -> Optional[float]:
        timeout: float = self._connection.socket_timeout
        return timeout

    def let_go(self) -> None:
        self._connection.disconnect()

    def forgetter(self) -> Callable[[], None]:
        for value in vars(self._connection).values():
            if isinstance(value, socket.socket) and value.fileno() >= 0:
                return lambda: os.close(value.detach())  # to disconnect runs a lot of code
        return _do_nothing


def calling_all(functions: Sequence[Callable[[], None]]) -> Callable[[], None]:
    def call_all() -> None:
        for function in functions:
            function()

    return call_all


def _do_nothing() -> None:
    pass


def caller(conn: Any) -> Caller:
    """Returns the fastest caller that `conn` allows."""
    plain = getattr(type(conn), 'execute_command', None) is redis.Redis.execute_command
    return PooledCaller(conn) if plain and conn.connection is None else Caller(conn)


def _as_text(args: Sequence[Argument]) -> List[Union[str, bytes]]:
    """Numbers as text, which is what is sent anyway: hiredis 3.5 crashes where a signal handler raises (as that of
    Ctrl-C does) while it turns one into text."""
    return [arg if isinstance(arg, (str, bytes)) else str(arg) for arg in args]


def _exchange(connection: Any, request: Union[bytes, Sequence[Argument]], connected: bool = False,
              count: int = 1) -> Any:
    """Sends a request, packed or not, and returns the reply; of `count` packed ones, the list of their replies.
    `connected`: its pool has just seen to that."""
    _begin(connection, request, connected)
    return _finish(connection, count)


def _begin(connection: Any, request: Union[bytes, Sequence[Argument]], connected: bool = False) -> None:
    try:
        if not connected:
            connection.connect()  # does nothing if it is; here alone a Sentinel's connection asks who the master is
        _send(connection, [request] if isinstance(request, bytes) else connection.pack_command(*_as_text(request)))
    except BaseException:  # half a request must not stand before the next one
        connection.disconnect()
        raise


def _finish(connection: Any, count: int = 1) -> Any:
    try:
        return connection.read_response(disable_decoding=True) if count == 1 else _replies(connection, count)
    except ResponseError as error:
        if isinstance(error, ReadOnlyError) or 'READONLY' in str(error):
            connection.disconnect()  # its name may lead to another master by now
        raise
    except BaseException:  # the reply may still be under way: it must not answer the next call
        connection.disconnect()
        raise


def _replies(connection: Any, count: int) -> List[Any]:
    """Reads all of them, and then raises the first that is an error."""
    replies: List[Any] = []
    for _ in range(count):
        try:
            replies.append(connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies


def _send(connection: Any, pieces: Sequence[bytes]) -> None:
    """A large request goes in chunks, for the client's timeout holds for all that is sent at once: on a slow network a
    payload of some megabytes would never get through."""
    if max(map(len, pieces)) <= _CHUNK:
        connection.send_packed_command(pieces)
    else:
        views = [memoryview(piece) for piece in pieces]
        connection.send_packed_command(
            [view[start:start + _CHUNK] for view in views for start in range(0, len(view), _CHUNK)])


def _block_seconds(seconds: float, socket_timeout: Optional[float]) -> float:
    """Whole where possible, for Redis 5; never 0, which is for ever."""
    if socket_timeout is not None and socket_timeout <= seconds * 1.25:
        seconds = socket_timeout / 2
    return int(seconds) if seconds >= 1 and seconds == int(seconds) else max(seconds, 0.01)


def _connection_getter() -> Callable[[Any], Any]:
    """redis-py before 5.3 wants a command's name, later versions warn of it."""
    name = inspect.signature(redis.ConnectionPool.get_connection).parameters.get('command_name')
    needs_name = name is not None and name.default is inspect.Parameter.empty

    def with_name(pool: Any) -> Any:
        return pool.get_connection('EVALSHA')

    def without_name(pool: Any) -> Any:
        return pool.get_connection()

    return with_name if needs_name else without_name


_get_connection = _connection_getter()
