"""A task: a call to make later, and its wire format."""

from __future__ import annotations

import importlib
import math
import pickle
import sys
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from ._importable import importable_name
from ._producer import Call
from ._signature import is_signed
from .errors import InvalidArgument, NotPicklable, UnreadablePayload, WrongType
from .outcome import Outcome

_protocol = pickle.HIGHEST_PROTOCOL


def set_pickle_protocol_version(version: int) -> None:
    """Sets the protocol that tasks are pickled with from now on; the default is the highest of this Python.

    Producers must not use a higher one than their workers can read: 2 for Python 2.7, 4 for Python 3.7 and older.
    -1 means the highest. Raises `ValueError` for a protocol that this Python lacks.
    """
    global _protocol
    if not isinstance(version, int) or not -1 <= version <= pickle.HIGHEST_PROTOCOL:
        raise InvalidArgument('pickle protocol %r: this Python has 0 to %d (-1: the highest)'
                              % (version, pickle.HIGHEST_PROTOCOL))
    _protocol = version


def get_pickle_protocol_version() -> int:
    """The protocol that tasks are pickled with."""
    return _protocol


class _Wire(NamedTuple):
    """What is pickled, in this order. Changing it strands the tasks already in Redis."""

    id: Optional[int]
    module_name: str
    func_name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    timeout: Optional[float]  # milliseconds


class Task:
    """One call to a function that a worker can import by name.

    id: the task's number in its queue, `None` until it is enqueued. Setting it forgets the serialized bytes.
    module_name, func_name: where a worker finds the function.
    args, kwargs: its picklable arguments, `()` and `{}` by default.
    timeout: in milliseconds (as on the wire); `None` or 0: the default of the worker's queue.
    Raises `InvalidArgument` (a `ValueError`) or `WrongType` (also a `TypeError`).
    """

    __slots__ = ('_args', '_data', '_func_name', '_id', '_kwargs', '_module_name', '_outcome', '_timeout',
                 'enqueue_call', 'make_outcome', 'shard', 'tokens', '__weakref__')

    def __init__(self, id: Optional[int], module_name: str, func_name: str, args: Optional[Sequence[Any]] = None,
                 kwargs: Optional[Mapping[str, Any]] = None, timeout: Optional[float] = None) -> None:
        if type(module_name) is not str or type(func_name) is not str or not module_name or not func_name:
            _check_name('module_name', module_name)
            _check_name('func_name', func_name)
        if type(args) is not tuple and args is not None and (
                isinstance(args, (str, bytes)) or not hasattr(args, '__iter__')):
            raise WrongType('args of %s.%s must be a tuple or a list, not %r' % (module_name, func_name, args))
        if kwargs is not None and (kwargs or type(kwargs) is not dict) and not _is_named(kwargs):
            raise WrongType('kwargs of %s.%s must be a dict with names as keys, not %r'
                            % (module_name, func_name, kwargs))
        if timeout is not None:
            check_timeout(timeout, 'timeout (in milliseconds)')
        self._id = id
        self._module_name = module_name
        self._func_name = func_name
        self._args: Sequence[Any] = () if args is None else args
        self._kwargs: Mapping[str, Any] = {} if kwargs is None else kwargs
        self._timeout = timeout
        self._data: Optional[bytes] = None
        #: The fencing tokens of the lease under which this task was dequeued, newest last; empty: not dequeued.
        self.tokens: Tuple[bytes, ...] = ()
        #: An enqueueing call whose reply never came; a repetition presents it again.
        self.enqueue_call: Optional[Call] = None
        self._outcome: Optional[Outcome] = None
        #: Makes the record of its end when somebody asks for it, since most handlers do not.
        self.make_outcome: Optional[Callable[[], Outcome]] = None
        #: In which shard of a `ShardedQueue` it is.
        self.shard: Optional[int] = None

    @property
    def id(self) -> Optional[int]:
        return self._id

    @id.setter
    def id(self, value: Optional[int]) -> None:
        self._id = value
        self._data = None
        self.tokens = ()
        self.enqueue_call = None

    @property
    def module_name(self) -> str:
        return self._module_name

    @property
    def func_name(self) -> str:
        return self._func_name

    @property
    def args(self) -> Sequence[Any]:
        return self._args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        return self._kwargs

    @property
    def timeout(self) -> Optional[float]:
        """In milliseconds; `None` or 0: the default of the worker's queue."""
        return self._timeout

    @property
    def data(self) -> Optional[bytes]:
        """The payload, once serialized, enqueued or dequeued: the task's identity in Redis."""
        return self._data

    @property
    def outcome(self) -> Optional[Outcome]:
        """How it ended: for a worker's handlers; `None` elsewhere."""
        if self._outcome is None and self.make_outcome is not None:
            self._outcome = self.make_outcome()
        return self._outcome

    @outcome.setter
    def outcome(self, outcome: Optional[Outcome]) -> None:
        self._outcome = outcome

    @property
    def is_fresh(self) -> bool:
        """Whether it has not been pickled yet, nor read from Redis."""
        return self._data is None

    def keep(self, payload: bytes) -> None:
        """Notes under which bytes it stands in Redis."""
        self._data = payload

    def __repr__(self) -> str:
        return '<Task %s %s.%s>' % (self._id, self._module_name, self._func_name)

    @classmethod
    def create(cls, func: Callable[..., Any], args: Optional[Sequence[Any]] = None,
               kwargs: Optional[Mapping[str, Any]] = None, timeout: Optional[float] = None) -> Task:
        """Makes the task that calls `func`, a function at the top level of an importable module.

        timeout: in seconds (int or float); `None` or 0: the default of the worker's queue.
        Raises `NotImportable` for a function that no worker could import.
        """
        check_timeout(timeout)
        module_name, func_name = importable_name(func)
        return cls(None, module_name, func_name, args, kwargs, None if timeout is None else timeout * 1000)

    def serialize(self) -> bytes:
        """Pickles the task once and keeps the bytes, for they are its identity in Redis.

        Raises `NotPicklable`, which names the function and the argument.
        """
        if self._data is None:
            wire = self._id, self._module_name, self._func_name, self._args, self._kwargs, self._timeout  # see _Wire
            try:
                self._data = pickle.dumps(wire, _protocol)
            except Exception as error:
                raise NotPicklable(self._describe_unpicklable(error)) from error
        return self._data

    def _describe_unpicklable(self, error: Exception) -> str:
        named: Dict[str, Any] = {'argument %d' % i: value for i, value in enumerate(self._args)}
        named.update(('argument %r' % name, value) for name, value in self._kwargs.items())
        culprit = next((name for name, value in named.items() if not _is_picklable(value)), 'the arguments together')
        return ('%s of %s.%s cannot be pickled (%s: %s); pass plain data, such as a path or a key, '
                'and open it in the task' % (culprit, self._module_name, self._func_name, type(error).__name__, error))

    @classmethod
    def deserialize(cls, data: bytes) -> Task:
        """Reads a payload. Unpickling runs code that the payload chooses: read only what your own producers wrote.

        Raises `UnreadablePayload` with the reason.
        """
        return cls.unpickle(data, data, _loads_unsigned)

    @classmethod
    def unpickle(cls, data: bytes, pickled: bytes, loads: Callable[[bytes], Any]) -> Task:
        """The task of a payload whose pickle `loads` reads. Raises `UnreadablePayload` with the reason."""
        try:
            wire = loads(pickled)
            if not isinstance(wire, (tuple, list)) or len(wire) != len(_Wire._fields):
                reason = 'it holds no tuple of %d fields but a %s' % (len(_Wire._fields), _shape(wire))
                raise UnreadablePayload(reason, data)
            task = cls(*wire)
        except (UnreadablePayload, KeyboardInterrupt):
            raise
        except InvalidArgument as error:
            raise UnreadablePayload(str(error), data) from error
        except BaseException as error:  # SystemExit too: unpickling runs what the payload says
            raise UnreadablePayload('it cannot be unpickled (%s: %s)' % (type(error).__name__, error), data) from error
        task._data = data
        return task

    def load(self) -> Callable[..., Any]:
        """Imports the task's function. Raises what the import raises, or `AttributeError` for a missing function."""
        module = sys.modules.get(self._module_name)
        if module is None or getattr(getattr(module, '__spec__', None), '_initializing', False):
            module = importlib.import_module(self._module_name)  # waits for a thread that is importing it
        function: Callable[..., Any] = getattr(module, self._func_name)
        return function

    def run(self) -> Any:
        """Imports the function, calls it and returns its result."""
        return self.load()(*self._args, **self._kwargs)


def _loads_unsigned(data: bytes) -> Any:
    if is_signed(data):
        raise UnreadablePayload('it is signed: read it by Queue.read of its queue, which has the secret', data)
    return pickle.loads(data)


def check_timeout(timeout: Optional[float], name: str = 'timeout') -> None:
    """Raises `WrongType` or `InvalidArgument` unless `timeout` is `None` or a finite number from 0 up."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise WrongType('%s must be a number or None, not %r' % (name, timeout))
    if not 0 <= timeout < math.inf:
        raise InvalidArgument('%s must be 0 or more, and finite, not %r' % (name, timeout))


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str):
        raise WrongType('%s must be a string, not %r' % (what, name))
    if not name:
        raise InvalidArgument('%s must not be empty' % what)


def _is_named(kwargs: object) -> bool:
    return isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)


def _is_picklable(value: object) -> bool:
    try:
        pickle.dumps(value, _protocol)
    except Exception:
        return False
    return True


def _shape(value: object) -> str:
    return '%s of %d' % (type(value).__name__, len(value)) if isinstance(value, (tuple, list)) else type(value).__name__
