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
