"""Hears what workers tell of tasks that failed, while somebody waits for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from redis.exceptions import RedisError

from ..outcome import Outcome

if TYPE_CHECKING:
    from ..queue import Queue
    from ..task import Task

#: A message may be so late, in seconds, where it comes through another node of a cluster.
_UNDER_WAY = 0.1


class Failures:
    """Listens to these queues from the beginning of the `with` block on; to none where Redis does not allow it.

    A worker tells before Redis knows that the task has ended. One of 0.5.1b2 tells nothing.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._listening: Dict[str, Any] = {}  # by the queue's name
        self._heard: List[Tuple[str, Outcome]] = []

    def __enter__(self) -> Failures:
        for queue in self._queues:
            listener = queue.conn.pubsub(ignore_subscribe_messages=True)
            try:
                listener.subscribe(queue.ledger.keys.failures)
                listener.get_message(timeout=1.0)  # the reply to that
            except RedisError:  # this user may not
                listener.close()
            else:
                self._listening[queue.name] = listener
        return self

    def __exit__(self, *exc_info: object) -> None:
        for listener in self._listening.values():
            listener.close()

    def listen(self) -> None:
        """Reads what has come. To be called now and then: Redis ends the connection of who does not."""
        for name, listener in self._listening.items():
            try:
                message = listener.get_message()
                while message is not None:
                    self._heard += [(name, outcome) for outcome in _read(message['data'])]
                    message = listener.get_message()
            except RedisError:  # the connection was lost, and what was told meanwhile
                continue

    def of(self, queue: Queue, task: Task) -> Optional[Outcome]:
        """How the task, which is no longer in that queue, failed, by its last run; `None`: no worker has told so."""
        wanted = queue.name, task.id, '%s.%s' % (task.module_name, task.func_name)
        for seconds in (0.0, _UNDER_WAY):
            time.sleep(seconds)
            self.listen()
            for name, outcome in reversed(self._heard):
                if (name, outcome.task_id, outcome.function) == wanted:
                    return outcome
        return None


def _read(data: Any) -> List[Outcome]:
    try:
        return [Outcome.from_json(data if isinstance(data, str) else data.decode())]
    except (ValueError, AttributeError):  # somebody else's
        return []
