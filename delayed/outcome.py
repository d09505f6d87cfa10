"""How one run of a task ended: what it used, and where it stood."""

from __future__ import annotations

import enum
from typing import Any, Dict, Optional, Tuple

#: What is kept of a stack, in characters; some programs have a hundred threads. And what of it goes to Redis.
LONGEST_STACK, LONGEST_STACK_IN_REDIS = 60_000, 8_000

_TEXTS = frozenset(('function', 'queue', 'worker', 'limit', 'note', 'stack'))
_LARGEST = 1e18  # of any figure


class Kind(enum.Enum):
    """How it ended; the values are the words of the log."""

    FINISHED = 'finished'
    FAILED = 'failed'  # it raised
    EXITED = 'ended its process'  # by `os._exit`
    TIMED_OUT = 'timed out'
    OVER_LIMIT = 'exceeded its limit'  # `Outcome.limit` names it
    KILLED = 'was killed'  # by a signal that neither the worker sent nor a fault raised
    CRASHED = 'crashed'  # by a fault: SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP
    UNREADABLE = 'cannot be read'
    NOT_LOADABLE = 'cannot be loaded'
    NOT_BEGUN = 'was not begun by its child in time'
    HANDED_BACK = 'was handed back'  # the worker was to stop at once, or its child died before the task began
    LEASE_LOST = 'lost its lease'


class Outcome:
    """The record of one run, which does not change. (A dataclass would load `inspect` into each child.)

    kind: how it ended.
    task_id, function: which task; `None` where its bytes do not say. The function is `module.name`.
    queue, worker, child_pid: where it ran; the worker is `host:pid`.
    started_at: Unix seconds by the clock of the worker's machine, or `None` if it did not begin.
    wait_seconds: from when the task was first enqueued until `started_at`, where its queue has `stamp=True`; by the
        clocks of both machines.
    run_seconds: from the first byte that was read to the end of the function, or of its process.
    user_seconds, system_seconds: processor time of the task and of the programs that it started and waited for; `None`
        where nobody can tell, as when the program ignores SIGCHLD.
    peak_rss: the most memory that its process ever had, in bytes. A pre-forked child keeps its process:
        `peak_rss_before` is what it was when the task began; the task has raised it if they differ.
    exit_code, signal: how its process ended, if it did.
    limit: which of the worker's options it exceeded, `task_max_cpu` or `task_max_memory`.
    note: what else is known; of a task that raised, the exception's class and text.
    stack: where it stood. If its process died for want of time, by a limit or by a crash: the stack of every thread.
        In a dead letter of a task that raised, or could not be read or loaded: the traceback.
    """

    __slots__ = ('kind', 'task_id', 'function', 'queue', 'worker', 'child_pid', 'started_at', 'wait_seconds',
                 'run_seconds', 'user_seconds', 'system_seconds', 'peak_rss', 'peak_rss_before', 'exit_code', 'signal',
                 'limit', 'note', 'stack')

    kind: Kind
    task_id: Optional[int]
    function: Optional[str]
    queue: Optional[str]
    worker: Optional[str]
    child_pid: Optional[int]
    started_at: Optional[float]
    wait_seconds: Optional[float]
    run_seconds: Optional[float]
    user_seconds: Optional[float]
    system_seconds: Optional[float]
    peak_rss: Optional[int]
    peak_rss_before: Optional[int]
    exit_code: Optional[int]
    signal: Optional[int]
    limit: Optional[str]
    note: Optional[str]
    stack: Optional[str]

    def __init__(self, kind: Kind, task_id: Optional[int] = None, function: Optional[str] = None,
                 queue: Optional[str] = None, worker: Optional[str] = None, child_pid: Optional[int] = None,
                 started_at: Optional[float] = None, wait_seconds: Optional[float] = None,
                 run_seconds: Optional[float] = None, user_seconds: Optional[float] = None,
                 system_seconds: Optional[float] = None, peak_rss: Optional[int] = None,
                 peak_rss_before: Optional[int] = None, exit_code: Optional[int] = None, signal: Optional[int] = None,
                 limit: Optional[str] = None, note: Optional[str] = None, stack: Optional[str] = None) -> None:
        given = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, given[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError('a record cannot be changed: %s' % name)

    def _values(self) -> Tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Outcome) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> Tuple[Any, ...]:
        return Outcome, self._values()

    def __repr__(self) -> str:
        return 'Outcome(%s)' % ', '.join('%s=%r' % (name, getattr(self, name)) for name in self.__slots__)

    def replace(self, **changes: Any) -> Outcome:
        """The same with other values of some fields."""
        return Outcome(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})

    @property
    def what(self) -> str:
        """The kind in words, with the limit that it exceeded."""
        return self.kind.value if self.limit is None else '%s %s' % (self.kind.value, self.limit)

    def __str__(self) -> str:
        """One line, as the log has it behind the task's name. The stack is left out."""
        text = self.what
        if self.run_seconds is not None:
            text += ' after %.3f s' % self.run_seconds
        figures = [] if self.wait_seconds is None else ['waited %.3f s' % self.wait_seconds]
        if self.user_seconds is not None and self.system_seconds is not None:
            figures.append('CPU %.3f s user, %.3f s system' % (self.user_seconds, self.system_seconds))
        if self.peak_rss is not None:
            figures.append('peak RSS %.1f MB' % (self.peak_rss / 1e6))
        return '%s (%s)' % (text, '; '.join(figures)) if figures else text

    def as_fields(self) -> Dict[str, Any]:
        """What is known, as plain data: the fields of the log's record. `outcome` is the kind's word."""
        found = {name: value for name, value in zip(self.__slots__, self._values())
                 if value is not None and name != 'kind'}
        return {'outcome': self.kind.value, **found}

    def to_json(self) -> str:
        """For a dead letter: a long stack is cut."""
        import json  # here, for few tasks fail
        found = self.as_fields()
        if self.stack is not None:
            found['stack'] = self.stack[:LONGEST_STACK_IN_REDIS]
        return json.dumps(found, default=repr)  # whoever enqueues may give a task any id

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Raises `ValueError` for what is no record: whoever can write to Redis may have written it. Fields that this
        version does not know are passed over."""
        import json
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError('a record is not so deep') from None
        if not isinstance(found, dict):
            raise ValueError('a record is an object, and no %s' % type(found).__name__)
        known = {*cls.__slots__} - {'kind'}
        values = {name: value for name, value in found.items() if name in known}
        wrong = [name for name, value in values.items() if not _fits(name, value)]
        if wrong:
            raise ValueError('wrong values in a record: %s' % ', '.join(wrong))
        return cls(Kind(found.get('outcome')), **values)


def _fits(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return value is None or isinstance(value, str)
    if name == 'task_id':
        return value is None or isinstance(value, (int, float, str))
    return value is None or (isinstance(value, (int, float)) and abs(value) < _LARGEST)
