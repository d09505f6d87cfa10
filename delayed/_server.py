"""A Redis server that a user names by its URL."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Iterator

import redis

from .errors import DelayedError, InvalidArgument, ServerNotFound


class ServerUnreachable(ServerNotFound):
    """The Redis server of the user's does not answer, or refuses what it is asked."""


def client(url: str, **options: Any) -> Any:
    """A client of the server at `url`, which is not connected yet. options: as `redis.Redis` takes them; the URL may
    have its own. Raises `InvalidArgument`."""
    try:
        return redis.Redis.from_url(url, **options)
    except (ValueError, TypeError) as error:  # of a scheme, a port, an option that there is not
        raise _no_url(url, error) from error


@contextlib.contextmanager
def reached(where: str) -> Iterator[None]:
    """Turns what redis-py raises while the server at `where` is asked for the first time into `ServerUnreachable` or
    `InvalidArgument`."""
    try:
        yield
    except DelayedError:
        raise
    except redis.AuthenticationError as error:
        raise ServerUnreachable('%s wants another password, to be given as redis://:PASSWORD@HOST:PORT/DB (%s)'
                                % (without_password(where), error)) from error
    except (redis.RedisError, OSError) as error:
        raise ServerUnreachable('cannot reach %s: %s' % (without_password(where), error)) from error
    except (ValueError, TypeError) as error:  # of an option that only a connection looks at
        raise _no_url(where, error) from error


def without_password(url: str) -> str:
    return re.sub(r'([?&]password=)[^&]*', r'\1...', re.sub('//[^/]*@', '//', url))


def _no_url(url: str, error: Exception) -> InvalidArgument:
    return InvalidArgument('no URL of a Redis server: %s (%s)' % (without_password(url), error))
