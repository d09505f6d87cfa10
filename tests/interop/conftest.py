"""The two sides: `theirs`, the published 0.5.1b2 on each Python it is tried on, and `ours`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from peers import NoInterpreter, Unavailable, clean_environ, python_2, python_3
from sides import Side

import delayed
from delayed.task import get_pickle_protocol_version, set_pickle_protocol_version


@pytest.fixture(scope='session')
def peer_on_this_python():
    return _made(python_3)


@pytest.fixture(scope='session')
def peer_on_python_2():
    return _made(python_2)


def _made(make):
    """Without the peer, tests are skipped; in CI they fail, unless it is its Python that is missing."""
    try:
        return make()
    except NoInterpreter as error:
        pytest.skip(str(error))
    except Unavailable as error:
        if os.environ.get('CI'):
            raise
        pytest.skip('no peer: %s' % str(error).splitlines()[0])


@pytest.fixture(params=['peer_on_this_python', 'peer_on_python_2'])
def peer(request):
    """A peer. Payloads that the tests make can be read by it."""
    peer = request.getfixturevalue(request.param)
    before = get_pickle_protocol_version()
    if peer.protocol is not None:
        set_pickle_protocol_version(peer.protocol)
    yield peer
    set_pickle_protocol_version(before)


@pytest.fixture
def theirs(peer, conn, redis_server):
    """Parties that run the published package."""
    with Side(peer.python, clean_environ(**peer.environ), redis_server.url, peer.protocol) as side:
        yield side


@pytest.fixture
def ours(peer, conn, redis_server):
    """Parties that run this package."""
    environ = {**os.environ, 'PYTHONPATH': str(Path(delayed.__file__).parents[1])}
    with Side(sys.executable, environ, redis_server.url, peer.protocol) as side:
        yield side


@pytest.fixture(params=['ForkedWorker', 'PreforkedWorker'])
def worker(request):
    """The name of a class that both sides have."""
    return request.param
