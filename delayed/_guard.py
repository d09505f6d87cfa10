"""Runs a server that ends with its owner, however that one ends: `python _guard.py OWNER_PID DIRECTORY COMMAND...`

`embedded` starts this as a program of its own, so it imports nothing of the package. It exits once the server has
ended: by itself, because SIGTERM asked for it, or because the owner is gone, in which case `DIRECTORY` goes too.
The owner's death shows in our parent's pid, which neither a forked child of the owner (as an inherited pipe would) nor
the end of the thread that started us (as a parent-death signal would) can blur.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from typing import List, Sequence

#: Seconds between two looks at the owner where the system does not announce the end of a process.
POLL_INTERVAL = 0.5


def main(owner: int, directory: str, command: Sequence[str]) -> int:
    """Returns the server's exit status, negative where a signal ended it."""
    wakeup = _catch_signals()
    watched = [wakeup, *_process_fd(owner)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        asked = False
        # The pid is compared after the process fd was opened: an owner that ended before it was is noticed, too.
        while os.getppid() == owner and server.poll() is None and not asked:
            ready, _, _ = select.select(watched, (), (), None if len(watched) > 1 else POLL_INTERVAL)
            asked = wakeup in ready and signal.SIGTERM in os.read(wakeup, 512)
        server.kill()  # whatever asks for the end wants none of the data saved
    if os.getppid() != owner:
        shutil.rmtree(directory, ignore_errors=True)
    return server.returncode


def _catch_signals() -> int:
    """Returns a file descriptor from which the numbers of the signals that arrive can be read."""
    wakeup, writer = os.pipe()
    for fd in (wakeup, writer):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the owner's mask was inherited
    return wakeup


def _process_fd(pid: int) -> List[int]:
    """Returns the file descriptor that becomes readable when the process ends, where there is such a thing."""
    try:
        return [os.pidfd_open(pid)]  # type: ignore[attr-defined, unused-ignore] # Linux 5.3
    except (AttributeError, OSError):
        return []


if __name__ == '__main__':
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
