"""The queues that a worker is given: one, several in strict order, or several by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Mapping, NamedTuple, Optional, Sequence, Union

from ._source import Source, overrides
from .queue import Queue

#: What a worker takes: `queue`, `[first, second]` or `{often: 3, seldom: 1}`.
if TYPE_CHECKING:
    from .sharded import ShardedQueue
    Queues = Union[Queue, ShardedQueue, Sequence[Queue], Mapping[Queue, float]]
else:  # for `typing.get_type_hints`; few workers need more
    Queues = Union[Queue, Sequence[Queue], Mapping[Queue, float]]


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
        if len(self.queues) == 1 and not overrides(self.queues[0]):
            return Source(self.queues[0], lease, max_losses)
        from ._several_queues import source_of
        return source_of(*self, lease, max_losses)


def queue_list(value: Any) -> QueueList:
    """Raises `InvalidArgument` or `WrongType`."""
    if isinstance(value, Queue) and not overrides(value):
        return QueueList([value])
    from ._several_queues import several  # here, for most workers have one plain queue
    return QueueList(*several(value))
