"""Forks a sister of this process: a child of the same parent. For Linux with glibc.

It does what glibc's own `fork` does (sysdeps/unix/sysv/linux/arch-fork.h, posix/fork.c), with CLONE_PARENT added (see
clone(2)): the process gets its thread's number where glibc keeps it, and its list of robust mutexes. What it leaves
out are the handlers of `pthread_atfork`: libraries in C use them to stop and start threads of theirs around a fork, of
which this process has none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_CLONE_PARENT, _PARENT_SETTID, _CHILD_CLEARTID, _CHILD_SETTID = 0x8000, 0x100000, 0x200000, 0x1000000
_FLAGS = _CLONE_PARENT | _PARENT_SETTID | _CHILD_CLEARTID | _CHILD_SETTID | signal.SIGCHLD
_PR_GET_TID_ADDRESS = 40
#: The numbers of the calls clone, set_robust_list and get_robust_list; whether the child's address comes fifth.
_SYSTEMS = {'x86_64': (56, 273, 274, False), 'aarch64': (220, 99, 100, True)}


class Cloner:
    """Of a process with a single thread."""

    def __init__(self) -> None:
        """Raises `OSError` where this is not possible."""
        machine = os.uname().machine
        if sys.platform != 'linux' or machine not in _SYSTEMS or not _is_glibc() or sys.maxsize < 1 << 32:
            raise OSError('needs Linux with glibc, on x86_64 or aarch64')
        self._clone, self._set_robust, get_robust, self._tid_last = _SYSTEMS[machine]
        self._python: Any = ctypes.pythonapi
        self._system: Any = ctypes.PyDLL(None, use_errno=True).syscall  # which holds the interpreter's lock
        self._system.restype = ctypes.c_long
        self._system.argtypes = [ctypes.c_long] * 6
        self._tid_at = _address_of_tid()
        head, size = ctypes.c_long(), ctypes.c_long()
        if self._system(get_robust, 0, ctypes.addressof(head), ctypes.addressof(size), 0, 0):
            raise OSError(ctypes.get_errno(), 'get_robust_list')
        self._robust = head.value, size.value

    def fork(self, pid_address: int) -> int:
        """As `os.fork`. The kernel writes the child's pid to that address before the child runs. Raises `OSError`."""
        last = (0, self._tid_at) if self._tid_last else (self._tid_at, 0)
        self._python.PyOS_BeforeFork()
        pid = int(self._system(self._clone, _FLAGS, 0, pid_address, *last))
        if pid == 0:
            self._system(self._set_robust, *self._robust, 0, 0, 0)
            self._python.PyOS_AfterFork_Child()
            return 0
        error = ctypes.get_errno()
        self._python.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError(error, os.strerror(error))
        return pid


def _is_glibc() -> bool:
    """One that does not keep a process's pid at hand, as it did before 2.25."""
    try:
        name, _, version = (os.confstr('CS_GNU_LIBC_VERSION') or '').partition(' ')
        return name == 'glibc' and [int(part) for part in version.split('.')] >= [2, 25]
    except (ValueError, OSError):
        return False


def _address_of_tid() -> int:
    """Where glibc keeps the number of this thread. Raises `OSError` unless it can be found, and holds that number."""
    address = ctypes.c_long()
    failed = ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)
    if failed or not address.value or ctypes.c_int.from_address(address.value).value != os.getpid():
        raise OSError('the system does not tell where the number of a thread is kept')
    return address.value
