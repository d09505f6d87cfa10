"""When a task was enqueued, as its payload tells where its queue has `stamp=True`.

    the pickle | Unix seconds (double, little-endian) | magic (4 bytes)

What reads a pickle stops at its last opcode, so 0.5.1b2 runs a task with a stamp as any other. That opcode is a `.`,
which is no end of the magic: no pickle without a stamp looks like one with it.
"""

from __future__ import annotations

import struct
from typing import Optional

_MAGIC = b'\xd5DT1'
_STAMP = struct.Struct('<d4s')
_LATEST = 1e11  # Unix seconds; whoever can write to Redis may have written it


def with_stamp(pickled: bytes, moment: float) -> bytes:
    """With this stamp, in Unix seconds, in place of one that it has."""
    return without_stamp(pickled) + _STAMP.pack(moment, _MAGIC)


def without_stamp(pickled: bytes) -> bytes:
    return pickled[:-_STAMP.size] if is_stamped(pickled) else pickled


def is_stamped(payload: bytes) -> bool:
    return payload[-len(_MAGIC):] == _MAGIC


def stamp_of(payload: bytes) -> Optional[float]:
    """When it was enqueued, in Unix seconds by the producer's clock; `None`: it does not tell. Its last 12 bytes do."""
    if not is_stamped(payload) or len(payload) < _STAMP.size:
        return None
    moment: float = _STAMP.unpack_from(payload, len(payload) - _STAMP.size)[0]
    return moment if 0 <= moment < _LATEST else None
