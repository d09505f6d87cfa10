"""Says what task a payload holds without unpickling it: a monitor runs no code that a payload chooses."""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterator, List, Optional, Sequence

from ._plain import loads_of
from ._signature import pickle_in
from .task import Task

_MOST_BYTES = 1 << 16
_MOST_OPCODES = 24  # a task's first three fields stand among them in every protocol
_SKIPPED = frozenset(('PROTO', 'FRAME', 'BINPUT', 'LONG_BINPUT', 'PUT'))
_CONSTANTS = frozenset(('NONE', 'NEWTRUE', 'NEWFALSE'))
_REPEATED = frozenset(('BINGET', 'LONG_BINGET', 'GET'))


def describe(payload: bytes) -> str:
    """`task 17 (module.function)`, or what can be said of bytes that do not begin like a task."""
    fields = _first_fields(payload)
    return 'task %s (%s.%s)' % tuple(fields) if fields else 'a payload of %d bytes' % len(payload)


def without_arguments(payload: bytes) -> Optional[Task]:
    """The task with its id and its function alone, or `None` for bytes that do not begin like a task."""
    fields = _first_fields(payload)
    return Task(*fields) if fields else None


def plain_fields(payload: bytes) -> Optional[Sequence[Any]]:
    """All fields of a task whose arguments are plain data (see _plain.py); `None` for any other payload. No code of the
    payload's choice runs."""
    try:
        wire = loads_of('plain')(pickle_in(payload))
    except Exception:
        return None
    return wire if isinstance(wire, (tuple, list)) and len(wire) == 6 and isinstance(wire[3], (tuple, list)) and (
        isinstance(wire[4], dict)) else None


def _first_fields(payload: bytes) -> List[Any]:
    """Id, module and function; nothing if these are not what it begins with."""
    try:
        fields = list(islice(_values(pickle_in(payload[:_MOST_BYTES])), 3))
        texts = [str(field) for field in fields]  # Python refuses to print an int of thousands of digits
    except Exception:
        return []  # it is no pickle, or none of a task
    named = len(fields) == 3 and all(isinstance(name, str) and name for name in fields[1:])
    return fields if named and ''.join(texts).isprintable() else []  # or it could forge a line of a log


def _values(payload: bytes) -> Iterator[Any]:
    """The values that a pickle begins with."""
    import pickletools  # here, for it is large and seldom needed: every child has what its monitor has
    last = None
    for opcode, value, _ in islice(pickletools.genops(payload), _MOST_OPCODES):
        if opcode.name in _REPEATED:
            yield last  # a function that is named like its module: the only text that can be repeated so early
        elif opcode.name in _CONSTANTS or (value is not None and opcode.name not in _SKIPPED):
            last = value
            yield value
