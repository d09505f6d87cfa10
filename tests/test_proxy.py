"""The tests' own proxy: what it says that it does to a connection, it does."""

import threading

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from protocols import PROTOCOLS
from proxy import CuttingProxy


@pytest.fixture(params=PROTOCOLS, ids=str)
def client(request, proxy):
    return proxy.client(**request.param, retry=Retry(NoBackoff(), 0), socket_timeout=0.3)


class TestAProxy:
    def test_forwards_what_clients_and_server_say(self, client, conn):
        client.set('big', b'x' * 1_000_000)
        assert conn.get('big') == client.get('big')
        assert client.pipeline().set('a', 1).lpush('b', 1, 2).lrange('b', 0, -1).execute() == [True, 2, [b'2', b'1']]
        assert client.get('missing') is None
        assert client.config_get('maxmemory') == {'maxmemory': '0'}

    def test_cuts_a_reply_when_the_command_was_carried_out(self, proxy, client, conn):
        cut = proxy.cut('INCRBY', 'a')
        client.incr('b')
        with pytest.raises(redis.ConnectionError):
            client.incr('a')
        assert (cut.seen, conn.get('a')) == (1, b'1')
        assert client.incr('a') == 2

    def test_drops_a_reply_without_a_sign(self, proxy, client, conn):
        drop = proxy.drop('incrby')
        with pytest.raises(redis.TimeoutError):
            client.incr('a')
        assert (drop.seen, conn.get('a')) == (1, b'1')

    def test_loses_a_request_that_the_server_never_sees(self, proxy, client, conn):
        refused = proxy.refuse('INCRBY', times=2)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.incr('a')
        assert (refused.seen, client.incr('a')) == (2, 1)

    def test_holds_a_reply_until_it_is_let_go(self, proxy, conn):
        client, results = proxy.client(), []
        held = proxy.hold('INCRBY')
        waiting = threading.Thread(target=lambda: results.append(client.incr('a')))
        waiting.start()
        held.wait()
        assert (conn.get('a'), results) == (b'1', [])
        held.let_go()
        waiting.join()
        assert results == [1]

    def test_waits_for_a_reply_that_is_no_error(self, proxy, client, conn):
        cut = proxy.cut('LPUSH')
        conn.set('a', 'string')
        with pytest.raises(redis.ResponseError):
            client.lpush('a', 1)
        assert cut.seen == 0
        with pytest.raises(redis.ConnectionError):
            client.lpush('b', 1)

    def test_lets_nothing_through_a_partition(self, proxy, client, conn):
        client.incr('a')
        proxy.partition()
        with pytest.raises(redis.ConnectionError):
            client.incr('a')
        proxy.heal()
        assert client.incr('a') == 2

    def test_leaves_no_thread_behind(self, redis_server):
        before = threading.active_count()
        with CuttingProxy(redis_server.socket_path) as proxy:
            proxy.client().ping()
            assert threading.active_count() == before + 3
        assert threading.active_count() == before
