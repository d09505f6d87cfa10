"""Turns the results into tables in Markdown, and puts them into a page between marks; what people wrote stays."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from .contestants import BLIND, OURS, OURS_BATCHES, OURS_FORKED, OURS_SINGLY, PREFORKED, SEEING, WINKING, Contestant
from .findings import Findings, Table, median, median_ratio
from .goals import goals
from .plot import Panel, bars, curves


def _rate(value: float) -> str:
    return format(int(float('%.3g' % value)), ',')


def _times(value: float) -> str:
    return '%.2f' % value if value < 10 else '%.0f' % value


def _micros(value: float) -> str:
    return _rate(value) if value >= 10 else '%.1f' % value


def _megabytes(value: float) -> str:
    return '%.1f' % (value / 1e6)


def _count(value: float) -> str:
    return format(round(value), ',')


class Report:
    def __init__(self, kept: Dict[str, Any]) -> None:
        self._kept = kept
        self._found = Findings(kept['results'])

    def text(self) -> str:
        return '\n\n'.join('### %s\n\n%s' % block for block in self._blocks())

    def write(self, page: Path, plot: Path, growth: Path) -> None:
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
            (row.name, self._found.median('preforked', row, 'rate'), row.guarantee)
            for row in self._found.rows('preforked')]))
        growth.write_text(curves('Tasks a second, by the number of workers and of waiting tasks', [
            self._curves('Tasks a second, two cores', 'workers', 'scaling'),
            self._curves('Tasks a second, one worker', 'tasks that wait', 'backlog')]))

    def _curves(self, title: str, across: str, section: str) -> Panel:
        found = self._found.results[section]
        values = list(found[OURS.name])
        return Panel(title, across, [_count(int(value)) for value in values],
                     [(name, [median(each[value]) for value in values]) for name, each in found.items()])

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
        yield 'goals', _markdown(goals(self._found))

    def _setting(self) -> str:
        kept, found = self._kept, self._found
        seconds = [found.median(section, row, 'tasks') / found.median(section, row, 'rate')
                   for section in ('preforked', 'forked') for row in found.rows(section)]
        return ('Python %s, Redis %s over a Unix socket, %s. Medians of %d rounds; each had as many tasks a row as its '
                'table says, which took a worker %.1f to %.1f s. Meanwhile other programs used %.1f cores '
                '(%.1f to %.1f).' % (
                    platform.python_version(), kept['redis'], _machine(), kept['rounds'], min(seconds), max(seconds),
                    median(kept['others']), min(kept['others']), max(kept['others'])))

    def _versions(self) -> Table:
        table: Table = [('', 'guarantee', 'packages', 'set up')]
        for row in self._found.rows('preforked'):
            packages = [each.replace('==', ' ') for each in row.packages]
            if row.environment == OURS.environment:
                packages.insert(0, 'this checkout')
            table.append((row.name, row.guarantee, ', '.join(packages), row.note or 'defaults'))
        return table

    def _drain(self, section: str) -> Table:
        found = self._found
        table: Table = [('', 'tasks', 'tasks/s', 'ours is', 'slowest to fastest round', 'guarantee', 'tasks run in')]
        for row in found.rows(section):
            rates = found.values(section, row, 'rate')
            table.append((row.name, _count(found.median(section, row, 'tasks')), _rate(median(rates)),
                          _times(found.ratio(section, row, 'rate')) + ' x',
                          '%s to %s' % (_rate(min(rates)), _rate(max(rates))), row.guarantee, row.runs_in))
        return table

    def _work(self) -> Table:
        table: Table = [('', 'CPU of the worker, µs', 'of it, ours uses', 'CPU of Redis, µs', 'round trips', 'commands',
                         'bytes to Redis', 'bytes from it')]
        for section in ('preforked', 'forked'):
            for row in self._found.rows(section):
                each = {measure: self._found.median(section, row, measure)
                        for measure in ('cpu_us', 'redis_cpu_us', 'trips', 'commands', 'received', 'sent')}
                table.append((
                    row.name, _micros(each['cpu_us']),
                    _times(self._found.ratio(section, row, 'cpu_us')), _micros(each['redis_cpu_us']),
                    *('%.2f' % each[measure] for measure in ('trips', 'commands')),
                    *(_rate(each[measure]) for measure in ('received', 'sent'))))
        return table

    def _latency(self) -> Table:
        """Those of the first row are of all turns; each other row is compared with those that it shared."""
        found = self._found
        table: Table = [('', 'p50, µs', 'p99, µs', 'p50 to ours', 'p99 to ours', 'tasks in all rounds')]
        for row in found.rows('latency'):
            waits = found.waits(row)
            table.append((row.name, _micros(median(waits)), _micros(found.median('latency', row, 'late_us')),
                          *(_times(1 / found.ratio('latency', row, measure)) for measure in ('wait_us', 'late_us')),
                          _count(len(waits))))
        return table

    def _enqueue(self) -> Table:
        found = self._found
        table: Table = [('', 'tasks', 'tasks/s, one by one', 'ours is', 'round trips', 'commands', 'bytes to Redis',
                         'tasks in bulk', 'tasks/s, in bulk')]
        for row in found.rows('preforked'):
            tasks, rate, trips, commands, sent = (found.median('preforked', row, measure) for measure in (
                'enqueued', 'enqueue_rate', 'enqueue_trips', 'enqueue_commands', 'enqueue_received'))
            bulk = [found.median('preforked', row, measure) for measure in ('many', 'many_rate') if row.in_bulk]
            table.append((
                row.name, _count(tasks), _rate(rate), _times(found.ratio('preforked', row, 'enqueue_rate')) + ' x',
                '%.2f' % trips, '%.2f' % commands, _rate(sent),
                *((_count(bulk[0]), _rate(bulk[1])) if bulk else
                  ('', 'as the first' if row.environment == OURS.environment else 'has none'))))
        return table

    def _memory(self) -> Table:
        found = self._found.results['memory']
        table: Table = [('', 'after one task, MB', 'after empty tasks, MB', 'so many',
                         'after tasks that make objects, MB', 'so many', 'left alone, MB', 'for so long, s')]
        shown = {'idle_bytes': _megabytes, 'after_bytes': _megabytes, 'tasks': _count, 'made_bytes': _megabytes,
                 'made': _count, 'alone_bytes': _megabytes, 'alone': '{:g}'.format}
        for row in self._found.rows('memory'):
            values = found[row.name]
            table.append((row.name, *(show(median(values[measure])) if measure in values else ''
                                      for measure, show in shown.items())))
        return table

    def _by_size(self, section: str, rows: Sequence[Contestant], title: str) -> Table:
        rows = [row for row in rows if row.name in self._found.results[section]]
        sizes = list(self._found.results[section][OURS.name])
        table: Table = [('', *('%s, tasks/s' % title.format(int(size)) for size in sizes), 'last to first')]
        for row in rows:
            rates = [self._found.values(section, row, size) for size in sizes]
            table.append((row.name, *(_rate(median(each)) for each in rates),
                          _times(median_ratio(rates[-1], rates[0]))))
        return table

    def _naps(self) -> Table:
        table: Table = [
            ('', 'one worker, tasks/s', 'two workers, tasks/s', 'of the 200 that two could do', 'two to one')]
        for name, found in self._found.results['naps'].items():
            alone, both = median(found['1']), median(found['2'])
            table.append((name, _rate(alone), _rate(both), '%.0f %%' % (both / 2),
                          _times(median_ratio(found['2'], found['1']))))
        return table

    def _limits(self) -> Table:
        found = self._found.results['limits']['all']
        enqueueing = self._micros_each('preforked', OURS, 'enqueue_rate')
        ours = {'advance': self._micros_each('preforked', OURS_SINGLY, 'rate'),
                'advance_many': self._micros_each('preforked', OURS_BATCHES, 'rate'),
                **dict.fromkeys(('enqueue', 'client_rpush'), enqueueing),
                'commands_pipelined': self._micros_each('preforked', OURS, 'many_rate'),
                'fork': self._micros_each('forked', OURS_FORKED, 'rate'),
                'wake': self._found.values('latency', OURS, 'wait_us')[:len(found['wake'])]}
        table: Table = [('', 'µs', 'our µs a task', 'ours to it')]
        for name, title in _LIMITS.items():
            mine = ours.get(name)
            table.append((title, _micros(median(found[name])), *(
                (_micros(median(mine)), _times(median_ratio(mine, found[name]))) if mine else ('', ''))))
        return table

    def _micros_each(self, section: str, row: Contestant, measure: str) -> List[float]:
        return [1e6 / rate for rate in self._found.values(section, row, measure)]

    def _black_box(self) -> Table:
        """Parts are medians of those of each round."""
        table: Table = [('', 'CPU of the worker, µs a task', 'of it the black box', 'its part')]
        values = self._found.values
        found = [(row.name, values('black_box', row, 'cpu_us'), values('black_box', row, 'black_box_us'))
                 for row in WINKING]
        seeing, blind = (values('black_box', row, 'cpu_us') for row in (SEEING, BLIND))
        found.append((SEEING.name, seeing, [mine - other for mine, other in zip(seeing, blind)]))
        for name, whole, part in found:
            shares = [its / all_ for its, all_ in zip(part, whole)]
            table.append((name, _micros(median(whole)), '%.3g' % median(part), '%.1f %%' % (100 * median(shares))))
        return table


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


def _machine() -> str:
    try:
        models = re.findall(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    except OSError:
        models = []
    return '%s %s' % ('%d cores of' % len(models) if models else 'a', models[0] if models else platform.machine())


def _markdown(table: Table) -> str:
    header, *rows = table
    aligned = ['---:' if any(cell[:1].isdigit() for cell in column) else '---' for column in zip(*rows)]
    return '\n'.join('| %s |' % ' | '.join(cells) for cells in (header, aligned, *rows))
