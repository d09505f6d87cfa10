"""Names a payload in a log without unpickling it: a monitor runs no code that a payload chooses."""

from __future__ import annotations

import pickletools
from itertools import islice

_SKIPPED = frozenset(('PROTO', 'FRAME', 'BINPUT', 'LONG_BINPUT', 'PUT'))


def describe(payload: bytes) -> str:
    """`task 17 (module.function)`, or what can be said of bytes that do not begin like a task."""
    values = []
    try:
        for opcode, value, _ in islice(pickletools.genops(payload), 24):
            if opcode.name in ('NONE', 'NEWTRUE', 'NEWFALSE') or (value is not None and opcode.name not in _SKIPPED):
                values.append(value)
            if len(values) == 3:
                break
    except Exception:
        pass  # it is no pickle; that is told below
    if len(values) == 3 and isinstance(values[1], str) and isinstance(values[2], str):
        return 'task %s (%s.%s)' % tuple(values)
    return 'a payload of %d bytes' % len(payload)
