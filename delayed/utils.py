"""Small helpers for file descriptors, signals and the time. Programs use them, so they stay as they are.

Nothing here spins: what cannot go on returns, raises `OSError`, or waits in `select`. Interrupted system calls are
repeated by Python itself (PEP 475).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any, Protocol, TypeVar

from . import constants

BUF_SIZE = constants.BUF_SIZE  # kept for programs that import it; the functions here read `constants.BUF_SIZE` late

Bytes = TypeVar('Bytes', bytes, bytearray, memoryview)


class Writable(Protocol):
    """Such as `io.BytesIO`."""

    def write(self, data: bytes, /) -> Any: ...


def current_timestamp() -> int:
    """The time of this machine, in Unix milliseconds."""
    return int(time.time() * 1000)


def set_non_blocking(fd: int) -> None:
    """Makes reads and writes of `fd` return instead of waiting. Raises `OSError` for a closed one."""
    os.set_blocking(fd, False)


def non_blocking_pipe() -> tuple[int, int]:
    """Opens a pipe and returns its ends, (read, write). Neither blocks, neither is inherited by programs run later."""
    read_fd, write_fd = os.pipe()
    set_non_blocking(read_fd)
    set_non_blocking(write_fd)
    return read_fd, write_fd


def ignore_signal(signum: int, frame: FrameType | None) -> None:
    """A signal handler that does nothing. Unlike `SIG_IGN`, it is not inherited by programs run later."""


def select_ignore_eintr(rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any],
                        timeout: float | None = None) -> tuple[list[Any], list[Any], list[Any]]:
    """`select.select`, which goes on waiting for the rest of `timeout` (seconds; `None`: for ever) after a signal."""
    return select.select(rlist, wlist, xlist, timeout)


def wait_pid_ignore_eintr(pid: int, options: int) -> tuple[int, int]:
    """`os.waitpid`, which goes on waiting after a signal. Raises `ChildProcessError` where there is no such child."""
    return os.waitpid(pid, options)


def drain_out(fd: int) -> bool:
    """Reads and forgets all that waits in `fd`, and returns whether it was anything. A closed `fd` holds nothing."""
    found = False
    try:
        while True:
            data = read1(fd)
            found = found or bool(data)
            if not data or len(data) < constants.BUF_SIZE:
                return found
    except OSError:
        return found


def read1(fd: int, length: int | None = None) -> bytes:
    """Reads once, up to `length` bytes (default: `constants.BUF_SIZE`).

    Returns `b''` at the end of the file, and where a non-blocking `fd` has nothing yet. Raises `OSError` otherwise.
    """
    try:
        return os.read(fd, constants.BUF_SIZE if length is None else length)
    except BlockingIOError:
        return b''


def read_bytes(fd: int, length: int, buf: Writable) -> int:
    """Reads up to `length` bytes into `buf` and returns how many are still missing.

    Some are missing at the end of the file, and where a non-blocking `fd` has no more yet. Raises `OSError` otherwise.
    """
    while length > 0:
        data = read1(fd, min(length, constants.BUF_SIZE))
        if not data:
            break
        buf.write(data)
        length -= len(data)
    return length


def try_write(fd: int, data: Bytes) -> tuple[Bytes, int]:
    """Writes as much of `data` as the non-blocking `fd` takes.

    Returns what is left and why: `(b'', 0)`, or the rest and an errno, such as `EAGAIN` for a full pipe and `EPIPE` for
    one that nobody reads any more.
    """
    try:
        while data:
            data = data[os.write(fd, data):]
    except OSError as error:
        return data, error.errno or 0
    return data, 0


def write_byte(fd: int, data: bytes) -> int:
    """Writes the byte `data`, waiting for room in a full pipe, and returns how much was written: 1.

    Returns 0 where nobody reads the other end any more. Raises `OSError` otherwise.
    """
    while True:
        try:
            return os.write(fd, data)
        except BrokenPipeError:
            return 0
        except BlockingIOError:
            select_ignore_eintr((), (fd,), ())
