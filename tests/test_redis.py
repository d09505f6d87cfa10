"""Calls on any client, and what happens to them when replies are lost."""

import gc
import os
import signal
import socket
import subprocess
import threading
import time
import weakref

import pytest
import redis
import redis.asyncio
from redis.backoff import AbstractBackoff, NoBackoff
from redis.retry import Retry

from delayed import _scripts
from delayed._callers import caller
from delayed._pooled import HeldCaller, PooledCaller, _kept_of
from delayed._redis import Unavailable, check_client
from delayed.embedded import EmbeddedRedis, find_server
from delayed.errors import InvalidArgument, ServerNotFound, WrongType
from delayed.queue import Queue
from delayed.task import Task
from protocols import PROTOCOLS
from queues import task_of
from waiting import DEADLINE, wait_until
from workers import report

NEVER = Retry(NoBackoff(), 0)
#: A client that is called as programs call it; before redis-py 6 it repeats a call only if it is told so.
REPEATING_ITSELF = {'single_connection_client': True, 'retry_on_error': [redis.ConnectionError]}
ARGUMENT = b'\x80\xff\x00'


class Counting(redis.Redis):
    """A client of the program's own, which sees each of its commands."""

    commands = 0

    def execute_command(self, *args, **options):
        self.commands += 1
        return super().execute_command(*args, **options)


@pytest.fixture
def close():
    """Closes the clients that it is called with when the test is over."""
    clients = []

    def remember(client):
        clients.append(client)
        return client

    yield remember
    for client in clients:
        client.close()
        pool = getattr(client, 'connection_pool', None)
        if pool is not None:
            pool.disconnect()


def start_cluster():
    """A cluster of one node."""
    for _ in range(20):
        server = EmbeddedRedis('--cluster-enabled', 'yes', tcp=True)
        try:
            server.start()
            break
        except ServerNotFound as error:
            if 'port' not in str(error):  # its own is too high for the one that the nodes talk on, which is 10,000 more
                raise
    client = server.client()
    client.execute_command('CLUSTER', 'ADDSLOTS', *range(16384))
    wait_until(lambda: client.cluster('info')['cluster_state'] == 'ok', 'the cluster')
    client.close()
    return server


@pytest.fixture(scope='module')
def cluster():
    with start_cluster() as server:
        yield server


def client_of(cluster, **options):
    address = cluster.client().connection_pool.connection_kwargs
    return redis.RedisCluster(address['host'], address['port'], password=address['password'], **options)


@pytest.fixture(scope='module')
def sentinel(tmp_path_factory):
    """A sentinel that knows one master, and the options that both take."""
    with EmbeddedRedis(tcp=True) as server:
        address = server.client().connection_pool.connection_kwargs
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        config = tmp_path_factory.mktemp('sentinel') / 'sentinel.conf'
        config.write_text('\n'.join((
            'bind 127.0.0.1', 'port %d' % port, 'dir "%s"' % config.parent,
            'sentinel monitor tests 127.0.0.1 %d 1' % address['port'],
            'sentinel auth-pass tests %s' % address['password'], '')))
        process = subprocess.Popen([find_server(), str(config), '--sentinel'], stdout=subprocess.DEVNULL)
        sentinel = redis.sentinel.Sentinel([('127.0.0.1', port)], password=address['password'],
                                           sentinel_kwargs={'password': None})

        def knows_the_master():
            try:
                return sentinel.discover_master('tests')
            except redis.RedisError:
                return None

        try:
            wait_until(knows_the_master, 'the sentinel')
            yield sentinel
        finally:
            process.terminate()
            process.wait(DEADLINE)
            for client in sentinel.sentinels:
                client.close()


CLIENTS = {  # name -> how to make one of the shared server, None: of a fixture of that name
    'plain': lambda server: server.client(),
    'decoding': lambda server: server.client(decode_responses=True),
    'latin-1': lambda server: server.client(decode_responses=True, encoding='latin-1'),
    'of the newest protocol': lambda server: server.client(**PROTOCOLS[-1]),
    'of the newest protocol, decoding': lambda server: server.client(decode_responses=True, **PROTOCOLS[-1]),
    'of a URL': lambda server: redis.Redis.from_url(server.url),
    'of another database': lambda server: server.client(db=3),
    'named': lambda server: server.client(client_name='tests'),
    'with one connection': lambda server: server.client(single_connection_client=True),
    'with one connection, decoding': lambda server: server.client(single_connection_client=True, decode_responses=True),
    'with a pool that blocks': lambda server: redis.Redis(connection_pool=redis.BlockingConnectionPool(
        max_connections=2, connection_class=redis.UnixDomainSocketConnection, path=server.socket_path)),
    'with a pool of one': lambda server: server.client(max_connections=1),
    'with a short timeout': lambda server: server.client(socket_timeout=0.5),
    'of its own class': lambda server: Counting(unix_socket_path=server.socket_path),
    'StrictRedis': lambda server: redis.StrictRedis(unix_socket_path=server.socket_path),
}
if hasattr(redis, 'cache'):
    CLIENTS['caching'] = lambda server: server.client(protocol=3, cache_config=redis.cache.CacheConfig())


@pytest.fixture(params=[*CLIENTS, 'cluster', 'decoding cluster', 'sentinel', 'decoding sentinel', 'fakeredis',
                        'decoding fakeredis'])
def client(request, close):
    """One client of every kind."""
    options = {'decode_responses': True} if request.param.startswith('decoding ') else {}
    kind = request.param.split()[-1]
    if request.param in CLIENTS:
        made = CLIENTS[request.param](request.getfixturevalue('redis_server'))
    elif kind == 'cluster':
        made = client_of(request.getfixturevalue('cluster'), **options)
    elif kind == 'sentinel':
        made = request.getfixturevalue('sentinel').master_for('tests', **options)
    else:
        fakeredis = pytest.importorskip('fakeredis')
        made = fakeredis.FakeRedis(server=fakeredis.FakeServer(), **options)
    made.flushall()
    return close(made)


class TestEveryClient:
    def test_serves_a_task_through_its_life(self, client):
        queue = Queue('{default}', client)
        queue.enqueue(Task(None, 'os', 'getpid', (ARGUMENT,)))
        queue.enqueue(Task(None, 'os', 'getpid'))
        assert queue.len() == 2
        task = queue.dequeue()
        assert (task.id, task.args) == (1, (ARGUMENT,))
        assert queue.requeue(task)
        assert queue.release(queue.dequeue())
        assert queue.dequeue().id == 1
        assert queue.requeue_lost() == 0

    def test_serves_many_tasks_with_consecutive_ids(self, client):
        queue, tasks = Queue('{default}', client), [Task(None, 'os', 'getpid', (ARGUMENT,)) for _ in range(501)]
        assert queue.enqueue_many(tasks) == queue.len() == 501
        tasks += [queue.enqueue(Task(None, 'os', 'getpid')) for _ in range(3)]
        assert [task.id for task in tasks] == list(range(1, 505))

    def test_gives_ids_anew_when_it_was_flushed(self, client):
        queue = Queue('{default}', client)
        for _ in range(3):
            queue.enqueue(Task(None, 'os', 'getpid'))
        client.flushall()
        assert [queue.enqueue(Task(None, 'os', 'getpid')).id for _ in range(3)] == [1, 2, 3]

    def test_serves_the_dead_letters(self, client):
        queue = Queue('{default}', client)
        client.rpush('{default}', ARGUMENT)
        client.rpush('{default}_noti', '1')
        assert queue.dequeue() is None
        letter, = queue.dead()
        assert (queue.dead_len(), letter.payload) == (1, ARGUMENT)
        assert queue.requeue_dead(letter.id)
        assert queue.len() == 1

    def test_holds_what_a_worker_calls_through(self, client):
        queue = Queue('{default}', client)
        held = queue.ledger.caller.hold()
        ledger = queue.ledger.using(held)
        payload = queue.enqueue(Task(None, 'os', 'getpid', (ARGUMENT,))).data
        assert ledger.wait()
        taken = ledger.take('notified', 15_000, 'holder')
        assert taken.payload == payload
        assert ledger.reclaim('holder') == taken
        assert ledger.release(payload, (taken.token,))
        held.let_go()

    def test_gives_bytes(self, client):
        calls = caller(client)
        calls.command('SET', '{default}', ARGUMENT)
        assert calls.command('GET', '{default}') == ARGUMENT
        assert calls.script(_scripts.RECLAIM, ('{default}_dequeued', '{default}_leases'), ('x',)) is None


class TestAScript:
    def test_is_loaded_where_the_server_does_not_know_it(self, conn):
        conn.script_flush()
        queue = Queue('default', conn)
        queue.enqueue(Task(None, 'os', 'getpid'))
        conn.script_flush()
        assert queue.dequeue().id == 1

    def test_that_fails_leaves_a_connection_that_works(self, redis_server, conn, close):
        calls = caller(close(redis_server.client(max_connections=1)))
        for held in (calls, calls.hold()):
            conn.set('default', 'no list')
            with pytest.raises(redis.ResponseError, match='WRONGTYPE'):
                held.command('LLEN', 'default')
            assert held.command('GET', 'default') == b'no list'
            held.let_go()


class TestAMasterThatBecameAReplica:
    @pytest.mark.parametrize('hold', [False, True])
    def test_is_left_for_the_one_that_has_its_name_now(self, conn, redis_server, close, tmp_path, hold):
        name = tmp_path / 'master'
        with EmbeddedRedis() as old:
            name.symlink_to(old.socket_path)
            calls = caller(close(redis.Redis(unix_socket_path=str(name))))
            calls = calls.hold() if hold else calls
            calls.script(_scripts.MAY_SWEEP, ('default_swept',), (1000,))
            name.unlink()
            name.symlink_to(redis_server.socket_path)
            with old.client() as client:
                client.execute_command('REPLICAOF', '127.0.0.1', 1)
            with pytest.raises(redis.ResponseError):
                calls.script(_scripts.MAY_SWEEP, ('default_swept',), (1000,))
            calls.script(_scripts.MAY_SWEEP, ('default_swept',), (1000,))
            assert conn.exists('default_swept')
            calls.let_go()


class TestAClientOfItsOwnClass:
    def test_sees_each_command(self, conn, redis_server, close):
        client = close(Counting(unix_socket_path=redis_server.socket_path))
        Queue('default', client).len()
        assert client.commands == 1


class TestAClientWithOneConnection:
    def test_has_no_other(self, redis_server, close):
        client = close(redis_server.client(single_connection_client=True))
        calls = caller(client)
        assert calls.command('CLIENT', 'ID') == calls.hold().command('CLIENT', 'ID') == client.client_id()


class TestACluster:
    def test_needs_a_name_that_keeps_the_keys_together_and_says_so(self, cluster, close):
        client = close(client_of(cluster))
        with pytest.raises(InvalidArgument, match="call the queue '{default}', not 'default'"):
            Queue('default', client)
        Queue('tests:{default}', client)

    def test_is_not_waited_for_longer_than_its_timeout(self, cluster, close):
        client = close(client_of(cluster, socket_timeout=0.8, socket_connect_timeout=DEADLINE))
        client.flushall()
        assert not caller(client).wait('{default}_noti')

    def test_that_is_away_is_tried_again_by_a_worker(self, close):
        with start_cluster() as cluster:
            client = close(client_of(cluster))
            client.ping()
        with pytest.raises(Unavailable):
            caller(client).command('LLEN', '{default}')


class TestWaiting:
    def test_pops_what_comes(self, conn):
        conn.rpush('default_noti', '1', '1')
        assert caller(conn).wait('default_noti')
        assert conn.llen('default_noti') == 1

    @pytest.mark.parametrize(('timeout', 'hold'), [(1, False), (1.2, True), (2, True)])
    def test_ends_before_the_clients_patience(self, redis_server, conn, close, timeout, hold):
        calls = caller(close(redis_server.client(socket_timeout=timeout, retry=NEVER)))
        calls = calls.hold() if hold else calls
        assert not calls.wait('default_noti')
        calls.let_go()

    @pytest.mark.parametrize('timeout', [0.15, 0.3, 0.5])
    def test_bears_it_that_redis_ends_it_a_tenth_of_a_second_late(self, redis_server, conn, close, timeout):
        calls = caller(close(redis_server.client(socket_timeout=timeout, retry=NEVER))).hold()
        for _ in range(5):
            assert not calls.wait('default_noti')
        conn.rpush('default_noti', '1')
        assert calls.wait('default_noti')
        calls.let_go()

    def test_takes_whole_seconds_where_it_can_for_redis_5_knows_no_others(self, proxy):
        refused = proxy.refuse('BLPOP', 'default_noti', '1')
        with pytest.raises(redis.ConnectionError):
            caller(proxy.client(retry=NEVER, socket_timeout=None)).wait('default_noti')
        assert refused.seen == 1


def forward_slowly(listener, server_path):
    """Forwards a connection: what goes to the server, 64 KiB each twentieth of a second."""
    def send_replies():
        reply = server.recv(1 << 16)
        while reply:
            client.sendall(reply)
            reply = server.recv(1 << 16)

    client, _ = listener.accept()
    with client, socket.socket(socket.AF_UNIX) as server:
        server.connect(server_path)
        replies = threading.Thread(target=send_replies)
        replies.start()
        data = client.recv(1 << 16)
        while data:
            server.sendall(data)
            time.sleep(0.05)
            data = client.recv(1 << 16)
        server.shutdown(socket.SHUT_WR)
        replies.join()


class TestASlowNetwork:
    @pytest.mark.parametrize('hold', [False, True])
    def test_lets_a_large_payload_through_though_it_takes_longer_than_the_clients_patience(
            self, redis_server, conn, close, tmp_path, hold):
        payload = b'x' * (64 << 16)  # 3.2 seconds of this network
        with socket.socket(socket.AF_UNIX) as listener:
            path = str(tmp_path / 'slow')
            listener.bind(path)
            listener.listen()
            forwarding = threading.Thread(target=forward_slowly, args=(listener, redis_server.socket_path))
            forwarding.start()
            client = close(redis.Redis(unix_socket_path=path, socket_timeout=2, retry=NEVER))
            calls = caller(client).hold() if hold else caller(client)
            calls.command('RPUSH', 'large', 'small', payload)
            calls.let_go()
            client.connection_pool.disconnect()
            forwarding.join()
        assert conn.lrange('large', 0, -1) == [b'small', payload]


class TestALostReply:
    """Here one of INCR, which shows how often it was carried out."""

    @pytest.mark.parametrize('options', [{}, REPEATING_ITSELF])
    def test_is_asked_for_again_as_the_client_says(self, proxy, conn, options):
        calls = caller(proxy.client(retry=Retry(NoBackoff(), 3), **options))
        proxy.cut('INCR', times=2)
        assert calls.command('INCR', 'a') == 3

    def test_is_an_error_when_the_clients_patience_ends(self, proxy, conn):
        calls = caller(proxy.client(retry=Retry(NoBackoff(), 3)))
        proxy.cut('INCR', times=4)
        with pytest.raises(redis.ConnectionError):
            calls.command('INCR', 'a')
        assert conn.get('a') == b'4'

    def test_of_a_call_that_must_not_be_repeated_is_an_error(self, proxy, conn):
        calls = caller(proxy.client(retry=Retry(NoBackoff(), 3)))
        proxy.cut('INCR')
        with pytest.raises(redis.ConnectionError):
            calls.command('INCR', 'a', repeat=False)
        assert conn.get('a') == b'1'
        assert calls.command('INCR', 'a') == 2

    def test_is_an_error_to_whom_holds_a_connection(self, proxy, conn):
        held = caller(proxy.client(retry=Retry(NoBackoff(), 3))).hold()
        proxy.cut('INCR')
        with pytest.raises(redis.ConnectionError):
            held.command('INCR', 'a')
        assert conn.get('a') == b'1'
        assert held.command('INCR', 'a') == 2
        held.let_go()

    @pytest.mark.parametrize('hold', [True, False])
    def test_that_comes_late_does_not_answer_the_next_call(self, proxy, conn, hold):
        client = proxy.client(retry=NEVER, socket_timeout=0.3, max_connections=1)
        calls = caller(client).hold() if hold else caller(client)
        late = proxy.hold('INCR', 'a')
        with pytest.raises(redis.TimeoutError):
            calls.command('INCR', 'a')
        conn.set('b', 'right')
        late.let_go()
        assert calls.command('GET', 'b') == b'right'
        calls.let_go()

    @pytest.mark.parametrize('hold', [True, False])
    def test_that_a_signal_broke_off_does_not_answer_the_next_call(self, proxy, conn, hold):
        client = proxy.client(retry=NEVER, max_connections=1)
        calls = caller(client).hold() if hold else caller(client)
        late = proxy.hold('INCR', 'a')
        with interrupted_when(late.wait), pytest.raises(KeyboardInterrupt):
            calls.command('INCR', 'a')
        conn.set('b', 'right')
        late.let_go()
        assert calls.command('GET', 'b') == b'right'
        calls.let_go()


class interrupted_when:
    """Interrupts the main thread inside of the block when `wait` returns."""

    def __init__(self, wait):
        self._thread = threading.Thread(target=self._interrupt, args=(wait,))

    def _interrupt(self, wait):
        wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def __enter__(self):
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()

    def __exit__(self, *exc_info):
        self._thread.join()
        signal.signal(signal.SIGINT, self._before)


class NeverAgain(AbstractBackoff):
    def compute(self, failures):
        pytest.fail('it is tried again')


class TestAConnectionBetweenCallsOfALongRow:
    """It is kept, and the pool does without it for a moment."""

    @pytest.fixture
    def conn(self, conn, redis_server, close):
        """A client that has made no call yet."""
        return close(redis_server.client())

    @staticmethod
    def counted(conn, monkeypatch):
        taken = []
        original = conn.connection_pool.get_connection
        monkeypatch.setattr(conn.connection_pool, 'get_connection',
                            lambda *args: taken.append(original(*args)) or taken[-1])
        return taken

    @staticmethod
    def kept(conn):
        return bool(_kept_of(conn.connection_pool)._free)

    @staticmethod
    def in_a_row(conn):
        """A caller after a long row of calls."""
        calls = caller(conn)
        for _ in range(50):
            calls.command('PING')
        return calls

    def test_is_the_same(self, conn, monkeypatch):
        monkeypatch.setattr('delayed._pooled._KEPT_IDLE_SECONDS', DEADLINE)
        monkeypatch.setattr('delayed._pooled._KEPT_SECONDS', DEADLINE)
        queue = Queue('default', conn)
        queue.enqueue(task_of(1))  # so the server knows the script
        calls, taken = self.in_a_row(conn), self.counted(conn, monkeypatch)
        for _ in range(5):
            calls.command('PING')
        queue.enqueue(task_of(2))
        assert taken == []

    def test_goes_back_after_a_pause(self, conn, monkeypatch):
        calls, taken = self.in_a_row(conn), self.counted(conn, monkeypatch)
        assert self.kept(conn)
        monkeypatch.setattr('delayed._pooled._KEPT_IDLE_SECONDS', 0.0)
        calls.command('PING')
        assert len(taken) == 1
        assert not self.kept(conn)

    def test_goes_back_after_a_while(self, conn, monkeypatch):
        monkeypatch.setattr('delayed._pooled._KEPT_IDLE_SECONDS', DEADLINE)
        monkeypatch.setattr('delayed._pooled._KEPT_SECONDS', 0.0)
        calls, taken = self.in_a_row(conn), self.counted(conn, monkeypatch)
        assert self.kept(conn)
        calls.command('PING')
        assert len(taken) == 1

    def test_is_the_pools_where_there_are_few(self, conn, monkeypatch):
        calls, taken = caller(conn), self.counted(conn, monkeypatch)
        for _ in range(3):
            calls.command('PING')
        assert len(taken) == 3

    def test_is_another_for_each_thread(self, conn):
        queue, threads = Queue('default', conn), []
        for _ in range(8):
            threads.append(threading.Thread(target=lambda: [queue.enqueue(task_of(None)) for _ in range(50)]))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert len({Task.deserialize(payload).id for payload in conn.lrange('default', 0, -1)}) == 400

    def test_is_not_that_of_the_parent_in_a_forked_process(self, conn, lab):
        calls = self.in_a_row(conn)
        own = calls.command('CLIENT', 'ID')
        program = lab.start(lambda: report('id', caller(conn).command('CLIENT', 'ID')))
        assert program.wait() == 0
        assert lab.expect('id')[0] != own
        assert calls.command('PING')

    def test_is_left_in_a_small_pool(self, redis_server, close):
        conn = close(redis_server.client(max_connections=1))
        self.in_a_row(conn)
        assert conn.ping()

    def test_is_left_in_a_pool_that_blocks(self, redis_server, close):
        pool = redis.BlockingConnectionPool.from_url(redis_server.url, max_connections=200, timeout=DEADLINE)
        conn = close(redis.Redis(connection_pool=pool))
        self.in_a_row(conn)
        assert not self.kept(conn)

    def test_that_the_client_closed_is_opened_again(self, conn):
        calls = self.in_a_row(conn)
        conn.connection_pool.disconnect()
        assert calls.command('PING')

    @pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # of an open socket
    @pytest.mark.parametrize('shared', [False, True])
    def test_goes_when_its_pool_does(self, proxy, conn, shared):
        """Over TCP: there a connection of redis-py 8 refers to its pool."""
        other = redis.Redis(proxy.host, proxy.port)
        other = redis.Redis(connection_pool=other.connection_pool) if shared else other
        other_id = self.in_a_row(other).command('CLIENT', 'ID')
        assert self.kept(other)
        pool = weakref.ref(other.connection_pool)
        del other
        gc.collect()
        assert pool() is None
        wait_until(lambda: other_id not in [int(client['id']) for client in conn.client_list()], 'the end')


class TestAHeldConnection:
    @pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # redis-py < 4.6: open sockets
    def test_is_not_tried_again_while_redis_is_away_for_a_worker_has_more_to_do(self):
        with EmbeddedRedis() as server:
            held = caller(server.client(retry=Retry(NeverAgain(), 3))).hold()
            held.command('SET', 'a', '1')
            server.kill()
            for _ in range(2):
                with pytest.raises((redis.ConnectionError, OSError)):
                    held.command('GET', 'a')
            held.let_go()

    def test_is_its_own(self, conn):
        calls = caller(conn)
        assert isinstance(calls, PooledCaller)
        held = calls.hold()
        assert isinstance(held, HeldCaller)
        assert held.command('CLIENT', 'ID') == held.command('CLIENT', 'ID') != calls.command('CLIENT', 'ID')
        held.let_go()

    def test_is_closed_when_it_is_let_go(self, conn):
        held = caller(conn).hold()
        held_id = held.command('CLIENT', 'ID')
        held.let_go()
        wait_until(lambda: held_id not in [int(client['id']) for client in conn.client_list()], 'the end')

    def test_comes_back_after_the_server_was_away(self):
        with EmbeddedRedis() as server:
            held = caller(server.client()).hold()
            held.command('SET', 'a', '1')
            server.kill()
            with pytest.raises((redis.ConnectionError, OSError)):
                held.command('GET', 'a')
            server.start()
            assert held.command('GET', 'a') is None
            held.let_go()

    def test_is_not_waited_on_for_ever(self, proxy, redis_server, monkeypatch):
        monkeypatch.setattr('delayed._pooled.HELD_SOCKET_TIMEOUT', 0.3)
        held = caller(proxy.client(socket_timeout=None)).hold()
        proxy.drop('INCR')
        with pytest.raises(redis.TimeoutError):
            held.command('INCR', 'a')
        held.let_go()

    def test_survives_that_a_child_forgets_its_copy(self, conn):
        held = caller(conn).hold()
        held.command('SET', 'a', '1')
        forget = held.forgetter()
        pid = os.fork()
        if not pid:
            try:
                forget()
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert held.command('GET', 'a') == b'1'
        held.let_go()


class TestACallInTwoHalves:
    """`begin_script` sends, and `end_script` reads the reply."""

    @pytest.fixture
    def held(self, conn):
        held = caller(conn).hold()
        yield held
        held.let_go()

    def test_leaves_the_time_between_to_its_caller(self, held, conn):
        conn.script_load(_scripts.RESERVE.source)
        held.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        wait_until(lambda: conn.get('some_id') == b'3')
        assert held.end_script() == 1
        assert held.overlaps

    def test_has_its_script_loaded(self, held, conn):
        conn.script_flush()
        held.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        assert held.end_script() == 1
        assert conn.get('some_id') == b'3'

    def test_that_fails_says_so_at_the_end(self, held, conn):
        conn.lpush('some_id', 'no number')
        held.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        with pytest.raises(redis.ResponseError, match='WRONGTYPE'):
            held.end_script()
        assert held.command('PING') == b'PONG'

    def test_loses_its_reply_to_a_call_that_is_made_before(self, held, conn):
        held.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        assert held.command('ECHO', 'another') == b'another'
        with pytest.raises(AssertionError, match='another call was made'):
            held.end_script()
        assert held.command('ECHO', 'third') == b'third'

    def test_that_a_signal_broke_off_does_not_answer_the_next_call(self, held, conn, monkeypatch):
        def interrupted(connection, count=1):
            raise KeyboardInterrupt

        held.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        with monkeypatch.context() as patch:
            patch.setattr('delayed._pooled.finish', interrupted)
            with pytest.raises(KeyboardInterrupt):
                held.end_script()
        assert held.command('ECHO', 'another') == b'another'

    def test_is_made_at_once_where_the_client_knows_no_halves(self, redis_server, conn, close):
        calls = caller(close(redis_server.client(single_connection_client=True)))
        calls.begin_script(_scripts.RESERVE, ('some_id', 'some_producer'), (3, 0))
        assert conn.get('some_id') == b'3'
        assert calls.command('ECHO', 'another') == b'another'
        assert calls.end_script() == 1
        assert not calls.overlaps


class TestACheckOfTheClient:
    @pytest.mark.parametrize(('make', 'problem'), [
        (lambda: None, 'it is no redis-py client'),
        (lambda: 'redis://localhost', 'it is no redis-py client'),
        (lambda: redis.Redis, 'it is no redis-py client'),
        (lambda: redis.ConnectionPool(), 'it is no redis-py client'),
        (lambda: redis.Redis().pipeline(), 'it is a pipeline'),
        (lambda: redis.asyncio.Redis(), 'it is an asynchronous client'),
    ])
    def test_refuses_what_is_none_and_says_what_it_is(self, make, problem):
        with pytest.raises(WrongType, match=r'(?s)such as redis\.Redis\(\).*%s' % problem):
            check_client(make())

    def test_needs_no_server(self):
        check_client(redis.Redis(port=1))
