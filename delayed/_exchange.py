"""One request and its reply through a connection of redis-py."""

from __future__ import annotations

import inspect
import socket
from typing import Any, Callable, List, Optional

import redis
from redis.exceptions import ReadOnlyError, ResponseError

from ._packing import LARGE, Request


def exchange(connection: Any, request: Request, connected: bool = False, count: int = 1) -> Any:
    """Sends a request and returns the reply; of `count` requests, the list of their replies. `connected`: its pool has
    just seen to that."""
    begin(connection, request, connected)
    return finish(connection, count)


def begin(connection: Any, request: Request, connected: bool = False) -> None:
    try:
        if not connected:
            connection.connect()  # does nothing if it is; here alone a Sentinel's connection asks who the master is
        _send(connection, request)
    except BaseException:  # half a request must not stand before the next one
        connection.disconnect()
        raise


def finish(connection: Any, count: int = 1) -> Any:
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


def _send(connection: Any, request: Request) -> None:
    """A large request goes in chunks, for the client's timeout holds for all that is sent at once: on a slow network a
    payload of some megabytes would never get through."""
    if len(request) == 1 and len(request[0]) <= LARGE:
        connection.send_packed_command(request)
    elif sum(map(len, request)) <= LARGE:  # at once, or Redis might read each piece by itself
        connection.send_packed_command([b''.join(request)])
    else:
        views = [memoryview(piece) for piece in request]
        connection.send_packed_command(
            [view[start:start + LARGE] for view in views for start in range(0, len(view), LARGE)])


def socket_of(connection: Any) -> Optional[socket.socket]:
    """The socket of a connection that is open. redis-py has no public name for it."""
    for value in vars(connection).values():
        if isinstance(value, socket.socket) and value.fileno() >= 0:
            return value
    return None


def _connection_getter() -> Callable[[Any], Any]:
    """redis-py before 5.3 wants a command's name, later versions warn of it."""
    name = inspect.signature(redis.ConnectionPool.get_connection).parameters.get('command_name')
    needs_name = name is not None and name.default is inspect.Parameter.empty

    def with_name(pool: Any) -> Any:
        return pool.get_connection('EVALSHA')

    def without_name(pool: Any) -> Any:
        return pool.get_connection()

    return with_name if needs_name else without_name


get_connection = _connection_getter()
