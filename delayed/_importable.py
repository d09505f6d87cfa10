"""By which names a worker can import a function."""

from __future__ import annotations

import sys
import warnings
from types import FunctionType
from typing import Any, Callable, Tuple

from .errors import NotImportable

#: What a module is called that was started instead of imported: by Python; by `multiprocessing` in a spawned process.
_MAIN = ('__main__', '__mp_main__')
#: `inspect.CO_COROUTINE`. No worker needs that module.
_CO_COROUTINE = 0x80
_warned_of_main = False


def check_importable(func: Callable[..., Any]) -> Tuple[str, str]:
    """Returns the names of `func`'s module and of `func` in it, by which a worker will import it.

    It goes by the names alone: while a decorator runs, the function is not yet bound to its name.
    Raises `NotImportable`, naming the function.
    """
    module_name = getattr(func, '__module__', None)
    qualname = getattr(func, '__qualname__', None)
    if not callable(func) or not isinstance(module_name, str) or not isinstance(qualname, str):
        problem = 'it has no module and name of its own'
    elif '<lambda>' in qualname:
        problem = 'it is a lambda'
    elif '<locals>' in qualname:
        problem = 'it is defined inside another function'
    elif '.' in qualname:
        problem = 'it is a method'
    elif _is_coroutine_function(func):
        problem = 'it is a coroutine function, which no worker awaits (call asyncio.run in a plain function)'
    else:
        return module_name, qualname
    raise NotImportable('a worker cannot import %r: %s; define a function at the top level of a module and enqueue that'
                        % (func, problem))


def _is_coroutine_function(func: Callable[..., Any]) -> bool:
    """What `inspect` says, which takes longer than all else in `check_importable` for a plain function."""
    if type(func) is FunctionType and not func.__dict__ and not func.__code__.co_flags & _CO_COROUTINE:
        return False
    import inspect
    return inspect.iscoroutinefunction(func)


def importable_name(func: Callable[..., Any]) -> Tuple[str, str]:
    """The same; for a function of `__main__`, with the name that this module has for others. Warns, once, if it has
    none."""
    module_name, func_name = check_importable(func)
    return (_name_of_main(func_name) if module_name in _MAIN else module_name), func_name


def _name_of_main(func_name: str) -> str:
    """The name by which a worker can import what is now `__main__`; warns once if there is none."""
    global _warned_of_main
    spec = getattr(sys.modules['__main__'], '__spec__', None)
    if spec is not None and spec.name not in _MAIN:  # a directory or an archive that was started is named `__main__`
        return str(spec.name)  # python -m package.module
    if not _warned_of_main:
        _warned_of_main = True
        warnings.warn('%s is defined in __main__: only a worker started from the same script can run it; '
                      'move it to a module' % func_name, stacklevel=_level_of_caller())
    return '__main__'


def _level_of_caller() -> int:
    """The `stacklevel` for a warning by the function that calls this: the line outside this package that led to it."""
    frame, level = sys._getframe().f_back, 1
    while frame is not None and frame.f_globals.get('__package__') == __package__:
        frame, level = frame.f_back, level + 1
    return level
