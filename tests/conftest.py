"""The fixtures that several test modules share. Every test that needs Redis gets a server that the tests started."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
import redis

from delayed.embedded import EmbeddedRedis
from delayed.errors import ServerNotFound
from waiting import DEADLINE

# Programs that the tests start import the modules of task functions, as the tests themselves do.
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get('PYTHONPATH')]))

os.environ.pop('DELAYED_SECRET', None)  # or all queues would sign

# What runs in the background of a shell, or under nohup, ignores these, and all that it starts would do so, too.
for _signum, _disposition in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL),
                              (signal.SIGQUIT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL)):
    signal.signal(_signum, _disposition)

#: Of the long part, beside what is marked so where it stands: what takes long to set up, or is a variation.
_LONG = ('tests/interop/', 'tests/test_packaging.py', 'tests/test_demo.py::TestADemoOnTheUsersServer',
         'tests/test_demo.py::TestADemoInATerminal',
         'tests/test_cli.py::TestHelp::test_has_examples_of_the_demo_that_run')
#: One worker's tests of these files are ordinary ones, the other's are of the long part. Both keep one contract.
_ONE_WORKER = ('tests/test_blackbox.py', 'tests/test_fuzz.py', 'tests/test_payloads.py', 'tests/test_pool.py',
               'tests/test_run.py', 'tests/test_several_queues.py', 'tests/test_signed.py', 'tests/test_unreadable.py',
               'tests/faults/')


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if redis.VERSION < (4, 6):  # where a Unix socket cannot be connected, it is left to Python to close it
        config.addinivalue_line('filterwarnings', 'ignore::pytest.PytestUnraisableExceptionWarning')


def pytest_collection_modifyitems(items):
    for item in items:
        params = item.callspec.params if hasattr(item, 'callspec') else {}
        if item.nodeid.startswith(_LONG) or (
                item.nodeid.startswith(_ONE_WORKER) and params.get('worker_class') == 'ForkedWorker'):
            item.add_marker('long')


def pytest_collection_finish():
    """The tests and their tools are no garbage: each look for some, here and in each process that a test forks, would
    read them all, and copy the pages where they stand."""
    gc.collect()
    gc.freeze()


#: What the tests of these files share is costly, so one process runs all of a file. The first ones take longest.
_WHOLE_FILES = ('tests/faults/test_matrix.py', 'tests/test_packaging.py', 'tests/test_demo.py', 'tests/test_redis.py',
                'tests/test_typing.py', 'tests/topology/test_tls.py',
                'tests/topology/test_sentinel.py')
_WITH = {'tests/topology/%s.py' % name: 'tests/topology' for name in ('test_cluster', 'test_sharded')}  # one cluster


def pytest_xdist_make_scheduler(config, log):
    """Where tests run in several processes (`-n 4`): which go together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition('::')[0]
            return path if path in _WHOLE_FILES else _WITH.get(path, nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope='session')
def redis_server():
    """The server that most tests share; its data goes with the test. Without one, tests are skipped, or fail in CI."""
    try:
        server = EmbeddedRedis().start()
    except ServerNotFound as error:
        if os.environ.get('CI'):
            raise
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def conn(redis_server):
    """A client of a real server that holds no data."""
    from queues import emptied
    with emptied(redis_server) as client:
        yield client


@pytest.fixture
def proxy(redis_server, conn):
    """Stands before a real server that holds no data."""
    from proxy import CuttingProxy
    with CuttingProxy(redis_server.socket_path) as proxy:
        yield proxy


@pytest.fixture(params=['real', 'fake'])
def real_or_fake(request):
    """A client of a real server, then one of fakeredis; neither holds data."""
    if request.param == 'real':
        yield request.getfixturevalue('conn')
        return
    fakeredis = pytest.importorskip('fakeredis')
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    yield client
    client.close()
    client.connection_pool.disconnect()


@pytest.fixture
def queue(conn):
    """An empty queue named `default`."""
    from delayed.queue import Queue
    return Queue('default', conn)


@pytest.fixture
def lab(conn, tmp_path):
    """Runs workers in processes of their own."""
    from workers import Lab
    with Lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def spares_stay(monkeypatch):
    """A worker keeps its spare child, however slow the machine is."""
    monkeypatch.setattr('delayed._children._IDLE', 10 * DEADLINE)


@pytest.fixture
def shell(conn, redis_server, tmp_path):
    """Types commands in a directory with an application."""
    from shell import Shell
    shell = Shell(tmp_path, redis_server.url)
    yield shell
    shell.close()


@pytest.fixture(params=['ForkedWorker', 'PreforkedWorker'])
def worker_class(request):
    """Each of the workers: both keep one contract."""
    from delayed import worker
    return getattr(worker, request.param)
