"""What one cell after the other runs on: a Redis server, a proxy before it, and a driver that starts workers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from delayed.embedded import EmbeddedRedis
from proxy import CuttingProxy

TESTS = Path(__file__).parent.parent


class Lane:
    """For cells that run one after the other. Everything it starts ends with it."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self.directory = tempfile.mkdtemp(prefix='faults-')
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.server = self._stack.enter_context(EmbeddedRedis(appendonly=True, tcp=False))
        self.proxy = self._stack.enter_context(CuttingProxy(self.server.socket_path))
        self.conn = self.server.client()
        self._stack.callback(self.conn.connection_pool.disconnect)
        path = os.pathsep.join(filter(None, [str(TESTS), str(TESTS.parent), os.environ.get('PYTHONPATH')]))
        self._driver = self._stack.enter_context(subprocess.Popen(
            [sys.executable, '-m', 'faults.driver'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=path)))
        self._stack.callback(self._driver.kill)

    def ask(self, **request):
        self._driver.stdin.write(json.dumps(request).encode() + b'\n')
        self._driver.stdin.flush()
        return json.loads(self._driver.stdout.readline())

    def close(self):
        self._stack.close()


class Process:
    """A worker's monitor, as the driver's child."""

    def __init__(self, lane, pid):
        self._lane, self.pid, self._status = lane, pid, None

    @property
    def status(self):
        """What `waitpid` says of it; `None` while it lives."""
        if self._status is None:
            self._status = self._lane.ask(status=self.pid)
        return self._status
