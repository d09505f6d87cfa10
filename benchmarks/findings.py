"""What a run found, looked up by section, row and measure; see suite.py."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

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
        """One for each round; `wait_us` is a round's median latency. `late_us` is the 99th percentile of all rounds."""
        if measure == 'wait_us':
            return [median(waits) for waits in self.results[section][row.name]['waits_us']]
        if measure == 'late_us':  # so few of a round's that all rounds count as one
            waits = self.waits(row)
            return [waits[int(len(waits) * 0.99)]]
        values: List[float] = self.results[section][row.name][measure]
        return values

    def waits(self, row: Contestant) -> List[float]:
        """The latencies of all rounds, in µs, the shortest first."""
        return sorted(sum(self.results['latency'][row.name]['waits_us'], []))

    def median(self, section: str, row: Contestant, measure: str) -> float:
        return median(self.values(section, row, measure))

    def ratio(self, section: str, row: Contestant, measure: str, base: Optional[Contestant] = None) -> float:
        """How many times the row's measure is ours, or that of `base`: the median of the rounds' ratios."""
        base = base or (OURS_FORKED if row.forked else OURS)
        pairs = zip(self.values(section, base, measure), self.values(section, row, measure))
        return median([ours / theirs for ours, theirs in pairs if theirs])


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
