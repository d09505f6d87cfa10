"""Dead letters, as they stand in Redis: a line of JSON, and behind it the payload."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .outcome import Outcome

_ID = re.compile(r'-?(\d+(\.\d+)?(e[+-]\d+)?|inf)')

#: The reason of a dead letter that no script of ours has written.
FOREIGN = 'it was not set aside by this library, and cannot be put back'


@dataclass(frozen=True)
class DeadLetter:
    """A task that was set aside.

    id: what `requeue_dead` and `delete_dead` take.
    payload: the bytes, to be unpickled with care.
    reason: why.
    set_aside_at: when, in Unix seconds by the Redis server's clock.
    lost_at: when it was lost before, in Unix seconds, oldest first.
    outcome: how it ended when it was set aside, if a worker of this version saw it.
    """

    id: str
    payload: bytes
    reason: str
    set_aside_at: float
    lost_at: Tuple[float, ...]
    outcome: Optional[Outcome] = None


def is_letter_id(text: str) -> bool:
    """Whether it could be one."""
    return _ID.fullmatch(text) is not None


def read_letter(letter: bytes, score: float) -> DeadLetter:
    """score: its own, by which it is found."""
    id = '%.3f' % score
    header, _, payload = letter.partition(b'\n')
    reason, lost_at, outcome = read_header(header)
    return DeadLetter(id if float(id) == score else repr(score), letter if reason == FOREIGN else payload, reason,
                      score / 1000, lost_at, outcome)


def read_header(header: bytes) -> Tuple[str, Tuple[float, ...], Optional[Outcome]]:
    """The reason, the losses (Unix seconds) and the record of a dead letter. The reason is `FOREIGN` where somebody
    else wrote it: whoever can write to Redis can put anything there."""
    try:
        fields = json.loads(header)
        lost_at = tuple(int(moment) / 1000 for moment in fields['lost_at'].split(',') if moment)
        reason = str(fields['reason']).encode('utf-8', 'backslashreplace').decode()
        return reason, lost_at, _read_outcome(fields)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return FOREIGN, (), None


def _read_outcome(fields: Dict[str, Any]) -> Optional[Outcome]:
    try:
        return Outcome.from_json(fields['outcome'])
    except (KeyError, TypeError, ValueError, AttributeError):  # there is none, or a later version has written it
        return None
