"""Unpickles plain data alone: nothing that a pickle names is imported or called but what stands on a list."""

from __future__ import annotations

import functools
import importlib
import io
import pickle
from typing import Any, Callable, Dict, FrozenSet, Iterable, Tuple

from .errors import InvalidArgument, WrongType

Name = Tuple[str, str]  # module, name in it
Loads = Callable[[bytes], Any]

_PLAIN: Dict[str, str] = {
    'builtins': 'bool bytearray bytes complex dict float frozenset int list range set slice str tuple',
    'collections': 'Counter OrderedDict defaultdict deque',
    'datetime': 'date datetime time timedelta timezone',
    'decimal': 'Decimal',
    'fractions': 'Fraction',
    'ipaddress': 'IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network',
    'uuid': 'UUID',
    'zoneinfo': 'ZoneInfo',
}
_OLD_MODULE = '__builtin__'  # Python 2's name, which protocols 0 to 2 use
_OLD_NAMES = {'long': 'int', 'unicode': 'str', 'xrange': 'range'}
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # of Include/object.h; the latter is new in Python 3.10


class NotPlain(pickle.UnpicklingError):
    """A pickle names what is not on the list."""


class _GateType(type):
    """Makes what stands for a class: a pickle can make objects of that by it, and cannot set the class's attributes,
    which would outlast the task (the BUILD opcode sets attributes of anything)."""

    real: Tuple[Callable[..., Any]]  # a function that stood there itself would become a method

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # REDUCE
        return cls.real[0](*args, **kwargs)

    def __setattr__(cls, name: str, value: object) -> None:
        raise NotPlain('it sets %r of a class' % name)


def _gate(real: Any) -> Any:
    """`real` itself where it cannot be changed; else what stands for it."""
    if isinstance(real, type) and (not real.__flags__ & _HEAP_TYPE or real.__flags__ & _IMMUTABLE_TYPE):
        return real

    def new(cls: object, *args: Any, **kwargs: Any) -> Any:  # NEWOBJ
        return real.__new__(real, *args, **kwargs)

    return _GateType('Gate', (), {'real': (real,), '__new__': new, '__slots__': ()})


def _latin1(text: str, encoding: str) -> bytes:
    """How protocols 0 to 2 hold bytes."""
    if encoding not in ('latin1', 'latin-1'):
        raise NotPlain('it encodes as %r' % (encoding,))
    return text.encode('latin-1')


@functools.lru_cache(None)
def _plain_gates() -> Dict[Name, Any]:
    """Imports what is plain; programs that do not ask for it are spared that."""
    gates = {(module, name): _gate(getattr(importlib.import_module(module), name))
             for module, names in _PLAIN.items() for name in names.split()}
    zone: Callable[[str], object] = gates['zoneinfo', 'ZoneInfo']

    def attribute(owner: object, name: str) -> Any:
        """How a pickle names what makes a time zone. It may name nothing else by this."""
        if owner is not zone or name != '_unpickle':
            raise NotPlain('it names the attribute %r of something' % (name,))
        return _gate(lambda key, from_cache: zone(key))

    return {**gates, ('_codecs', 'encode'): _gate(_latin1), ('builtins', 'getattr'): _gate(attribute)}


class _PlainUnpickler(pickle.Unpickler):
    """gates: what stands for each name so far; extra: what may be named beside plain data."""

    def __init__(self, data: bytes, gates: Dict[Name, Any], extra: FrozenSet[Name]) -> None:
        super().__init__(io.BytesIO(data))
        self._gates = gates
        self._extra = extra

    def find_class(self, module: str, name: str) -> Any:
        key = ('builtins', _OLD_NAMES.get(name, name)) if module == _OLD_MODULE else (module, name)
        if key not in self._gates:
            if key not in self._extra:
                raise NotPlain('it holds %s:%s, which is not allowed here' % key)
            self._gates[key] = _gate(super().find_class(*key))
        return self._gates[key]


def loads_of(unpickle: object) -> Loads:
    """What reads a pickle where `unpickle` is `any`, `plain`, or a list of `module:Class` beside plain data.

    Raises `WrongType` or `InvalidArgument`.
    """
    if unpickle == 'any':
        return pickle.loads
    extra = frozenset(() if unpickle == 'plain' else _names(unpickle))
    gates = dict(_plain_gates())
    return lambda data: _PlainUnpickler(data, gates, extra).load()


def _names(unpickle: object) -> Iterable[Name]:
    if isinstance(unpickle, str):
        raise InvalidArgument("unpickle must be 'any', 'plain' or a list of 'module:Class', not %r" % (unpickle,))
    if not isinstance(unpickle, (list, tuple)) or not all(isinstance(each, str) for each in unpickle):
        raise WrongType("unpickle must be 'any', 'plain' or a list of 'module:Class', not %r" % (unpickle,))
    for each in unpickle:
        module, _, name = each.partition(':')
        if not all(part.isidentifier() for part in (module + '.' + name).split('.')):
            raise InvalidArgument("unpickle must name each class in full, as 'module:Class', not %r" % (each,))
        yield module, name
