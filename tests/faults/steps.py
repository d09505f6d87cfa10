"""The steps of a task's way: where its worker is when a fault strikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Tuple

from . import stages
from .stages import RUNNING, child, monitor

WAITING, DEQUEUED, NOWHERE, DEAD = 'waiting', 'dequeued', 'nowhere', 'dead'


@dataclass(frozen=True)
class Step:
    """name: as the documentation says it.
    place: where the task is.
    at: the point at which the worker is held; see points.py.
    stage: brings it there.
    also: other points that its processes are held at, at the same time.
    begun: whether the task's beginning is noted.
    entered: whether its function was called.
    alone: whether the monitor is dead already.
    childless: whether the child is dead already.
    timeout: the task's, in seconds.
    together: whether the worker sends what takes the task along with the wait for it, as it does with longer leases.
    batch: whether the task is sent to its child along with others.
    """

    name: str
    place: str
    at: Tuple
    stage: Callable
    also: Tuple = ()
    begun: bool = False
    entered: bool = False
    alone: bool = False
    childless: bool = False
    timeout: float = 20
    together: bool = False
    batch: bool = False

    @property
    def calls(self):
        """Whether a call to Redis comes next, whose reply can be lost."""
        name = self.at[1]
        return name.startswith('before ') and not name.endswith(('noted', 'payload', 'report', 'timeout'))


BEGUN = {'begun': True}
ENTERED = {**BEGUN, 'entered': True}
CRASHED = {**ENTERED, 'childless': True}
ORPHANED = {**ENTERED, 'alone': True, 'timeout': 3}
IN_BATCH = {'batch': True}
BEFORE_RUNS, NEXT_RUNS = (child('running', 'W'),), (child('running', 'F'),)

STEPS = [
    # the worker takes it
    Step('about to look for a task', WAITING, stages.LOOK, stages.is_idle),
    Step('took it', DEQUEUED, monitor('after take ready'), stages.is_idle),
    Step('about to wait for a notification', WAITING, stages.WAIT, stages.waits_for_it),
    Step('popped its notification', WAITING, monitor('after BLPOP', None), stages.waits_for_it),
    Step('took it by its notification', DEQUEUED, monitor('after take notified'), stages.waits_for_it),
    Step('about to look for a task without notification', WAITING, monitor('before take anyway', None),
         stages.waits_in_vain),
    Step('took it without notification', DEQUEUED, monitor('after take anyway'), stages.waits_in_vain),
    Step('about to wait for it and take it at once', WAITING, stages.WAIT_AND_TAKE, stages.waits_to_take_it,
         together=True),
    Step('waited for it and took it', DEQUEUED, monitor('after wait and take'), stages.waits_to_take_it, together=True),
    Step('about to release the one before and take it', WAITING, monitor('before advance', 'W'), stages.has_another),
    Step('released the one before and took it', DEQUEUED, monitor('after advance'), stages.has_another),
    Step('about to take it ahead', WAITING, monitor('before advance', None), stages.takes_it_ahead, BEFORE_RUNS),
    Step('took it ahead', DEQUEUED, monitor('after advance'), stages.takes_it_ahead, BEFORE_RUNS),
    Step('took it behind the next one, and has not heard', DEQUEUED, child('running', 'W'),
         stages.asks_for_it_behind_the_next),
    Step('about to hand back what it took ahead', DEQUEUED, monitor('before requeue'), stages.takes_it_ahead,
         BEFORE_RUNS),
    Step('handed back what it took ahead', WAITING, monitor('after requeue'), stages.takes_it_ahead, BEFORE_RUNS),
    # its payload goes to the child
    Step('about to send its payload', DEQUEUED, monitor('before payload'), stages.finds_it),
    Step('sent half of its payload', DEQUEUED, monitor('half payload'), stages.finds_it_large),
    Step('sent its payload', DEQUEUED, monitor('after payload'), stages.finds_it, (child('received'),)),
    Step('child has its payload', DEQUEUED, child('received'), stages.finds_it),
    Step('child noted that it has it', DEQUEUED, child('after received is noted'), stages.finds_it),
    # the same with others
    Step('sent with others, behind one that runs', DEQUEUED, child('running', 'W'), stages.is_in_a_batch, **IN_BATCH),
    Step('behind one that is slow: about to hand it back', DEQUEUED, monitor('before requeue'),
         stages.is_behind_a_slow_one, BEFORE_RUNS, **IN_BATCH),
    Step('behind one that is slow: handed it back', WAITING, monitor('after requeue'), stages.is_behind_a_slow_one,
         BEFORE_RUNS, **IN_BATCH),
    # it runs
    Step('child noted that it begins', DEQUEUED, child('after begun is noted'), stages.finds_it, **BEGUN),
    Step('child noted that it read it', DEQUEUED, child('after read is noted'), stages.finds_it, **BEGUN),
    Step('child about to tell its timeout', DEQUEUED, child('before timeout'), stages.finds_it_with_timeout, **BEGUN),
    Step('child told its timeout', DEQUEUED, child('after timeout'), stages.finds_it_with_timeout, **BEGUN),
    Step('it runs', DEQUEUED, RUNNING, stages.finds_it, **ENTERED),
    Step('it runs, and others were sent with it', DEQUEUED, RUNNING, stages.is_in_a_batch, **ENTERED, **IN_BATCH),
    Step('about to renew its lease', DEQUEUED, monitor('before renew'), stages.finds_it, (RUNNING,), **ENTERED),
    Step('renewed its lease', DEQUEUED, monitor('after renew'), stages.finds_it, (RUNNING,), **ENTERED),
    Step('about to tell that it began, taken ahead', DEQUEUED, monitor('before advance', 'W'), stages.took_it_ahead,
         (RUNNING,), **ENTERED),
    Step('told that it began, taken ahead', DEQUEUED, monitor('after advance', 'W'), stages.took_it_ahead,
         (RUNNING,), **ENTERED),
    # it has ended
    Step('it returned', DEQUEUED, child('before ended is noted'), stages.finds_it, **ENTERED),
    Step('child noted its end', DEQUEUED, child('after ended is noted'), stages.finds_it, **ENTERED),
    Step('its handler runs', DEQUEUED, child('handler'), stages.finds_it, **ENTERED),
    Step('child about to report its end', DEQUEUED, child('before report'), stages.finds_it, **ENTERED),
    Step('child reported its end', DEQUEUED, monitor('report read'), stages.finds_it, (child('after report'),),
         **ENTERED),
    Step('about to release it and take the next', DEQUEUED, monitor('before advance'), stages.finds_it, **ENTERED),
    Step('released it and took the next', NOWHERE, monitor('after advance'), stages.finds_it, **ENTERED),
    Step('about to release it while the next one runs', DEQUEUED, monitor('before advance'), stages.took_two_ahead,
         NEXT_RUNS, **ENTERED),
    Step('released it while the next one runs', NOWHERE, monitor('after advance'), stages.took_two_ahead,
         NEXT_RUNS, **ENTERED),
    Step('released it, and has not heard', NOWHERE, child('running', 'F'), stages.tells_its_end, **ENTERED),
    Step('sent with others: about to release it while the next one runs', DEQUEUED, monitor('before release'),
         stages.is_in_a_batch, NEXT_RUNS, **ENTERED, **IN_BATCH),
    Step('sent with others: released it while the next one runs', NOWHERE, monitor('after release'),
         stages.is_in_a_batch, NEXT_RUNS, **ENTERED, **IN_BATCH),
    Step('sent with others: about to release all of them', DEQUEUED, monitor('before advance'), stages.is_in_a_batch,
         **ENTERED, **IN_BATCH),
    Step('sent with others: released all of them', NOWHERE, monitor('after advance'), stages.ended_with_a_batch,
         **ENTERED, **IN_BATCH),
    Step('about to release it and stop', DEQUEUED, monitor('before release'), stages.is_to_stop, **ENTERED),
    Step('released it, and stops', NOWHERE, monitor('after release'), stages.is_to_stop, **ENTERED),
    # its process dies, or it cannot be run
    Step('died before it began: about to hand it back', DEQUEUED, monitor('before requeue'), stages.loses_child_early,
         childless=True),
    Step('died before it began: handed it back', WAITING, monitor('after requeue'), stages.loses_child_early,
         childless=True),
    Step('crashed: about to release it', DEQUEUED, monitor('before release'), stages.loses_child, **CRASHED),
    Step('crashed: released it, and the error handler runs', NOWHERE, monitor('handler'), stages.loses_child,
         **CRASHED),
    Step("crashed, on_crash='requeue': about to put it back", DEQUEUED, monitor('before lose'),
         stages.loses_child_and_requeues, **CRASHED),
    Step("crashed, on_crash='requeue': put it back", WAITING, monitor('after lose'),
         stages.loses_child_and_requeues, **CRASHED),
    Step('cannot be loaded: about to set it aside', DEQUEUED, monitor('before set_aside'),
         stages.finds_it_not_loadable),
    Step('cannot be loaded: set it aside', DEAD, monitor('after set_aside'), stages.finds_it_not_loadable),
    # the reply to the call that took it was lost
    Step('reply lost: about to ask what the call took', DEQUEUED, monitor('before reclaim', None),
         stages.hears_nothing),
    Step('reply lost: asked what the call took', DEQUEUED, monitor('after reclaim'), stages.hears_nothing),
    # its worker died before, and another one brings it back
    Step('lost before: about to ask whether to sweep', DEQUEUED, monitor('before may_sweep', None),
         stages.finds_it_lost),
    Step('lost before: asked whether to sweep', DEQUEUED, monitor('after may_sweep', None), stages.finds_it_lost),
    Step('lost before: about to sweep', DEQUEUED, monitor('before requeue_lost', None), stages.finds_it_lost),
    Step('lost before: swept', WAITING, monitor('after requeue_lost', None), stages.finds_it_lost),
    # its monitor died while it ran
    Step('monitor dead: child about to extend the lease', DEQUEUED, child('before renew'), stages.dies, (RUNNING,),
         **ORPHANED),
    Step('monitor dead: child extended the lease', DEQUEUED, child('after renew'), stages.dies, (RUNNING,),
         **ORPHANED),
    Step('monitor dead: child about to release it', DEQUEUED, child('before release'), stages.dies, **ORPHANED),
    Step('monitor dead: child released it', NOWHERE, child('after release'), stages.dies, **ORPHANED),
    Step('monitor dead: child about to hand it back', DEQUEUED, child('before requeue'), stages.dies_with_a_batch,
         BEFORE_RUNS, alone=True, timeout=3, **IN_BATCH),
    Step('monitor dead: child handed it back', WAITING, child('after requeue'), stages.dies_with_a_batch, BEFORE_RUNS,
         alone=True, timeout=3, **IN_BATCH),
]
