"""Whole messages over a pipe: 4 bytes of length in native order, then the message."""

from __future__ import annotations

import os
import struct
from typing import Iterable, List, Optional, Tuple

from . import constants

_LENGTH = struct.Struct('=I')


def identity(fd: int) -> Tuple[int, int]:
    """What a descriptor leads to: a task may have closed one of ours, and opened another by the same number."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


class Writer:
    """Sends messages through a non-blocking descriptor, as fast as the other end reads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest: Optional[memoryview] = None

    @property
    def pending(self) -> bool:
        """Whether part of a message still waits for room in the pipe."""
        return self._rest is not None

    def send(self, message: bytes) -> None:
        """Begins to send; the rest goes with `flush`, whenever the descriptor is writable. Raises `BrokenPipeError`."""
        self._send(_LENGTH.pack(len(message)) + message)

    def send_all(self, messages: Iterable[bytes]) -> None:
        """The same for several at once."""
        self._send(b''.join([part for each in messages for part in (_LENGTH.pack(len(each)), each)]))

    def _send(self, data: bytes) -> None:
        try:
            written = os.write(self.fd, data)
        except BlockingIOError:
            written = 0
        if written < len(data):
            self._rest = memoryview(data)[written:]
            self.flush()

    def flush(self) -> None:
        while self._rest is not None:
            try:
                written = os.write(self.fd, self._rest)
            except BlockingIOError:
                return
            self._rest = self._rest[written:] if written < len(self._rest) else None

    def drop(self) -> None:
        """Gives up the rest: nobody will read it."""
        self._rest = None


class Reader:
    """Receives messages from a descriptor, blocking or not; `most`: how long those of `messages` may be, in bytes."""

    def __init__(self, fd: int, most: Optional[int] = None) -> None:
        self.fd = fd
        self._most = most
        self._received = bytearray()

    def fill(self) -> bool:
        """Reads once, `BUF_SIZE` bytes at most. `False` at the end of the pipe. Raises `BlockingIOError` if it is
        empty."""
        data = os.read(self.fd, constants.BUF_SIZE)
        self._received += data
        return bool(data)

    def next(self) -> Optional[bytes]:
        """The next whole message among what was read, or `None`."""
        received = self._received
        if len(received) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
        if len(received) < end:
            return None
        message = bytes(memoryview(received)[_LENGTH.size:end])
        del received[:end]
        return message

    def messages(self) -> List[bytes]:
        """The whole messages among what was read. Raises `ValueError` if the first claims to be too long."""
        received, start, most = self._received, 0, self._most
        found: List[bytes] = []
        head, length_at, there = _LENGTH.size, _LENGTH.unpack_from, len(received)
        with memoryview(received) as view:
            while start + head <= there:
                size, = length_at(view, start)
                if most is not None and head + size > most:
                    if found:
                        break
                    raise ValueError('a message of %d bytes' % (head + size))
                end = start + head + size
                if end > there:
                    break
                found.append(bytes(view[start + head:end]))
                start = end
        del received[:start]
        return found

    @property
    def holds_part(self) -> bool:
        """Whether something was read of a message that `next` has not returned."""
        return bool(self._received)

    def drop(self) -> None:
        """Forgets what was read: it makes no sense."""
        self._received.clear()

    def receive(self) -> Optional[bytes]:
        """Blocks until a whole message is there; `None` at the end of the pipe."""
        message = self.next()
        while message is None:
            if not self.fill():
                return None
            message = self.next()
        return message

    def receive_all(self) -> List[bytes]:
        """The same for all that have come; none at the end of the pipe."""
        messages = self.messages() if self._received else []
        while not messages:
            data = os.read(self.fd, constants.BUF_SIZE)
            if not self._received and len(data) >= _LENGTH.size:  # mostly it is one, and whole
                if len(data) - _LENGTH.size == _LENGTH.unpack_from(data)[0]:
                    return [data[_LENGTH.size:]]
            elif not data:
                break
            self._received += data
            messages = self.messages()
        return messages
