"""A page of memory that a monitor shares with its child, so that a death needs no guessing.

Each field has one writer. While no task is under way the child waits, and the monitor prepares the page for the next.
"""

from __future__ import annotations

import ctypes
import enum
import math
import mmap
import struct
from typing import NamedTuple, Optional, Tuple

_ASKED, _LEAVING, _PID_AT, _BEGUN_AT, _REVOKED_AT, _USED_AT, _SLOTS_AT = 0, 1, 4, 8, 16, 24, 64
_WORD = 8  # bytes of a number and of a moment; each stands at a multiple of that
_BEGUN, _REVOKED = _BEGUN_AT // _WORD, _REVOKED_AT // _WORD
_PID = struct.Struct('=i')
_STEP, _OUTCOME, _SETTLED, _TOKENS_AT, _QUEUE = range(5)  # within a slot
_TIMEOUT, _BEGAN, _UNTIL = range(1, 4)  # there, in words
_HEAD = struct.Struct('=%dB%dx3d' % (_QUEUE + 1, _WORD - _QUEUE - 1))
_USED = struct.Struct('=4d')
MOST_QUEUES = 256  # that a byte can tell apart
_TOKENS = (64, 320)  # two places: the one not in use is written, then made the current one
_TOKENS_SIZE = 256
_SLOT_SIZE = 640


class Step(enum.IntEnum):
    """How far the child is with its task."""

    IDLE = 0
    RECEIVED = 1  # it has the whole payload
    BEGUN = 2  # set before the first byte is unpickled, since unpickling can kill
    READ = 3  # it was unpickled: its function is imported and called
    ENDED = 4  # the function is through; handlers may still run


class Outcome(enum.IntEnum):
    """How the task ended in the child."""

    NONE = 0
    FINISHED = 1
    FAILED = 2  # it raised
    UNREADABLE = 3  # the payload is no task
    NOT_LOADABLE = 4  # its function cannot be imported


_IDLE, _NONE = int(Step.IDLE), int(Outcome.NONE)
#: By their bytes. Another one is there only if a task has written where it should not: then it has begun, and failed.
_STEPS: Tuple[Step, ...] = (*Step, *[Step.READ] * (256 - len(Step)))
_OUTCOMES: Tuple[Outcome, ...] = (*Outcome, *[Outcome.FAILED] * (256 - len(Outcome)))


class Beginning(NamedTuple):
    """When a task began, and what its process had used until then, the programs that it had started included."""

    started_at: float  # Unix seconds
    moment: float  # monotonic seconds
    user: float  # seconds of processor time
    system: float
    peak_rss: float  # bytes


class Slot:
    """What is shared about one task. A child has a few, which its tasks use in turns: one task may run while its
    predecessors have ended and Redis does not know yet."""

    __slots__ = '_memory', '_moments', '_numbers', '_start', '_word'

    def __init__(self, memory: mmap.mmap, numbers: memoryview[int], moments: memoryview[float],
                 start: int) -> None:
        """memory: the page; as `numbers` and `moments`, too."""
        self._memory, self._numbers, self._moments = memory, numbers, moments
        self._start, self._word = start, start // _WORD

    def prepare(self, tokens: Tuple[bytes, ...], queue: int = 0, until: float = math.inf) -> None:
        """By the monitor: a new task of this queue is about to be sent. until: from when on (monotonic) it must not be
        begun, for its lease may end."""
        _HEAD.pack_into(self._memory, self._start, _IDLE, _NONE, False, 0, queue, -1.0, 0.0, until)
        self._write_tokens(0, tokens)

    @property
    def step(self) -> Step:
        """By the child."""
        return _STEPS[self._memory[self._start + _STEP]]

    @step.setter
    def step(self, step: Step) -> None:
        self._memory[self._start + _STEP] = step

    @property
    def outcome(self) -> Outcome:
        """By the child."""
        return _OUTCOMES[self._memory[self._start + _OUTCOME]]

    @outcome.setter
    def outcome(self, outcome: Outcome) -> None:
        self._memory[self._start + _OUTCOME] = outcome

    @property
    def timeout(self) -> float:
        """By the child: the seconds that the task has, where it has a timeout of its own; else less than 0."""
        return self._moments[self._word + _TIMEOUT]

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._moments[self._word + _TIMEOUT] = seconds

    def begin(self, number: int, now: float) -> bool:
        """By the child, for a task of a batch: notes that it begins it, and then looks whether it may: the task was not
        revoked, its lease has not ended, and this process is not leaving. So the monitor, which looks a while after it
        has revoked a task, sees whether it has begun. (A processor may swap the two, but not for so long.)"""
        numbers, moments, word = self._numbers, self._moments, self._word
        numbers[_BEGUN] = number
        moments[word + _BEGAN] = now
        return bool(number > numbers[_REVOKED] and now < moments[word + _UNTIL] and not self._memory[_LEAVING])

    @property
    def began(self) -> float:
        """By the child: when (monotonic) it began this task; 0: it has not."""
        return self._moments[self._word + _BEGAN]

    @began.setter
    def began(self, moment: float) -> None:
        self._moments[self._word + _BEGAN] = moment

    @property
    def settled(self) -> bool:
        """By the monitor: Redis knows what became of the task."""
        return bool(self._memory[self._start + _SETTLED])

    @settled.setter
    def settled(self, settled: bool) -> None:
        self._memory[self._start + _SETTLED] = settled

    @property
    def queue(self) -> int:
        """By the monitor: the number of the task's queue, where a worker has several."""
        return self._memory[self._start + _QUEUE]

    @property
    def tokens(self) -> Tuple[bytes, ...]:
        """By the monitor, or the child once that is dead: the tokens of the task's lease."""
        start = self._start + _TOKENS[self._memory[self._start + _TOKENS_AT]]
        return tuple(self._memory[start:self._memory.find(b'\0', start)].split())

    @tokens.setter
    def tokens(self, tokens: Tuple[bytes, ...]) -> None:
        unused = 1 - self._memory[self._start + _TOKENS_AT]
        self._write_tokens(unused, tokens)
        self._memory[self._start + _TOKENS_AT] = unused

    def _write_tokens(self, place: int, tokens: Tuple[bytes, ...]) -> None:
        start, text = self._start + _TOKENS[place], b' '.join(tokens)[-_TOKENS_SIZE + 1:] + b'\0'
        self._memory[start:start + len(text)] = text

    def note_tokens(self, tokens: Tuple[bytes, ...]) -> None:
        self.tokens = tokens


class Page:
    """Shared by a monitor and one child: by fork, or as the file `fd`. `slots`: for how many tasks, one after the
    other, before a slot is used again."""

    def __init__(self, slots: int = 2, fd: int = -1) -> None:
        """Raises `OSError`, and `ValueError` if the file is too small."""
        self._memory = mmap.mmap(fd, self.size(slots))
        words = memoryview(self._memory)
        self._numbers, moments = words.cast('Q'), words.cast('d')
        self.slots = tuple(
            Slot(self._memory, self._numbers, moments, _SLOTS_AT + index * _SLOT_SIZE) for index in range(slots))

    @staticmethod
    def size(slots: int) -> int:
        """In bytes."""
        return _SLOTS_AT + slots * _SLOT_SIZE

    @property
    def pid(self) -> int:
        """By the kernel: the child's, where it was forked by `Cloner`; 0 until then."""
        return int(_PID.unpack_from(self._memory, _PID_AT)[0])

    @property
    def pid_address(self) -> int:
        """Where that is, in this process."""
        return ctypes.addressof(ctypes.c_int.from_buffer(self._memory, _PID_AT))

    def note_used(self, epoch: float, user: float, system: float, peak_rss: float) -> None:
        """By the child, between tasks: when monotonic time was 0, in Unix seconds, and what it has used; see
        `Beginning`."""
        _USED.pack_into(self._memory, _USED_AT, epoch, user, system, peak_rss)

    def beginning_of(self, slot: Slot) -> Optional[Beginning]:
        """Of the last task that began; `None` before it has."""
        if slot.step < Step.BEGUN:
            return None
        epoch, user, system, peak_rss = _USED.unpack_from(self._memory, _USED_AT)
        return Beginning(epoch + slot.began, slot.began, user, system, peak_rss)

    @property
    def begun(self) -> int:
        """The number of the last task that the child has begun, or is about to if it was not revoked."""
        return self._numbers[_BEGUN]

    @property
    def revoked(self) -> int:
        """By the monitor: up to the task with this number the child must begin no other."""
        return self._numbers[_REVOKED]

    @revoked.setter
    def revoked(self, number: int) -> None:
        self._numbers[_REVOKED] = number

    @property
    def asked_to_end(self) -> bool:
        """By the monitor: the SIGTERM that comes is meant for the child, not for the whole process group."""
        return bool(self._memory[_ASKED])

    @asked_to_end.setter
    def asked_to_end(self, asked: bool) -> None:
        self._memory[_ASKED] = asked

    @property
    def leaving(self) -> bool:
        """By the child: it is to run no other task."""
        return bool(self._memory[_LEAVING])

    @leaving.setter
    def leaving(self, leaving: bool) -> None:
        self._memory[_LEAVING] = leaving
