"""How long the oldest task waits and how fast a queue is, from notes of how far it had come when."""

import pytest

from delayed._pace import Note, Rate, Wait, rate_of, read, wait_of

#: Newest first, in ms.
NOTES = [Note(90_000, 95_000, 30, 4), Note(60_000, 80_000, 20, 5), Note(30_000, 50_000, 10, 6)]
NOW = 100_000


class TestAWait:
    @pytest.mark.parametrize('task_id, wait', [
        (31, Wait(0, 5)),       # after the newest note
        (30, Wait(10, 20)),     # between the end of one and the beginning of the next
        (21, Wait(10, 20)),
        (20, Wait(40, 50)),
        (10, Wait(70, None)),   # before the oldest, or long before
        (1, Wait(70, None)),
    ])
    def test_is_bounded_by_the_notes(self, task_id, wait):
        assert wait_of(task_id, NOTES, NOW) == wait

    @pytest.mark.parametrize('task_id, notes', [(None, NOTES), ('17', NOTES), (1, [])])
    def test_is_unknown_without_a_number_or_notes(self, task_id, notes):
        assert wait_of(task_id, notes, NOW) is None

    def test_is_never_negative_after_the_clock_was_set_back(self):
        assert wait_of(30, NOTES, 50_000) == Wait(0, 0)


class TestARate:
    def test_is_taken_over_some_ten_seconds(self):
        assert rate_of(40, 4, NOTES, 105_000) == Rate(1, 1, 10)
        assert rate_of(40, 9, NOTES, 105_000) == Rate(1, 0.5, 10)

    def test_is_taken_over_what_there_is(self):
        assert rate_of(31, 4, NOTES[:1], 97_000) == Rate(0.5, 0.5, 2)

    def test_is_not_taken_from_a_note_of_this_very_moment(self):
        assert rate_of(31, 4, NOTES[:1], 95_500) is None
        assert rate_of(31, 4, [], NOW) is None

    def test_is_not_negative_where_ids_began_anew(self):
        assert rate_of(0, 100, NOTES, 105_000) == Rate(0, 0, 10)


def test_notes_are_read_as_the_script_writes_them():
    assert read([b'90000.000 95000.125 30 4']) == [Note(90_000, 95_000.125, 30, 4)]
