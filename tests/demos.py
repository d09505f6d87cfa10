"""Runs demos as programs, piped or in a terminal, and looks for what they leave."""

import contextlib
import os
import pty
import re
import secrets
import select
import subprocess
import sys
from pathlib import Path

from waiting import DEADLINE

MARK = 'DELAYED_DEMO_TEST'
DEMO = [sys.executable, '-W', 'error', '-m', 'delayed', 'demo']
#: Makes its terminal the controlling one, so that Ctrl-C typed there becomes a signal, and goes on as the demo.
IN_TERMINAL = [sys.executable, '-c', '''
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
''']


class Running:
    """A demo that runs as a program, with whatever it starts."""

    def __init__(self, tmp_path, *args, env=None):
        self.folder = tmp_path
        self._mark = secrets.token_hex(8)
        self._env = {**os.environ, MARK: self._mark, 'TMPDIR': str(tmp_path), **(env or {})}
        self._command = [*DEMO, *args]
        self._streams = []

    def in_pipe(self):
        self.process = subprocess.Popen(self._command, env=self._env, stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._streams = [self.process.stdout, self.process.stderr]
        return self

    def in_terminal(self):
        self.terminal, end = pty.openpty()
        self._env['TERM'] = 'xterm'
        self.process = subprocess.Popen([*IN_TERMINAL, *self._command], env=self._env, start_new_session=True,
                                        stdin=end, stdout=end, stderr=end)
        os.close(end)
        self._streams = [os.fdopen(self.terminal, 'rb', 0)]
        return self

    def read_until(self, pattern):
        """Reads lines of a demo in a pipe; returns the first one that matches."""
        for line in self.process.stdout:
            if re.search(pattern, line):
                return line
        raise AssertionError('the demo ended without a line like %r: %s' % (pattern, self.process.stderr.read()))

    def read_screen(self, pattern=None):
        """Reads what a demo writes to a terminal, to its end or until the pattern matches."""
        text = b''
        while pattern is None or not re.search(pattern, text):
            assert select.select([self.terminal], (), (), DEADLINE)[0], text
            try:
                part = os.read(self.terminal, 65536)
            except OSError:  # so Linux tells that nobody has the terminal open any more
                break
            if not part:
                break
            text += part
        return text.decode()

    def end(self):
        """Returns its exit status, and the rest of what it wrote to its pipes."""
        out, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out, err

    def leftovers(self):
        """The processes it has left, and its files."""
        pids = [name for name in os.listdir('/proc') if name.isdigit()] if os.path.isdir('/proc') else []
        files = [name for name in os.listdir(self.folder) if name.startswith('delayed-')]
        return [pid for pid in pids if self._marked(pid)] + files

    def _marked(self, pid):
        with contextlib.suppress(OSError):
            return ('%s=%s' % (MARK, self._mark)).encode() in Path('/proc', pid, 'environ').read_bytes()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in self._streams:
            stream.close()
