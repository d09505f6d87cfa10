"""The two sides of a fleet, from which the tests start workers, sweepers and hands; see party.py."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

PROGRAM = Path(__file__).with_name('party.py')


class Side:
    """Starts parties of one side. At the end of the `with` block they are killed, with all of their children."""

    def __init__(self, python, environ, url, protocol):
        self._command = [str(python), str(PROGRAM)]
        self._environ = {**environ, 'PARTY_REDIS': url}
        self._protocol = protocol
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._stack.close()

    def work(self, worker, queue=None, **options):
        """A worker of that class; `queue` and `options` are those of Queue and of the worker."""
        return self._start(role='work', worker=worker, queue=queue or {}, options=options)

    def sweep(self, interval=0.05):
        return self._start(role='sweep', interval=interval)

    def hand(self, clock_ahead=0, **queue):
        """Somebody who calls the methods of a `Queue` by hand, by a clock that is so many seconds ahead."""
        return self._start(role='hand', clock_ahead=clock_ahead, queue=queue)

    def _start(self, **config):
        party = Party([*self._command, json.dumps({**config, 'protocol': self._protocol})], self._environ)
        self._stack.callback(party.kill)
        assert party.answer() == 'ready'
        return party


class Party:
    """A process of either side, and its children."""

    def __init__(self, command, environ):
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         start_new_session=True)
        self.pid = self._process.pid

    def answer(self):
        line = self._process.stdout.readline()
        assert line, 'party %d died' % self.pid
        return json.loads(line)

    def kill(self):
        """Kills it and its children at once."""
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()

    def signal(self, signum):
        self._process.send_signal(signum)

    def wait(self):
        """Waits until it has ended by itself. Returns its exit status."""
        return self._process.wait(60)

    # --- what a hand does

    def enqueue(self, function, first, last):
        self._do('enqueue', function, first, last)

    def enqueue_in_each_way(self):
        self._do('enqueue_in_each_way')

    def dequeue(self):
        fields = self._do('dequeue')
        return fields and {**fields, 'args': tuple(fields['args']), 'data': base64.b64decode(fields['data'])}

    def requeue(self, data):
        return self._do('requeue', base64.b64encode(data).decode())

    def release(self, data):
        self._do('release', base64.b64encode(data).decode())

    def requeue_lost(self):
        return self._do('requeue_lost')

    def len(self):
        return self._do('length')

    def _do(self, *request):
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        return self.answer()
