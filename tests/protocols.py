"""The protocols that the installed redis-py can talk to the server."""

import inspect

import redis

#: Options of a client for each; the first is the default.
PROTOCOLS = [{}]
if 'protocol' in inspect.signature(redis.Redis).parameters:
    PROTOCOLS.append({'protocol': 3})
