"""How long the oldest task waits and how fast a queue is, from notes of how far it had come when."""

import pytest

from delayed._pace import Note, Rate, Wait, rate_of, read, wait_of

#: Newest first, in ms.
NOTES = [Note(100_000, 70, 4), Note(90_000, 50, 14), Note(60_000, 0, 5)]


class TestAWait:
    @pytest.mark.parametrize('waits_since, gone_at, wait', [
        (90_000, 80_000, Wait(10, 20)),
        (90_000, None, Wait(10, None)),
        (None, 80_000, Wait(0, 20)),
        (None, None, None),
        (110_000, 120_000, Wait(0, 0)),  # the clock was set back
    ])
    def test_is_bounded_by_what_the_notes_tell(self, waits_since, gone_at, wait):
        assert wait_of(100_000, waits_since, gone_at) == wait


class TestARate:
    def test_is_taken_over_some_ten_seconds(self):
        assert rate_of(NOTES, 105_000) == Rate(1, 2, 10)

    def test_is_taken_over_what_there_is(self):
        assert rate_of(NOTES[::2], 105_000) == Rate(69 / 40, 70 / 40, 40)

    @pytest.mark.parametrize('notes, now', [
        ([], 105_000), (NOTES[:1], 105_000), (NOTES, 160_001),  # nobody notes any more
        (NOTES[::-1], 105_000), ([Note(101_000, 3, 0), *NOTES[:1]], 105_000)])
    def test_is_not_taken_from_notes_that_do_not_tell(self, notes, now):
        assert rate_of(notes, now) is None

    def test_is_not_negative_where_tasks_were_deleted(self):
        assert rate_of([Note(100_000, 50, 0), NOTES[1]], 100_000) == Rate(0, 0, 10)


def test_notes_are_read_as_the_script_writes_them():
    assert read([b'90000.000 95000.125 30 4\na\nb \x00', b'', b'1 2 3', b'1 x 2 3\n']) == [Note(95_000.125, 30, 4)]
