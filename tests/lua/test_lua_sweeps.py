"""How what is lost comes back."""

import re

import pytest
from bench import HOUR, A, B, C, D, Sweep, on_the_real_server, text


class TestLose:
    def test_puts_a_task_in_front_and_counts(self, bench):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5}, dequeued={A: 1000}, leases={'1000.000': 'a'})
        with bench.measured() as moments:
            assert bench.run('lose', A, '1000', 3, 610_000) == 1
        losses = bench.holds().pop('losses')
        assert moments.before - 1 <= int(losses[A]) <= moments.after + 1
        assert bench.holds() == {'waiting': [A, B], 'notifications': 2, 'enqueued': {A: 5}, 'losses': losses}

    def test_adds_to_what_was_counted_before(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, losses={A: '100'})
        assert bench.run('lose', A, '1000', 3, 610_000) == 1
        assert re.match(rb'100,\d{13}$', bench.holds()['losses'][A])

    def test_sets_it_aside_with_its_history_when_it_was_lost_too_often(self, bench):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5}, dequeued={A: 1000}, losses={A: '100,200'})
        with bench.measured() as moments:
            assert bench.run('lose', A, '1000', 3, 610_000) == 2
        (letter_id, header, payload), = bench.letters()
        assert moments.before - 1 <= letter_id <= moments.after + 1
        assert (header['reason'][:19], float(header['allowance']), payload) == ('it was lost 3 times', 5, A)
        assert re.match(r'100,200,\d{13}$', header['lost_at'])
        assert {key: value for key, value in bench.holds().items() if key != 'dead'} == {
            'waiting': [B], 'notifications': 1}

    def test_sets_nothing_aside_without_a_limit(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, losses={A: ','.join(['100'] * 50)})
        assert bench.run('lose', A, '1000', 0, 610_000) == 1

    def test_called_again_finds_nothing_to_do(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000})
        bench.run('lose', A, '1000', 3, 610_000)
        held = bench.holds()
        assert bench.run('lose', A, '1000', 3, 610_000) == 0
        assert bench.holds() == held

    def test_does_not_touch_the_next_owners_lease(self, bench):
        given = {'enqueued': {A: 5}, 'dequeued': {A: 1000}}
        bench.give(**given)
        assert bench.run('lose', A, '999', 3, 610_000) == 0
        assert bench.holds() == given


class TestRequeueLost:
    def test_puts_lost_tasks_in_front_the_longest_lost_first(self, bench):
        bench.give(waiting=[D], notifications=1, enqueued={A: 5, B: 6, C: 7, D: 8},
                   dequeued={A: 3000, B: 1000, C: 2000})
        assert Sweep(bench).run() == 3
        assert bench.holds() == {'waiting': [B, C, A, D], 'notifications': 4, 'enqueued': {A: 5, B: 6, C: 7, D: 8}}

    def test_tells_which_were_lost_by_whom_and_what_became_of_them(self, bench):
        long = b'a' * 1000
        bench.give(enqueued={A: 5, B: 6, long: 7}, dequeued={A: 3000, B: 2000, long: 1000},
                   leases={'2000.000': '?host:1:x:2', '1000.000': 'host:2:y:3'}, losses={long: '100,200'})
        sweep = Sweep(bench)
        sweep.run()
        assert sweep.told == [[A, b'', 1], [B, b'?host:1:x:2', 1], [long[:500], b'host:2:y:3', 0]]

    def test_tells_no_more_than_is_asked_for(self, bench):
        bench.give(enqueued={A: 5, B: 6}, dequeued={A: 3000, B: 2000})
        sweep = Sweep(bench, tell=1)
        assert (sweep.run(), sweep.told) == (2, [[A, b'', 1]])

    def test_leaves_a_lease_that_has_not_ended(self, bench):
        later = bench.now() + HOUR
        bench.give(dequeued={A: later, B: 1000}, leases={text(later): 'a'})
        assert Sweep(bench).run() == 1
        assert bench.holds() == {
            'waiting': [B], 'notifications': 1, 'dequeued': {A: pytest.approx(later, abs=0.001)},
            'leases': {text(later): b'a'}}

    def test_goes_by_the_servers_clock(self, bench):
        now = bench.now()
        bench.give(dequeued={A: now - 1, B: now + 60_000})
        assert Sweep(bench).run() == 1
        assert bench.holds()['waiting'] == [A]

    @pytest.mark.parametrize('most', [1, 2, 3, 7, 100])
    def test_keeps_the_order_across_batches(self, bench, most):
        payloads = [b'%d' % i for i in range(20)]
        bench.give(dequeued={payload: 1000 + i for i, payload in enumerate(payloads)})
        sweep = Sweep(bench, most=most)
        assert sweep.run() == 20
        assert bench.holds() == {'waiting': payloads, 'notifications': 20}
        assert sweep.batches == -(-20 // most)

    def test_keeps_the_order_of_what_was_lost_at_the_same_moment_among_others(self, bench):
        bench.give(dequeued={A: 1000, B: 2000, C: 2000, D: 3000})
        Sweep(bench, most=1).run()
        assert bench.holds()['waiting'] == [A, B, C, D]

    def test_stops_a_batch_at_so_many_bytes_but_does_one_task_at_least(self, bench):
        payloads = [b'%d' % i * 1000 for i in range(5)]
        bench.give(dequeued={payload: 1000 + i for i, payload in enumerate(payloads)})
        sweep = Sweep(bench, most_bytes=1500)
        assert [sweep.step() for _ in range(3)] == [True, True, False]
        assert bench.holds()['waiting'] == payloads

    def test_stops_a_batch_at_so_many_bytes_that_it_postpones_too(self, bench):
        now = bench.now()
        payloads = [b'%d' % i * 1000 for i in range(5)]
        bench.give(waiting=[D], notifications=1, dequeued={
            **{payload: now - 50 + i for i, payload in enumerate(payloads)}, A: now - 90_000})
        sweep = Sweep(bench, busy_len=1, postponement=30_000, most_bytes=1500)
        assert [sweep.step() for _ in range(3)] == [True, True, False]
        assert bench.holds()['waiting'] == [A, D]

    def test_that_is_broken_off_leaves_the_longest_lost_for_the_next_which_puts_them_in_front(self, bench):
        bench.give(dequeued={A: 1000, B: 2000, C: 3000, D: 4000})
        assert Sweep(bench, most=2).step()
        assert bench.holds() == {'waiting': [C, D], 'notifications': 2, 'dequeued': {A: 1000, B: 2000}}
        Sweep(bench).run()
        assert bench.holds() == {'waiting': [A, B, C, D], 'notifications': 4}

    def test_whose_batch_is_repeated_does_nothing_twice(self, bench):
        bench.give(waiting=[D], dequeued={A: 1000, B: 2000, C: 3000})
        sweep = Sweep(bench, most=2)
        sweep.step()
        lost_reply = sweep.before, sweep.bound
        sweep.step()
        sweep.before, sweep.bound = lost_reply
        sweep.step()
        assert bench.holds() == {'waiting': [A, B, C, D], 'notifications': 4}

    def test_adds_notifications_until_they_match_the_list(self, bench):
        bench.give(waiting=[A, B, C], notifications=1)
        assert Sweep(bench).run() == 2
        assert bench.holds() == {'waiting': [A, B, C], 'notifications': 3}

    def test_adds_notifications_in_batches(self, bench):
        bench.give(waiting=[b'%d' % i for i in range(25)])
        sweep = Sweep(bench, most=10)
        assert (sweep.run(), sweep.batches) == (25, 3)
        assert bench.holds()['notifications'] == 25

    def test_drops_surplus_notifications_and_does_not_count_them(self, bench):
        bench.give(waiting=[A], notifications=5)
        assert Sweep(bench).run() == 0
        assert bench.holds() == {'waiting': [A], 'notifications': 1}
        bench.give(waiting=[], notifications=5)
        assert Sweep(bench).run() == 0
        assert bench.holds() == {}

    def test_does_nothing_where_nothing_is_amiss(self, bench):
        later = bench.now() + HOUR
        bench.give(waiting=[A], notifications=1, enqueued={A: 5, B: 6}, dequeued={B: later})
        assert Sweep(bench).run() == 0

    def test_postpones_lost_tasks_of_a_busy_queue_past_their_deadline_and_no_more(self, bench):
        now = bench.now()
        bench.give(waiting=[C, D], notifications=2, dequeued={A: now - 50_000, B: now - 5000})
        assert Sweep(bench, busy_len=2, postponement=30_000).run() == 1
        assert bench.holds()['waiting'] == [A, C, D]
        assert list(bench.holds()['dequeued']) == [B]
        assert Sweep(bench, busy_len=4, postponement=30_000).run() == 1
        assert bench.holds()['waiting'] == [B, A, C, D]

    def test_is_busy_or_not_for_all_its_batches(self, bench):
        now = bench.now()
        bench.give(dequeued={b'%d' % i: now - 5000 + i for i in range(6)})
        assert Sweep(bench, busy_len=2, postponement=30_000, most=1).run() == 6

    def test_does_not_postpone_leases_that_workers_renew(self, bench):
        now = bench.now()
        bench.give(waiting=[C, D], notifications=2, dequeued={A: now - 50}, leases={text(now - 50): 'a'})
        assert Sweep(bench, busy_len=2, postponement=30_000).run() == 1
        assert bench.holds()['waiting'] == [A, C, D]

    def test_passes_over_what_it_spares_or_postpones_in_batches_too(self, bench):
        now = bench.now()
        bench.give(waiting=[D], notifications=1, dequeued={
            **{b'%d' % i: now - 5000 + i for i in range(20)}, A: now - 90_000, B: now - 80_000})
        sweep = Sweep(bench, busy_len=1, postponement=30_000, most=5)
        assert (sweep.run(), sweep.batches) == (2, 5)
        assert bench.holds()['waiting'] == [A, B, D]

    def test_counts_a_loss_of_what_a_worker_had_begun(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, leases={'1000.000': 'h:1'})
        Sweep(bench).run()
        assert re.match(rb'\d{13}$', bench.holds()['losses'][A])
        assert 'leases' not in bench.holds()

    @pytest.mark.parametrize('leases', [{}, {'1000.000': '?h:1'}])
    def test_counts_no_loss_of_what_was_taken_ahead_by_hand_or_by_an_old_worker(self, bench, leases):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, leases=leases)
        Sweep(bench, max_losses=1).run()
        assert bench.holds() == {'waiting': [A], 'notifications': 1, 'enqueued': {A: 5}}

    def test_sets_aside_what_was_lost_too_often(self, bench):
        bench.give(enqueued={A: 5, B: 6}, dequeued={A: 1000, B: 2000}, losses={A: '100,200', B: '100'},
                   leases={'1000.000': 'h:1', '2000.000': 'h:2'})
        assert Sweep(bench).run() == 2
        assert [(header['reason'][:19], payload) for _, header, payload in bench.letters()] == [
            ('it was lost 3 times', A)]
        assert (bench.holds()['waiting'], bench.holds()['notifications']) == ([B], 1)
        assert list(bench.holds()['enqueued']) == list(bench.holds()['losses']) == [B]

    def test_gives_each_dead_letter_an_id_of_its_own(self, bench):
        bench.give(enqueued={b'%d' % i: 5 for i in range(50)}, dequeued={b'%d' % i: 1000 + i for i in range(50)},
                   leases={'%d.000' % (1000 + i): 'h:1' for i in range(50)})
        Sweep(bench, max_losses=1).run()
        assert len({text(letter_id) for letter_id, _, _ in bench.letters()}) == 50

    def test_spares_renewed_leases_alone_where_the_living_had_no_chance_to_renew(self, bench):
        bench.give(dequeued={A: 1000, B: 2000}, leases={'1000.000': 'h:1'})
        assert Sweep(bench, leases='unrenewed').run() == 1
        assert bench.holds() == {
            'waiting': [B], 'notifications': 1, 'dequeued': {A: 1000}, 'leases': {b'1000.000': b'h:1'}}

    @on_the_real_server
    @pytest.mark.parametrize('leases', [{}, {'1000.000': 'h:1'}])
    def test_works_on_a_full_server(self, bench, full, leases):
        bench.give(waiting=[B], dequeued={A: 1000}, leases=leases)
        full()
        assert Sweep(bench).run() == 2
        bench.give(notifications=0)
        assert Sweep(bench).run() == 2


class TestMaySweep:
    """The other cases stand in test_sweep_guard.py."""

    def note(self, bench, asked, spared):
        now = bench.now()
        bench.give(swept=b'%.3f %.3f' % (now + asked, now + spared))

    def test_notes_when_it_was_asked_for_ten_leases(self, bench):
        with bench.measured() as moments:
            assert bench.run('may_sweep', 15_000) == 0
        asked, spared, shortest, heard = map(float, bench.holds()['swept'].split())
        assert (shortest, heard) == (15_000, asked)
        assert moments.before - 0.001 <= asked <= moments.after + 0.001
        assert spared == pytest.approx(asked + 15_000, abs=0.002)
        assert 140_000 < bench.conn.pttl('swept') <= 150_000

    def test_may_where_somebody_asked_lately_and_nothing_is_spared(self, bench):
        self.note(bench, asked=-5000, spared=-1)
        assert bench.run('may_sweep', 15_000) == 1

    def test_may_not_while_leases_are_spared(self, bench):
        self.note(bench, asked=-5000, spared=5000)
        before = bench.holds()['swept'].split()[1]
        assert bench.run('may_sweep', 15_000) == 0
        assert bench.holds()['swept'].split()[1] == before

    @pytest.mark.parametrize('asked', [-HOUR, -8000, HOUR])
    def test_spares_for_one_lease_from_now_where_nobody_asked_lately_or_time_went_backwards(self, bench, asked):
        self.note(bench, asked=asked, spared=-HOUR)
        assert bench.run('may_sweep', 15_000) == 0
        assert float(bench.holds()['swept'].split()[1]) == pytest.approx(bench.now() + 15_000, abs=5000)

    def test_bears_a_note_that_it_cannot_read(self, bench):
        bench.give(swept=b'nonsense')
        assert bench.run('may_sweep', 15_000) == 0

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        self.note(bench, asked=-5000, spared=-1)
        full()
        assert bench.run('may_sweep', 15_000) == 1


class TestTidy:
    def tidy(self, bench, which):
        cursor = b'0'
        while True:
            cursor = bench.run('tidy', which, cursor)
            if cursor == b'0':
                return

    def test_drops_leases_that_an_old_worker_or_sweeper_has_ended(self, bench):
        bench.give(dequeued={A: 1000.125}, leases={'1000.125': 'a', '1000.000': 'gone'}, losses={C: '1'})
        self.tidy(bench, 'leases')
        assert bench.holds() == {'dequeued': {A: 1000.125}, 'leases': {b'1000.125': b'a'}, 'losses': {C: b'1'}}

    def test_drops_losses_of_tasks_that_an_old_worker_has_finished(self, bench):
        bench.give(enqueued={A: 5}, losses={A: '1', B: '2'}, leases={'1000.000': 'gone'})
        self.tidy(bench, 'losses')
        assert bench.holds() == {'enqueued': {A: 5}, 'losses': {A: b'1'}, 'leases': {b'1000.000': b'gone'}}

    @pytest.mark.parametrize('which', ['leases', 'losses'])
    def test_bears_any_number_of_them(self, bench, which):
        bench.give(enqueued={b'7.000': 1}, dequeued={A: 7}, **{which: {'%d.000' % i: '1' for i in range(2000)}})
        self.tidy(bench, which)
        assert list(bench.holds()[which]) == [b'7.000']
        self.tidy(bench, which)
        assert list(bench.holds()[which]) == [b'7.000']

    def test_bears_none_at_all(self, bench):
        self.tidy(bench, 'leases')
        assert bench.holds() == {}
