"""What holds for the tasks of one queue of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Sequence, Tuple

from ._attempt import provisional_timeout
from ._trust import Trust

if TYPE_CHECKING:
    from .queue import Queue


class Terms(NamedTuple):
    """As it is when its worker begins. Times are seconds; `provisional_timeout`: what the monitor goes by at first."""

    queue_name: str
    timeout: float
    provisional_timeout: float
    requeue_timeout: float
    trust: Trust


def provisional_timeout_of(queue: Queue) -> float:
    return provisional_timeout(queue.default_timeout / 1000)


def terms_of(queues: Sequence[Queue]) -> Tuple[Terms, ...]:
    return tuple(Terms(queue.name, queue.default_timeout / 1000, provisional_timeout_of(queue),
                       queue.requeue_timeout / 1000, queue.trust) for queue in queues)
