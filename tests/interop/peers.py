"""Makes the environments of the peers: the published 0.5.1b2 with the redis-py of its day, on the Pythons it ran on.

They are kept in `.cache/peers` of the checkout, so only the first run on a machine asks a package registry.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple, Optional, Sequence

CACHE = Path(__file__).resolve().parents[2] / '.cache' / 'peers'
PUBLISHED = ('delayed==0.5.1b2', 'redis==3.5.3')  # its other requirement, hiredis, only makes it faster
_INSTALL = ('-m', 'pip', 'install', '--quiet', '--no-input', '--disable-pip-version-check', '--retries', '2',
            '--no-deps')
_LAST_PYTHON_2 = '2.7.18'


class NoInterpreter(Exception):
    """This machine has no such Python."""


class Unavailable(Exception):
    """The environment could not be made: most likely no package registry can be reached. The first line says why."""


class Peer(NamedTuple):
    """A Python that imports the published package. protocol: the highest of pickles that it reads; `None`: as ours."""

    python: Path
    environ: Dict[str, str]
    protocol: Optional[int] = None


def python_3() -> Peer:
    """The peer on the Python of the tests, in a virtual environment. Raises `Unavailable`."""
    directory = CACHE / ('python%d.%d.%d' % sys.version_info[:3])
    python = directory / 'bin' / 'python'
    # redis-py 3.5.3 imports distutils; from Python 3.12 on it is setuptools that has it.
    packages = (*PUBLISHED, *(['setuptools'] if sys.version_info >= (3, 12) else []))

    def make() -> None:
        run(sys.executable, '-m', 'venv', str(directory))
        run(str(python), *_INSTALL, *packages)

    make_once(directory, python, packages, make)
    return Peer(python, {})


def python_2() -> Peer:
    """The peer on Python 2.7, in a directory for PYTHONPATH. Raises `NoInterpreter` or `Unavailable`."""
    python, directory = _find_python_2(), CACHE / 'python2.7'
    environ = {'PYTHONPATH': str(directory)}
    build = ('pytest-runner==5.2', 'setuptools_scm<6')  # what the setup.py asks for; the newest need Python 3

    def make() -> None:
        for packages in (build, PUBLISHED):
            run(str(python), *_INSTALL, '--target', str(directory), *packages, **environ)

    make_once(directory, python, (*build, *PUBLISHED), make)
    return Peer(python, environ, protocol=2)


def _find_python_2() -> Path:
    """A python2.7 with pip. A shim of pyenv runs only with the version named, unless that is the chosen one."""
    for environ in ({}, {'PYENV_VERSION': _LAST_PYTHON_2}):
        with contextlib.suppress(Unavailable):
            found = run('python2.7', '-c', 'import pip, setuptools, sys; print(sys.executable)', **environ)
            return Path(found.strip())
    raise NoInterpreter('no python2.7 with pip on PATH')


def make_once(directory: Path, python: Path, packages: Sequence[str], make: Callable[[], None]) -> None:
    """Calls `make` unless it has made this before, of the same packages, and the interpreter is still there."""
    stamp, recipe = directory / 'made', '%s %s' % (python, ' '.join(packages))
    with _lock():
        if not (stamp.exists() and stamp.read_text() == recipe and python.exists()):
            shutil.rmtree(directory, ignore_errors=True)
            make()
            stamp.write_text(recipe)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One test run at a time; the lock goes with the process that holds it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / '.gitignore').write_text('*\n')
    with open(CACHE / 'lock', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def clean_environ(**more: str) -> Dict[str, str]:
    """This process's environment without what would leak this Python's modules and settings into another Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'COVERAGE'))}
    return {**kept, 'PYTHONDONTWRITEBYTECODE': '1', **more}


def run(*command: str, **environ: str) -> str:
    try:
        done = subprocess.run(command, env=clean_environ(**environ), stdin=subprocess.DEVNULL, check=False, text=True,
                              capture_output=True)
    except OSError as error:
        raise Unavailable('cannot run %s: %s' % (command[0], error)) from error
    if done.returncode:
        *_, last = done.stderr.splitlines() or ['exit status %d' % done.returncode]
        raise Unavailable('%s\nis how this ended: %s\n%s' % (last, ' '.join(command), done.stderr))
    return done.stdout
