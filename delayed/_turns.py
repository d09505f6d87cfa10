"""Which of a worker's queues is asked first. No I/O."""

from __future__ import annotations

from typing import List, Optional, Sequence


class Turns:
    """Strict order, or by weight, where a queue with weight 3 has three tasks taken for each one of a queue with weight
    1, as long as both have some ("stride scheduling", Waldspurger and Weihl 1995): nothing is left to chance, and no
    queue waits for longer than its share."""

    def __init__(self, count: int, weights: Optional[Sequence[float]] = None) -> None:
        """weights: more than 0; `None`: strictly in the order of the queues."""
        self._weights = weights
        self._passes = [0.0] * count
        self._strict = list(range(count))

    def order(self) -> List[int]:
        """The numbers of the queues, the one to be asked first in front."""
        if self._weights is None:
            return self._strict
        return sorted(self._strict, key=self._passes.__getitem__)

    def took(self, queue: int) -> None:
        """A task of this queue was taken: those in front of it in `order` had none. They save up nothing, or one that
        was empty for long would keep the others waiting for as long."""
        if self._weights is None:
            return
        now = self._passes[queue]
        self._passes = [max(each, now) for each in self._passes]
        self._passes[queue] += 1.0 / self._weights[queue]

    def gave_back(self, queue: int) -> None:
        """A task of this queue that was taken did not run."""
        if self._weights is not None:
            self._passes[queue] -= 1.0 / self._weights[queue]


class Rounds(Turns):
    """One queue after the other, each for some tasks in a row, since to go from one to the next may cost a round
    trip."""

    IN_A_ROW = 16

    def __init__(self, count: int, first: int = 0) -> None:
        super().__init__(count)
        self._count = count
        self._current, self._taken = first, 0

    def order(self) -> List[int]:
        return [(self._current + number) % self._count for number in range(self._count)]

    def took(self, queue: int) -> None:
        self._taken = self._taken + 1 if queue == self._current else 1
        self._current = queue
        if self._taken >= self.IN_A_ROW:
            self._current, self._taken = (queue + 1) % self._count, 0
