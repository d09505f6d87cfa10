"""What is fuzzed within one process: each target takes bytes, and raises if a promise is broken."""

import collections
import fractions
import os
import pickle
import struct
import sys
import uuid

from delayed._channel import Reader
from delayed._describe import describe, without_arguments
from delayed._keys import QueueKeys
from delayed._ledger import Ledger
from delayed._plain import loads_of
from delayed._signature import Signer
from delayed._trust import Trust
from delayed.errors import Refused, UnreadablePayload
from fuzz import seeds
from fuzz.canary import song

_LONGEST_FRAME = 1 << 16
_LENGTH = struct.Struct('=I')
_signer = Signer('default', seeds.SECRET)
_TRUSTING, _STRICT = Trust(_signer, pickle.loads, None), Trust(_signer, loads_of('plain'), ['tasks:*'])
_UNSIGNED = Trust(Signer('default', False), loads_of('plain'), None)
_plain = loads_of('plain')
_CHANGEABLE = {each: dict(vars(each)) for each in (collections.Counter, fractions.Fraction, uuid.UUID)}


def _silent():
    sung = song()
    assert not sung, sung


def payload(data):
    """What is not signed is refused, and never unpickled; what is, goes through the list of classes."""
    for forged in (data, seeds.MAGIC + data, seeds.MAGIC + b'\0' * 32 + data):
        for trust in (_TRUSTING, _STRICT):
            try:
                trust.read(forged)
            except Refused:
                continue
            raise AssertionError('it was believed')
    for trust, known in ((_STRICT, _signer.sign(data)), (_UNSIGNED, data)):
        try:
            trust.read(known)
        except UnreadablePayload as error:
            error.reason.encode()
    _silent()


def plain(data):
    """Nothing is imported or changed, and nothing is called that is not on the list."""
    modules = len(sys.modules)
    try:
        _plain(data)
    except Exception:
        pass  # of whatever kind, but no SystemExit
    _silent()
    assert len(sys.modules) == modules
    assert all(dict(vars(each)) == before for each, before in _CHANGEABLE.items())


def description(data):
    """Any bytes have a name, on one line, and nothing is unpickled for it."""
    for each in (data, seeds.MAGIC + b'\0' * 32 + data):
        name = describe(each)
        assert name.startswith(('task ', 'a payload of ')) and '\n' not in name
        task = without_arguments(each)
        assert task is None or task.args == ()
    _silent()


class _Replies:
    """Stands for a caller whose Redis holds one dead letter."""

    def __init__(self, letter, score):
        self._reply = [letter, score]

    def command(self, *args):
        return self._reply


def letter(data):
    """Any member of the dead letters is shown, under an id, with its payload."""
    score = struct.unpack('=d', data[:8].ljust(8, b'\0'))[0]
    score, member = (0.0 if score != score else score), data[8:]
    found, = Ledger(QueueKeys('default'), _Replies(member, repr(score).encode()), 0, 0, 0).dead_letters(0, 1)
    assert member.endswith(found.payload)
    assert float(found.id) == score
    found.reason.encode()


def frame(data):
    """The messages are what they are, in whatever pieces they come, and one that is too long is refused."""
    expected, rest = [], data
    while len(rest) >= 4 and _LENGTH.unpack_from(rest)[0] + 4 <= min(len(rest), _LONGEST_FRAME):
        end = 4 + _LENGTH.unpack_from(rest)[0]
        expected.append(rest[4:end])
        rest = rest[end:]
    read_end, write_end = os.pipe()
    try:
        reader, found, size = Reader(read_end, _LONGEST_FRAME), [], 1 + len(data) % 977
        for start in range(0, len(data), size):
            os.write(write_end, data[start:start + size])
            reader.fill()
            found += reader.messages()
        found += reader.messages()
        too_long = False
    except ValueError:
        too_long = True
    finally:
        os.close(read_end)
        os.close(write_end)
    assert found == expected
    assert too_long == (len(rest) >= 4 and _LENGTH.unpack_from(rest)[0] + 4 > _LONGEST_FRAME)


TARGETS = {
    'payload': (payload, seeds.FORGED),
    'plain': (plain, seeds.PICKLES),
    'description': (description, seeds.FORGED),
    'letter': (letter, [struct.pack('=d', 1e12) + each for each in seeds.LETTERS]),
    'frame': (frame, seeds.FRAMES),
}
