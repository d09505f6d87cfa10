"""What a worker is given that is not one plain queue: whether it can be worked on, and where its tasks come from."""

from __future__ import annotations

import math
import random
from typing import Any, List, Mapping, Optional, Tuple

from ._cluster import ClusterCaller
from ._page import MOST_QUEUES
from ._queue_source import QueueSource
from ._redis import check_one_server
from ._source import Source, overrides
from ._source_apart import SourceApart
from ._source_group import SourceGroup
from ._turns import Rounds, Turns
from .errors import InvalidArgument, WrongType
from .queue import Queue
from .sharded import ShardedQueue


def source_of(queues: List[Queue], weights: Optional[List[float]], sharded: str, lease: Optional[float],
              max_losses: int) -> Source:
    """As `QueueList.source`, of what `several` told."""
    count = len(queues)
    if count == 1:
        return QueueSource(queues[0], max_losses)
    turns = Rounds(count, random.randrange(count)) if sharded else Turns(count, weights)
    return (SourceApart if _are_apart(queues) else SourceGroup)(queues, turns, lease, max_losses)


def several(value: Any) -> Tuple[List[Queue], Optional[List[float]], str]:
    """The fields of a `QueueList`. Raises `InvalidArgument` or `WrongType`, of what is no queue at all, too."""
    if isinstance(value, ShardedQueue):
        return value.shards, None, value.name
    is_group = isinstance(value, (list, tuple, Mapping))
    queues = list(value) if is_group else [value]
    for queue in queues:
        if not isinstance(queue, Queue):
            raise WrongType('%s, not %r' % (
                'each queue must be a delayed.queue.Queue' if is_group else
                'queue must be a delayed.queue.Queue, a list of them, or a dict of them and their weights', queue))
    if not 0 < len(queues) <= MOST_QUEUES:
        raise InvalidArgument('a worker needs at least one queue, and can have %d, not %d' % (MOST_QUEUES, len(queues)))
    if len(queues) > 1:
        _check_several(queues)
    return queues, [_weight(*item) for item in value.items()] if isinstance(value, Mapping) else None, ''


def _check_several(queues: List[Queue]) -> None:
    names = [queue.name for queue in queues]
    for queue in queues:
        if overrides(queue):
            raise InvalidArgument('%s overrides dequeue, release or requeue, so a worker must have queue %s alone'
                                  % (type(queue).__name__, queue.name))
    if not _are_apart(queues):
        check_one_server([queue.conn for queue in queues], names)
    if len(set(names)) < len(names):
        raise InvalidArgument('a worker was given the same queue twice: %s' % ', '.join(names))


def _are_apart(queues: List[Queue]) -> bool:
    """Whether no one call reaches them all, but one for each: they are in several slots of a cluster."""
    return (all(isinstance(queue.ledger.caller, ClusterCaller) for queue in queues)
            and len({queue.conn.keyslot(queue.name) for queue in queues}) > 1)


def _weight(queue: Queue, weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise WrongType('the weight of queue %s must be a number, not %r' % (queue.name, weight))
    if not 0 < weight < math.inf:
        raise InvalidArgument('the weight of queue %s must be more than 0, not %r' % (queue.name, weight))
    return float(weight)
