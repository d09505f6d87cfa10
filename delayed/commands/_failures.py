"""Hears what workers tell of tasks that failed, while somebody waits for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Sequence

from redis.exceptions import RedisError

from ..outcome import Outcome

if TYPE_CHECKING:
    from ..queue import Queue
    from ..task import Task

#: A message may be so late, in seconds, where it comes through another node of a cluster.
_UNDER_WAY = 0.1


class Failures:
    """Listens to these queues from the beginning of the `with` block on; to none where Redis does not allow it.

    A worker tells before Redis knows that the task has ended. One of 0.5.1b2 tells nothing, and neither does a child
    whose monitor is dead.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._listening: List[Any] = []

    def __enter__(self) -> Failures:
        for queue in self._queues:
            listener = queue.conn.pubsub(ignore_subscribe_messages=True)
            try:
                listener.subscribe(queue.ledger.keys.failures)
                listener.get_message(timeout=1.0)  # the reply to that
            except RedisError:  # this user may not
                listener.close()
            else:
                self._listening.append(listener)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for listener in self._listening:
            listener.close()

    def of(self, task: Task) -> Optional[Outcome]:
        """How the task failed, if a worker has told so by now. Its last run counts."""
        found = None
        for outcome in self._heard():
            if (outcome.task_id, outcome.function) == (task.id, '%s.%s' % (task.module_name, task.func_name)):
                found = outcome
        return found

    def _heard(self) -> List[Outcome]:
        outcomes: List[Outcome] = []
        for listener in self._listening:
            try:
                message = listener.get_message(timeout=_UNDER_WAY)
                while message is not None:
                    outcomes += _read(message['data'])
                    message = listener.get_message()
            except RedisError:  # the connection was lost, and what was told meanwhile
                continue
        return outcomes


def _read(data: Any) -> List[Outcome]:
    try:
        return [Outcome.from_json(data if isinstance(data, str) else data.decode())]
    except (ValueError, AttributeError):  # somebody else's
        return []
