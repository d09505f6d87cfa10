"""Runs cells: brings worker A to its step, strikes, lets worker B recover what was lost, and looks what became of T."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import Future

from .lane import Lane
from .scene import DEADLINE, Scene, lives

#: A cell that fails because the machine is slow, so that a living worker loses a lease, is tried again, with leases and
#: timeouts so much longer: what is wrong in the product fails at each pace.
PACES = 1, 2, 4


def run_cell(lane, cell):
    """Raises `AssertionError` if something does not hold."""
    for pace in PACES:
        scene = Scene(lane, cell, pace)
        try:
            _play(scene, cell)
            return
        except AssertionError:
            if pace == PACES[-1] or not (scene.slow or scene.leases_ended):
                raise


def _play(scene, cell):
    try:
        scene.slow = True  # until the worker is where it should be
        _bring(scene, cell.step)
        scene.slow = False
        cell.fault.strike(scene, cell)
        scene.wait(lambda: _through(scene), 'the end of all tasks')
        scene.stop()
        _check(scene, cell)
    except AssertionError as error:
        raise AssertionError('%s: %s\n%s' % (cell, error, scene.story())) from None
    finally:
        scene.close()
        scene.lane.proxy.heal()
        scene.lane.server.start()


def _bring(scene, step):
    step.stage(scene, step)
    points = (step.at, *step.also)
    for point in points:
        scene.hold(point)
    for point in points:
        scene.await_hold(point)
    began = [entry['pid'] for entry in scene.journal('begin', 'T')]
    scene.child = began[0] if began else scene.held[step.at].child
    assert scene.place('T') == step.place, 'it is %s, not %s' % (scene.place('T'), step.place)


def _through(scene):
    """Whether all tasks are, and nothing is left of them."""
    return not scene.leftovers() and all(
        scene.journal('end', name) or scene.journal('failure', name) or scene.place(name) == 'dead'
        for name in scene.payloads)


def _check(scene, cell):
    assert not scene.leftovers(), 'left over: %s' % scene.leftovers()
    for name in scene.payloads:
        if name == 'T':
            CHECKS[cell.expectation](scene, cell)
        else:  # cells of their own say when they run again, and when they fail
            assert len(scene.journal('begin', name)) <= 2, '%s ran too often' % name
            assert scene.place(name) == 'nowhere'
    scene.wait(lambda: not any(lives(pid) for pid in scene.journal_pids()), 'the end of all processes')


def _ran(scene):
    return len(scene.journal('begin', 'T')), len(scene.journal('end', 'T'))


def check_once(scene, cell):
    assert _ran(scene) == (1, 1), 'begun %d times, ended %d times' % _ran(scene)
    assert not scene.journal('failure', 'T'), 'it failed'
    assert scene.place('T') == 'nowhere'


def check_again(scene, cell):
    begun, ended = _ran(scene)
    if cell.fault.kills:
        assert begun == 1 + cell.step.entered, 'begun %d times' % begun
    assert 1 <= ended <= begun <= 2, 'begun %d times, ended %d times' % _ran(scene)
    assert len(scene.journal('end', 'T', 'B')) <= 1, 'worker B ran it twice'
    assert scene.place('T') == 'nowhere'


def check_failed(scene, cell):
    assert _ran(scene)[0] == cell.step.entered, 'begun %d times' % _ran(scene)[0]
    assert [entry['detail'] for entry in scene.journal('failure', 'T')] == [9], 'the error handler was not told'
    assert scene.place('T') == 'nowhere'


def check_dead(scene, cell):
    assert _ran(scene) == (0, 0)
    letter, = scene.queue.dead()
    assert letter.payload == scene.payloads['T'] and 'cannot be loaded' in letter.reason, letter


CHECKS = {'once': check_once, 'again': check_again, 'failed': check_failed, 'dead': check_dead}


class Crew:
    """Runs cells in several lanes at once. What became of each is to be asked for."""

    def __init__(self, cells, lanes):
        self._queue = queue.Queue()
        self._results = {cell: Future() for cell in cells}
        for cell in cells:
            self._queue.put(cell)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(lanes, len(cells)))]
        for thread in self._threads:
            thread.start()

    def _work(self):
        lane = None
        with contextlib.suppress(queue.Empty):
            while True:
                cell = self._queue.get_nowait()
                began = time.monotonic()
                try:
                    lane = lane or Lane()
                    run_cell(lane, cell)
                except BaseException as error:
                    self._results[cell].set_result((error, time.monotonic() - began))
                else:
                    self._results[cell].set_result((None, time.monotonic() - began))
        if lane is not None:
            lane.close()

    def result(self, cell):
        """Waits for a cell. Returns its error, or None, and how many seconds it took."""
        return self._results[cell].result(DEADLINE * 60)

    def close(self):
        """Drops the cells that did not begin, and waits for the others."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for thread in self._threads:
            thread.join()
