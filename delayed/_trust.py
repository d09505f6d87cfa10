"""What a queue lets in: payloads that are signed, classes that may be unpickled, functions that may run."""

from __future__ import annotations

import fnmatch
import pickle
import re
import time
from typing import Any, Callable, List, NamedTuple, Optional, Pattern, Sequence

from . import _log
from ._describe import describe, without_arguments
from ._plain import Loads, NotPlain
from ._signature import Signer, pickle_in
from ._stamp import is_stamped, with_stamp, without_stamp
from .errors import InvalidArgument, Refused, UnreadablePayload, WrongType
from .task import Task

_ANY = re.compile(r'[*?[]')


class _Allowed(NamedTuple):
    module: Pattern[str]
    function: Pattern[str]
    exactly: bool  # the function is named in full

    def admits(self, task: Task) -> bool:
        return bool(self.module.match(task.module_name) and self.function.match(task.func_name))


class Trust:
    """What one queue believes of a payload. Its methods raise `Refused` with the reason.

    allow: patterns of `module:function`; `None`: any. stamp: whether what is enqueued tells when that was.
    """

    def __init__(self, signer: Signer, loads: Loads, allow: Optional[Sequence[str]], stamp: bool = False) -> None:
        self.signs = signer.signs
        self._signer = signer
        self.wants = signer.wants
        #: The pickle of a payload that is signed as this queue wants it. Nothing of it is read.
        self.verified = signer.verified
        self._loads = loads
        self._stamp = stamp
        self._allow = None if allow is None else _patterns(allow)
        #: Whether a payload is but the pickle of its task.
        self._adds_nothing = not (signer.signs or stamp) and allow is None and loads is pickle.loads

    def payload(self, task: Task) -> bytes:
        """The bytes that are to stand for a task in Redis: the one place where they are made. Raises
        `InvalidArgument` for a task that a worker on such a queue would refuse."""
        if self._adds_nothing and task.is_fresh:
            return task.serialize()
        pickled = pickle_in(task.serialize())  # it may be a dequeued one, even of another queue
        if self._allow is not None or self._loads is not pickle.loads:
            try:
                self._admit(task, pickled)
                self._unpickle(pickled, pickled)
            except UnreadablePayload as error:
                raise InvalidArgument('%r must not be enqueued here: %s' % (task, error)) from error
        if self._stamp:
            if not is_stamped(pickled) or task.enqueue_call is None:  # else Redis may have it already, as it is
                pickled = with_stamp(pickled, time.time())
        else:
            pickled = without_stamp(pickled)
        payload = self._signer.sign(pickled)
        task.keep(payload)
        return payload

    def read(self, payload: bytes) -> Task:
        """Verifies, then reads. Raises `UnreadablePayload`, too."""
        return self.read_verified(payload, self.verified(payload))

    def read_verified(self, payload: bytes, pickled: bytes) -> Task:
        if self._loads is pickle.loads:
            task = Task.unpickle(payload, pickled, pickle.loads)
        else:
            task = self._unpickle(payload, pickled)
        if self._allow is not None:
            self._admit(task, payload)
        return task

    def check_loaded(self, task: Task, function: Callable[..., Any]) -> None:
        """A pattern with `*` stands for the functions that a module defines, not for what it imports, which may be
        `os.system`."""
        if self._allow is not None and getattr(function, '__module__', None) != task.module_name and not any(
                allowed.exactly and allowed.admits(task) for allowed in self._allow):
            raise Refused('%s is not defined in %s: allow must name it in full'
                          % (task.func_name, task.module_name), task.data or b'')

    def _unpickle(self, payload: bytes, pickled: bytes) -> Task:
        def loads(data: bytes) -> Any:
            try:
                return self._loads(data)
            except NotPlain as error:
                raise Refused(str(error), payload) from error

        return Task.unpickle(payload, pickled, loads)

    def _admit(self, task: Task, payload: bytes) -> None:
        if self._allow is not None and not any(allowed.admits(task) for allowed in self._allow):
            raise Refused('%s:%s is not allowed to run here' % (task.module_name, task.func_name), payload)


def default_trust(queue_name: str, secrets: Sequence[str]) -> Trust:
    """Of a queue that is known by its name alone, where the environment had these secrets."""
    return Trust(Signer(queue_name, list(secrets) or False), pickle.loads, None)


def read_safely(trust: Trust, payload: bytes, was_read: bool) -> Optional[Task]:
    """The task of a process that died; nothing, if it is not to be trusted. What ended that while it read the payload
    would end or hang this process, too: unless it `was_read`, the task comes without its arguments."""
    try:
        trust.verified(payload)
        if was_read:
            return trust.read(payload)
    except Refused as error:
        _log.logger.error('%s does not come to the error handler: %s', describe(payload), error)
        return None
    except UnreadablePayload as error:
        _log.logger.error('%s comes to the error handler without its arguments: %s', describe(payload), error)
    return without_arguments(payload)


def _patterns(allow: Sequence[str]) -> List[_Allowed]:
    if not isinstance(allow, (list, tuple)) or not all(isinstance(each, str) for each in allow):
        raise WrongType("allow must be a list of patterns such as 'package.tasks:*', not %r" % (allow,))
    patterns = []
    for each in allow:
        module, colon, function = each.partition(':')
        if not module or not function or ':' in function:
            raise InvalidArgument("allow holds %r, which is no module:function such as 'package.tasks:*'" % (each,))
        patterns.append(_Allowed(_compiled(module), _compiled(function), not _ANY.search(function)))
    return patterns


def _compiled(pattern: str) -> Pattern[str]:
    return re.compile(fnmatch.translate(pattern))
