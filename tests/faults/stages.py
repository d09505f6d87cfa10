"""How worker A is brought to a step. Task T is the one of interest; others come before it (V, W) or after it (F, G).

A stage gets the scene and the step; when it returns, the worker is on its way to the step's point, and no further.
A point is (role, name, task or None); see points.py.
"""

from __future__ import annotations

import signal


def monitor(name, task='T'):
    return 'monitor', name, task


def child(name, task='T'):
    return 'child', name, task


RUNNING = child('running')
LOOK, WAIT = monitor('before take ready', None), monitor('before BLPOP', None)
WAIT_AND_TAKE = monitor('before wait and take', None)


def finds_it(scene, step):
    """A starts, and T is the first task that it finds."""
    _enqueue(scene, 'TF')
    _start(scene)


def is_idle(scene, step):
    """A has run a task, finds none, and is about to look again. Then T comes."""
    _run_one(scene, LOOK)
    _enqueue(scene, 'TF')
    _pass(scene, step, LOOK)


def waits_for_it(scene, step):
    """A waits for a notification when T comes."""
    _run_one(scene, WAIT)
    _enqueue(scene, 'TF')
    _pass(scene, step, WAIT)


def waits_to_take_it(scene, step):
    """A is about to wait, and to take what comes, when T comes."""
    _run_one(scene, WAIT_AND_TAKE)
    _enqueue(scene, 'TF')
    _pass(scene, step, WAIT_AND_TAKE)


def waits_in_vain(scene, step):
    """T comes, but somebody has popped its notification and died."""
    _run_one(scene, WAIT)
    scene.enqueue('T')
    scene.lane.conn.lpop('faults_noti')
    _pass(scene, step, WAIT)


def hears_nothing(scene, step):
    """The reply to the call that takes T is lost."""
    _run_one(scene, LOOK)
    _enqueue(scene, 'TF')
    scene.lane.proxy.cut()
    _pass(scene, step, LOOK)


def has_another(scene, step):
    """A runs W when T waits."""
    _enqueue(scene, 'WTF')
    _start(scene)


def takes_it_ahead(scene, step):
    """A takes T while W runs."""
    _enqueue(scene, 'VWTF')
    _stop_by(scene, monitor('before payload', 'W'), ahead=True)


def took_it_ahead(scene, step):
    """A runs T, and takes F meanwhile."""
    _enqueue(scene, 'VWTFG')
    _stop_by(scene, monitor('before payload', 'T'), ahead=True, slow=60)


def took_two_ahead(scene, step):
    """A runs F, and T's end is not told yet."""
    _enqueue(scene, 'VWTFG')
    _stop_by(scene, monitor('before payload', 'F'), ahead=True, slow=60)


def asks_for_it_behind_the_next(scene, step):
    """A runs W, has X in hand, and has asked for one more, which is T."""
    _run_far(scene, 'VWXTF', monitor('before payload', 'W'), step, 'dequeued')


def tells_its_end(scene, step):
    """A runs F, has told T's end, and does not listen for the reply before F has ended."""
    _run_far(scene, 'VWXTFGH', monitor('before payload', 'F'), step, 'nowhere')


#: At a sweep it would find that some have ended, and tell the end of each by itself.
IN_BATCH = {'ahead': 'batch', 'slow': 60, 'sweep_interval': 60}


def is_in_a_batch(scene, step):
    """A runs W, T and F, which were sent at once."""
    _enqueue(scene, 'VWTFGHI')
    _start(scene, **IN_BATCH)


def ended_with_a_batch(scene, step):
    """The same, and A is about to tell their ends."""
    _enqueue(scene, 'VWTFGHI')
    _stop_by(scene, monitor('before advance'), **IN_BATCH)


def is_behind_a_slow_one(scene, step):
    """T was sent behind W, which runs for long."""
    _enqueue(scene, 'VWTF')
    _start(scene, ahead='batch')


def finds_it_large(scene, step):
    """T's payload is larger than the pipe."""
    _enqueue(scene, 'TF', ballast=bytes(500_000))
    _start(scene, half='T')


def finds_it_with_timeout(scene, step):
    """T has a timeout of its own."""
    _enqueue(scene, 'TF', timeout=19)
    _start(scene)


def finds_it_not_loadable(scene, step):
    """T's function does not exist."""
    _enqueue(scene, 'TF', func='missing')
    _start(scene)


def is_to_stop(scene, step):
    """A is asked to stop while T runs."""
    finds_it(scene, step)
    scene.await_hold(RUNNING)
    scene.signal(scene.workers['A'].pid, signal.SIGTERM)
    scene.let_go(RUNNING)


def loses_child_early(scene, step):
    """T's process dies when it has the payload and has not begun."""
    _enqueue(scene, 'TF')
    _kill_child_at(scene, step, child('received'))


def loses_child(scene, step):
    """T's process dies while it runs."""
    _enqueue(scene, 'TF')
    _kill_child_at(scene, step, RUNNING)


def loses_child_and_requeues(scene, step):
    """The same, with on_crash='requeue'."""
    _enqueue(scene, 'TF')
    _kill_child_at(scene, step, RUNNING, on_crash='requeue')


def finds_it_lost(scene, step):
    """T was lost by a worker that is dead, and A is about to bring it back."""
    scene.enqueue('T')
    assert scene.queue.ledger.take('ready', 1, 'somebody:1'), 'it was not there'
    scene.enqueue('F')
    ask = monitor('before may_sweep', None)
    scene.hold(ask)
    _start(scene)
    scene.await_hold(ask)
    seconds, microseconds = scene.lane.conn.time()
    now = seconds * 1000 + microseconds // 1000
    scene.lane.conn.set('faults_swept', '%d %d' % (now, now))  # somebody has swept all the time
    _pass(scene, step, ask)


def dies(scene, step):
    """T's monitor dies while it runs; its child finishes it."""
    _enqueue(scene, 'TF', timeout=scene.timeout)
    renewed = child('after renew')
    scene.hold(RUNNING)
    _start(scene)
    scene.await_hold(RUNNING)
    scene.hold(step.at if 'renew' in step.at[1] else renewed)
    scene.signal(scene.workers['A'].pid, signal.SIGKILL)
    if 'renew' not in step.at[1]:
        scene.await_hold(renewed)
        scene.let_go(renewed)
        scene.let_go(RUNNING)


def dies_with_a_batch(scene, step):
    """T was sent behind W; their monitor dies while W runs."""
    before = child('running', 'W')
    for name in 'VWTF':
        scene.enqueue(name, timeout=scene.timeout)
    scene.hold(before)
    _start(scene, **IN_BATCH)
    scene.await_hold(before)
    scene.hold(step.at)
    scene.signal(scene.workers['A'].pid, signal.SIGKILL)


def _enqueue(scene, names, **options):
    """`options` are for T."""
    for name in names:
        scene.enqueue(name, **(options if name == 'T' else {}))


def _start(scene, **options):
    scene.start('A', through_proxy=True, **{'ahead': False, 'lease': scene.lease, **options})


def _run_one(scene, until):
    """A runs W and goes on to the point `until`."""
    scene.enqueue('W')
    _start(scene)
    scene.wait(lambda: scene.journal('success', 'W'), 'the end of the task before')
    scene.await_hold(until)


def _pass(scene, step, point):
    if point != step.at:
        scene.let_go(point)


def _stop_by(scene, point, **options):
    """A starts and goes beyond `point`: what comes before is not meant by a step of the same name."""
    scene.hold(point)
    _start(scene, **options)
    scene.await_hold(point)
    scene.let_go(point)


def _run_far(scene, names, since, step, place):
    """A goes on to `step`, a task that runs, and its monitor until T is at that place."""
    _enqueue(scene, names)
    _stop_by(scene, since, ahead='far', slow=60)
    scene.hold(step.at)
    scene.await_hold(step.at)
    scene.wait(lambda: scene.place('T') == place, 'what its monitor asks for')


def _kill_child_at(scene, step, point, **options):
    scene.hold(point)
    _start(scene, **options)
    pid = scene.await_hold(point).pid
    scene.hold(step.at)
    scene.signal(pid, signal.SIGKILL)
    scene.let_go(point)
