"""Speaks with Redis for children that have nothing loaded to do so, when their monitor is dead.

What an orphan would load at that moment might be another version by then, or some file of the application's that has
the same name; it would have to fit into the memory that a task may have, and take turns with it. So beside a fork
server stands a process that was forked from the monitor, and has all that: it sleeps until an orphan asks, and ends
when the fork server and all those children have.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, NoReturn, Optional

from . import _streams

if TYPE_CHECKING:
    from ._attempt import Verdict
    from ._lease import Lease
    from ._source import Source

_LONGEST_MESSAGE = 1 << 17  # bytes; a task's payload comes in pieces
_PIECE = 1 << 16
#: Seconds that an orphan waits for an answer: Redis may be slow, and another orphan's call come first.
_PATIENCE = 60.0


class Ask(NamedTuple):
    """One call of an orphan's."""

    method: str
    args: Any


class Away(OSError):
    """Redis is, or the caretaker."""


class _RemoteLogger:
    """Lines of the caretaker's log."""

    def __init__(self, remote: RemoteSource) -> None:
        self._remote = remote

    def __getattr__(self, level: str) -> Callable[..., None]:
        def log(text: str, *args: Any) -> None:
            with contextlib.suppress(Away):
                self._remote.ask('log', level, text % args)
        return log


class RemoteSource:
    """An orphan's way to Redis: a `Source` as far as that needs one."""

    unavailable = (Away,)

    def __init__(self, caretaker_fd: int) -> None:
        """Begins to talk with the caretaker, of whose socket this is the other end. Raises `Away`."""
        self.log: Any = _RemoteLogger(self)
        try:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.settimeout(_PATIENCE)
            with theirs, socket.socket(fileno=os.dup(caretaker_fd)) as caretaker:
                socket.send_fds(caretaker, [b'c'], [theirs.fileno()])
        except OSError as error:
            raise Away('the caretaker is away: %s' % error) from error
        self.longest_pause = float(self.ask('longest_pause'))

    def settle(self, lease: Lease, verdict: Verdict, reason: str = '', record: str = '') -> bool:
        return bool(self.ask('settle', lease, verdict, reason, record))

    def extend(self, lease: Lease, seconds: Optional[float], note: Callable[[], object]) -> bool:
        """As `Source.extend`: `note` is called when the lease has a token that Redis may know of soon."""
        def noted(tokens: Any) -> None:
            lease.tokens = tokens
            note()
        return bool(self.ask('extend', lease, seconds, noted=noted))

    def ask(self, method: str, *args: Any, noted: Callable[[Any], None] = lambda tokens: None) -> Any:
        """Raises `Away`."""
        try:
            _send(self._socket, Ask(method, args))
            while True:
                kind, value = _receive(self._socket)
                if kind == 'tokens':
                    noted(value)
                    _send(self._socket, None)
                elif kind == 'away':
                    raise Away(value)
                else:
                    return value
        except (OSError, EOFError) as error:
            raise Away(str(error)) from error


def serve(caretaker: socket.socket, source: Source) -> NoReturn:
    """In the process: until nobody has the other end, and no orphan is left."""
    code = 1
    try:
        _Caretaker(caretaker, source).serve()
        code = 0
    finally:
        _streams.exit_now(code)


class _Caretaker:
    def __init__(self, caretaker: socket.socket, source: Source) -> None:
        self._calls: Optional[socket.socket] = caretaker
        self._source = source
        self._talks: Dict[int, socket.socket] = {}

    def serve(self) -> None:
        poll = select.poll()
        assert self._calls is not None
        poll.register(self._calls, select.POLLIN)
        while self._calls is not None or self._talks:
            for fd, _ in poll.poll():
                if self._calls is not None and fd == self._calls.fileno():
                    self._accept(poll)
                elif not self._answer(self._talks[fd]):
                    poll.unregister(fd)
                    self._talks.pop(fd).close()

    def _accept(self, poll: select.poll) -> None:
        assert self._calls is not None
        data, fds, _, _ = socket.recv_fds(self._calls, 1, 1, socket.MSG_CMSG_CLOEXEC)
        for fd in fds:
            self._talks[fd] = socket.socket(fileno=fd)
            poll.register(fd, select.POLLIN)
        if not data:
            poll.unregister(self._calls)
            self._calls.close()
            self._calls = None

    def _answer(self, talk: socket.socket) -> bool:
        """Answers one call. `False`: the orphan has ended."""
        source = self._source
        try:
            ask: Ask = _receive(talk)
            try:
                _send(talk, ('value', self._carry_out(talk, ask)))
            except source.unavailable as error:
                _send(talk, ('away', '%s: %s' % (type(error).__name__, error)))
        except (OSError, EOFError):
            return False
        return True

    def _carry_out(self, talk: socket.socket, ask: Ask) -> Any:
        source = self._source
        if ask.method == 'longest_pause':
            return source.longest_pause
        if ask.method == 'log':
            level, text = ask.args
            return getattr(source.log, level)('%s', text)
        if ask.method == 'settle':
            return source.settle(*ask.args)
        lease, seconds = ask.args

        def note() -> None:
            _send(talk, ('tokens', lease.tokens))
            _receive(talk)

        return source.extend(lease, seconds, note)


def hold_signals() -> None:
    """It lives as long as it is needed, whatever the process group is told."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD})


def _send(talk: socket.socket, what: Any) -> None:
    data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    talk.send(b'%d' % len(data))
    for start in range(0, len(data), _PIECE):
        talk.send(data[start:start + _PIECE])


def _receive(talk: socket.socket) -> Any:
    """Raises `EOFError` if the other side is gone."""
    size = talk.recv(_LONGEST_MESSAGE)
    data = b''
    while size and len(data) < int(size):
        piece = talk.recv(_LONGEST_MESSAGE)
        if not piece:
            break
        data += piece
    if not size or len(data) < int(size):
        raise EOFError('the other side has ended')
    return pickle.loads(data)
