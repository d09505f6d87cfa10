"""What a monitor knows of a batch; the page is a real one, and this test is the child."""

from collections import deque

import pytest

from delayed._attempt import Attempt, State
from delayed._batch import Batch, Sent
from delayed._batch_runner import forget_settled
from delayed._lease import Lease
from delayed._orphan import Job
from delayed._page import Outcome, Page, Step


@pytest.fixture
def page():
    return Page(4)


@pytest.fixture
def sent(page):
    return [Sent(Lease(b'%d' % number, (b'1',), 15, 'h', 0), slot, number)
            for number, slot in enumerate(page.slots[:3], 5)]


@pytest.fixture
def batch(page, sent):
    return Batch(page, sent)


def end(sent, outcome=Outcome.FINISHED):
    sent.slot.outcome, sent.slot.step = outcome, Step.ENDED


class TestAnAnswer:
    def test_closes_the_first_open_one(self, batch, sent):
        assert batch.head is sent[0] and batch.crowded
        assert [batch.answer() for _ in range(3)] == sent
        assert batch.answered and batch.head is None

    def test_of_what_the_page_has_told_closes_nothing(self, batch, sent, page):
        end(sent[0])
        page.slots[-1].begin(6, 0.0)
        assert batch.pop_ended() is sent[0]
        assert batch.speaker is None  # what comes next is about the one before
        assert batch.answer() is None
        assert batch.speaker is batch.head is sent[1]

    def test_of_what_was_handed_back_closes_nothing(self, batch, sent, page):
        page.slots[-1].begin(5, 0.0)
        batch.revoke(10.0)
        assert batch.settle() == [sent[2], sent[1]]
        assert [batch.answer() for _ in range(3)] == [sent[0], None, None]
        assert batch.answered

    def test_that_is_one_too_many_is_an_error(self, page):
        with pytest.raises(IndexError):
            Batch(page, []).agrees(skipped=False)

    @pytest.mark.parametrize(('step', 'ended', 'skipped'), [
        (Step.IDLE, False, False), (Step.RECEIVED, False, True), (Step.BEGUN, False, False), (Step.READ, False, False),
        (Step.ENDED, True, False)])
    def test_is_believed_if_the_page_says_the_same(self, batch, sent, step, ended, skipped):
        sent[0].slot.step = step
        assert (batch.agrees(skipped=False), batch.agrees(skipped=True)) == (ended, skipped)


class TestThePage:
    @pytest.mark.parametrize('outcome', Outcome)
    def test_is_all_there_is_once_the_child_is_dead(self, batch, sent, outcome):
        for each in sent[:2]:
            end(each, outcome)
        assert [batch.pop_ended(dead=True) for _ in range(3)] == [*sent[:2], None]
        assert batch.close_all() == [sent[2]]
        assert batch.head is None

    def test_says_nothing_while_the_handlers_may_run(self, batch, sent, page):
        page.slots[-1].begin(5, 0.0)
        end(sent[0])
        assert batch.pop_ended() is None
        page.slots[-1].begin(6, 0.0)
        assert batch.pop_ended() is sent[0]
        assert batch.pop_ended() is None

    @pytest.mark.parametrize('outcome', [Outcome.UNREADABLE, Outcome.NOT_LOADABLE])
    def test_does_not_have_the_reason_of_what_cannot_be_run(self, batch, sent, page, outcome):
        end(sent[0], outcome)
        page.slots[-1].begin(6, 0.0)
        assert batch.pop_ended() is None


class TestRevoking:
    def test_tells_the_child_at_once_and_settles_a_while_later(self, batch, page):
        assert (page.revoked, batch.settles_at) == (0, None)
        batch.revoke(10.0)
        assert page.revoked == 7
        assert 10.0 < batch.settles_at < 10.1

    @pytest.mark.parametrize(('begun', 'left'), [(0, [5]), (5, [5]), (6, [5, 6]), (7, [5, 6, 7])])
    def test_hands_back_what_has_not_begun_but_for_the_first(self, batch, sent, page, begun, left):
        page.slots[-1].begin(begun, 0.0)
        batch.revoke(10.0)
        assert batch.settle() == [each for each in reversed(sent) if each.number not in left]
        assert batch.settles_at is None
        assert batch.crowded == (len(left) > 1)

    def test_may_come_again(self, batch, sent, page):
        page.slots[-1].begin(6, 0.0)
        batch.revoke(10.0)
        batch.settle()
        end(sent[0])
        assert batch.pop_ended() is sent[0]
        batch.revoke(20.0)
        assert batch.settle() == []
        assert batch.head is sent[1] and not batch.crowded

    def test_with_a_death_leaves_the_first_alone(self, batch, sent, page):
        page.slots[-1].begin(6, 0.0)
        assert batch.close_others() == [sent[2], sent[1]]
        assert batch.head is sent[0]


class TestTheAttempt:
    def begin(self):
        return Attempt(100.0, 60.0, 5.0)

    def test_is_that_of_the_first_open_one_from_its_own_beginning(self, batch, sent):
        attempt = batch.attempt_of(sent[0], self.begin)
        assert attempt.state is State.SENDING
        sent[0].slot.began = 103.0
        assert batch.attempt_of(sent[0], self.begin) is attempt
        assert (attempt.state, attempt.deadline) == (State.RUNNING, 163.0)
        batch.answer()
        assert batch.attempt_of(sent[1], self.begin) is not attempt


def test_a_child_forgets_payloads_whose_end_redis_knows(page):
    jobs = deque(Job(b'', slot) for slot in page.slots)
    forget_settled(jobs)
    assert len(jobs) == 4
    for slot in (page.slots[0], page.slots[1], page.slots[3]):
        slot.settled = True
    forget_settled(jobs)
    assert [job.slot for job in jobs] == [*page.slots[2:]]


class TestABeginning:
    @pytest.mark.parametrize(('number', 'now', 'leaving', 'may'), [
        (7, 99.5, False, True), (6, 99.5, False, False), (7, 100.0, False, False), (7, 99.5, True, False)])
    def test_is_noted_whether_or_not_the_task_may_begin(self, page, number, now, leaving, may):
        slot = page.slots[1]
        slot.prepare((b'1' * 20,), until=100.0)
        page.revoked, page.leaving = 6, leaving
        assert slot.began == 0.0
        assert slot.begin(number, now) is may
        assert (page.begun, slot.began, slot.tokens, slot.step) == (number, now, (b'1' * 20,), Step.IDLE)

    def test_has_no_end_unless_it_is_told_one(self, page):
        page.slots[0].prepare((b'1',))
        assert page.slots[0].begin(1, 1e300)
