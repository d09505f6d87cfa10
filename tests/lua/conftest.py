import pytest
from bench import Bench


@pytest.fixture
def bench(request, real_or_fake):
    if request.node.callspec.params['real_or_fake'] == 'fake':
        yield Bench(real_or_fake, real_or_fake, is_real=False)
        return
    real_or_fake.acl_setuser('script', enabled=True, nopass=True, commands=['+@all'])
    caller = request.getfixturevalue('redis_server').client(username='script', password='any')
    yield Bench(real_or_fake, caller, is_real=True)
    caller.close()
    caller.connection_pool.disconnect()
    real_or_fake.acl_deluser('script')


@pytest.fixture
def full(bench):
    """Fills the server; for a real one."""
    def fill():
        bench.conn.config_set('maxmemory', 1)

    yield fill
    bench.conn.config_set('maxmemory', 0)
