"""What can happen to a worker or to Redis, and how the test does it to a worker that is held at some step."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Callable

from .scene import LEASE, lives
from .stages import RUNNING

RESCUE = 'B', 'running', 'T'  # T runs again, at the healthy worker


@dataclass(frozen=True)
class Fault:
    """name: as the documentation says it. strike(scene, cell): does it, lets worker B work, and all go on. kills,
    freezes: whom of worker A. lease: worker A's, in seconds; longer where it need not run out."""

    name: str
    strike: Callable
    kills: str = ''
    freezes: str = ''
    lease: float = LEASE


def _pids(scene, who):
    """The processes of worker A; the child first, for it would do what its monitor no longer can."""
    return [pid for name, pid in (('child', scene.child), ('monitor', scene.workers['A'].pid)) if name in who]


def kill(who):
    def strike(scene, cell):
        *others, last = _pids(scene, who)
        if others:
            scene.signal(last, signal.SIGSTOP)  # at once: the monitor sees nothing of the child's death
        for pid in (*others, last):
            scene.signal(pid, signal.SIGKILL)
        scene.start('B')
        scene.let_all_go()
    return strike


def freeze(who):
    def strike(scene, cell):
        pids = _pids(scene, who)
        for pid in pids:
            scene.signal(pid, signal.SIGSTOP)
        scene.start('B')
        scene.let_go_of('monitor')

        def thaw():
            for pid in pids:
                scene.signal(pid, signal.SIGCONT)

        _outlast_the_lease(scene, cell, thaw)
    return strike


def cut_off(scene, cell):
    """Worker A reaches Redis no more; worker B does."""
    scene.lane.proxy.partition()
    scene.start('B')
    scene.let_go_of('monitor')
    _outlast_the_lease(scene, cell, scene.lane.proxy.heal)


def cut(scene, cell):
    scene.lane.proxy.partition()
    scene.lane.proxy.heal()
    scene.start('B')
    scene.let_all_go()


def lose_reply(scene, cell):
    """Redis carries out what the worker asks next, and the worker does not hear of it."""
    scene.lane.proxy.cut()
    scene.start('B')
    scene.let_go(cell.step.at)
    _go_on_when_renewed(scene)


def restart_redis(scene, cell):
    scene.lane.server.kill()
    scene.start('B')
    scene.let_go(cell.step.at)
    scene.pause(0.2)
    scene.lane.server.start()
    _go_on_when_renewed(scene)


def freeze_redis(scene, cell):
    scene.start('B')
    scene.pause(0.1)
    pid = scene.lane.server.pid
    scene.signal(pid, signal.SIGSTOP)
    try:
        scene.let_go(cell.step.at)
        scene.pause(scene.outlasting)
    finally:
        scene.signal(pid, signal.SIGCONT)
    _go_on_when_renewed(scene)


def _outlast_the_lease(scene, cell, heal):
    """Waits until worker A has lost its lease, heals it, and sees that it touches nothing that is worker B's now."""
    if cell.expectation != 'again':
        scene.pause(scene.outlasting)
        heal()
        scene.let_all_go()
        return
    scene.await_hold(RESCUE)
    calls = scene.count(_is_reply)
    heal()
    copies = [hold.pid for point, hold in scene.held.items() if point[0] == 'child' and point[1] != 'after report']
    if cell.step.alone:
        scene.let_go(cell.step.at)
    if copies:
        scene.wait(lambda: not any(lives(pid) for pid in copies), "the end of worker A's copy")
    else:
        scene.wait(lambda: scene.count(_is_reply) > calls, 'the next call of worker A')
    assert scene.place('T') == 'dequeued', 'worker A took it from worker B'
    scene.let_all_go()


def _go_on_when_renewed(scene):
    """Where T runs: it goes on to do so until worker A has had the time to renew its lease."""
    copy, renewals = scene.held.get(RUNNING), scene.count(_is_renewal)
    if copy is not None and not (scene.orphaned and renewals):
        scene.wait(lambda: scene.count(_is_renewal) > renewals or not lives(copy.pid), 'the renewal of its lease')
    scene.let_all_go()


def _is_reply(role, name, tasks):
    return role == 'monitor' and name.startswith('after ')


def _is_renewal(role, name, tasks):
    return (name, tasks) == ('after renew', 'T')


FAULTS = [
    Fault('child killed', kill(('child',)), kills='child', lease=3 * LEASE),
    Fault('monitor killed', kill(('monitor',)), kills='monitor'),
    Fault('both killed', kill(('child', 'monitor')), kills='both'),
    Fault('child frozen', freeze(('child',)), freezes='child'),
    Fault('monitor frozen', freeze(('monitor',)), freezes='monitor'),
    Fault('both frozen', freeze(('child', 'monitor')), freezes='both'),
    Fault('Redis restarted', restart_redis, lease=3 * LEASE),
    Fault('Redis frozen', freeze_redis),
    Fault('worker cut off', cut_off),
    Fault('connections cut', cut, lease=3 * LEASE),
    Fault('reply lost', lose_reply, lease=3 * LEASE),
]
