"""Three ways to write a call that a worker makes later.

    delayed = delayed(queue)
    @delayed(timeout=5)                 f(1, 2) calls it now, f.delay(1, b=2) enqueues the call,
    def f(a, b): ...                    f.timeout(10)(1, 2) enqueues it with another timeout

    delay = delay(queue)                             delay(f)(1, b=2) enqueues the call
    delay_in_time = delay_in_time(queue)             delay_in_time(f, timeout=10)(1, 2) enqueues it with a timeout

Timeouts are in seconds; `None` and 0 stand for the queue's default. Each enqueueing call returns its `Task`.
What no worker could run is refused where it is wrapped, not when it is called: `NotImportable` for a function that
cannot be imported by its name, `WrongType` or `InvalidArgument` for a timeout. Type checkers hold a delayed call
against the function's own signature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ._importable import check_importable
from .errors import WrongType
from .task import Task, check_timeout

if TYPE_CHECKING:  # `typing` has no ParamSpec before Python 3.10
    from typing import Protocol, TypeVar

    from typing_extensions import ParamSpec

    from .sharded import AnyQueue

    P = ParamSpec('P')
    R_co = TypeVar('R_co', covariant=True)

    class DelayedFunction(Protocol[P, R_co]):
        """A decorated function: the very function, which can be enqueued as well."""

        __name__: str
        __qualname__: str

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
        def delay(self, *args: P.args, **kwargs: P.kwargs) -> Task: ...
        def timeout(self, timeout: float | None) -> Callable[P, Task]: ...

    class _Decorator(Protocol):
        def __call__(self, func: Callable[P, R_co], /) -> DelayedFunction[P, R_co]: ...

    class _Delayed(Protocol):
        def __call__(self, timeout: float | None = None) -> _Decorator: ...

    class _Delay(Protocol):
        def __call__(self, func: Callable[P, object]) -> Callable[P, Task]: ...

    class _DelayInTime(Protocol):
        def __call__(self, func: Callable[P, object], timeout: float | None) -> Callable[P, Task]: ...


def delayed(queue: AnyQueue) -> _Delayed:
    """Returns a decorator, to be used with parentheses, that adds `delay` and `timeout` to a function.

    The decorator takes `timeout`, which `delay` gives to its tasks.
    """
    _check_queue(queue, 'delayed')

    def delayed(timeout: float | None = None) -> _Decorator:
        if callable(timeout):
            raise WrongType('write @delayed() with parentheses, or @delayed(timeout=5), over %s'
                            % getattr(timeout, '__qualname__', timeout))
        check_timeout(timeout)

        def decorate(func: Callable[P, R_co]) -> DelayedFunction[P, R_co]:
            function = cast('Any', func)
            delay = _later(queue, func, timeout)
            try:
                function.delay = delay
                function.timeout = lambda timeout: _later(queue, func, timeout)
            except (AttributeError, TypeError) as error:
                raise WrongType('%r takes no attributes, so it cannot be decorated; wrap it with delay(queue) instead'
                                % (func,)) from error
            return cast('DelayedFunction[P, R_co]', func)
        return decorate
    return delayed


def delay(queue: AnyQueue) -> _Delay:
    """Returns a wrapper: `wrapper(func)(*args, **kwargs)` enqueues the call."""
    _check_queue(queue, 'delay')

    def delay(func: Callable[P, object]) -> Callable[P, Task]:
        return _later(queue, func, None)
    return delay


def delay_in_time(queue: AnyQueue) -> _DelayInTime:
    """Returns a wrapper: `wrapper(func, timeout)(*args, **kwargs)` enqueues the call with a timeout in seconds."""
    _check_queue(queue, 'delay_in_time')

    def delay_in_time(func: Callable[P, object], timeout: float | None) -> Callable[P, Task]:
        return _later(queue, func, timeout)
    return delay_in_time


def _later(queue: AnyQueue, func: Callable[P, object], timeout: float | None) -> Callable[P, Task]:
    """Returns what enqueues a call of `func` instead of making it.

    It shows the signature and docstring of `func`, but not its name: under that, a worker would find `func` itself.
    """
    check_importable(func)
    check_timeout(timeout)

    @functools.wraps(func, assigned=('__doc__',), updated=())
    def enqueue(*args: P.args, **kwargs: P.kwargs) -> Task:
        task = Task.create(func, args, kwargs, timeout)
        queue.enqueue(task)  # whose result is not relied upon: a subclass of an old program returns none
        return task
    cast('Any', enqueue).queue = queue  # for the command line
    return enqueue


def _check_queue(queue: AnyQueue, name: str) -> None:
    if not hasattr(queue, 'enqueue'):
        raise WrongType('%s takes a queue, not %r: first write `%s = %s(queue)`' % (name, queue, name, name))
