"""Reads the journal: no task may be lost, and whatever began twice must have had a reason that was brought upon it."""

from __future__ import annotations

import collections
import math
import statistics
from dataclasses import dataclass, field
from typing import Any, Counter, Dict, Iterable, List, Optional, Tuple

from . import journal
from .programs import DEFAULT_TIMEOUT

#: A monitor renews its leases every third of their length. So one that is blind for less than the rest loses none; a
#: tenth is for the time that everything takes.
_BLIND = 2 / 3 - 1 / 10
Span = Tuple[float, float]


@dataclass
class Run:
    """One run of a task: which processes had it."""

    key: str
    at: float
    pid: int
    monitor: int
    on_crash: str


@dataclass
class Verdict:
    """What a soak found. problems: whatever must not be; an empty list is what is hoped for."""

    problems: List[str]
    tried: int = 0
    acknowledged: int = 0
    failed: int = 0
    failed_in_secret: int = 0
    runs: int = 0
    troubles: Counter[str] = field(default_factory=collections.Counter)
    reasons: Counter[str] = field(default_factory=collections.Counter)
    recoveries: List[float] = field(default_factory=list)

    def __str__(self) -> str:
        troubles = ', '.join('%s %d' % pair for pair in sorted(self.troubles.items()))
        reasons = ''.join('\n    %4d  %s' % (count, reason) for reason, count in self.reasons.most_common())
        recovery = 'none' if not self.recoveries else 'median %.1f s, at most %.1f s' % (
            statistics.median(self.recoveries), max(self.recoveries))
        return '\n'.join((
            'tasks: %d acknowledged, %d more tried' % (self.acknowledged, self.tried - self.acknowledged),
            'troubles: %d (%s)' % (sum(self.troubles.values()), troubles),
            'runs: %d, of which %d failed by the death or timeout of their process' % (self.runs, self.failed),
            'failed likewise, and their workers were killed before they called the error handler: %d' % (
                self.failed_in_secret),
            'begun again: %d%s' % (sum(self.reasons.values()), reasons),
            'from the last kill, or the return of Redis, until the task began again: %s' % recovery,
            'problems: %d%s' % (len(self.problems), ''.join('\n    ' + problem for problem in self.problems))))


def judge(path: str, lease: float, problems: Iterable[str] = ()) -> Verdict:
    """lease: seconds. problems: what was seen besides."""
    return _Court(journal.read(path), lease, list(problems)).judge()


class _Court:
    def __init__(self, events: List[Dict[str, Any]], lease: float, problems: List[str]) -> None:
        self._events = events
        self._lease = lease
        self._verdict = Verdict(problems)
        self._killed: Dict[int, float] = {}
        self._child_deaths: Dict[int, List[float]] = collections.defaultdict(list)  # by their monitor
        self._frozen: Dict[int, List[Span]] = collections.defaultdict(list)
        self._stalls: List[Span] = []
        self._redis_was_back: List[float] = []
        self._runs: Dict[str, List[Run]] = collections.defaultdict(list)

    def judge(self) -> Verdict:
        for event in self._events:
            self._note(event)
        tried, acknowledged = self._keys('tried'), self._keys('enqueued')
        ended, failed = self._keys('end'), self._keys('failed')
        verdict = self._verdict
        verdict.tried, verdict.acknowledged = len(tried), len(acknowledged)
        verdict.failed = sum(event['kind'] == 'failed' for event in self._events)
        verdict.runs = sum(map(len, self._runs.values()))
        for key in sorted(acknowledged - ended - failed):
            if self._failed_in_secret(key):
                verdict.failed_in_secret += 1
            else:
                verdict.problems.append('%s is lost' % key)
        for runs in self._runs.values():
            runs.sort(key=lambda run: run.at)
            for first, second in zip(runs, runs[1:]):
                self._explain(first, second)
        for event in self._events:
            if event['kind'] == 'failed':
                self._explain_failure(event)
        return verdict

    def _keys(self, kind: str) -> set:
        return {event['key'] for event in self._events if event['kind'] == kind}

    def _note(self, event: Dict[str, Any]) -> None:
        kind, at = event['kind'], event['at']
        if kind in ('kill', 'freeze', 'stop'):
            self._verdict.troubles['%s %s' % (kind, event['what'])] += len(event['pids']) > 0
        if kind == 'begin':
            self._runs[event['key']].append(Run(event['key'], at, event['pid'], event['monitor'], event['on_crash']))
        elif kind == 'kill':
            for pid in event['pids']:
                self._killed.setdefault(pid, at)
            self._child_deaths[event.get('monitor')].append(at)
        elif kind == 'freeze':
            for pid in event['pids']:
                self._frozen[pid].append((at, math.inf))
        elif kind == 'thaw':
            for pid in event['pids']:
                self._frozen[pid][-1] = (self._frozen[pid][-1][0], at)
        elif kind == 'redis is back':
            self._redis_was_back.append(at)
        elif kind == 'stall':
            self._stalls.append((event['since'], at))

    def _explain(self, first: Run, second: Run) -> None:
        reason = self._reason(first, first.at, second.at) or self._late(second) or self._late(first)
        if reason is None:
            self._verdict.problems.append('%s began again without a reason: %s, then %s' % (first.key, first, second))
            reason = 'NO REASON'
        self._verdict.reasons[reason] += 1
        deaths = [at for at in map(self._death, (first.pid, first.monitor)) if at < second.at]
        if deaths:
            redis_was_back = [at for at in self._redis_was_back if at < second.at]
            self._verdict.recoveries.append(second.at - max(deaths + redis_was_back[-1:]))

    def _reason(self, run: Run, since: float, until: float) -> Optional[str]:
        """Why a task was lost that this run had, or began to have, in between."""
        child_died = self._death(run.pid) < until
        if child_died and self._death(run.monitor) < until:
            return 'both its processes were killed'
        if child_died and run.on_crash == 'requeue':
            return 'its process was killed, and its worker requeues what that happens to'
        blind, stalled = self._blind(run, since, until), _longest(self._stalls, since, until)
        if blind >= self._lease * _BLIND:
            return 'nobody could renew its lease, as its worker was frozen'
        if blind + stalled >= self._lease * _BLIND:
            return 'the machine stood still'
        return None

    def _late(self, run: Run) -> Optional[str]:
        """A worker that was frozen when it had just taken a task begins it late: after somebody else, or at once before
        whoever took it meanwhile."""
        reason = self._reason(run, run.at - DEFAULT_TIMEOUT, run.at)
        return reason and '%s, just before it began' % reason

    def _blind(self, run: Run, since: float, until: float) -> float:
        """For how long on end, in seconds, neither process could renew the lease: an orphan can."""
        helpless = [*self._frozen[run.pid], (self._death(run.pid), math.inf)]
        spans = self._frozen[run.monitor] + [(max(begin, self._death(run.monitor)), end) for begin, end in helpless]
        return _longest(spans, since, until)

    def _death(self, pid: int) -> float:
        """When it was killed, if ever."""
        return self._killed.get(pid, math.inf)

    def _failed_in_secret(self, key: str) -> bool:
        """The task failed, as its process was killed; its worker told Redis so, and was killed before it called the
        error handler."""
        last = max(self._runs[key], key=lambda run: run.at, default=None)
        return last is not None and last.on_crash == 'fail' and self._death(last.pid) <= self._death(
            last.monitor) < math.inf

    def _explain_failure(self, event: Dict[str, Any]) -> None:
        """A task may have failed because its process was killed (maybe before its first line), or frozen past its
        timeout."""
        runs = [run for run in self._runs[event['key']] if run.at <= event['at']]
        met = [run for run in runs if self._death(run.pid) < event['at'] or _longest(
            self._frozen[run.pid] + self._stalls, run.at, event['at']) > 1]
        if not met and not any(at <= event['at'] for at in self._child_deaths[event['monitor']]):
            self._verdict.problems.append('%s failed without a reason: %s' % (event['key'], event))


def _longest(spans: Iterable[Span], since: float, until: float) -> float:
    """The length of the longest span, where those that meet are one, of what lies between these moments."""
    longest, begin, end = 0.0, since, since
    for first, last in sorted(spans):
        first, last = max(first, since), min(last, until)
        if first > end:
            begin = first
        end = max(end, last)
        longest = max(longest, end - begin if last > first else 0.0)
    return longest
