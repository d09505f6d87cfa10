"""What is mutated: payloads, forged ones among them, and what else stands in Redis or goes through a pipe."""

import collections
import datetime
import decimal
import ipaddress
import pickle
import random
import struct
import uuid

from delayed._signature import Signer
from fuzz.canary import Canary

SECRET, OTHER = 's' * 32, 'o' * 32
MAGIC = b'\xd5DS1'
HEADER = 36

PLAIN_ARGS = (
    [1, -1.5, None, b'bytes', 'text'], {'a': {1, 2}}, decimal.Decimal('1.5'), uuid.UUID(int=7), datetime.timedelta(1),
    datetime.datetime(2030, 1, 31, tzinfo=datetime.timezone.utc), collections.Counter('ab'), collections.deque((1,)),
    ipaddress.ip_address('::1'), bytearray(b'x'))


def wire(args=(), kwargs=None, module_name='tasks', func_name='run', protocol=5, timeout=None):
    return pickle.dumps((7, module_name, func_name, args, kwargs or {}, timeout), protocol)


#: Pickles that sing, whatever is done after.
SINGING = [pickle.dumps(Canary(), protocol) for protocol in range(6)] + [
    wire((Canary(),), protocol=protocol) for protocol in range(6)] + [
    wire(kwargs={'a': Canary()}), wire(Canary()),
    b'cfuzz.canary\nsing\n(tR.', b'(ifuzz.canary\nsing\n.', b'(cfuzz.canary\nsing\no.',
    b'\x80\x02cbuiltins\ngetattr\ncfuzz.canary\nsing\nX\x08\x00\x00\x00__call__\x86R)R.']
HARMLESS = [wire(PLAIN_ARGS, protocol=protocol) for protocol in range(2, 6)] + [wire(), wire(timeout=5000.0), b'', b'.']
PICKLES = SINGING + HARMLESS


def signed_by(secret, name='default'):
    return Signer(name, secret).sign


#: None of them is signed as the queue `default` with SECRET wants it.
FORGED = (PICKLES + [MAGIC + bytes(32) + each for each in PICKLES] + [MAGIC + each for each in PICKLES]
          + list(map(signed_by(OTHER), PICKLES)) + list(map(signed_by(SECRET, 'other'), PICKLES)))

LETTERS = [b'{"reason": "r", "lost_at": "1000,2500", "allowance": "610000"}\n' + each for each in (b'', *HARMLESS)] + [
    b'{"reason": "\\ud800", "lost_at": "", "allowance": 5}\nx', b'[]\n', b'{}\n', b'\n', b'']


def frame(message):
    """As it goes through a pipe."""
    return struct.pack('=I', len(message)) + message


FRAMES = [frame(each) for each in (
    b'', b'E', b'Ebecause', b'T', b'T' + struct.pack('=d', 5.0), b'T' + struct.pack('=d', float('nan')),
    b'T' + struct.pack('=d', float('inf')), b'T' + struct.pack('=d', -1.0), b'T' + b'\0' * 9, b'X', b'E' * 70_000)] + [
    b'\0', b'\xff\xff\xff\xff', b'\xff\xff\xff\xff' + b'x' * 100, frame(b'four!')[:-1]]


def mutant(chance, seeds):
    """One of `seeds`, changed a little, or spliced with another; `chance` is a `random.Random`."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4, 8))):
        where = chance.randrange(len(data) + 1)
        how = chance.randrange(6)
        if how == 0 and data:
            data[where % len(data)] ^= 1 << chance.randrange(8)
        elif how == 1 and data:
            data[where % len(data)] = chance.randrange(256)
        elif how == 2:
            del data[where:]
        elif how == 3:
            del data[where:where + chance.randrange(1, 9)]
        elif how == 4:
            data[where:where] = chance.randbytes(chance.randrange(1, 9))
        else:
            other = chance.choice(seeds)
            data[where:] = other[chance.randrange(len(other) + 1):]
    return bytes(data)


def mutants(seed, seeds, count):
    """So many that differ."""
    chance, found = random.Random(seed), {}
    while len(found) < count:
        found[mutant(chance, seeds)] = None
    return list(found)
