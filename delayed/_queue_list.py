"""The queues that a worker is given: one, several in strict order, or several by weight."""

from __future__ import annotations

import math
import random
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Union

from ._cluster import ClusterCaller
from ._page import MOST_QUEUES
from ._queue_source import overrides, source_of
from ._redis import check_one_server
from ._source import Source
from ._source_apart import SourceApart
from ._source_group import SourceGroup
from ._turns import Rounds, Turns
from .errors import InvalidArgument, WrongType
from .queue import Queue
from .sharded import ShardedQueue

#: What a worker takes: `queue`, `[first, second]` or `{often: 3, seldom: 1}`.
Queues = Union[Queue, ShardedQueue, Sequence[Queue], Mapping[Queue, float]]


class QueueList(NamedTuple):
    """weights: `None`: strictly in this order. sharded: the name of the queue whose shards they are, to be taken from
    in rounds."""

    queues: List[Queue]
    weights: Optional[List[float]] = None
    sharded: str = ''

    def __str__(self) -> str:
        if self.sharded:
            return 'queue %s (%d shards)' % (self.sharded, len(self.queues))
        names = [queue.name for queue in self.queues]
        if len(names) == 1:
            return 'queue %s' % names[0]
        if self.weights is None:
            return 'queues %s' % ', '.join(names)
        return 'queues %s' % ', '.join('%s (weight %g)' % pair for pair in zip(names, self.weights))

    def source(self, lease: Optional[float], max_losses: int) -> Source:
        """lease: seconds; `None`: the full allowance."""
        if len(self.queues) == 1:
            return source_of(self.queues[0], lease, max_losses)
        count = len(self.queues)
        turns = Rounds(count, random.randrange(count)) if self.sharded else Turns(count, self.weights)
        return (SourceApart if _are_apart(self.queues) else SourceGroup)(self.queues, turns, lease, max_losses)


def queue_list(value: Any) -> QueueList:
    """Raises `InvalidArgument` or `WrongType`."""
    if isinstance(value, ShardedQueue):
        return QueueList(value.shards, None, value.name)
    several = isinstance(value, (list, tuple, Mapping))
    queues = list(value) if several else [value]
    for queue in queues:
        if not isinstance(queue, Queue):
            raise WrongType('%s, not %r' % (
                'each queue must be a delayed.queue.Queue' if several else
                'queue must be a delayed.queue.Queue, a list of them, or a dict of them and their weights', queue))
    if not 0 < len(queues) <= MOST_QUEUES:
        raise InvalidArgument('a worker needs at least one queue, and can have %d, not %d' % (MOST_QUEUES, len(queues)))
    if len(queues) > 1:
        _check_several(queues)
    return QueueList(queues, [_weight(*item) for item in value.items()] if isinstance(value, Mapping) else None)


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
