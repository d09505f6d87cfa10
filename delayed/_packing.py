"""Requests as they go to Redis: the number of their words, then each after its length. In pieces, so that large words
are not copied.

What redis-py packs itself takes four times as long; and with hiredis 3.5 it crashes where a signal handler raises (as
that of Ctrl-C does) while a number is turned into text.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from ._scripts import Argument, Script

#: What goes to Redis, one after the other.
Request = List[bytes]

#: A word of so many bytes is a piece of its own.
LARGE = 1 << 16
_MOST_HEADS = 1000  # of scripts that are called with the same keys
_MOST_FLOATS = 1000  # mostly leases and allowances, which are few


class Packer:
    """For one client. What is the same in each call of a script with the same keys is packed once."""

    __slots__ = ('_encoding', '_errors', '_floats', '_heads')

    def __init__(self, conn: Any) -> None:
        encoder = conn.connection_pool.get_encoder()
        self._encoding, self._errors = encoder.encoding, encoder.encoding_errors
        self._floats: Dict[Argument, bytes] = {}
        self._heads: Dict[Tuple[str, Sequence[str], int], bytes] = {}

    def command(self, words: Sequence[Argument]) -> Request:
        first, *rest = self._packed(words)
        return [b'*%d\r\n%b' % (len(words), first), *rest]

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Request:
        key = script.sha, keys, len(args)
        head = self._heads.get(key)
        if head is None:
            words: Sequence[Argument] = ('EVALSHA', script.sha, len(keys), *keys)
            head = b'*%d\r\n%b' % (len(words) + len(args), b''.join(self._packed(words)))
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[key] = head
        pieces = self._packed(args)
        pieces[0] = head + pieces[0]
        return pieces

    def _packed(self, words: Sequence[Any]) -> Request:
        sized: List[Any] = []  # the length of each word, and the word: in one list, for this is the hottest loop of all
        most = 0
        for word in words:
            kind = type(word)
            if kind is str:
                word = word.encode(self._encoding, self._errors)
            elif kind is int:
                word = b'%d' % word
            elif kind is not bytes:
                word = self._floats.get(word) or self._encoded(word)
            size = len(word)
            if size > most:
                most = size
            sized.append(size)
            sized.append(word)
        if most < LARGE:
            return [b'$%d\r\n%b\r\n' * len(words) % tuple(sized)]
        return _in_pieces(sized[1::2])

    def _encoded(self, word: Argument) -> bytes:
        if isinstance(word, bytes):
            return word
        encoded = (word if isinstance(word, str) else str(word)).encode(self._encoding, self._errors)
        if isinstance(word, float) and len(self._floats) < _MOST_FLOATS:
            self._floats[word] = encoded
        return encoded


def _in_pieces(words: Sequence[bytes]) -> Request:
    pieces, parts = [], []
    for word in words:
        if len(word) < LARGE:
            parts.append(b'$%d\r\n%b\r\n' % (len(word), word))
        else:
            parts.append(b'$%d\r\n' % len(word))
            pieces += [b''.join(parts), word]
            parts = [b'\r\n']
    pieces.append(b''.join(parts))
    return pieces
