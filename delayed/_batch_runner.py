"""What runs inside a child that gets its tasks in batches: it reads and answers many at a time.

Each message has one answer, in order: that the task has ended, or that it was not begun. Answers are written when
nothing is left to run, or when they say more than that.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Deque, List, Optional

from ._limits import Limiter
from ._orphan import Job
from ._page import Step
from ._runner import SKIPPED, Runner, ending


class BatchRunner(Runner):
    """Runs what has come, until it is told not to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._slots = itertools.cycle(self._page.slots)
        self._numbers = itertools.count(1)  # of what has come
        self._waiting = self._orphan.waiting
        self._answers: List[bytes] = []

    def run(self, limiter: Optional[Limiter] = None) -> None:
        self._pid, self._limiter = os.getpid(), limiter
        job, begun = self._next(), 0
        while job is not None:
            self._jobs.append(job)
            now = time.monotonic()
            if job.slot.begin(job.number, now) and not self._orphan.alone:
                begun += 1
                self._run_task(job, now)
                if self._is_last(begun):
                    self._page.leaving = True
                self._answers.append(ending(job))
            else:
                job.skipped = True
                self._answers.append(SKIPPED)
            if (job.reason or job.record) and not self._flush():
                break
            job = self._next()
        self._orphan.settle([*self._jobs, *self._orphan.take_waiting()])

    def _next(self) -> Optional[Job]:
        """`None`: the task pipe has ended."""
        try:
            return self._waiting.popleft()
        except IndexError:  # it is empty, or an orphan's thread took the last
            return self._read() if self._flush() else None

    def _read(self) -> Optional[Job]:
        """Blocks until there is a message, and takes all that have come. Returns the first."""
        forget_settled(self._jobs)
        self._recorder.rest()
        jobs = [self._job_of(payload) for payload in self._reader.receive_all()]
        self._waiting.extend(jobs[1:])
        return jobs[0] if jobs else None

    def _job_of(self, payload: bytes) -> Job:
        slot = next(self._slots)
        slot.step = Step.RECEIVED
        return Job(payload, slot, next(self._numbers))

    def _flush(self) -> bool:
        return not self._answers or self._report(b'')

    def _report(self, message: bytes) -> bool:
        answers, self._answers = self._answers, []
        if message:
            answers.append(message)
        if len(answers) == 1:
            return super()._report(answers[0])
        return self._tell(self._writer.send_all, answers)


def forget_settled(jobs: Deque[Job]) -> None:
    """Of those whose end Redis knows: their payloads may be large."""
    while jobs and jobs[0].slot.settled:
        jobs.popleft()
