"""Tasks of the scenarios, beside those of tests/tasks.py."""

import ctypes
import os
import signal

from workers import report


def hold_interpreter(seconds):
    """Keeps the interpreter in C, as a slow regular expression does: no other thread and no signal handler runs."""
    report('holds', os.getpid(), os.getppid())
    ctypes.PyDLL(None).sleep(seconds)
    report('lets go')


def hold_interpreter_for_ever():
    """The same, and no signal cuts it short."""
    report('holds', os.getpid(), os.getppid())
    sum(range(10 ** 15))


def take_all_down():
    """As a task that exhausts its machine's memory."""
    report('takes down', os.getpid())
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    report('crashes')
    os.kill(os.getpid(), signal.SIGSEGV)
