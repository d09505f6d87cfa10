"""A file that holds the number of a process, and that only one process has at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Iterator, Optional

from ._exit import Failed


@contextlib.contextmanager
def pidfile(path: Optional[str]) -> Iterator[None]:
    """Holds the file meanwhile, and deletes it at the end; `None`: none. What is left of a process that died is
    overwritten: it is a lock, which ends with its process, that counts. Raises `Failed`."""
    if path is None:
        yield
        return
    try:
        file = open(path, 'a+', encoding='ascii')
    except OSError as error:
        raise Failed('cannot write %s: %s' % (path, error.strerror)) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise Failed('%s is held by process %s, which runs already'
                         % (path, file.read(20).strip() or '?')) from None
        file.truncate(0)
        file.write('%d\n' % os.getpid())
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
