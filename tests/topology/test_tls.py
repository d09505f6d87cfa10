"""A queue over TLS, with an authority of one's own and certificates on both sides."""

import pytest
import redis

from delayed.embedded import EmbeddedRedis
from delayed.errors import ServerNotFound
from delayed.queue import Queue
from delayed.task import Task
from workers import told

from .servers import free_port
from .tls import Authority, Tunnel


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp('tls'))
    authority.sign('server', '127.0.0.1')
    authority.sign('client')
    return authority


@pytest.fixture(params=['a tunnel', 'the server itself'])
def url(request, conn, redis_server, authority):
    """Where a server listens that is empty and wants TLS and a client's certificate."""
    if request.param == 'a tunnel':
        with Tunnel(redis_server.socket_path, authority, 'server') as tunnel:
            yield 'rediss://127.0.0.1:%d' % tunnel.port
        return
    port = free_port()
    server = EmbeddedRedis(
        '--tls-port', str(port), '--tls-cert-file', authority.certificate('server'),
        '--tls-key-file', authority.key('server'), '--tls-ca-cert-file', authority.ca, tcp=False)
    try:
        server.start()
    except ServerNotFound as error:
        pytest.skip('this server was built without TLS: %s' % str(error).splitlines()[-1])
    with server:
        yield 'rediss://127.0.0.1:%d' % port


@pytest.fixture
def connect(url, authority):
    """Makes clients, which bring the certificate of that name."""
    clients = []

    def connect(certificate='client', ca=authority.ca):
        options = {} if certificate is None else {
            'ssl_certfile': authority.certificate(certificate), 'ssl_keyfile': authority.key(certificate)}
        clients.append(redis.Redis.from_url(url, ssl_ca_certs=ca, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
        client.connection_pool.disconnect()


class TestAQueueOverTLS:
    def test_serves_a_task_through_its_life(self, connect):
        queue = Queue('default', connect())
        queue.enqueue(Task(None, 'tasks', 'size', (b'x' * 300_000,)))
        task = queue.dequeue()
        assert len(task.args[0]) == 300_000
        assert queue.requeue(task) and queue.release(queue.dequeue())

    def test_is_emptied_by_each_worker(self, connect, lab, worker_class):
        queue = Queue('default', connect())
        lab.drain(told(worker_class, queue), queue, *(Task(None, 'tasks', 'run', (number,)) for number in range(5)))
        assert [args for args, _ in lab.reports('ran')] == [[number] for number in range(5)]

    @pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # redis-py < 5 leaves sockets open
    def test_refuses_a_client_without_a_certificate(self, connect):
        with pytest.raises((redis.ConnectionError, OSError)):
            Queue('default', connect(certificate=None)).len()

    @pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
    def test_is_refused_by_a_client_that_trusts_another_authority(self, connect, tmp_path):
        with pytest.raises((redis.ConnectionError, OSError)):
            Queue('default', connect(ca=Authority(tmp_path, 'another').ca)).len()
