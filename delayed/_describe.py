"""Says what task a payload holds without unpickling it: a monitor runs no code that a payload chooses."""

from __future__ import annotations

import pickletools
from itertools import islice
from typing import Any, List, Optional

from .task import Task

_SKIPPED = frozenset(('PROTO', 'FRAME', 'BINPUT', 'LONG_BINPUT', 'PUT'))


def describe(payload: bytes) -> str:
    """`task 17 (module.function)`, or what can be said of bytes that do not begin like a task."""
    values = _beginning(payload)
    return 'task %s (%s.%s)' % tuple(values) if values else 'a payload of %d bytes' % len(payload)


def without_arguments(payload: bytes) -> Optional[Task]:
    """The task with its id and its function alone, or `None` for bytes that do not begin like a task."""
    values = _beginning(payload)
    return Task(*values) if values and values[1] and values[2] else None


def _beginning(payload: bytes) -> List[Any]:
    """Id, module and function; empty if these are not what it begins with."""
    values: List[Any] = []
    try:
        for opcode, value, _ in islice(pickletools.genops(payload), 24):
            if opcode.name in ('NONE', 'NEWTRUE', 'NEWFALSE') or (value is not None and opcode.name not in _SKIPPED):
                values.append(value)
            if len(values) == 3:
                break
    except Exception:
        pass  # it is no pickle; that is told below
    return values if len(values) == 3 and isinstance(values[1], str) and isinstance(values[2], str) else []
