"""Requests, as they go to Redis."""

import pytest
import redis

from delayed._packing import LARGE, Packer
from delayed._scripts import Script

SCRIPT = Script('name', 'return 1', 'f' * 40)


@pytest.fixture
def client():
    """It needs no server."""
    return redis.Redis()


class TestARequest:
    @pytest.mark.parametrize('words', [
        ('PING',), ('SET', 'key', b'\xff\r\n'), ('SET', 'déjà', ''), ('SET', 'a', 1, 'EX', 2.5),
        ('SET', 'a', b'x' * LARGE), ('SET', 'a', b'x' * LARGE, b'y' * 2 * LARGE), (b'x' * (LARGE - 1),)], ids=range(7))
    def test_is_what_redis_py_sends(self, client, words):
        connection = client.connection_pool.make_connection()
        assert b''.join(Packer(client).command(words)) == b''.join(connection.pack_command(*words))

    def test_of_a_script_is_what_redis_py_sends(self, client):
        connection, packer = client.connection_pool.make_connection(), Packer(client)
        for args in ((1, b'two'), (b'x' * LARGE,), ()):
            expected = b''.join(connection.pack_command('EVALSHA', SCRIPT.sha, 2, 'one', 'two', *args))
            for _ in range(2):
                assert b''.join(packer.script(SCRIPT, ('one', 'two'), args)) == expected

    def test_has_a_large_word_as_it_is(self, client):
        payload = b'x' * LARGE
        for request in (Packer(client).command(('SET', 'a', payload)), Packer(client).script(SCRIPT, (), (payload,))):
            assert any(piece is payload for piece in request)

    def test_is_one_piece_where_its_words_are_small(self, client):
        assert len(Packer(client).command(('SET', 'a', b'x' * 1000))) == 1
