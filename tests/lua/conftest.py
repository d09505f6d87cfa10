import pytest
from bench import Bench


def knows_users(conn):
    """Whether it is a server that can deny a user what its script does not name."""
    return int(conn.info('server')['redis_version'].split('.')[0]) >= 6


@pytest.fixture
def bench(request, real_or_fake):
    if request.node.callspec.params['real_or_fake'] == 'fake' or not knows_users(real_or_fake):
        yield Bench(real_or_fake)
        return
    real_or_fake.acl_setuser('script', enabled=True, nopass=True, commands=['+@all'])
    limited = request.getfixturevalue('redis_server').client(username='script', password='any')
    yield Bench(real_or_fake, limited)
    limited.close()
    limited.connection_pool.disconnect()
    real_or_fake.acl_deluser('script')


@pytest.fixture
def full(bench):
    """Fills the server, which must be a real one."""
    yield lambda: bench.conn.config_set('maxmemory', 1)
    bench.conn.config_set('maxmemory', 0)
