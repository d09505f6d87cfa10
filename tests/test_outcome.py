"""The record itself."""

import pickle

import pytest

from delayed.outcome import Kind, Outcome

FULL = Outcome(
    Kind.TIMED_OUT, task_id=17, function='tasks.spin', queue='default', worker='host:4711', child_pid=4712,
    started_at=1_700_000_000.5, wait_seconds=1.25, run_seconds=2.0, user_seconds=1.5,
    system_seconds=0.25, peak_rss=38_000_000, peak_rss_before=30_000_000, signal=15, note='a note', stack='Thread 0x1')


class TestARecord:
    @pytest.mark.parametrize(('outcome', 'text'), [
        (FULL, 'timed out after 2.000 s (waited 1.250 s; CPU 1.500 s user, 0.250 s system; peak RSS 38.0 MB)'),
        (Outcome(Kind.FINISHED, run_seconds=0.5), 'finished after 0.500 s'),
        (Outcome(Kind.OVER_LIMIT, limit='task_max_cpu', run_seconds=3),
         'exceeded its limit task_max_cpu after 3.000 s'),
        (Outcome(Kind.HANDED_BACK), 'was handed back'),
    ])
    def test_says_in_a_line_how_it_ended(self, outcome, text):
        assert str(outcome) == text

    def test_has_the_fields_that_are_known(self):
        assert Outcome(Kind.FAILED, task_id=0, run_seconds=0.0).as_fields() == {
            'outcome': 'failed', 'task_id': 0, 'run_seconds': 0.0}

    @pytest.mark.parametrize('outcome', [FULL, *map(Outcome, Kind)], ids=lambda outcome: outcome.kind.name)
    def test_survives_json_and_pickle(self, outcome):
        assert Outcome.from_json(outcome.to_json()) == outcome
        assert pickle.loads(pickle.dumps(outcome)) == outcome

    def test_of_a_later_version_is_read_without_what_is_not_known(self):
        assert Outcome.from_json('{"outcome": "failed", "colour": "red"}') == Outcome(Kind.FAILED)

    @pytest.mark.parametrize('text', [
        '', '[]', '17', '{}', '{"outcome": "melted"}', '{"outcome": ["failed"]}', '[' * 100_000,
        '{"outcome": "failed", "run_seconds": "long"}', '{"outcome": "failed", "peak_rss": 1%s}' % ('0' * 400),
        '{"outcome": "failed", "user_seconds": Infinity}', '{"outcome": "failed", "stack": ["in f"]}',
        '{"outcome": "failed", "task_id": {}}',
    ], ids=range(12))
    def test_that_is_none_is_refused(self, text):
        with pytest.raises(ValueError):
            Outcome.from_json(text)

    def test_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            FULL.kind = Kind.FAILED
