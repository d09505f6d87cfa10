"""What a run found, looked up by section, row and measure; see suite.py."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from .contestants import FORKED, OURS, OURS_FORKED, PREFORKED, Contestant

#: In tables, rows of their cells; the first is the header.
Table = List[Sequence[str]]


class Findings:
    """Ratios are those of the same round, and the median of all rounds."""

    def __init__(self, results: Dict[str, Any]) -> None:
        self.results = results

    def rows(self, section: str) -> List[Contestant]:
        return [row for row in (*PREFORKED, *FORKED) if row.name in self.results.get(section, {})]

    def values(self, section: str, row: Contestant, measure: str) -> List[float]:
        """One for each round; of `OURS`' latencies one for each round of each group. `wait_us` is a round's median
        latency, `late_us` the 99th percentile of all rounds."""
        if measure in _LATENCIES:
            return _LATENCIES[measure](self.results['latency'][row.name]['waits_us'])
        values: List[float] = self.results[section][row.name][measure]
        return values

    def base_values(self, section: str, row: Contestant, measure: str,
                    base: Optional[Contestant] = None) -> List[float]:
        """What the row's are compared with: those of `base` in the same rounds, or ours; latencies: ours, in the same
        turns."""
        if measure in _LATENCIES:
            return _LATENCIES[measure](self.results['latency'][row.name]['our_waits_us'])
        return self.values(section, base or (OURS_FORKED if row.forked else OURS), measure)

    def waits(self, row: Contestant) -> List[float]:
        """The latencies of all rounds, in µs."""
        return _all(self.results['latency'][row.name]['waits_us'])

    def median(self, section: str, row: Contestant, measure: str) -> float:
        return median(self.values(section, row, measure))

    def ratio(self, section: str, row: Contestant, measure: str, base: Optional[Contestant] = None) -> float:
        """How many times the row's measure is ours, or that of `base`: the median of the rounds' ratios."""
        return median_ratio(self.base_values(section, row, measure, base), self.values(section, row, measure))


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Of the ratios of the rounds."""
    return median([value / other for value, other in zip(values, others) if other])


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _all(rounds: List[List[float]]) -> List[float]:
    return sum(rounds, [])


def _late(rounds: List[List[float]]) -> float:
    waits = sorted(_all(rounds))
    return waits[int(len(waits) * 0.99)]


#: What is made of the latencies of each round. Those of one round are too few for a 99th percentile.
_LATENCIES: Dict[str, Callable[[List[List[float]]], List[float]]] = {
    'wait_us': lambda rounds: [median(waits) for waits in rounds],
    'late_us': lambda rounds: [_late(rounds)],
}
