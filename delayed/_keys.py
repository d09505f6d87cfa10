"""The names of a queue's keys in Redis, built nowhere else. README documents the same names."""

from __future__ import annotations

from typing import List, NamedTuple

ID_SUFFIX = '_id'
NOTI_SUFFIX = '_noti'
ENQUEUED_SUFFIX = '_enqueued'
DEQUEUED_SUFFIX = '_dequeued'


class QueueKeys(NamedTuple):
    """The first five are 0.5.1b2's; what our own features need stands beside them."""

    #: List: the payloads that wait, oldest on the left. Its name is the queue's.
    waiting: str

    @property
    def id(self) -> str:
        """String: the last id handed out."""
        return self.waiting + ID_SUFFIX

    @property
    def notifications(self) -> str:
        """List: a `1` for each waiting payload; consumers block on it."""
        return self.waiting + NOTI_SUFFIX

    @property
    def enqueued(self) -> str:
        """Sorted set: payload of every unfinished task -> its allowance, timeout + requeue_timeout (ms)."""
        return self.waiting + ENQUEUED_SUFFIX

    @property
    def dequeued(self) -> str:
        """Sorted set: payload -> end of its lease (Unix ms, a fraction makes it unique): the fencing token."""
        return self.waiting + DEQUEUED_SUFFIX

    @property
    def dead(self) -> str:
        """Sorted set: what was set aside, a JSON line and the payload -> when (Unix ms, unique: the letter's id)."""
        return self.waiting + '_dead'

    @property
    def leases(self) -> str:
        """Hash: token of each lease that a worker renews -> the worker and its call."""
        return self.waiting + '_leases'

    @property
    def losses(self) -> str:
        """Hash: payload of an unfinished task -> the times (Unix ms) at which it was lost, separated by commas."""
        return self.waiting + '_losses'

    @property
    def swept(self) -> str:
        """String: when (Unix ms) the last worker swept, until when renewed leases are spared, and the shortest lease of
        those who sweep."""
        return self.waiting + '_swept'

    @property
    def workers(self) -> str:
        """Hash, expires: name of a worker -> when it told last that it lives (Unix ms), for how long (ms) that holds,
        and JSON: seconds since it began, and since it took its tasks."""
        return self.waiting + '_workers'

    @property
    def pace(self) -> str:
        """List, expires, newest first: from when to when (Unix ms) which payload was the last that waits, how many
        tasks workers had taken, and how many waited."""
        return self.waiting + '_pace'

    @property
    def failures(self) -> str:
        """Channel, no key: hears the record of each task that failed, or whose process was ended."""
        return self.waiting + '_failures'

    def all(self) -> List[str]:
        """All but those of the producers, which expire by themselves."""
        return [self.waiting, *(getattr(self, name) for name, value in vars(QueueKeys).items()
                                if isinstance(value, property) and name != 'failures')]

    def producer(self, name: str) -> str:
        """String, expires: the number of the last call of one producer, so that a repeated call adds nothing."""
        return '%s_producer_%s' % (self.waiting, name)
