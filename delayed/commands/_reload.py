"""For development: sees that a source file of the application has changed, and begins this program again."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from typing import Dict, Iterator, NoReturn, Optional, Set, Tuple

#: Seconds between two looks.
INTERVAL = 0.5
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Sources:
    """The application's source files: those of the modules that are loaded, all of their packages, and what lies in the
    current directory and its packages. What is installed, Python's own library and ours do not count."""

    def __init__(self) -> None:
        folders = [sysconfig.get_path(name) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')]
        self._installed = tuple(os.path.join(os.path.realpath(folder), '') for folder in (*folders, _PACKAGE))
        self._files = self._look()

    def changed(self) -> Optional[str]:
        """A file that was changed, added or deleted since the last call; `None`: none was."""
        before, self._files = self._files, self._look()
        return next((path for path, _ in sorted(before.items() ^ self._files.items())), None)

    def wait(self) -> str:
        """Waits for a change."""
        path = self.changed()
        while path is None:
            time.sleep(INTERVAL)
            path = self.changed()
        return path

    def _look(self) -> Dict[str, Tuple[int, int]]:
        found = {}
        for path in self._paths():
            try:
                status = os.stat(path)
            except OSError:
                continue
            found[path] = status.st_mtime_ns, status.st_size
        return found

    def _paths(self) -> Set[str]:
        folders = {os.getcwd()}
        for module in list(sys.modules.values()):
            path = getattr(module, '__file__', None)
            if path and path.endswith('.py') and not os.path.realpath(path).startswith(self._installed):
                folders.add(os.path.dirname(os.path.abspath(path)))
        return {path for folder in folders for path in _python_files(folder)}


def _python_files(folder: str) -> Iterator[str]:
    """Those of a folder and of the packages in it."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith('.py'):
            yield entry.path
        elif entry.is_dir() and os.path.exists(os.path.join(entry.path, '__init__.py')):
            yield from _python_files(entry.path)


def begin_again() -> NoReturn:
    """Replaces this process by what the user has typed, run anew."""
    typed = getattr(sys, 'orig_argv', None)  # Python 3.10
    command = typed[1:] if typed else ['-m', 'delayed', *sys.argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *command])
