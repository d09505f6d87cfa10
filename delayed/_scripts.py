"""Loads the ledger's scripts from `lua/`; each is named like the move it makes."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, NamedTuple, Union


class Script(NamedTuple):
    """`source` is what Redis compiles; `sha` is the name under which it keeps it."""

    name: str
    source: str
    sha: str


Argument = Union[str, bytes, int, float]
#: It may read from an archive; `pkgutil` does no more, and is large.
_loader: Any = __spec__.loader


def _load(name: str, shared: bool = True) -> Script:
    source = _linked(_read(name)) if shared else _read(name)
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())


def _linked(source: str) -> str:
    """Redis has no way for one script to call another: what they share stands in front of each that uses it."""
    for part in reversed(_read('common').split('\n\n')):  # each uses those before it
        function = re.search(r'^local function (\w+)', part, re.MULTILINE)
        if function and re.search(r'\b%s\(' % function[1], source):
            source = part + '\n' + source
    return source


def _read(name: str) -> str:
    """Without the lines that are comments: half of all, which each worker and each server would keep."""
    data: bytes = _loader.get_data(os.path.join(os.path.dirname(__file__), 'lua', name + '.lua'))
    return re.sub('^ *--.*\n', '', data.decode(), flags=re.MULTILINE)


ENQUEUE = _load('enqueue', shared=False)
RESERVE = _load('reserve', shared=False)
DEQUEUE = _load('dequeue')
RELEASE = _load('release')
ADVANCE = _load('advance')
ADVANCE_ANY = _load('advance_any')
ADVANCE_MANY = _load('advance_many')
REQUEUE = _load('requeue')
LOSE = _load('lose')
RENEW = _load('renew')
RECLAIM = _load('reclaim')
REQUEUE_LOST = _load('requeue_lost')
MAY_SWEEP = _load('may_sweep')
TIDY = _load('tidy')
SET_ASIDE = _load('set_aside')
REQUEUE_DEAD = _load('requeue_dead')
PROBE = _load('probe')
ANNOUNCE = _load('announce')
CENSUS = _load('census')
PEEK = _load('peek')
OLDEST = _load('oldest')
WHEREABOUTS = _load('whereabouts')
RESTORE = _load('restore')
DIGESTS = _load('digests')
SERVER_INFO = _load('server_info')

ALL = (ENQUEUE, RESERVE, DEQUEUE, RELEASE, ADVANCE, ADVANCE_ANY, ADVANCE_MANY, REQUEUE, LOSE, RENEW, RECLAIM,
       REQUEUE_LOST, MAY_SWEEP, TIDY, SET_ASIDE, REQUEUE_DEAD, PROBE, ANNOUNCE, CENSUS, PEEK, OLDEST, WHEREABOUTS,
       RESTORE, DIGESTS, SERVER_INFO)
