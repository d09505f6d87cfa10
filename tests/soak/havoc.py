"""Which trouble comes, and when: chosen by the seed."""

from __future__ import annotations

import os
import random
import signal
from typing import Callable, Dict, List

from .crew import Crew, Program
from .journal import note

#: Redis is left in peace for so many seconds after a trouble, or nothing else would ever happen.
_PEACE = 5.0
#: How often each comes, beside the others.
_TROUBLES = {
    'kill_monitor': 5, 'kill_child': 5, 'kill_both': 6, 'kill_orphan': 4, 'freeze_monitor': 4, 'freeze_child': 2,
    'freeze_both': 3, 'stop_worker': 4, 'kill_producer': 2, 'freeze_producer': 1, 'stop_producer': 1, 'kill_redis': 3,
    'freeze_redis': 2, 'stop_redis': 1,
}


class Havoc:
    def __init__(self, crew: Crew, seed: int, pause: float) -> None:
        """pause: seconds between two troubles, on average."""
        self._crew = crew
        self._chance = random.Random('havoc %d' % seed)
        self._pause = pause
        self._leave_redis = False
        self._troubles: Dict[str, Callable[[], None]] = {name: getattr(self, '_' + name) for name in _TROUBLES}

    def pause(self) -> float:
        return self._chance.uniform(0.2, 1.8) * self._pause

    def strike(self) -> None:
        name, = self._chance.choices(list(_TROUBLES), list(_TROUBLES.values()))
        self._troubles[name]()

    def _seconds(self) -> float:
        """How long something is frozen or away: less than a lease lasts, or more."""
        return self._chance.choice((self._chance.uniform(0.1, 0.8), self._chance.uniform(2.5, 5.0)))

    def _worker(self) -> Program:
        return self._chance.choice(self._crew.workers)

    def _child(self, program: Program) -> List[int]:
        children = self._crew.children(program)
        return [self._chance.choice(children)] if children else []

    def _kill_monitor(self) -> None:
        program = self._worker()
        self._crew.adopt(self._crew.children(program))
        self._crew.kill('monitor', [program.pid])

    def _kill_child(self) -> None:
        program = self._worker()
        self._crew.kill('child', self._child(program), program.pid)

    def _kill_both(self) -> None:
        program = self._worker()
        pids = [program.pid, *self._crew.children(program)]
        self._crew.kill('monitor and child', pids if self._chance.random() < 0.5 else pids[::-1])

    def _kill_orphan(self) -> None:
        orphans = self._crew.orphans()
        if orphans:
            self._crew.kill('orphan', [self._chance.choice(orphans)])

    def _freeze_monitor(self) -> None:
        self._crew.freeze('monitor', [self._worker().pid], self._seconds())

    def _freeze_child(self) -> None:
        self._crew.freeze('child', self._child(self._worker()), self._seconds())

    def _freeze_both(self) -> None:
        program = self._worker()
        self._crew.freeze('monitor and child', [program.pid, *self._crew.children(program)], self._seconds())

    def _stop_worker(self) -> None:
        self._crew.stop(self._worker())

    def _kill_producer(self) -> None:
        self._crew.kill('producer', [self._chance.choice(self._crew.producers).pid])

    def _freeze_producer(self) -> None:
        self._crew.freeze('producer', [self._chance.choice(self._crew.producers).pid], self._seconds())

    def _stop_producer(self) -> None:
        self._crew.stop(self._chance.choice(self._crew.producers))

    def _kill_redis(self) -> None:
        self._trouble_redis('kill', lambda: self._crew.redis.kill())

    def _stop_redis(self) -> None:
        self._trouble_redis('stop', lambda: os.kill(self._crew.redis.pid, signal.SIGTERM))

    def _freeze_redis(self) -> None:
        self._trouble_redis('freeze', lambda: os.kill(self._crew.redis.pid, signal.SIGSTOP),
                            lambda: os.kill(self._crew.redis.pid, signal.SIGCONT))

    def _trouble_redis(self, kind: str, begin: Callable[[], None], end: Callable[[], None] = lambda: None) -> None:
        if self._leave_redis:
            return
        seconds = self._seconds()
        self._leave_redis = True
        note(self._crew.journal, kind, what='Redis', pids=[self._crew.redis.pid], seconds=seconds)
        begin()

        def over() -> None:
            end()
            if kind != 'freeze':
                self._crew.redis.kill()  # what is left of it, if it was asked to stop
                self._crew.redis.start()
            note(self._crew.journal, 'redis is back')
            self._crew.later(_PEACE, self._stop_leaving_redis)

        self._crew.later(seconds, over)

    def _stop_leaving_redis(self) -> None:
        self._leave_redis = False
