"""What a monitor rehearses for its children."""

import dis
import logging
import os
import sys
import threading

import pytest

from delayed import _fds
from delayed._rehearsal import rehearse
from delayed._runner import Runner
from delayed.logger import logger
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import wait_until
from workers import told

PIPES = _fds.pipe, _fds.close
LEARNS = sys.version_info >= (3, 11)
learns = pytest.mark.skipif(not LEARNS, reason='this Python learns nothing')


@pytest.fixture
def runner_class():
    """A class whose code nobody has run yet."""
    code = Runner._run_task.__code__
    fresh = type(Runner._run_task)(code.replace(co_name='fresh'), Runner._run_task.__globals__)
    return type('Fresh', (Runner,), {'_run_task': fresh, 'unlearnt': instructions(fresh)})


def instructions(function):
    """As they are now: Python replaces some by special ones."""
    return [each.opname for each in dis.get_instructions(function, **({'adaptive': True} if LEARNS else {}))]


def has_learnt(runner_class):
    return instructions(runner_class._run_task) != runner_class.unlearnt


def descriptors():
    return set(os.listdir('/dev/fd'))


@learns
def test_python_has_learnt_how_a_child_runs_a_task(runner_class, caplog):
    with caplog.at_level(logging.INFO, logger.name):
        rehearse(runner_class, PIPES)
    assert has_learnt(runner_class)


def test_nothing_is_left_of_it(runner_class, caplog, capfd):
    before = descriptors()
    with caplog.at_level(logging.INFO, logger.name):
        rehearse(runner_class, PIPES)
    assert descriptors() == before
    assert capfd.readouterr() == ('', '')


def test_nothing_is_rehearsed_where_each_task_is_logged(runner_class, caplog):
    with caplog.at_level(logging.DEBUG, logger.name):
        rehearse(runner_class, PIPES)
    assert not caplog.records
    assert not has_learnt(runner_class)


def test_no_descriptor_to_be_had_is_no_reason_to_fail(runner_class, caplog):
    def pipe():
        raise OSError('too many open files')

    with caplog.at_level(logging.INFO, logger.name):
        rehearse(runner_class, (pipe, _fds.close))


def test_those_of_several_threads_do_not_disturb_each_other(caplog):
    """Each worker of a program may run in a thread."""
    errors = []

    def run():
        try:
            rehearse(Runner, PIPES)
        except BaseException as error:
            errors.append(error)

    with caplog.at_level(logging.INFO, logger.name):
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert not caplog.records


@pytest.mark.parametrize(('worker_class', 'times'), [(ForkedWorker, 1), (PreforkedWorker, 0)])
def test_it_is_done_where_each_task_has_a_process(queue, conn, monkeypatch, worker_class, times):
    calls = []
    monkeypatch.setattr('delayed._rehearsal.rehearse', lambda *args: calls.append(args))
    worker = told(worker_class, queue)
    stopper = threading.Thread(target=lambda: (wait_until(lambda: conn.exists('default_swept')), worker.stop()))
    stopper.start()
    worker.run()
    stopper.join()
    assert len(calls) == times
