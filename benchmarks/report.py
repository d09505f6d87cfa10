"""Turns the results into tables in Markdown, and puts them into a page between marks; what people wrote stays."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .contestants import (
    BLIND,
    FORKED,
    OURS,
    OURS_BATCHES,
    OURS_FORKED,
    PREFORKED,
    PUBLISHED,
    PUBLISHED_FORKED,
    RQ_FORKED,
    SEEING,
    WINKING,
    Contestant,
)
from .plot import bars
from .suite import median

Table = List[Sequence[str]]


def _rate(value: float) -> str:
    return format(int(float('%.3g' % value)), ',')


def _times(value: float) -> str:
    return '%.2f' % value if value < 10 else '%.0f' % value


def _micros(value: float) -> str:
    return _rate(value) if value >= 10 else '%.1f' % value


def _megabytes(value: float) -> str:
    return '%.1f' % (value / 1e6)


class Report:
    """Knows the results by section, row and measure; see suite.py."""

    def __init__(self, kept: Dict[str, Any]) -> None:
        self._kept = kept
        self._results: Dict[str, Any] = kept['results']

    def text(self) -> str:
        return '\n\n'.join('### %s\n\n%s' % block for block in self._blocks())

    def write(self, page: Path, plot: Path) -> None:
        """Replaces what stands between `<!-- NAME -->` and `<!-- end -->`. Raises `ValueError` if a mark is missing."""
        text = page.read_text('utf-8')
        for name, block in self._blocks():
            text, times = re.subn('(<!-- %s -->\n).*?(<!-- end -->)' % re.escape(name),
                                  lambda match, block=block: match[1] + block + '\n' + match[2],  # type: ignore[misc]
                                  text, flags=re.DOTALL)
            if times != 1:
                raise ValueError('%s has %d places marked <!-- %s -->' % (page, times, name))
        page.write_text(text, 'utf-8')
        plot.write_text(bars('Empty tasks a second, one worker', [
            (row.name, self._median('preforked', row, 'rate'), row.guarantee) for row in self._rows('preforked')]))

    def _blocks(self) -> Iterator[Tuple[str, str]]:
        yield 'setting', self._setting()
        yield 'versions', _markdown(self._versions())
        yield 'preforked', _markdown(self._drain('preforked'))
        yield 'forked', _markdown(self._drain('forked'))
        yield 'work', _markdown(self._work())
        yield 'latency', _markdown(self._latency())
        yield 'enqueue', _markdown(self._enqueue())
        yield 'memory', _markdown(self._memory())
        yield 'black_box', _markdown(self._black_box())
        yield 'backlog', _markdown(self._by_size('backlog', (OURS,), '{:,} waiting'))
        yield 'scaling', _markdown(self._by_size('scaling', PREFORKED, '{} worker(s)'))
        yield 'naps', _markdown(self._naps())
        yield 'limits', _markdown(self._limits())
        yield 'goals', _markdown(self._goals())

    def _setting(self) -> str:
        kept = self._kept
        return ('Python %s, Redis %s over a Unix socket, %s. Medians of %d rounds; each had %s tasks a row, %s where '
                'each task has a process of its own. Meanwhile other programs used %.1f cores (%.1f to %.1f).' % (
                    platform.python_version(), kept['redis'], _machine(), kept['rounds'],
                    format(kept['preforked'], ','), format(kept['forked'], ','),
                    median(kept['others']), min(kept['others']), max(kept['others'])))

    def _versions(self) -> Table:
        table: Table = [('', 'guarantee', 'packages', 'set up')]
        for row in self._rows('preforked'):
            packages = [each.replace('==', ' ') for each in row.packages]
            if row.environment == OURS.environment:
                packages.insert(0, 'this checkout')
            table.append((row.name, row.guarantee, ', '.join(packages), row.note or 'defaults'))
        return table

    def _rows(self, section: str) -> List[Contestant]:
        rows = PREFORKED if section != 'forked' else FORKED
        return [row for row in rows if row.name in self._results.get(section, {})]

    def _values(self, section: str, row: Contestant, measure: str) -> List[float]:
        """One for each round; `wait_us` is a round's median latency. `late_us` is the 99th percentile of all rounds."""
        found = self._results[section][row.name]
        if measure == 'wait_us':
            return [median(waits) for waits in found['waits_us']]
        if measure == 'late_us':  # so few of a round's that all rounds count as one
            waits = sorted(sum(found['waits_us'], []))
            return [waits[int(len(waits) * 0.99)]]
        values: List[float] = found[measure]
        return values

    def _median(self, section: str, row: Contestant, measure: str) -> float:
        return median(self._values(section, row, measure))

    @staticmethod
    def _base(row: Contestant) -> Contestant:
        """Ours, of the same kind."""
        return OURS_FORKED if row.forked else OURS

    def _ratio(self, section: str, row: Contestant, measure: str, base: Optional[Contestant] = None) -> float:
        """How many times the row's measure is ours, or that of `base`: the median of the rounds' ratios."""
        pairs = zip(self._values(section, base or self._base(row), measure), self._values(section, row, measure))
        return median([ours / theirs for ours, theirs in pairs if theirs])

    def _drain(self, section: str) -> Table:
        table: Table = [('', 'tasks/s', 'ours is', 'slowest to fastest round', 'guarantee', 'tasks run in')]
        for row in self._rows(section):
            rates = self._values(section, row, 'rate')
            table.append((row.name, _rate(median(rates)), _times(self._ratio(section, row, 'rate')) + ' x',
                          '%s to %s' % (_rate(min(rates)), _rate(max(rates))), row.guarantee, row.runs_in))
        return table

    def _work(self) -> Table:
        table: Table = [('', 'CPU of the worker, µs', 'of it, ours uses', 'CPU of Redis, µs', 'round trips', 'commands',
                         'bytes to Redis', 'bytes from it')]
        for section in ('preforked', 'forked'):
            for row in self._rows(section):
                found = {measure: self._median(section, row, measure)
                         for measure in ('cpu_us', 'redis_cpu_us', 'trips', 'commands', 'received', 'sent')}
                table.append((
                    row.name, _micros(found['cpu_us']),
                    _times(self._ratio(section, row, 'cpu_us')), _micros(found['redis_cpu_us']),
                    *('%.2f' % found[measure] for measure in ('trips', 'commands')),
                    *(_rate(found[measure]) for measure in ('received', 'sent'))))
        return table

    def _latency(self) -> Table:
        table: Table = [('', 'p50, µs', 'p99, µs', 'p50 to ours')]
        for section in ('preforked', 'forked'):
            ours = None
            for row in self._rows(section):
                waits = sorted(sum(self._results[section][row.name]['waits_us'], []))
                ours = ours or waits[len(waits) // 2]
                table.append((row.name, _micros(waits[len(waits) // 2]),
                              _micros(waits[int(len(waits) * 0.99)]), _times(waits[len(waits) // 2] / ours)))
        return table

    def _enqueue(self) -> Table:
        table: Table = [('', 'tasks/s, one by one', 'ours is', 'round trips', 'commands', 'bytes to Redis',
                         'in bulk, tasks/s')]
        for row in self._rows('preforked'):
            many = self._results['preforked'][row.name].get('many_rate')
            table.append((
                row.name, _rate(self._median('preforked', row, 'enqueue_rate')),
                _times(self._ratio('preforked', row, 'enqueue_rate')) + ' x',
                *('%.2f' % self._median('preforked', row, 'enqueue_' + measure) for measure in ('trips', 'commands')),
                _rate(self._median('preforked', row, 'enqueue_received')), _rate(median(many)) if many else 'has none'))
        return table

    def _memory(self) -> Table:
        table: Table = [('', 'idle, MB', 'afterwards, MB', 'after so many tasks')]
        for row in self._rows('memory'):
            table.append((row.name, *(_megabytes(self._median('memory', row, measure))
                                      for measure in ('idle_bytes', 'after_bytes')),
                          _rate(self._median('memory', row, 'tasks'))))
        return table

    def _by_size(self, section: str, rows: Sequence[Contestant], title: str) -> Table:
        rows = [row for row in rows if row.name in self._results[section]]
        sizes = list(self._results[section][OURS.name])
        table: Table = [('', *('%s, tasks/s' % title.format(int(size)) for size in sizes), 'last to first')]
        for row in rows:
            rates = [self._median(section, row, size) for size in sizes]
            table.append((row.name, *map(_rate, rates), _times(rates[-1] / rates[0])))
        return table

    def _naps(self) -> Table:
        table: Table = [
            ('', 'one worker, tasks/s', 'two workers, tasks/s', 'of the 200 that two could do', 'two to one')]
        for name, found in self._results['naps'].items():
            alone, both = median(found['1']), median(found['2'])
            table.append((name, _rate(alone), _rate(both), '%.0f %%' % (both / 2), _times(both / alone)))
        return table

    def _limits(self) -> Table:
        found = self._results['limits']['all']
        ours = {'advance': 1e6 / self._median('preforked', OURS, 'rate'),
                'advance_many': 1e6 / self._median('preforked', OURS_BATCHES, 'rate'),
                **dict.fromkeys(('enqueue', 'client_rpush'), 1e6 / self._median('preforked', OURS, 'enqueue_rate')),
                'commands_pipelined': 1e6 / self._median('preforked', OURS, 'many_rate'),
                'fork': 1e6 / self._median('forked', OURS_FORKED, 'rate'),
                'wake': median(sum(self._results['preforked'][OURS.name]['waits_us'], []))}
        table: Table = [('', 'µs', 'our µs a task', 'ours to it')]
        for name, title in _LIMITS.items():
            floor = median(found[name])
            mine = ours.get(name)
            table.append((title, _micros(floor), *((_micros(mine), _times(mine / floor)) if mine else ('', ''))))
        return table

    def _black_box(self) -> Table:
        """Parts are medians of those of each round."""
        table: Table = [('', 'CPU of the worker, µs a task', 'of it the black box', 'its part')]
        found = [(row.name, *(self._values('black_box', row, name) for name in ('cpu_us', 'black_box_us')))
                 for row in WINKING]
        seeing, blind = (self._values('black_box', row, 'cpu_us') for row in (SEEING, BLIND))
        found.append((SEEING.name, seeing, [mine - other for mine, other in zip(seeing, blind)]))
        for name, whole, part in found:
            shares = [its / all_ for its, all_ in zip(part, whole)]
            table.append((name, _micros(median(whole)), '%.3g' % median(part), '%.1f %%' % (100 * median(shares))))
        return table

    def _goals(self) -> Table:
        table: Table = [('', 'goal', 'median of the rounds', 'at their best', '')]
        others = [row for row in self._rows('preforked') if 'delayed' not in row.name]
        fastest = min(others, key=lambda row: self._ratio('preforked', row, 'rate'))
        soonest = min([*others, PUBLISHED], key=lambda row: self._best('preforked', row, 'wait_us', min))
        promptest = min([*others, PUBLISHED], key=lambda row: self._best('preforked', row, 'late_us', min))
        quickest = min(others, key=lambda row: self._ratio('preforked', row, 'enqueue_rate'))
        in_bulk = [row for row in others if 'many_rate' in self._results['preforked'][row.name]]
        most = min(in_bulk, key=lambda row: self._ratio('preforked', row, 'many_rate'))
        kind = '%s (%s)' % (fastest.name, fastest.guarantee)
        for title, goal, section, ours, row, measure in (
                ('pre-forked drain, to 0.5.1b2', 5, 'preforked', OURS, PUBLISHED, 'rate'),
                ('pre-forked drain, to the fastest other: ' + kind, 2.5, 'preforked', OURS, fastest, 'rate'),
                ('pre-forked drain in batches, to 0.5.1b2', 15, 'preforked', OURS_BATCHES, PUBLISHED, 'rate'),
                ('pre-forked drain in batches, to ' + kind, 8, 'preforked', OURS_BATCHES, fastest, 'rate'),
                ('forked drain, to 0.5.1b2', 3.5, 'forked', OURS_FORKED, PUBLISHED_FORKED, 'rate'),
                ('forked drain, to rq', 5, 'forked', OURS_FORKED, RQ_FORKED, 'rate'),
                ('enqueue, to 0.5.1b2', 3, 'preforked', OURS, PUBLISHED, 'enqueue_rate'),
                ('enqueue, to the fastest other: %s' % quickest.name, 1, 'preforked', OURS, quickest, 'enqueue_rate'),
                ('enqueue in bulk, to the fastest other: %s' % most.name, 5, 'preforked', OURS, most, 'many_rate'),
                ("CPU a task, of 0.5.1b2's", 0.25, 'preforked', OURS, PUBLISHED, 'cpu_us'),
                ("p50 of the latency, of the lowest other's: %s" % soonest.name, 1, 'preforked', OURS, soonest,
                 'wait_us'),
                ("p99 of the latency, of the lowest other's: %s" % promptest.name, 1, 'preforked', OURS, promptest,
                 'late_us'),
                ("memory of an idle worker, of 0.5.1b2's", 1, 'memory', OURS, PUBLISHED, 'idle_bytes')):
            best = max if measure.endswith('rate') else min
            found = (self._ratio(section, row, measure, ours),
                     self._best(section, ours, measure, best) / self._best(section, row, measure, best))
            table.append((title, '%g' % goal, *_reached(found, goal, more_is_better=best is max)))
        for title, goal, section, ours, measure, limit in (
                ('forked drain, to fork and end a process', 0.95, 'forked', OURS_FORKED, 'rate', 'fork'),
                ('enqueue, to a bare RPUSH through redis-py', 0.9, 'preforked', OURS, 'enqueue_rate', 'client_rpush'),
                ('enqueue in bulk, to its commands in a pipeline', 0.6, 'preforked', OURS, 'many_rate',
                 'commands_pipelined')):
            rates, floors = self._values(section, ours, measure), self._results['limits']['all'][limit]
            found = (median([rate * floor / 1e6 for rate, floor in zip(rates, floors)]),
                     max(rates) * min(floors) / 1e6)
            table.append((title, '%g' % goal, *_reached(found, goal)))
        last, first = (list(self._results['backlog'][OURS.name])[index] for index in (-1, 0))
        for title, goal, section, ours, more, less in (
                ('drain with {:,} waiting, to {:,}'.format(int(last), int(first)), 0.9, 'backlog', OURS, last, first),
                ('two workers, to one', 1, 'scaling', OURS, '2', '1'),
                ('two workers whose tasks sleep 10 ms, to one', 1.9, 'naps', OURS, '2', '1'),
                ('the same, forked', 1.9, 'naps', OURS_FORKED, '2', '1')):
            pairs = self._values(section, ours, more), self._values(section, ours, less)
            found = median([one / other for one, other in zip(*pairs)]), max(pairs[0]) / max(pairs[1])
            table.append((title, '%g' % goal, *_reached(found, goal)))
        return table

    def _best(self, section: str, row: Contestant, measure: str, best: Callable[[Sequence[float]], float]) -> float:
        """Of all rounds: what other programs do can only make one slower."""
        return best(self._values(section, row, measure))


_LIMITS = {
    'advance': 'release a task and take the next: one script, one round trip',
    'advance_pipelined': 'the same script, a hundred in one go',
    'advance_many': 'release sixty-four tasks and take the next: one script, one round trip, for each task',
    'enqueue': 'enqueue: one script, one round trip',
    'enqueue_pipelined': 'the same script, a hundred in one go',
    'rpush': 'a bare RPUSH, one round trip',
    'client_rpush': "the same as a program calls it, through redis-py's pool",
    'rpush_pipelined': 'RPUSH, a hundred in one go',
    'commands_pipelined': 'the three commands that add a task, 500 tasks in a pipeline of redis-py',
    'pipe': 'a payload to another process over a pipe, and a byte back',
    'fork': 'fork and end a process that has loaded what a worker has',
    'wake': 'enqueue until it has come through BLPOP, one script and a pipe',
}


def _reached(found: Sequence[float], goal: float, more_is_better: bool = True) -> Sequence[str]:
    """What was found, in all rounds and at their best, and whether it is the goal."""
    reached = [each >= goal if more_is_better else each <= goal for each in found]
    return (*('%.2f' % each for each in found),
            'reached' if all(reached) else 'on the edge' if any(reached) else 'falls short')


def _machine() -> str:
    try:
        models = re.findall(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    except OSError:
        models = []
    return '%s %s' % ('%d cores of' % len(models) if models else 'a', models[0] if models else platform.machine())


def _markdown(table: Table) -> str:
    header, *rows = table
    aligned = ['---:' if cell[:1].isdigit() else '---' for cell in rows[0]]
    return '\n'.join('| %s |' % ' | '.join(cells) for cells in (header, aligned, *rows))
