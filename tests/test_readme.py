"""Every block of code in README.md, run as a reader would: files written, commands typed, results compared.

One thing is changed: `redis.Redis()`, which is a server on this machine's usual port, stands for the tests' own server.
"""

from __future__ import annotations

import doctest
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from delayed.task import get_pickle_protocol_version, set_pickle_protocol_version
from waiting import DEADLINE, wait_until

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text('utf-8')

#: Commands that are not run here, and why.
NOT_RUN = {
    'make demo': 'it installs packages; tests/test_demo.py runs the demo itself',
    'make test': 'it would run this very test, which would run it again, without end',
    'pip install delayed': 'it would install a release, and not what is tested; tests/test_packaging.py installs that',
}
#: Runs workers.
COMMAND = 'delayed worker tasks:queue -c 2'


class Block(NamedTuple):
    language: str
    code: str

    @property
    def file_name(self):
        """The file that the block is to be written to, as its first line says; or nothing."""
        match = re.match(r'# (\w+\.py)\n', self.code)
        return match[1] if match else ''

    @property
    def commands(self):
        return re.findall(r'^\$ (.+)', self.code, re.MULTILINE)

    @property
    def output(self):
        return re.sub(r'^\$ .+\n', '', self.code, flags=re.MULTILINE)


BLOCKS = [Block(match['language'], textwrap.dedent(match['code']))
          for match in re.finditer(r'^(?P<indent> *)```(?P<language>.*)\n(?P<code>(?s:.*?))^(?P=indent)```$', README,
                                   re.MULTILINE)]
FILES = [block for block in BLOCKS if block.file_name]
STATEMENTS = [block for block in BLOCKS if block.language in ('python', 'pycon') and not block.file_name]


def block_with(command):
    block, = [block for block in BLOCKS if command in block.commands]
    return block


def like(text):
    """A pattern of a text in which any number may be another, and a path or an address, too."""
    return re.sub(r'\d+', r'\\d+', re.escape(text))


@pytest.fixture
def local(redis_server):
    """Makes code connect to the tests' server where it says `redis.Redis()`."""
    def local(code):
        return code.replace('redis.Redis()', 'redis.Redis(unix_socket_path=%r)' % redis_server.socket_path)
    return local


@pytest.fixture
def folder(conn, local, tmp_path, monkeypatch):
    """Holds the files of the README, and is where its commands are typed."""
    for block in FILES:
        (tmp_path / block.file_name).write_text(local(block.code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))  # tests/ is left out: it has a module `tasks`, too
    monkeypatch.setenv('PYTHONUNBUFFERED', '1')
    return tmp_path


class TestBlocks:
    def test_are_of_languages_that_are_tested(self):
        assert {block.language for block in BLOCKS} == {'console', 'python', 'pycon'}

    def test_hold_commands_that_are_run_here_or_it_is_known_why_not(self):
        commands = [command for block in BLOCKS if block.language == 'console' for command in block.commands]
        own = [command for command in commands if command.startswith('delayed ')]
        assert sorted(commands) == sorted([*NOT_RUN, *own, 'python program.py', 'python worker.py'])

    def test_type_commands_that_the_makefile_has(self):
        targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        named = re.findall(r'(?:`|\$ )make (\w+)', README)
        assert {'demo', 'test'} <= set(named) <= set(targets)


class TestGettingStarted:
    def test_the_program_prints_what_is_stated(self, folder):
        result = subprocess.run([sys.executable, 'program.py'], stdout=subprocess.PIPE, text=True, check=True,
                                timeout=DEADLINE)
        assert result.stdout == block_with('python program.py').output

    @pytest.mark.parametrize(('command', 'arguments'), [
        ('python worker.py', ['worker.py']), (COMMAND, ['-m', *COMMAND.split()])])
    def test_the_worker_prints_what_is_stated(self, folder, command, arguments):
        subprocess.run([sys.executable, 'program.py'], stdout=subprocess.DEVNULL, check=True, timeout=DEADLINE)
        output = folder / 'output'
        with open(output, 'wb') as file, subprocess.Popen([sys.executable, *arguments], stdout=file,
                                                          stderr=subprocess.STDOUT) as worker:
            try:
                stated = block_with(command).output
                wait_until(lambda: '3 + 4 = 7' in output.read_text() and (
                    len(output.read_text().splitlines()) >= len(stated.splitlines())), 'the result')
                # Two processes write when they come to it.
                stated, found = (sorted(text.splitlines(), key=lambda line: re.sub(r'\d+', '', line))
                                 for text in (stated, output.read_text()))
                assert len(found) == len(stated) and all(map(re.fullmatch, map(like, stated), found))
            finally:
                worker.send_signal(signal.SIGINT)
                assert worker.wait(DEADLINE) == 0


class TestTheCommand:
    @pytest.mark.parametrize('block', [block for block in BLOCKS
                                       if block.code.startswith('$ delayed ') and COMMAND not in block.commands])
    def test_prints_what_is_stated(self, folder, block, redis_server, monkeypatch):
        monkeypatch.setenv('DELAYED_URL', redis_server.url)
        output = ''
        for command in block.commands:
            output += subprocess.run([sys.executable, '-m', *shlex.split(command)], stdout=subprocess.PIPE, text=True,
                                     check=True, timeout=DEADLINE).stdout
        assert re.fullmatch(like(block.output), output)


@pytest.fixture
def restored(monkeypatch):
    """Undoes what the statements set in this process."""
    from delayed.logger import logger
    handlers, protocol = list(logger.handlers), get_pickle_protocol_version()
    monkeypatch.setitem(sys.modules, 'tasks', None)  # tests/ has one of its own; what stands here afterwards is undone
    monkeypatch.delitem(sys.modules, 'tasks')
    yield
    set_pickle_protocol_version(protocol)
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:] = handlers


def test_statements_do_what_is_stated(folder, local, restored, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    namespace = {'__name__': 'statements'}
    failures = []
    for block in STATEMENTS:
        if block.language == 'python':
            exec(compile(local(block.code), 'README.md', 'exec'), namespace)
            continue
        test = doctest.DocTestParser().get_doctest(local(block.code), namespace, 'README.md', None, 0)
        assert test.examples
        runner.run(test, out=failures.append, clear_globs=False)
        namespace = test.globs
    assert not failures, ''.join(failures)
    namespace['conn'].connection_pool.disconnect()


def test_links_within_the_page_lead_somewhere():
    headings = re.findall(r'^#+ (.+)', re.sub(r'(?ms)^ *```.*?^ *```$', '', README), re.MULTILINE)
    anchors = [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings]
    targets = re.findall(r'\]\(([^)]+)\)', README)
    for target in targets:
        path, _, anchor = target.partition('#')
        assert (ROOT / path).exists() if path else anchor in anchors, target
