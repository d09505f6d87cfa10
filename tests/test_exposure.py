import pytest
import redis
from redis.sentinel import Sentinel

from delayed import _exposure
from delayed._exposure import remote_hosts
from delayed.queue import Queue
from workers import task


@pytest.fixture
def remote(redis_server, conn):
    """A client that believes the tests' server to be on another machine."""
    class Rerouted(redis.UnixDomainSocketConnection):
        def __init__(self, host, **kwargs):
            super().__init__(path=redis_server.socket_path, **kwargs)

    client = redis.Redis(connection_pool=redis.ConnectionPool(connection_class=Rerouted, host='redis.example.com'))
    yield client
    client.close()
    client.connection_pool.disconnect()


class TestRemoteHosts:
    @pytest.mark.parametrize('host', ['localhost', 'LOCALHOST', 'redis.localhost', '127.0.0.1', '127.1.2.3', '::1',
                                      '0.0.0.0'])
    def test_are_none_on_this_machine(self, host):
        assert remote_hosts(redis.Redis(host=host)) == []

    @pytest.mark.parametrize('host', ['redis', 'localhost.example.com', '10.0.0.1', '192.168.1.1', '::2',
                                      'fe80::1%eth0'])
    def test_are_all_others(self, host):
        assert remote_hosts(redis.Redis(host=host)) == [host]

    def test_are_none_of_sockets_and_imitations(self, real_or_fake):
        assert remote_hosts(real_or_fake) == []
        assert remote_hosts(redis.Redis.from_url('unix:///tmp/redis.sock')) == []

    @pytest.mark.parametrize(('hosts', 'found'), [
        (['127.0.0.1', 'localhost'], []), (['127.0.0.1', 'b', 'a', 'b'], ['a', 'b'])])
    def test_are_those_of_the_sentinels(self, hosts, found):
        assert remote_hosts(Sentinel([(host, 26379) for host in hosts]).master_for('name')) == found

    def test_are_those_of_a_cluster(self):
        class Node:
            def __init__(self, host):
                self.host = host

        class Cluster:
            class nodes_manager:
                nodes_cache = {'a:1': Node('a'), '127.0.0.1:1': Node('127.0.0.1')}

        assert remote_hosts(Cluster()) == ['a']

    def test_are_none_where_nothing_is_known(self):
        assert remote_hosts(object()) == []


class TestAWorker:
    @pytest.fixture(autouse=True)
    def not_warned(self, monkeypatch):
        monkeypatch.setattr(_exposure, '_warned', False)

    def warnings(self, lab, worker, queue, times=1):
        def run():
            for _ in range(times):
                worker.run()

        for _ in range(times):
            queue.enqueue(task('stop_worker'))
        assert lab.start(run).wait() == 0
        return lab.log('WARNING') and lab.log()[lab.log().index(lab.log('WARNING')[0]):][:3]

    def test_warns_once_of_a_redis_that_others_may_reach(self, lab, remote, worker_class):
        queue = Queue('default', remote)
        first, second, third = self.warnings(lab, worker_class(queue), queue, times=2)
        assert 'redis.example.com' in first
        assert second.strip().startswith('python3 -c')
        assert third.strip() == 'export DELAYED_SECRET=...'
        assert len(lab.log('WARNING')) == 1

    @pytest.mark.parametrize('secret', ['s' * 32, False])
    def test_does_not_where_the_queue_has_a_secret_or_wants_none(self, lab, remote, worker_class, secret):
        queue = Queue('default', remote, secret=secret)
        assert self.warnings(lab, worker_class(queue), queue) == []

    def test_does_not_where_nobody_else_reaches_it(self, lab, queue, worker_class):
        assert self.warnings(lab, worker_class(queue), queue) == []
