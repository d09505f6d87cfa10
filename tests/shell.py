"""Types commands as an operator does: in a directory with an application of theirs, piped or in a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from unittest import mock

from delayed.cli import main
from waiting import DEADLINE

PROGRAM = [sys.executable, '-W', 'error', '-m', 'delayed']
APPLICATION = '''
import redis
from delayed.delay import delayed
from delayed.queue import Queue

queue = Queue('default', redis.Redis.from_url(%r))
mail = Queue('mail', redis.Redis.from_url(%r))
both = {'first': queue, 'second': mail}


@delayed(queue)()
def add(a, b):
    return a + b


def divide(a, b):
    return a / b


def hang():
    open('hangs', 'w').close()
    while True:
        pass


def fail(why='on purpose'):
    deeper = why
    raise ValueError(deeper)
'''
#: Makes its terminal the controlling one, so that Ctrl-C typed there becomes a signal, and goes on as the program.
_IN_TERMINAL = [sys.executable, '-c', '''
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
''']


class Shell:
    """The current directory is `folder`, and has the package `myapp`. `DELAYED_URL` names the tests' server."""

    def __init__(self, folder, url):
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith('DELAYED_')}
        self.env.update(DELAYED_URL=url, PYTHONUNBUFFERED='1', TERM='xterm', COLUMNS='')
        self._terminals = []
        self._processes = []
        self.write('myapp/__init__.py', '')
        self.write('myapp/tasks.py', APPLICATION % (url, url))

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def start(self, *args, **kwargs):
        """Starts a command in pipes."""
        process = subprocess.Popen([*PROGRAM, *args], cwd=self.folder, env=self.env, text=True, **{
            'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **kwargs})
        self._processes.append(process)
        return process

    def run(self, *args):
        """Returns a command's status, output and errors. It runs within this process, which is quicker."""
        before, modules, path = os.getcwd(), set(sys.modules), list(sys.path)
        out, err = io.StringIO(), io.StringIO()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), open(os.devnull) as stdin, \
                    mock.patch.dict(os.environ, self.env, clear=True), mock.patch('sys.stdin', stdin):
                status = main(args, 'python -m delayed')
        finally:
            os.chdir(before)
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if getattr(sys.modules[name], '__file__', None) and str(self.folder) in sys.modules[name].__file__:
                    del sys.modules[name]
        return status, out.getvalue(), err.getvalue()

    def out(self, *args):
        """The output of a program that succeeds."""
        process = self.start(*args)
        out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, err) == (0, ''), (out, err)
        return out

    def json(self, *args, status=0):
        """What a command prints as JSON."""
        code, out, err = self.run(*args, '--json')
        assert code == status, err
        return json.loads(out)

    def terminal(self, *args, columns=80, lines=24):
        """Starts a command in a terminal of that size."""
        terminal = Terminal([*_IN_TERMINAL, *PROGRAM, *args], self.folder, self.env, columns, lines)
        self._terminals.append(terminal)
        return terminal

    def close(self):
        for terminal in self._terminals:
            terminal.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Terminal:
    """A command that runs in a terminal of its own."""

    def __init__(self, command, folder, env, columns, lines):
        self._fd, end = pty.openpty()
        self._resize(columns, lines)
        self.process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, stdin=end, stdout=end,
                                        stderr=end)
        os.close(end)
        self._text = ''

    def _resize(self, columns, lines):
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))

    def resize(self, columns, lines=24):
        """As a user who drags the window's corner; the program gets SIGWINCH."""
        self._resize(columns, lines)
        os.kill(self.process.pid, signal.SIGWINCH)

    def type(self, text):
        os.write(self._fd, text.encode())

    def read_until(self, pattern):
        """Reads to where the pattern matches what came since the last call, and returns that."""
        while True:
            match = re.search(pattern, self._text)
            if match:
                read, self._text = self._text[:match.end()], self._text[match.end():]
                return read
            assert self._read_more(), 'no %r but %r' % (pattern, self._text)

    def end(self):
        """Reads the rest, and returns it and the exit status."""
        while self._read_more():
            pass
        return self.process.wait(DEADLINE), self._text

    def _read_more(self):
        assert select.select([self._fd], (), (), DEADLINE)[0], self._text
        try:
            part = os.read(self._fd, 65536)
        except OSError:  # so Linux tells that nobody has the terminal open any more
            return False
        self._text += part.decode()
        return bool(part)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)
