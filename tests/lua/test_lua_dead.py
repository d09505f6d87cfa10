"""How a task is set aside, and put back."""

import pytest
from bench import A, B, C, on_the_real_server, text


class TestSetAside:
    @pytest.mark.parametrize('tokens', ['1000.125', ''])
    def test_moves_a_dequeued_task_to_the_dead_letters_with_the_reason(self, bench, tokens):
        bench.give(enqueued={A: 5, B: 6}, dequeued={A: 1000.125, B: 2000}, leases={'1000.125': 'a'},
                   losses={A: '100,200', B: '1'})
        with bench.measured() as moments:
            assert bench.run('set_aside', A, tokens, 'no "é"\nat all', 610_000) == 1
        (letter_id, header, payload), = bench.letters()
        assert moments.before - 1 <= letter_id <= moments.after + 1
        assert header == {'reason': 'no "é"\nat all', 'lost_at': '100,200', 'allowance': header['allowance']}
        assert (float(header['allowance']), payload) == (5, A)
        assert {key: value for key, value in bench.holds().items() if key != 'dead'} == {
            'enqueued': {B: 6}, 'dequeued': {B: 2000}, 'losses': {B: b'1'}}

    def test_notes_the_default_allowance_of_a_task_that_has_none(self, bench):
        bench.give(dequeued={A: 1000})
        bench.run('set_aside', A, '1000', 'why', 610_000)
        assert float(bench.letters()[0][1]['allowance']) == 610_000

    def test_called_again_finds_nothing_to_do(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000})
        bench.run('set_aside', A, '1000', 'why', 610_000)
        held = bench.holds()
        assert bench.run('set_aside', A, '1000', 'why', 610_000) == 0
        assert bench.holds() == held

    @pytest.mark.parametrize('dequeued', [{A: 2000}, {}])
    def test_does_not_touch_what_is_anothers(self, bench, dequeued):
        bench.give(waiting=[A], enqueued={A: 5}, dequeued=dequeued)
        held = bench.holds()
        assert bench.run('set_aside', A, '1000', 'why', 610_000) == 0
        assert bench.holds() == held

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        bench.give(enqueued={A: 5}, dequeued={A: 1000})
        full()
        assert bench.run('set_aside', A, '1000', 'why', 610_000) == 1


class TestRequeueDead:
    @pytest.fixture
    def letter_id(self, bench):
        """That of the payload B with newlines in it; a letter of A stands beside it."""
        for payload, token in ((A, 1000), (B, 2000)):
            bench.give(enqueued={payload: 5000}, dequeued={payload: token}, losses={payload: '100'})
            bench.run('set_aside', payload, str(token), 'two\nlines', 610_000)
        return text(next(letter_id for letter_id, _, payload in bench.letters() if payload == B))

    def test_puts_its_task_at_the_end_of_the_list_its_losses_forgotten(self, bench, letter_id):
        bench.give(waiting=[C], notifications=1)
        assert bench.run('requeue_dead', letter_id) == 1
        assert [payload for _, _, payload in bench.letters()] == [A]
        assert {key: value for key, value in bench.holds().items() if key != 'dead'} == {
            'waiting': [C, B], 'notifications': 2, 'enqueued': {B: 5000}}

    def test_called_again_finds_no_such_letter(self, bench, letter_id):
        bench.run('requeue_dead', letter_id)
        held = bench.holds()
        assert bench.run('requeue_dead', letter_id) == 0
        assert bench.holds() == held

    def test_finds_no_letter_of_another_id(self, bench, letter_id):
        assert bench.run('requeue_dead', text(float(letter_id) + 0.5)) == 0
        assert len(bench.letters()) == 2
