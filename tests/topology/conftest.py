"""The servers are shared by all tests of this directory: a cluster takes some seconds to form."""

import os

import pytest

from delayed.embedded import find_server
from delayed.errors import ServerNotFound

from . import servers


def _serve(started):
    try:
        find_server()
    except ServerNotFound as error:
        if os.environ.get('CI'):
            raise
        pytest.skip(str(error))
    with started as those:
        yield those


@pytest.fixture(scope='session')
def whole_cluster():
    yield from _serve(servers.cluster())


@pytest.fixture
def cluster(whole_cluster):
    """A healthy cluster that holds no data."""
    whole_cluster.await_health()
    for node in whole_cluster.masters():
        node.call('FLUSHALL')
    return whole_cluster


@pytest.fixture(scope='session')
def whole_watched():
    yield from _serve(servers.watched())


@pytest.fixture
def watched(whole_watched):
    """A master that holds no data, with its replicas and sentinels."""
    whole_watched.await_health()
    whole_watched.master().call('FLUSHALL')
    return whole_watched
