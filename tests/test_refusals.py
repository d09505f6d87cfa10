"""What looks right and would fail silently, or with somebody else's words."""

import pytest

from delayed.delay import delay
from delayed.errors import NotImportable, WrongType
from delayed.task import Task


async def fetch():
    """Its call only makes a coroutine, which nobody would await."""


class TestACoroutineFunction:
    def test_is_refused_where_it_is_wrapped(self, queue, conn):
        with pytest.raises(NotImportable, match='asyncio.run'):
            delay(queue)(fetch)
        assert not conn.keys()

    def test_is_refused_where_a_task_is_made(self):
        with pytest.raises(NotImportable, match='fetch'):
            Task.create(fetch)


class TestADeadLettersId:
    @pytest.mark.parametrize('call', ['requeue_dead', 'delete_dead'])
    @pytest.mark.parametrize('id', [5, None, b'1795445657871.770'])
    def test_is_not_that_of_a_task(self, queue, call, id):
        with pytest.raises(WrongType, match='Queue.dead'):
            getattr(queue, call)(id)
