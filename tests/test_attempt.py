"""What a monitor decides about one run of one task. Moments are seconds, and passed in."""

import itertools
import math
from signal import SIGKILL, SIGTERM

import pytest

from delayed._attempt import ESCALATE, Attempt, Cause, State, Verdict, judge, keep_failed
from delayed._page import Outcome, Step


def running(now=0, timeout=10, grace=5):
    attempt = Attempt(now, timeout, grace)
    attempt.begun(now)
    return attempt


def ticks(attempt, *moments):
    return [attempt.tick(moment) for moment in moments]


class TestATaskOutOfTime:
    def test_is_terminated_then_killed_once_each(self):
        attempt = running(timeout=10, grace=5)
        assert ticks(attempt, 9, 10, 14, 15, 99) == [None, SIGTERM, None, SIGKILL, None]
        assert attempt.cause is Cause.TIMED_OUT

    def test_has_its_grace_from_the_signal_on_however_late_that_was(self):
        assert ticks(running(timeout=10, grace=5), 100, 104, 105) == [SIGTERM, None, SIGKILL]

    def test_is_killed_at_once_without_grace(self):
        assert ticks(running(timeout=10, grace=0), 10, 10) == [SIGTERM, SIGKILL]

    def test_has_no_time_at_all_with_a_timeout_of_zero(self):
        assert running(timeout=0).tick(0) == SIGTERM

    def test_leaves_nothing_to_wait_for_when_it_was_killed(self):
        attempt = running()
        assert attempt.deadline == 10
        ticks(attempt, 10)
        assert attempt.deadline == 15
        ticks(attempt, 15)
        assert attempt.deadline == math.inf

    def test_is_asked_once_where_it_stands_shortly_before(self):
        attempt = running(timeout=10)
        assert attempt.asks_at == pytest.approx(9.95)
        assert [attempt.asks(moment) for moment in (9, 9.96, 9.97, 10)] == [False, True, False, False]
        assert attempt.asks_at == math.inf
        assert ticks(attempt, 9.99, 10) == [None, SIGTERM]

    def test_is_asked_in_its_last_tenth_if_it_has_little_time(self):
        assert running(timeout=0.1).asks_at == pytest.approx(0.09)

    def test_is_asked_according_to_a_timeout_of_its_own(self):
        attempt = running(timeout=10)
        attempt.allow(2)
        assert attempt.asks_at == pytest.approx(1.95)

    @pytest.mark.parametrize('cause', [Cause.HANDED_BACK, Cause.LEASE_LOST])
    def test_is_not_asked_if_it_is_ended_for_another_cause(self, cause):
        attempt = running(timeout=10)
        attempt.end(3, cause, 1)
        assert not attempt.asks(3)
        assert not attempt.asks(10)

    def test_is_not_asked_before_it_has_begun(self):
        assert Attempt(0, 10, 5).asks_at == math.inf

    def test_is_signalled_from_the_first_signal_on(self):
        attempt = running()
        seen = [attempt.signalled]
        for moment in (9, 10, 15):
            attempt.tick(moment)
            seen.append(attempt.signalled)
        assert seen == [False, False, True, True]


class TestATimeout:
    def test_counts_from_its_beginning(self):
        attempt = Attempt(0, timeout=10, grace=5)
        attempt.begun(4)
        assert ticks(attempt, 13, 14) == [None, SIGTERM]

    def test_of_its_own_counts_from_there_too(self):
        for own in (3, 30):
            attempt = running(now=100, timeout=10)
            attempt.allow(own)
            assert ticks(attempt, 99 + own, 100 + own) == [None, SIGTERM]

    def test_of_its_own_comes_too_late_when_it_was_signalled(self):
        attempt = running(timeout=10, grace=5)
        attempt.tick(10)
        attempt.allow(30)
        assert attempt.tick(15) == SIGKILL

    def test_of_its_own_delays_nothing_else_that_ends_it(self):
        attempt = running(timeout=10, grace=5)
        attempt.end(1, Cause.HANDED_BACK, 0.3)
        attempt.allow(30)
        assert attempt.tick(1) == SIGTERM


class TestSending:
    def test_has_half_of_the_timeout_and_ends_with_a_kill(self):
        attempt = Attempt(0, timeout=10, grace=5)
        assert ticks(attempt, 4, 5, 99) == [None, SIGKILL, None]
        assert attempt.cause is Cause.NOT_BEGUN

    def test_that_ends_late_does_not_save_a_child_that_was_killed(self):
        attempt = Attempt(0, timeout=10, grace=5)
        attempt.tick(5)
        attempt.begun(6)
        assert attempt.state is State.KILLING


class TestSomethingElseThatEndsIt:
    @pytest.mark.parametrize('cause', [Cause.HANDED_BACK, Cause.LEASE_LOST])
    @pytest.mark.parametrize('sent', [True, False])
    def test_comes_at_once_and_has_a_grace_of_its_own(self, cause, sent):
        attempt = running(timeout=10, grace=5) if sent else Attempt(0, timeout=10, grace=5)
        attempt.end(1, cause, 0.5)
        assert ticks(attempt, 1, 1.4, 1.5, 99) == [SIGTERM, None, SIGKILL, None]
        assert attempt.cause is cause

    def test_does_not_begin_again_with_a_task_that_is_out_of_time(self):
        attempt = running(timeout=10, grace=5)
        attempt.tick(10)
        attempt.end(11, Cause.HANDED_BACK, 100)
        assert (attempt.tick(15), attempt.cause) == (SIGKILL, Cause.TIMED_OUT)


def test_every_state_ends_with_a_kill():
    for state in ESCALATE:
        seen = [state]
        while seen[-1] in ESCALATE:
            state, signum = ESCALATE[seen[-1]]
            assert state not in seen
            seen.append(state)
        assert (seen[-1], signum) == (State.KILLING, SIGKILL)


NOT_BEGUN, BEGUN, ANY_CAUSE = [Step.IDLE, Step.RECEIVED], [Step.BEGUN, Step.READ], [None, *Cause]
VERDICTS = {  # how a task ended -> its steps, outcomes and causes, whether crashed tasks are requeued, and the verdict
    'it is through, however its child died': (
        [Step.ENDED], [Outcome.FINISHED, Outcome.FAILED], ANY_CAUSE, [True, False], Verdict.RELEASE),
    'no worker can run it': (
        [Step.ENDED], [Outcome.UNREADABLE, Outcome.NOT_LOADABLE], ANY_CAUSE, [True, False], Verdict.SET_ASIDE),
    'it is another\'s': (
        [*NOT_BEGUN, *BEGUN], [Outcome.NONE], [Cause.LEASE_LOST], [True, False], Verdict.DROP),
    'its child died before it began': (
        NOT_BEGUN, [Outcome.NONE], [None, Cause.HANDED_BACK], [True, False], Verdict.HAND_BACK),
    'it was asked back': (
        BEGUN, [Outcome.NONE], [Cause.HANDED_BACK], [True, False], Verdict.HAND_BACK),
    'its child did not begin it in time': (
        NOT_BEGUN, [Outcome.NONE], [Cause.NOT_BEGUN, Cause.TIMED_OUT], [True, False], Verdict.LOSE),
    'it had its time, or began at the last moment': (
        BEGUN, [Outcome.NONE], [Cause.TIMED_OUT, Cause.NOT_BEGUN], [True, False], Verdict.RELEASE),
    'it killed its process': (
        BEGUN, [Outcome.NONE], [None], [False], Verdict.RELEASE),
    'it killed its process, and is to run again': (
        BEGUN, [Outcome.NONE], [None], [True], Verdict.LOSE),
}


class TestWhatBecomesOfATask:
    @pytest.mark.parametrize('end', VERDICTS)
    def test_goes_by_how_it_ended(self, end):
        *ends, verdict = VERDICTS[end]
        for step, outcome, cause, requeue_crashed in itertools.product(*ends):
            assert judge(step, outcome, cause, requeue_crashed) is verdict, (step, outcome, cause, requeue_crashed)

    def test_is_never_to_run_again_after_it_was_through(self):
        for outcome, cause, requeue_crashed in itertools.product(Outcome, ANY_CAUSE, [True, False]):
            verdict = judge(Step.ENDED, outcome, cause, requeue_crashed)
            assert verdict in (Verdict.RELEASE, Verdict.SET_ASIDE)

    def test_is_to_be_set_aside_if_it_failed_and_such_are_kept(self):
        for verdict, outcome in itertools.product(Verdict, Outcome):
            failed = verdict is Verdict.RELEASE and outcome is not Outcome.FINISHED
            assert keep_failed(verdict, outcome) is (Verdict.SET_ASIDE if failed else verdict)

    def test_is_never_to_be_forgotten_before_it_began(self):
        for step, cause, requeue_crashed in itertools.product(NOT_BEGUN, ANY_CAUSE, [True, False]):
            assert judge(step, Outcome.NONE, cause, requeue_crashed) is not Verdict.RELEASE
