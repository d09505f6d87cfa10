"""Who enqueues, as Redis knows it: by a name under which it remembers the last call and the ids that are reserved.

A producer makes one call at a time. Threads that enqueue at the same time are several; one after the other, they share
one, and so do the `Queue` objects of a process that lead to the same queue. A forked process has its own.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Deque, Dict, Hashable, NamedTuple

_MOST_QUEUES = 1000  # that a process remembers


class Call(NamedTuple):
    """One enqueueing call; a repetition is told by its producer and number.

    first_id: the reserved id of the first of its tasks, of which there are `size`; 0: their ids are their own.
    last_id: the last that is reserved. more: how many to reserve when they are used up: 0 or 1.
    """

    producer: str
    number: int
    size: int = 1
    first_id: int = 0
    last_id: int = 0
    more: int = 0


class Producer:
    """`next_id` to `last_id` are reserved; none are if the former is larger."""

    __slots__ = ('_goes_on', 'last_id', 'name', 'next_id', 'number', 'pid')

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.name = os.urandom(8).hex()
        self.number = 0
        self.next_id, self.last_id = 1, 0
        self._goes_on = False

    @property
    def ids(self) -> int:
        """How many are reserved."""
        return self.last_id - self.next_id + 1

    def call(self, size: int, numbered: bool) -> Call:
        """The next call, of so many tasks; `numbered`: they have the next reserved ids.

        The first does not ask for the next id: a program that enqueues a single task shall skip none.
        """
        self.number += 1
        if not numbered:
            return Call(self.name, self.number, size)
        more, self._goes_on = self._goes_on, True
        return Call(self.name, self.number, size, self.next_id, self.last_id, int(more))

    def answered(self, call: Call, reply: int) -> None:
        """Notes which ids Redis says are reserved now, 0 for none; below 0: it had forgotten those of the call."""
        if reply == 0:
            self.last_id = call.last_id
            self.used()
        else:
            self.next_id = abs(reply)
            self.last_id = max(reply, call.last_id) if reply > 0 else -reply
        self._goes_on = reply >= 0

    def reserved(self, first_id: int, count: int) -> None:
        """Notes more ids, which may follow those that it has."""
        if self.ids and first_id == self.next_id:
            self.last_id += count
        else:
            self._goes_on = self._goes_on and first_id > self.last_id  # else they begin anew
            self.next_id, self.last_id = first_id, first_id + count - 1

    def used(self) -> None:
        """Notes that no id is left."""
        self.next_id = self.last_id + 1


class Producers:
    """Those of one queue that have nothing to do now."""

    def __init__(self) -> None:
        self._idle: Deque[Producer] = deque()  # whose methods need no lock, which a fork might copy while it is held

    def take(self) -> Producer:
        """Returns one for the caller alone. It gives it back, or drops it if it does not know what Redis has done."""
        pid = os.getpid()
        while True:
            try:
                producer = self._idle.pop()
            except IndexError:
                return Producer(pid)
            if producer.pid == pid:
                return producer

    def give_back(self, producer: Producer) -> None:
        self._idle.append(producer)


_known: Dict[Hashable, Producers] = {}


def producers_of(name: str, conn: Any) -> Producers:
    """The producers of the queue of that name to which this client leads.

    Nothing depends on it that two clients are told apart: an id that was reserved by another server is refused.
    """
    key = name, _address(conn)
    if key not in _known and len(_known) >= _MOST_QUEUES:
        _known.clear()  # a `Queue` keeps its own
    return _known.setdefault(key, Producers())


def _address(conn: Any) -> Hashable:
    options = getattr(getattr(conn, 'connection_pool', None), 'connection_kwargs', {})
    address = tuple(options.get(name) for name in ('path', 'host', 'port', 'db'))
    return address if any(address) else id(conn)
