"""The task of the matrix, and the journal in which it and the handlers write what they did.

The journal is a file that each process opens with O_APPEND: what is written stays, whatever becomes of the process or
of Redis.
"""

from __future__ import annotations

import json
import os

from . import points

#: The journal's path, and the name of the worker that this process belongs to. Set by the driver.
journal, worker = None, None


def write(what, task, detail=None):
    """`task` is its letter, or its id."""
    line = json.dumps({'what': what, 'task': task, 'worker': worker, 'pid': os.getpid(), 'detail': detail})
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode() + b'\n')
    finally:
        os.close(fd)


def run(name, ballast=b''):
    """`name` is `task-` and a letter."""
    task = name[-1]
    write('begin', task)
    points.reach('running', [task])
    write('end', task)


def succeeded(task):
    write('success', task.id)
    points.reach('handler')


def failed(task, kill_signal, exc_info):
    write('failure', task.id, kill_signal or repr(exc_info[1]))  # no arguments, if its process died early
    points.reach('handler')
