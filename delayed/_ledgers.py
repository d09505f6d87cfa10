"""The ledgers of several queues on one server: the moves that concern more than one of them."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

from . import _scripts
from ._keys import QueueKeys
from ._ledger import Advance, Ledger, Taken, Tokens
from ._redis import Caller


class Ledgers:
    """Each queue goes by its number; an `order` names all of them, the one to be asked first in front. Raises what
    redis-py raises when Redis is away."""

    def __init__(self, ledgers: Sequence[Ledger], caller: Caller) -> None:
        self._ledgers = ledgers
        self._caller = caller
        self._order: Sequence[int] = ()  # that of the last call

    def wait(self, order: Sequence[int], seconds: float) -> Optional[int]:
        """Waits up to `seconds` for a notification in any queue and pops it. Returns in which."""
        keys = [self._ledgers[queue].keys.notifications for queue in order]
        popped = self._caller.wait_any(keys, seconds)
        return None if popped is None else order[popped]

    def advance(self, done: Optional[Tuple[int, bytes, Tokens]], begun: Optional[Tuple[int, bytes, str]],
                order: Sequence[int], mode: str, lease_ms: Optional[float], holder: str) -> None:
        """Releases one task and takes the next from the first queue that has one, in one round trip.

        done: its queue, payload and tokens. begun: queue, token and holder of a task that was taken ahead and has
        begun now. The rest is as in `Ledger.take`. `advanced` is to be called next, for the reply.
        """
        queue, payload, tokens = done or (0, b'', ())
        begun_in, begun_token, begun_holder = begun or (0, b'', '')
        released = self._ledgers[queue].keys
        keys: List[str] = [*_store(released), released.losses, self._ledgers[begun_in].keys.leases]
        args: List[Any] = [payload, b' '.join(tokens), begun_token, begun_holder,
                           mode, '' if lease_ms is None else lease_ms, holder]
        for each in order:
            keys += _store(self._ledgers[each].keys)
            args.append(self._ledgers[each].default_allowance_ms)
        self._order = order
        self._caller.begin_script(_scripts.ADVANCE_ANY, tuple(keys), args)

    def advanced(self) -> Advance:
        """Waits for the reply to `advance`."""
        reply = self._caller.end_script()
        return (reply[0] != 0,), (Taken(reply[2], reply[3], self._order[reply[1] - 1]),) if len(reply) > 1 else ()


def _store(keys: QueueKeys) -> Tuple[str, ...]:
    return keys.waiting, keys.notifications, keys.enqueued, keys.dequeued, keys.leases
