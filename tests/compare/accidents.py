"""Each accident returns what became of it, in a few words, and fails on neither library: it is a report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from delayed.embedded import EmbeddedRedis

VICTIM = Path(__file__).with_name('victim.py')


class Scene:
    """A server, a log of what tasks did, and processes that run one of the two libraries."""

    def __init__(self, python, environ, **options):
        self._python, self._environ, self._options = str(python), environ, json.dumps(options)
        self._directory = tempfile.TemporaryDirectory()
        self.log = Path(self._directory.name) / 'log'
        self.errors = Path(self._directory.name) / 'errors'
        self.log.touch()
        self.server = EmbeddedRedis(appendonly=True)
        self._processes = []

    def __enter__(self):
        self.server.start()
        self.conn = self.server.client()
        return self

    def __exit__(self, *exc_info):
        for process in self._processes:
            self.signal(process, signal.SIGCONT)
            self.signal(process, signal.SIGKILL)
            process.wait()
        self.conn.close()
        self.server.stop()
        self._directory.cleanup()

    def start(self, role, *more):
        """Each process leads a group of its own."""
        with open(self.errors, 'a') as errors:
            process = subprocess.Popen(
                [self._python, str(VICTIM), role, self.server.url, self._options, *more], env=self._environ,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True)
        self._processes.append(process)
        return process

    def enqueue(self, name, *args):
        assert self.start('enqueue', name, json.dumps([str(self.log), *args])).wait() == 0

    def signal(self, process, signum):
        """Signals the whole group; the child too has died when the worker's group is gone."""
        try:
            os.killpg(process.pid, signum)
        except ProcessLookupError:
            pass

    def notes(self, what):
        """When tasks noted `what`."""
        return [float(line.split()[2]) for line in self.log.read_text().splitlines() if line.startswith(what)]

    def wait_for(self, what, count=1, seconds=90.0):
        """When it was noted for the `count`th time, or `None`."""
        end = time.monotonic() + seconds
        while len(self.notes(what)) < count:
            if time.monotonic() > end:
                return None
            time.sleep(0.01)
        return self.notes(what)[count - 1]

    def fate(self):
        """What became of the only task, by the keys that both libraries have and by what it noted."""
        if self.notes('ended'):
            return 'the task ended, and is released' if not self._kept() else 'the task ended, and runs again'
        return 'the task was cut off, and comes back' if self._kept() else 'the task was cut off, and is lost'

    def _kept(self):
        return self.conn.llen('accident') + self.conn.zcard('accident_dequeued') > 0


def both_killed(side):
    """worker and child killed, task timeout 60 s, other workers alive, a sweeper every second"""
    with Scene(*side, default_timeout=60) as scene:
        first = scene.start('worker')
        scene.enqueue('hold', 30.0)
        scene.wait_for('begun')
        scene.start('worker')
        scene.start('sweeper')
        time.sleep(3)
        killed = time.time()
        scene.signal(first, signal.SIGKILL)
        again = scene.wait_for('begun', 2) if not scene.notes('ended') else None
        return 'begins again after %.0f s' % (again - killed) if again else 'had ended before the kill'


def frozen(side):
    """worker frozen past its deadline; a second one runs the task, the first wakes, the second is killed"""
    with Scene(*side, default_timeout=3, requeue_timeout=1) as scene:
        first = scene.start('worker')
        scene.enqueue('hold', 2.5)
        scene.wait_for('begun')
        scene.signal(first, signal.SIGSTOP)
        scene.start('sweeper')
        second = scene.start('worker')
        scene.wait_for('begun', 2)
        scene.signal(first, signal.SIGCONT)
        time.sleep(1)
        scene.signal(second, signal.SIGKILL)
        time.sleep(0.5)
        return scene.fate()


def interrupted(side):
    """Ctrl-C in the terminal (SIGINT to the group) while a task runs"""
    with Scene(*side) as scene:
        worker = scene.start('worker')
        scene.enqueue('hold', 2.0)
        scene.wait_for('begun')
        time.sleep(0.3)
        scene.signal(worker, signal.SIGINT)
        worker.wait()
        time.sleep(1)
        return scene.fate()


def terminated(side):
    """SIGTERM to the group while a task runs, as init systems stop a service"""
    with Scene(*side) as scene:
        worker = scene.start('worker')
        scene.enqueue('hold', 2.0)
        scene.wait_for('begun')
        time.sleep(0.3)
        scene.signal(worker, signal.SIGTERM)
        code = worker.wait()
        time.sleep(1)
        return 'exit code %d; %s' % (code, scene.fate())


def many_lost(side):
    """8,100 lost tasks, swept once"""
    with Scene(*side, default_timeout=0, requeue_timeout=0) as scene:
        process = scene.start('lose', '8100')
        output = process.communicate()[0].strip()
        return '%s brought back' % output if process.returncode == 0 else 'none: %s' % _last_line(scene.errors)


def left_by_exit(side):
    """a task that ends its process by `os._exit(1)`, looked at for 3 s"""
    with Scene(*side) as scene:
        scene.start('worker')
        scene.enqueue('leave')
        scene.wait_for('begun')
        time.sleep(3)
        return 'run %d times' % len(scene.notes('begun'))


def unreadable(side):
    """bytes in the list that are no task, looked at for 3 s"""
    with Scene(*side) as scene:
        scene.start('worker')
        scene.conn.rpush('accident', b'junk')
        scene.conn.lpush('accident_noti', '1')
        time.sleep(3)
        kept = scene.conn.zcard('accident_dead')
        return '%s; %d errors logged' % ('set aside, with the reason' if kept else 'lost', _errors(scene))


def server_away(side):
    """Redis away for 5 s, worker idle"""
    with Scene(*side) as scene:
        worker = scene.start('worker')
        time.sleep(1.5)
        lines, ticks = len(scene.errors.read_text().splitlines()), _cpu_seconds(worker.pid)
        scene.server.kill()
        time.sleep(5)
        used = _cpu_seconds(worker.pid) - ticks
        logged = len(scene.errors.read_text().splitlines()) - lines
        scene.server.start()
        scene.enqueue('hold', 0.0)
        back = scene.wait_for('ended', seconds=20)
        return '%d lines logged, %.0f %% of a core; %s' % (
            logged, used / 5 * 100, 'goes on' if back else 'does not go on')


def crash_loop(side):
    """a task that takes its worker down, each time it runs; the worker is restarted, for 75 s"""
    with Scene(*side, default_timeout=1, requeue_timeout=0) as scene:
        scene.start('sweeper')
        scene.enqueue('take_all_down')
        end, worker = time.monotonic() + 75, scene.start('worker')
        while time.monotonic() < end and not scene.conn.zcard('accident_dead'):
            if worker.poll() is not None:
                worker = scene.start('worker')
            time.sleep(0.05)
        dead = scene.conn.zcard('accident_dead')
        return 'run %d times, %s' % (len(scene.notes('begun')), 'then set aside' if dead else 'and it goes on')


ACCIDENTS = (both_killed, frozen, interrupted, terminated, many_lost, left_by_exit, unreadable, server_away, crash_loop)


def _errors(scene):
    return sum(line.startswith('[E') for line in scene.errors.read_text().splitlines())


def _last_line(path):
    return re.sub(r'.*?user_script:\d+: | script: \w+.*', '', path.read_text().strip().splitlines()[-1])


def _cpu_seconds(pid):
    fields = Path('/proc/%d/stat' % pid).read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def ours():
    root = VICTIM.parents[2]
    return sys.executable, {**os.environ, 'PYTHONPATH': str(root)}


