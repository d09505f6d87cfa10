"""Makes an environment for each contestant, with pip. They are kept in `.cache` of the checkout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from .contestants import OURS, Contestant

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT / 'tests' / 'interop'))
from peers import CACHE, clean_environ, make_once, run  # noqa: E402 - the tests' own, see there

__all__ = ['CHECKOUT', 'clean_environ', 'environment']

_PIP = ('-m', 'pip', 'install', '--quiet', '--no-input', '--disable-pip-version-check')
_SOURCES = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in')


def environment(contestant: Contestant) -> Path:
    """Returns the directory of its programs. Raises `peers.Unavailable`."""
    directory = CACHE.parent / 'benchmarks' / ('%s-python%d.%d.%d' % (contestant.environment, *sys.version_info[:3]))
    programs = directory / 'bin'
    python = programs / 'python'
    # redis-py 3.5.3 imports distutils; from Python 3.12 on it is setuptools that has it.
    packages = (*contestant.packages, *(['setuptools'] if sys.version_info >= (3, 12) else []))

    def make() -> None:
        run(sys.executable, '-m', 'venv', str(directory))
        run(str(python), *_PIP, *packages)

    make_once(directory, python, packages, make)
    if contestant.environment == OURS.environment:
        _install_checkout(python)
    return programs


def _install_checkout(python: Path) -> None:
    """Builds a wheel of what is in the checkout now and installs it. The copy keeps the checkout clean."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, 'source')
        source.mkdir()
        for name in _SOURCES:
            shutil.copy(CHECKOUT / name, source)
        shutil.copytree(CHECKOUT / 'delayed', source / 'delayed', ignore=shutil.ignore_patterns('__pycache__'))
        run(str(python), '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', scratch, str(source))
        wheel, = Path(scratch).glob('*.whl')
        run(str(python), *_PIP, '--force-reinstall', '--no-deps', str(wheel))
