"""Signed payloads: a header stands in front of the pickle, and is checked before a byte of that is unpickled.

    magic (4 bytes) | HMAC-SHA256 of the pickle (32 bytes) | the pickle

The key of that is itself HMAC-SHA256(secret, 'delayed payload 1' NUL, name of the queue): a payload of one queue is
none of another's. No pickle begins like the magic, so 0.5.1b2 finds a signed payload unreadable.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, List, Sequence, Tuple, Union

from .errors import InvalidArgument, Refused, WrongType

if TYPE_CHECKING:
    from datetime import datetime

Secret = Union[str, bytes]
#: One secret, or several, of which the first signs; `False`: none, whatever the environment says.
Secrets = Union[Secret, Sequence[Secret], bool, None]

ENVIRON = 'DELAYED_SECRET'
#: What a shell prints a good secret with.
MAKE_SECRET = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_MAGIC = b'\xd5DS1'
_HEADER = len(_MAGIC) + 32  # bytes
_BLOCK = 64  # bytes that SHA-256 takes at once
_SHORTEST = 32  # bytes; who has a payload can try secrets, so they must not be guessed


def is_signed(payload: bytes) -> bool:
    """Whether it claims to be."""
    return payload[:len(_MAGIC)] == _MAGIC


def pickle_in(payload: bytes) -> bytes:
    """What a signed payload signs; an unsigned one itself. Nothing is checked."""
    return payload[_HEADER:] if is_signed(payload) else payload


class _Mac:
    """HMAC-SHA256 with a key of 32 bytes. Both hashes have read the key before: `hmac.digest` sets OpenSSL up anew for
    each call, which costs a task that comes by itself some 40 microseconds."""

    __slots__ = ('_inner', '_outer')

    def __init__(self, key: bytes) -> None:
        import hashlib
        block = key.ljust(_BLOCK, b'\0')
        self._inner, self._outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5c))

    def of(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class Signer:
    """Signs the payloads of one queue, and knows them again. Without a secret it lets unsigned ones pass, and no
    others."""

    __slots__ = ('_macs', '_accept_unsigned_until')  # no repr of it shows a key

    def __init__(self, queue_name: str, secrets: Secrets = None,
                 accept_unsigned_until: Union[datetime, float, None] = None) -> None:
        """secrets: `None`: those of the environment's DELAYED_SECRET, separated by spaces, if there are any."""
        label = b'delayed payload 1\0' + queue_name.encode('utf-8', 'surrogatepass')
        self._macs: Tuple[_Mac, ...] = tuple(_Mac(_digest(secret, label)) for secret in _checked(secrets))
        if accept_unsigned_until is not None and not self._macs:
            raise InvalidArgument('accept_unsigned_until makes no sense without a secret (secret=, or %s in the '
                                  'environment)' % ENVIRON)
        self._accept_unsigned_until = _unix_time(accept_unsigned_until)

    @property
    def signs(self) -> bool:
        return bool(self._macs)

    def sign(self, pickled: bytes) -> bytes:
        """The payload of a pickle: the same each time."""
        if not self._macs:
            return pickled
        return _MAGIC + self._macs[0].of(pickled) + pickled

    def wants(self, beginning: bytes) -> bool:
        """Whether a payload that begins so is signed, or not, as it should be now. Nothing is verified."""
        return is_signed(beginning) == self.signs or (self.signs and time.time() < self._accept_unsigned_until)

    def verified(self, payload: bytes) -> bytes:
        """The pickle of a payload that somebody signed who has one of the secrets. Raises `Refused`."""
        if not is_signed(payload):
            if self._macs and time.time() >= self._accept_unsigned_until:
                raise Refused('it is not signed', payload)
            return payload
        if not self._macs:
            raise Refused("it is signed, and this queue has no secret: give it the producers' (secret=, or %s in the "
                          'environment)' % ENVIRON, payload)
        from hmac import compare_digest
        signature, pickled = payload[len(_MAGIC):_HEADER], payload[_HEADER:]
        for mac in self._macs:
            if compare_digest(signature, mac.of(pickled)):
                return pickled
        raise Refused('its signature is wrong: it was changed, or is of another queue, or whoever enqueued it has '
                      'another secret', payload)


def _digest(secret: bytes, label: bytes) -> bytes:
    import hmac  # here, as all that only those need who have a secret: it brings OpenSSL along
    return hmac.digest(secret, label, 'sha256')


def _checked(secrets: Secrets) -> List[bytes]:
    """The secrets as bytes; of the environment, where none are given."""
    source = 'secret'
    if secrets is None and ENVIRON in os.environ:
        source, secrets = ENVIRON, os.environ[ENVIRON].split()
    if secrets is None or secrets is False:
        return []
    several = [secrets] if isinstance(secrets, (str, bytes)) else secrets
    if not isinstance(several, (list, tuple)) or not all(isinstance(each, (str, bytes)) for each in several):
        raise WrongType('%s must be text, bytes, a list of these, or False, not a %s'
                        % (source, type(secrets).__name__))
    encoded = [each.encode() if isinstance(each, str) else each for each in several]
    for each in encoded or [b'']:
        if len(each) < _SHORTEST:
            raise InvalidArgument('%s has %d bytes, and needs %d: it could be guessed. This makes a good one: %s'
                                  % (source, len(each), _SHORTEST, MAKE_SECRET))
    return encoded


def _unix_time(moment: Union[datetime, float, None]) -> float:
    """In seconds; `None` is long ago."""
    if moment is None:
        return -math.inf
    from datetime import datetime
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidArgument('accept_unsigned_until needs a time zone, such as datetime(2030, 1, 31, '
                                  'tzinfo=timezone.utc), not %r' % (moment,))
        return moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)):
        raise WrongType('accept_unsigned_until must be a datetime or a Unix time in seconds, not %r' % (moment,))
    if not -math.inf < moment < math.inf:
        raise InvalidArgument('accept_unsigned_until must be finite, not %r' % (moment,))
    return moment
