"""What a monitor and its child share."""

import os

import pytest

from delayed._page import Beginning, Outcome, Page, Step

TOKENS = tuple(b'%.3f' % (1_700_000_000_000 + number / 7) for number in range(8))


@pytest.fixture
def page():
    return Page()


def in_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0) == (pid, 0)


class TestAPage:
    def test_is_empty_at_first(self, page):
        assert not page.asked_to_end
        for slot in page.slots:
            assert (slot.step, slot.outcome, slot.settled, slot.tokens) == (Step.IDLE, Outcome.NONE, False, ())

    def test_shows_the_monitor_what_the_child_notes(self, page):
        def note():
            page.slots[0].step, page.slots[0].outcome = Step.ENDED, Outcome.FAILED
            page.slots[1].step = Step.BEGUN

        in_child(note)
        assert (page.slots[0].step, page.slots[0].outcome) == (Step.ENDED, Outcome.FAILED)
        assert (page.slots[1].step, page.slots[1].outcome) == (Step.BEGUN, Outcome.NONE)

    def test_shows_the_monitor_when_a_task_began_and_what_was_used_before(self, page):
        slot = page.slots[1]
        slot.tokens = TOKENS
        beginning = Beginning(1_700_000_000.25, 17.5, 0.125, 0.0625, 38_000_000.0)

        def note():
            page.note_used(1_699_999_982.75, *beginning[2:])
            slot.began = beginning.moment
            slot.step = Step.BEGUN

        assert page.beginning_of(slot) is None
        in_child(note)
        assert page.beginning_of(slot) == beginning
        assert (slot.tokens, page.beginning_of(page.slots[0])) == (TOKENS, None)
        slot.prepare(())
        assert page.beginning_of(slot) is None

    def test_shows_a_child_what_its_monitor_noted_after_the_fork(self, page):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(read_end, 1)
            slot = page.slots[1]
            os._exit(0 if (page.asked_to_end, slot.settled, slot.tokens) == (True, True, TOKENS) else 1)
        page.asked_to_end, page.slots[1].settled, page.slots[1].tokens = True, True, TOKENS
        os.write(write_end, b'x')
        assert os.waitpid(pid, 0) == (pid, 0)
        os.close(read_end)
        os.close(write_end)


class TestASlot:
    def test_is_one_of_two_that_do_not_touch_each_other(self, page):
        first, second = page.slots
        second.tokens = TOKENS
        second.step = Step.READ
        for _ in range(3):
            first.prepare(TOKENS[:1])
            first.tokens = TOKENS
            first.step, first.outcome, first.settled = Step.ENDED, Outcome.FINISHED, True
        assert (second.step, second.outcome, second.settled, second.tokens) == (Step.READ, Outcome.NONE, False, TOKENS)

    def test_is_prepared_for_the_next_task(self, page):
        slot = page.slots[0]
        slot.step, slot.outcome, slot.settled, slot.tokens = Step.ENDED, Outcome.FAILED, True, TOKENS
        slot.prepare((b'1',))
        assert (slot.step, slot.outcome, slot.settled, slot.tokens) == (Step.IDLE, Outcome.NONE, False, (b'1',))

    @pytest.mark.parametrize('count', range(9))
    def test_holds_all_tokens_that_a_lease_can_have(self, page, count):
        for tokens in (TOKENS, (), TOKENS[:count]):  # a shorter text after a longer one
            page.slots[0].tokens = tokens
            assert page.slots[0].tokens == tokens

    def test_keeps_the_newest_token_where_there_are_too_many(self, page):
        tokens = tuple(b'%.3f' % number for number in range(1_700_000_000_000, 1_700_000_000_100))
        page.slots[0].tokens = tokens
        assert page.slots[0].tokens[-5:] == tokens[-5:]
