"""Makes the ledger's calls on any redis-py client. Replies come as bytes whatever it decodes."""

from __future__ import annotations

import inspect
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple

import redis
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from ._denials import explained
from ._scripts import Argument, Script
from .errors import InvalidArgument, WrongType

#: What a call raises when Redis is away or refuses it: worth trying again later.
Unavailable = (RedisError, RedisClusterException, OSError)

_PLAIN_CONNECTIONS = (redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection)
_BLOCK = 1.0  # seconds that one wait for a notification lasts
_COUNTS_BY_NUMBER = redis.VERSION < (5,)  # whose clusters find the keys of a script only if their number is no text
TICK = 0.1  # seconds that Redis may be late when it ends a wait


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

    #: Whether `begin_script` leaves the time until the reply to whoever calls it.
    overlaps = False

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

    def begin_script(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> None:
        """Sends a call, which is not repeated. `end_script` is to be called before the next call, or its reply is lost.
        Unless this caller `overlaps`, the call is made at once."""
        self._reply = self.script(script, keys, args, repeat=False)

    def end_script(self) -> Any:
        """Waits for the reply."""
        return self._reply

    def command(self, *args: Argument, repeat: bool = True) -> Any:
        """Sends a command. `repeat=False`: never twice, if the client allows that; else as often as it likes."""
        words: List[Argument] = [arg if isinstance(arg, (str, bytes)) else str(arg) for arg in args]  # see _packing.py
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
        seconds = block_seconds(seconds, timeout)
        if timeout is None or timeout > seconds + 2 * TICK:
            try:
                popped = self.command('BLPOP', *keys, seconds)
                if popped is None or len(keys) == 1:
                    return None if popped is None else 0
                return [key.encode() for key in keys].index(popped[0])
            except ResponseError as error:
                if 'not an integer' not in str(error):
                    raise  # Redis 5 waits for whole seconds only
        time.sleep(max(seconds, TICK))
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
            return do_nothing
        disconnect: Callable[[], None] = connection.disconnect
        return disconnect  # by its pid it knows not to shut down that of its parent


def calling_all(functions: Sequence[Callable[[], None]]) -> Callable[[], None]:
    def call_all() -> None:
        for function in functions:
            function()

    return call_all


def do_nothing() -> None:
    pass


def block_seconds(seconds: float, socket_timeout: Optional[float]) -> float:
    """Whole where possible, for Redis 5; never 0, which is for ever."""
    if socket_timeout is not None and socket_timeout <= seconds * 1.25:
        seconds = socket_timeout / 2
    return int(seconds) if seconds >= 1 and seconds == int(seconds) else max(seconds, 0.01)
