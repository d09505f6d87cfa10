"""What was aimed at, and whether it was reached: the median of the rounds, and the best round of each, for what other
programs do can only make one slower."""

from __future__ import annotations

from typing import Iterator, Sequence, Tuple

from .contestants import (
    OURS,
    OURS_BATCHES,
    OURS_FORKED,
    OURS_LEAN,
    PUBLISHED,
    PUBLISHED_FORKED,
    RQ_FORKED,
    Contestant,
)
from .findings import Findings, Table, median_ratio


def goals(findings: Findings) -> Table:
    return [('', 'goal', 'median of the rounds', 'at their best', ''),
            *_to_others(findings), *_to_floors(findings), *_to_itself(findings)]


def _to_others(findings: Findings) -> Iterator[Sequence[str]]:
    others = [row for row in findings.rows('preforked') if 'delayed' not in row.name]

    def strongest(measure: str, rows: Sequence[Contestant] = others) -> Contestant:
        return min(rows, key=lambda row: findings.ratio('preforked', row, measure))

    def closest(measure: str) -> Contestant:
        rows = [row for row in findings.rows('latency') if row.environment != OURS.environment and not row.forked]
        return max(rows, key=lambda row: findings.ratio('latency', row, measure))

    fastest, quickest, soonest, promptest = (
        strongest('rate'), strongest('enqueue_rate'), closest('wait_us'), closest('late_us'))
    most = strongest('many_rate', [row for row in others if row.in_bulk])
    kind = '%s (%s)' % (fastest.name, fastest.guarantee)
    for title, goal, section, ours, row, measure in (
            ('pre-forked drain, to 0.5.1b2', 5, 'preforked', OURS, PUBLISHED, 'rate'),
            ('pre-forked drain, to the fastest other: ' + kind, 2.5, 'preforked', OURS, fastest, 'rate'),
            ('pre-forked drain in batches, to 0.5.1b2', 15, 'preforked', OURS_BATCHES, PUBLISHED, 'rate'),
            ('pre-forked drain in batches, to ' + kind, 8, 'preforked', OURS_BATCHES, fastest, 'rate'),
            ('forked drain by `delayed worker`, to 0.5.1b2', 3.5, 'forked', OURS_LEAN, PUBLISHED_FORKED, 'rate'),
            ('forked drain by a script, to 0.5.1b2', 3.5, 'forked', OURS_FORKED, PUBLISHED_FORKED, 'rate'),
            ('forked drain by a script, to rq', 5, 'forked', OURS_FORKED, RQ_FORKED, 'rate'),
            ('enqueue, to 0.5.1b2', 3, 'preforked', OURS, PUBLISHED, 'enqueue_rate'),
            ('enqueue, to the fastest other: %s' % quickest.name, 1, 'preforked', OURS, quickest, 'enqueue_rate'),
            ('enqueue in bulk, to the fastest other: %s' % most.name, 5, 'preforked', OURS, most, 'many_rate'),
            ("CPU a task, of 0.5.1b2's", 0.25, 'preforked', OURS, PUBLISHED, 'cpu_us'),
            ("p50 of the latency, of the closest other's: %s" % soonest.name, 1, 'latency', OURS, soonest, 'wait_us'),
            ("p99 of the latency, of the closest other's: %s" % promptest.name, 1, 'latency', OURS, promptest,
             'late_us'),
            *_memory_goals(findings)):
        best = max if measure.endswith('rate') else min
        at_best = best(findings.base_values(section, row, measure, ours)) / best(findings.values(section, row, measure))
        yield _line(title, goal, (findings.ratio(section, row, measure, ours), at_best), more_is_better=best is max)


def _memory_goals(findings: Findings) -> Iterator[Tuple[str, float, str, Contestant, Contestant, str]]:
    for kind, goal, ours, theirs, measures in (
            ('pre-forked', 1, OURS, PUBLISHED, {
                'idle_bytes': 'one task', 'after_bytes': 'many empty tasks', 'made_bytes': 'tasks that make objects'}),
            ('forked', 1.15, OURS_FORKED, PUBLISHED_FORKED, {'idle_bytes': 'one task', 'alone_bytes': 'a while'})):
        for measure, when in measures.items():
            yield ("memory of an idle %s worker after %s, of 0.5.1b2's" % (kind, when), goal, 'memory', ours, theirs,
                   measure)


def _to_floors(findings: Findings) -> Iterator[Sequence[str]]:
    for title, goal, section, ours, measure, limit in (
            ('forked drain by a script, to fork and end a process', 0.95, 'forked', OURS_FORKED, 'rate', 'fork'),
            ('forked drain by `delayed worker`, to the same', 0.95, 'forked', OURS_LEAN, 'rate', 'fork'),
            ('enqueue, to a bare RPUSH through redis-py', 0.9, 'preforked', OURS, 'enqueue_rate', 'client_rpush'),
            ('enqueue in bulk, to its commands in a pipeline', 0.6, 'preforked', OURS, 'many_rate',
             'commands_pipelined')):
        rates = findings.values(section, ours, measure)
        floors = [1e6 / micros for micros in findings.results['limits']['all'][limit]]
        yield _line(title, goal, (median_ratio(rates, floors), max(rates) / max(floors)))


def _to_itself(findings: Findings) -> Iterator[Sequence[str]]:
    last, first = (list(findings.results['backlog'][OURS.name])[index] for index in (-1, 0))
    for title, goal, section, ours, more, less in (
            ('drain with {:,} waiting, to {:,}'.format(int(last), int(first)), 0.9, 'backlog', OURS, last, first),
            ('two workers, to one', 1, 'scaling', OURS, '2', '1'),
            ('two workers whose tasks sleep 10 ms, to one', 1.9, 'naps', OURS, '2', '1'),
            ('the same, forked', 1.9, 'naps', OURS_FORKED, '2', '1')):
        pair = findings.values(section, ours, more), findings.values(section, ours, less)
        yield _line(title, goal, (median_ratio(*pair), max(pair[0]) / max(pair[1])))


def _line(title: str, goal: float, found: Sequence[float], more_is_better: bool = True) -> Sequence[str]:
    reached = [each >= goal if more_is_better else each <= goal for each in found]
    return (title, '%g' % goal, *('%.2f' % each for each in found),
            'reached' if all(reached) else 'on the edge' if any(reached) else 'falls short')
