"""A short soak, and what makes a verdict on one. See the package `soak`."""

import json
import sys

import pytest

from soak.run import soak
from soak.verdict import judge

LEASE = 2.0
FIRST, SECOND, MONITOR = 11, 12, 1


@pytest.fixture
def verdict_on(tmp_path):
    """Judges a journal of a task that was enqueued, and these further events."""
    def judged(*events):
        path = tmp_path / 'journal'
        path.write_text('\n'.join(json.dumps(dict(zip(('at', 'kind'), event), **event[2])) for event in [
            (0, 'tried', {'key': 'a'}), (0, 'enqueued', {'key': 'a'}), *events]))
        return judge(str(path), LEASE)

    return judged


def begin(at, pid=FIRST, monitor=MONITOR, on_crash='fail'):
    return at, 'begin', {'key': 'a', 'pid': pid, 'monitor': monitor, 'on_crash': on_crash}


def end(at):
    return at, 'end', {'key': 'a'}


def kill(at, *pids):
    return at, 'kill', {'what': 'it', 'pids': pids}


def freeze(at, until, *pids):
    return [(at, 'freeze', {'what': 'it', 'pids': pids}), (until, 'thaw', {'pids': pids})]


class TestAVerdict:
    def test_is_good_where_a_task_ran_once(self, verdict_on):
        assert verdict_on(begin(1), end(2)).problems == []

    def test_names_a_task_that_is_lost(self, verdict_on):
        assert verdict_on(begin(1)).problems == ['a is lost']

    def test_lets_an_enqueue_be_lost_that_was_not_acknowledged(self, verdict_on):
        assert verdict_on(begin(1), end(2), (3, 'tried', {'key': 'b'})).problems == []

    def test_names_a_task_that_began_again_without_a_reason(self, verdict_on):
        found = verdict_on(begin(1), end(2), begin(3, SECOND, 2), end(4))
        assert len(found.problems) == 1 and found.reasons == {'NO REASON': 1}

    def test_takes_the_death_of_both_processes_for_a_reason(self, verdict_on):
        found = verdict_on(begin(1), kill(2, FIRST, MONITOR), begin(4.5, SECOND, 2), end(5))
        assert found.problems == [] and found.recoveries == [2.5]

    def test_does_not_take_the_death_of_the_monitor_alone_for_one(self, verdict_on):
        assert verdict_on(begin(1), kill(2, MONITOR), begin(4.5, SECOND, 2), end(5)).problems

    def test_takes_the_death_of_the_child_for_one_only_where_its_worker_requeues(self, verdict_on):
        for on_crash, problems in ('requeue', 0), ('fail', 1):
            found = verdict_on(begin(1, on_crash=on_crash), kill(2, FIRST), begin(4.5, SECOND, 2), end(5))
            assert len(found.problems) == problems

    def test_takes_a_frozen_monitor_for_one_only_if_its_lease_may_have_run_out(self, verdict_on):
        for until, problems in (2.8, 1), (4, 0):
            found = verdict_on(begin(1), *freeze(2, until, MONITOR), begin(4.5, SECOND, 2), end(5))
            assert len(found.problems) == problems

    def test_counts_the_time_for_which_a_child_was_frozen_whose_monitor_was_dead(self, verdict_on):
        assert not verdict_on(begin(1), *freeze(1, 9, FIRST), kill(2, MONITOR), begin(4.5, SECOND, 2), end(5)).problems

    def test_lets_a_worker_that_was_frozen_begin_a_task_right_before_who_took_it_meanwhile(self, verdict_on):
        for since, problems in (3.8, 1), (1, 0):
            found = verdict_on(*freeze(since, 4, MONITOR), begin(4.1), begin(4.2, SECOND, 2), end(5))
            assert len(found.problems) == problems

    def test_asks_for_the_reason_of_a_failure_too(self, verdict_on):
        failed = 3, 'failed', {'key': 'a', 'monitor': MONITOR, 'signal': 9, 'error': None}
        assert verdict_on(begin(1), failed).problems
        assert not verdict_on(begin(1), kill(2, FIRST), failed).problems


@pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')
@pytest.mark.long
def test_no_task_is_lost_while_everything_is_killed_and_frozen_at_random(redis_server):
    verdict = soak(seed=1, seconds=8, pause=0.4)
    assert not verdict.problems, str(verdict)
    assert verdict.acknowledged
