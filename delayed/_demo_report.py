"""What the demo shows: its progress, and in the end a table and what does not hold."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, TextIO, Tuple

from ._demo_task import FileHash, Hold, Traces

_CLEAR = '\r\x1b[K'  # the line of the cursor
_WIDEST_BAR = 40
_USUAL_COLUMNS = 80
_SHOWN = 3  # names in a message
_REDRAW = 0.05  # seconds between two drawings of a bar


class Progress:
    """A bar on a terminal; elsewhere a line for each quarter of the way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty() and os.environ.get('TERM') != 'dumb'
        self._quarters = 0
        self._shown = False
        self._drawn_at = 0.0

    def show(self, what: str, done: int, total: int) -> None:
        if self._terminal:
            now = time.monotonic()
            if done == total or now - self._drawn_at >= _REDRAW:
                self._write(_CLEAR + _bar(what, done, total, _columns(self._stream)))
                self._shown, self._drawn_at = True, now
            return
        quarters = done * 4 // total
        if quarters > self._quarters:
            self._write('%s: %s of %s\n' % (what, thousands(done), thousands(total)))
        self._quarters = quarters % 4  # the next to be shown starts anew

    def say(self, line: str) -> None:
        """Writes a line; a bar moves on below it."""
        self.clear()
        self._write(line + '\n')

    def clear(self) -> None:
        """Takes the bar away."""
        if self._shown:
            self._shown = False
            with contextlib.suppress(OSError):  # a terminal that is gone needs no clearing
                self._write(_CLEAR)

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or 'utf-8'  # a folder's name may be beyond it
        self._stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))
        self._stream.flush()


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def _bar(what: str, done: int, total: int, columns: int) -> str:
    count = ' %s/%s' % (thousands(done).rjust(len(thousands(total))), thousands(total))
    width = min(_WIDEST_BAR, columns - len(what) - len(count) - 4)
    filled = width * done // total
    bar = ' [%s%s]' % ('#' * filled, '.' * (width - filled)) if width > 0 else ''
    return (what + bar + count)[:columns - 1]


def thousands(value: int) -> str:
    return format(value, ',')


class Kill(NamedTuple):
    """The worker that was killed, in the middle of which task, and when (monotonic)."""

    hold: Hold
    at: float


@dataclass(frozen=True)
class Report:
    """All that the demo has seen.

    files: their names. expected: what hashlib says of them, in the same order.
    started: when (monotonic) the workers were. left_over: how many tasks Redis still holds.
    """

    files: Sequence[str]
    expected: Sequence[FileHash]
    traces: Traces
    kill: Optional[Kill]
    started: float
    left_over: int

    def rows(self) -> List[Tuple[str, str]]:
        """The table: what, and how it went."""
        count = thousands(len(self.files))
        once = len(self.files) - len(self._missing) - len(self._repeated)
        return [
            ('files', count),
            ('bytes', '%s, in %s lines' % (thousands(sum(found.size for found in self.expected)),
                                           thousands(sum(found.lines for found in self.expected)))),
            ('hashed once', '%s of %s' % (thousands(once), count)),
            ('equal', '%s of %s to what hashlib gives directly' % (
                thousands(len(self.files) - len(self._missing) - len(self._wrong)), count)),
            *self._kill_rows(),
            ('begun', '%s tasks once, %s more than once%s' % (
                thousands(len(self.traces.begun) - len(self._begun_again)), thousands(len(self._begun_again)),
                ' (the interrupted one)' if self._begun_again == self._killed else '')),
            ('speed', self._speed_row()),
        ]

    def problems(self) -> List[str]:
        """What does not hold, a line each."""
        problems = ['%s: %s' % (what, self._names(numbers)) for what, numbers in (
            ('not hashed', self._missing), ('hashed more than once', self._repeated), ('hashed wrongly', self._wrong),
            ('begun again although nobody killed it', sorted(set(self._begun_again) - set(self._killed)))) if numbers]
        for number, why in sorted(self.traces.failures.items()):
            problems.append('%s failed: %s' % (self.files[number], why))
        if self.kill is None:
            problems.append('no worker was killed in the middle of a task')
        elif self._recovery is None:
            problems.append('not recovered: %s' % self._names(self._killed))
        if self.left_over:
            problems.append('left over in Redis: %d tasks' % self.left_over)
        return problems

    @property
    def _missing(self) -> List[int]:
        return [number for number in range(len(self.files)) if number not in self.traces.results]

    @property
    def _repeated(self) -> List[int]:
        return sorted(number for number, times in self.traces.finished.items() if times > 1)

    @property
    def _begun_again(self) -> List[int]:
        return sorted(number for number, times in self.traces.begun.items() if times > 1)

    @property
    def _killed(self) -> List[int]:
        return [] if self.kill is None else [self.kill.hold.number]

    @property
    def _wrong(self) -> List[int]:
        return sorted(number for number, result in self.traces.results.items() if result.found != self.expected[number])

    @property
    def _recovery(self) -> Optional[Tuple[int, float]]:
        """The worker that ran the killed task again, and how many seconds after the kill it had done so."""
        result = None if self.kill is None else self.traces.results.get(self.kill.hold.number)
        if self.kill is None or result is None or result.worker == self.kill.hold.monitor:
            return None
        return result.worker, result.ended - self.kill.at

    def _kill_rows(self) -> List[Tuple[str, str]]:
        if self.kill is None:
            return [('killed', 'no worker')]
        recovered = 'not at all' if self._recovery is None else 'by worker %d, %.1f s after the kill' % self._recovery
        return [
            ('killed', 'worker %d and its child %d, with SIGKILL' % (self.kill.hold.monitor, self.kill.hold.child)),
            ('interrupted', '%s, half-way, before anything was written' % self.files[self.kill.hold.number]),
            ('recovered', recovered),
        ]

    def _speed_row(self) -> str:
        ends = [result.ended for result in self.traces.results.values()]
        row = '%s tasks per second' % self._rate(ends)
        if self.kill is None:
            return row
        return '%s, the wait for the interrupted one included; %s until the kill' % (
            row, self._rate([end for end in ends if end < self.kill.at]))

    def _rate(self, ends: Sequence[float]) -> str:
        return thousands(round(len(ends) / (max(ends) - self.started))) if ends else '0'

    def _names(self, numbers: Sequence[int]) -> str:
        names = ', '.join(self.files[number] for number in numbers[:_SHOWN])
        return names if len(numbers) <= _SHOWN else '%s and %d more' % (names, len(numbers) - _SHOWN)


def table(rows: Sequence[Tuple[str, str]]) -> str:
    width = max(len(what) for what, _ in rows)
    return '\n'.join('%s  %s' % (what.ljust(width), how) for what, how in rows)
