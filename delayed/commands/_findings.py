"""What `delayed doctor` finds, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Optional


@dataclass
class Finding:
    """check: its name. queue: `None`: it concerns the server. problem: whether something is wrong; else it is to be
    known. what, means, todo: sentences. fix: mends it, and returns what was done; `None`: it takes a person. fixed:
    what was done."""

    check: str
    queue: Optional[str]
    problem: bool
    what: str
    means: str
    todo: str
    fix: Optional[Callable[[], str]] = None
    fixed: str = ''

    @property
    def open(self) -> bool:
        """Whether it is a problem that is still there."""
        return self.problem and not self.fixed

    def mend(self) -> None:
        if self.fix is not None and self.problem:
            self.fixed = self.fix()

    def as_json(self) -> Dict[str, Any]:
        return {'check': self.check, 'queue': self.queue, 'problem': self.problem, 'what': self.what,
                'means': self.means, 'todo': self.todo, 'can_be_fixed': self.fix is not None,
                'fixed': self.fixed or None}

    def lines(self) -> Iterator[str]:
        where = 'server' if self.queue is None else 'queue %s' % self.queue
        yield '%s  %s: %s' % ('PROBLEM' if self.problem else 'note   ', where, self.what)
        yield '         It means: %s' % self.means
        yield '         To do: %s' % self.todo
        if self.fixed:
            yield '         Fixed: %s' % self.fixed
