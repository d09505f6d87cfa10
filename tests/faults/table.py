"""What must hold in each cell: the matrix as people read it.

once    T runs once, from its beginning to its end
again   T runs again: what its first worker began is lost, or counts for nothing
failed  T counts as failed, for its process died while it ran: the error handler is told, and it does not run again
dead    T is set aside, with the reason
-       cannot be, or is another cell
x/y     x for ForkedWorker, y for PreforkedWorker
"""

# ruff: noqa: E501 - the table is wider than code
from __future__ import annotations

from dataclasses import dataclass

from .faults import FAULTS, Fault
from .steps import STEPS, Step

WORKERS = 'ForkedWorker', 'PreforkedWorker'

TABLE = """
                                                               killed                frozen                Redis            cut           reply
                                                               child  monitor both   child  monitor both   restarted frozen off    once   lost
about to look for a task                                       once   once    once   once   once    once   once      once   once   once   once
took it                                                        once   once    once   once   once    once   once      once   again  once   -
about to wait for a notification                               once   once    once   once   once    once   once      once   once   once   once
popped its notification                                        once   once    once   once   once    once   once      once   once   once   -
took it by its notification                                    once   once    once   once   once    once   once      once   again  once   -
about to look for a task without notification                  once   once    once   once   once    once   once      once   once   once   once
took it without notification                                   once   once    once   once   once    once   once      once   again  once   -
about to wait for it and take it at once                       once   once    once   once   once    once   once      once   once   once   once
waited for it and took it                                      once   once    once   once   once    once   once      once   again  once   -
about to release the one before and take it                    once   once    once   once   once    once   once      once   once   once   once
released the one before and took it                            once   once    once   once   once    once   once      once   again  once   -
about to take it ahead                                         once   once    once   once   once    once   once      once   once   once   once
took it ahead                                                  once   once    once   once   once    once   once      once   once   once   -
took it behind the next one, and has not heard                 once   once    once   once   once    once   once      once   once   once   -
about to hand back what it took ahead                          once   once    once   once   once    once   once      once   once   once   once
handed back what it took ahead                                 once   once    once   once   once    once   once      once   once   once   -
about to send its payload                                      once   once    once   once   again   again  once      once   again  once   -
sent half of its payload                                       once   once    once   once   again   again  once      once   again  once   -
sent its payload                                               once   once    once   once   again   again  once      once   again  once   -
child has its payload                                          once   once    once   once   again   again  once      once   again  once   -
child noted that it has it                                     once   once    once   once   again   again  once      once   again  once   -
sent with others, behind one that runs                         once   once    once   once   once    once   once      once   once   once   -
behind one that is slow: about to hand it back                 once   once    once   once   once    once   once      once   once   once   once
behind one that is slow: handed it back                        once   once    once   once   once    once   once      once   once   once   -
child noted that it begins                                     failed once    again  once   again   again  once      once   again  once   -
child noted that it read it                                    failed once    again  once   again   again  once      once   again  once   -
child about to tell its timeout                                failed once    again  once   again   again  once      once   again  once   -
child told its timeout                                         failed once    again  once   again   again  once      once   again  once   -
it runs                                                        failed once    again  once   again   again  once      once   again  once   -
it runs, and others were sent with it                          failed once    again  once   again   again  once      once   again  once   -
about to renew its lease                                       failed once    again  once   again   again  once      once   again  once   once
renewed its lease                                              failed once    again  once   again   again  once      once   again  once   -
about to tell that it began, taken ahead                       failed once    again  once   again   again  once      once   again  once   once
told that it began, taken ahead                                failed once    again  once   again   again  once      once   again  once   -
it returned                                                    failed once    again  once   again   again  once      once   again  once   -
child noted its end                                            once   once    again  once   again   again  once      once   again  once   -
its handler runs                                               once   once    again  once   again   again  once      once   again  once   -
child about to report its end                                  once   once    again  once   again   again  once      once   again  once   -
child reported its end                                         once   once    again  once   again   again  once      once   again  once   -
about to release it and take the next                          once   once    again  once   again   again  once      once   again  once   once
released it and took the next                                  once   once    once   once   once    once   once      once   once   once   -
about to release it while the next one runs                    once   once    again  once   again   again  once      once   again  once   once
released it while the next one runs                            once   once    once   once   once    once   once      once   once   once   -
released it, and has not heard                                 once   once    once   once   once    once   once      once   once   once   -
sent with others: about to release it while the next one runs  once   once    again  once   again   again  once      once   again  once   once
sent with others: released it while the next one runs          once   once    once   once   once    once   once      once   once   once   -
sent with others: about to release all of them                 once   once    again  once   again   again  once      once   again  once   once
sent with others: released all of them                         once   once    once   once   once    once   once      once   once   once   -
about to release it and stop                                   once   once    again  once   again   again  once      once   again  once   once
released it, and stops                                         once   once    once   once   once    once   once      once   once   once   -
died before it began: about to hand it back                    -      once    -      -      once    -      once      once   once   once   once
died before it began: handed it back                           -      once    -      -      once    -      once      once   once   once   -
crashed: about to release it                                   -      again   -      -      again   -      failed    failed again  failed failed
crashed: released it, and the error handler runs               -      failed  -      -      failed  -      failed    failed failed failed -
crashed, on_crash='requeue': about to put it back              -      again   -      -      again   -      again     again  again  again  again
crashed, on_crash='requeue': put it back                       -      again   -      -      again   -      again     again  again  again  -
cannot be loaded: about to set it aside                        dead   dead    dead   dead   dead    dead   dead      dead   dead   dead   dead
cannot be loaded: set it aside                                 dead   dead    dead   dead   dead    dead   dead      dead   dead   dead   -
reply lost: about to ask what the call took                    once   once    once   once   once    once   once      once   once   once   once
reply lost: asked what the call took                           once   once    once   once   once    once   once      once   again  once   -
lost before: about to ask whether to sweep                     -      once    -      -      once    -      once      once   once   once   once
lost before: asked whether to sweep                            -      once    -      -      once    -      once      once   once   once   -
lost before: about to sweep                                    -      once    -      -      once    -      once      once   once   once   once
lost before: swept                                             -      once    -      -      once    -      once      once   once   once   -
monitor dead: child about to extend the lease                  again  -       -      again  -       -      once      once   again  once   once
monitor dead: child extended the lease                         again  -       -      once   -       -      once      once   once   once   -
monitor dead: child about to release it                        again  -       -      once   -       -      once      once   once   once   once
monitor dead: child released it                                once   -       -      once   -       -      once      once   once   once   -
monitor dead: child about to hand it back                      once   -       -      once   -       -      once      once   once   once   once
monitor dead: child handed it back                             once   -       -      once   -       -      once      once   once   once   -
"""


LEGEND = """
"It" is the task, "is" where it is when the fault strikes. `ForkedWorker` and `PreforkedWorker` are both tried in each cell
(the latter alone, of course, where a task was sent to its process with others), with a lease of a second; another worker is
there to take what is lost. Frozen is SIGSTOP for longer than the lease, then
SIGCONT; cut off, for longer than the lease, too; Redis restarted is SIGKILL and a new start with its append-only file;
reply lost: Redis carries out the next call and its connection breaks.

* **once**: it runs once, from its beginning to its end.
* **again**: it runs a second time, to its end. A first worker that lives finds out, ends its copy and touches nothing.
* **failed**: its process died while it ran: the error handler is told, and it does not run again.
* **dead**: it is set aside, with the reason.
* nothing: it cannot happen there, or is another cell.

In the end no key holds anything of it, and no process is left.
"""


@dataclass(frozen=True)
class Cell:
    step: Step
    fault: Fault
    worker: str
    expectation: str
    several: bool = False  # whether the workers have another queue beside, which is empty
    singly: bool = False  # whether they take one task at a time, by `prefetch`

    def __str__(self):
        variant = ' with several queues' if self.several else ', prefetch=1' if self.singly else ''
        return '%s%s: %s, %s' % (self.worker[:-len('Worker')].lower(), variant, self.step.name, self.fault.name)


def rows():
    """Each step, and its row of entries."""
    found = []
    lines = TABLE.strip('\n').splitlines()[2:]
    width = max(len(step.name) for step in STEPS) + 2
    assert [line[:width].rstrip() for line in lines] == [step.name for step in STEPS], 'other steps than in steps.py'
    for step, line in zip(STEPS, lines):
        entries = line[width:].split()
        assert len(entries) == len(FAULTS), step.name
        found.append((step, entries))
    return found


def cells():
    return [Cell(step, fault, worker, entry.split('/')[index if '/' in entry else 0])
            for step, entries in rows() for fault, entry in zip(FAULTS, entries) if entry != '-'
            for index, worker in enumerate(WORKERS) if index == 1 or not step.batch]


def markdown():
    """The table as the documentation shows it."""
    lines = ['| At this step | it is | ' + ' | '.join(fault.name for fault in FAULTS) + ' |',
             '| --- | --- | ' + ' | '.join('---' for _ in FAULTS) + ' |']
    for step, entries in rows():
        shown = [entry if entry == 'once' else '' if entry == '-' else '**%s**' % entry for entry in entries]
        lines.append('| %s | %s | %s |' % (step.name, step.place, ' | '.join(shown)))
    return '\n'.join([LEGEND, *lines])
