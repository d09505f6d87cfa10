"""Plain data is unpickled; of all else nothing is imported or called."""

import collections
import datetime
import decimal
import fractions
import ipaddress
import math
import pickle
import sys
import uuid
import zoneinfo

import pytest

from delayed._plain import NotPlain, loads_of
from delayed.errors import InvalidArgument, WrongType

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
UTC = datetime.timezone.utc

PLAIN = [
    None, True, 17, -1 << 80, 1.5, math.inf, 2 + 1j, 'text \N{SNOWMAN}', b'', b'bytes\xff', bytearray(b'more'),
    (1, (2,)), [1, [2]], {'a': {1: 2}}, {1, 2}, frozenset((1, 2)), range(1, 9, 2), slice(1, None), int, list,
    collections.OrderedDict(a=1), collections.deque((1, 2), 5), collections.defaultdict(list, a=[1]),
    collections.Counter('abca'),
    datetime.date(2030, 1, 31), datetime.time(1, 2, 3), datetime.timedelta(1, 2, 3),
    datetime.datetime(2030, 1, 31, 1, 2, 3, tzinfo=UTC),
    datetime.datetime(2030, 1, 31, tzinfo=datetime.timezone(datetime.timedelta(hours=5), 'name')),
    decimal.Decimal('1.50'), fractions.Fraction(1, 3), uuid.UUID(int=1 << 100),
    ipaddress.ip_address('127.0.0.1'), ipaddress.ip_network('10.0.0.0/8'), ipaddress.ip_interface('::1/64'),
]


class Point:
    """A class of the user's, which has a state, too."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Point and vars(other) == vars(self)

    class Inner:
        pass


class Pair(collections.namedtuple('Pair', 'a b')):
    pass


def helper(*args):
    return list(args)


class Calls:
    """Calls `function(*args)` where it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def built(name, state):
    """A pickle that gives the class or function of that name a state, by the opcode BUILD."""
    body = pickle.dumps(state, 2)[2:-1]
    return b'\x80\x02c' + name.replace(':', '\n').encode() + b'\n' + body + b'b.'


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('value', PLAIN, ids=repr)
def test_plain_data_comes_back(value, protocol):
    found = loads_of('plain')(pickle.dumps(value, protocol))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_time_zone_comes_back(protocol):
    try:
        zone = zoneinfo.ZoneInfo('Europe/Berlin')
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip('this machine knows no time zones')
    assert loads_of('plain')(pickle.dumps(zone, protocol)) is zone


@pytest.mark.parametrize('protocol', [0, 1])
def test_simple_data_of_the_oldest_protocols_comes_back(protocol):
    value = (1, 'module', 'func', (1.5, b'x\xff'), {'a': [None, True]}, None)
    assert loads_of('plain')(pickle.dumps(value, protocol)) == value


class TestWhatIsNotOnTheList:
    @pytest.mark.parametrize(('evil', 'name'), [
        (Calls(exec, 'raise SystemExit'), 'builtins:exec'), (Calls(eval, '1'), 'builtins:eval'),
        (Calls(getattr, 1, 'real'), "attribute 'real'"), (Calls(getattr, dict, '__init__'), "attribute '__init__'"),
        (Calls(__import__, 'tabnanny'), 'builtins:__import__'), (Calls(sys.exit), 'sys:exit'),
        (Point(1), '%s:Point' % __name__), (sys.exit, 'sys:exit'),
    ], ids=lambda value: value if isinstance(value, str) else type(value).__name__)
    @pytest.mark.parametrize('protocol', PROTOCOLS)
    def test_is_named_and_not_called(self, evil, name, protocol):
        with pytest.raises(NotPlain, match=name):
            loads_of('plain')(pickle.dumps(('harmless', [evil]), protocol))

    def test_is_not_even_imported(self):
        assert 'tabnanny' not in sys.modules
        with pytest.raises(NotPlain, match='tabnanny:check'):
            loads_of('plain')(b'ctabnanny\ncheck\n.')
        assert 'tabnanny' not in sys.modules

    @pytest.mark.parametrize('pickled', [
        b'\x80\x04\x8c\x0bcollections\x8c\x0eCounter.update\x93.',  # an attribute of what is on the list
        b'\x80\x04\x8c\x0bcollections\x8c\x08_sys.exit\x93.',
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x74R.",
        b'(S"1"\nieval\n.', b'(cbuiltins\neval\nS"1"\no.',
    ])
    def test_is_not_had_in_other_ways(self, pickled):
        with pytest.raises((NotPlain, pickle.UnpicklingError)):
            loads_of('plain')(pickled)

    def test_is_no_persistent_object_and_no_extension(self):
        for pickled in (b'P1\n.', b'\x80\x02\x82\x01.'):
            with pytest.raises((pickle.UnpicklingError, ValueError)):
                loads_of('plain')(pickled)


class TestAClass:
    @pytest.mark.parametrize('name', ['uuid:UUID', 'collections:Counter', 'fractions:Fraction', 'builtins:dict',
                                      'collections:deque', 'zoneinfo:ZoneInfo', '%s:Point' % __name__,
                                      '%s:helper' % __name__])
    @pytest.mark.parametrize('state', [{'evil': 1}, (None, {'evil': 1}), (None, {'__init__': dict})], ids=repr)
    def test_cannot_be_changed_by_a_pickle(self, name, state):
        module, _, attribute = name.partition(':')
        real = getattr(sys.modules[module], attribute)
        before = dict(vars(real))
        with pytest.raises((NotPlain, TypeError, AttributeError)):
            loads_of(['%s:Point' % __name__, '%s:helper' % __name__])(built(name, state))
        assert dict(vars(real)) == before


class TestTheUsersList:
    @pytest.mark.parametrize('protocol', PROTOCOLS)
    def test_adds_classes_to_plain_data(self, protocol):
        loads = loads_of(['%s:Point' % __name__, '%s:Pair' % __name__, '%s:helper' % __name__])
        value = [Point({'a': decimal.Decimal(1)}), Pair(1, 2), uuid.UUID(int=1)]
        found = loads(pickle.dumps(value, protocol))
        assert found == value
        assert list(map(type, found)) == list(map(type, value))
        assert loads(pickle.dumps(Calls(helper, 1, 2), protocol)) == [1, 2]

    def test_names_inner_classes_in_full(self):
        loads = loads_of(['%s:Point.Inner' % __name__])
        assert type(loads(pickle.dumps(Point.Inner(), 4))) is Point.Inner
        with pytest.raises(NotPlain, match='Point'):
            loads(pickle.dumps(Point(1)))

    @pytest.mark.parametrize('unpickle', ['Any', '', ['Point'], ['module:'], [':Class'], ['module:*'], ['a b:C'],
                                          ['module:C:D'], ['']])
    def test_is_checked(self, unpickle):
        with pytest.raises(InvalidArgument, match='unpickle must'):
            loads_of(unpickle)

    @pytest.mark.parametrize('unpickle', [None, 1, {'a:B'}, [1]])
    def test_is_a_list(self, unpickle):
        with pytest.raises(WrongType, match='unpickle must'):
            loads_of(unpickle)


def test_any_is_what_pickle_does():
    assert loads_of('any') is pickle.loads
