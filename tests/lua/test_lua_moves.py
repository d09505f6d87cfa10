"""A task's way: enqueued, dequeued, renewed, released."""

import re

import pytest
from bench import HOUR, A, B, C, D, on_the_real_server, text

from delayed._ledger import MOST_TASKS

OWN = (0, 0, 0)  # in place of reserved ids


class TestEnqueue:
    def test_adds_a_payload_with_its_notification_and_allowance(self, bench):
        assert bench.run('enqueue', 1, *OWN, 610_000, A) == 0
        assert bench.holds() == {'waiting': [A], 'notifications': 1, 'enqueued': {A: 610_000}, 'producer': b'1 0'}

    def test_adds_it_behind_the_others(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5}, producer=b'1 0')
        assert bench.run('enqueue', 2, *OWN, 0.5, B) == 0
        assert bench.holds() == {'waiting': [A, B], 'notifications': 2, 'enqueued': {A: 5, B: 0.5}, 'producer': b'2 0'}

    def test_adds_several_in_their_order(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5})
        assert bench.run('enqueue', 1, *OWN, 6, C, 7, B, 8, D) == 0
        assert bench.holds() == {
            'waiting': [A, C, B, D], 'notifications': 4, 'enqueued': {A: 5, C: 6, B: 7, D: 8}, 'producer': b'1 0'}

    def test_adds_as_many_as_a_batch_holds(self, bench):
        payloads = [b'%03d' % number for number in range(MOST_TASKS)]
        bench.run('enqueue', 1, *OWN, *(item for payload in payloads for item in (5, payload)))
        held = bench.holds()
        assert (held['waiting'], held['notifications']) == (payloads, MOST_TASKS)
        assert held['enqueued'] == dict.fromkeys(payloads, 5)

    def test_called_again_adds_nothing(self, bench):
        bench.give(producer=b'0 7', id=b'8')
        assert bench.run('enqueue', 1, 7, 7, 1, 5, A) == 9
        held = bench.holds()
        assert bench.run('enqueue', 1, 7, 7, 1, 5, A) == 9
        assert bench.holds() == held

    def test_called_again_adds_nothing_even_if_the_task_was_finished_meanwhile(self, bench):
        bench.give(producer=b'1 0')
        assert bench.run('enqueue', 1, *OWN, 5, A) == 0
        assert bench.holds() == {'producer': b'1 0'}

    def test_keeps_the_producers_record_for_a_while_alone(self, bench):
        bench.run('enqueue', 1, *OWN, 5, A)
        assert 500_000 < bench.conn.pttl('producer') <= 600_000

    @on_the_real_server
    @pytest.mark.parametrize('ids', [OWN, (7, 7, 1)])
    def test_is_refused_by_a_full_server_and_leaves_nothing(self, bench, full, ids):
        given = {'producer': b'0 7', 'id': b'7'}
        bench.give(**given)
        full()
        with pytest.raises(Exception, match='maxmemory'):
            bench.run('enqueue', 1, *ids, 5, A)
        assert bench.holds() == given


class TestEnqueueWithReservedIds:
    @pytest.mark.parametrize(('ids', 'newest', 'reserved', 'after'), [
        ((7, 7, 1), b'7', 8, b'8'),  # nobody else was given one since
        ((7, 7, 1), b'41', 42, b'42'),
        ((7, 7, 0), b'41', 0, b'41'),  # it wants no other
        ((7, 9, 1), b'9', 8, b'9'),  # it has more
        ((7, 9, 1), b'41', 8, b'41'),
    ])
    def test_uses_one_up_and_tells_the_next(self, bench, ids, newest, reserved, after):
        bench.give(producer=b'3 7', id=newest)
        assert bench.run('enqueue', 4, *ids, 5, A) == reserved
        assert bench.holds() == {'waiting': [A], 'notifications': 1, 'enqueued': {A: 5},
                                 'producer': b'4 %d' % reserved, 'id': after}

    def test_uses_up_one_for_each_task(self, bench):
        bench.give(producer=b'3 7', id=b'9')
        assert bench.run('enqueue', 4, 7, 9, 1, 5, A, 5, B) == 9
        assert bench.run('enqueue', 5, 9, 9, 1, 5, C) == 10
        assert (bench.holds()['producer'], bench.holds()['id']) == (b'5 10', b'10')

    def test_leaves_those_of_a_producer_whose_tasks_have_ids_of_their_own(self, bench):
        bench.give(producer=b'3 7', id=b'9')
        assert bench.run('enqueue', 4, *OWN, 5, A) == 7
        assert (bench.holds()['producer'], bench.holds()['id']) == (b'4 7', b'9')

    @pytest.mark.parametrize('given', [
        {},  # it was flushed
        {'id': b'41'}, {'producer': b'3 8', 'id': b'41'},  # and others have gone on
        {'producer': b'3 6', 'id': b'41'},  # an earlier state was restored, or a replica took over that lagged behind
        {'producer': b'3 7'}, {'producer': b'3 7', 'id': b'6'}, {'producer': b'3 7', 'id': b'8'},  # its key was deleted
        {'producer': b'3', 'id': b'41'},
    ])
    @pytest.mark.parametrize('ids', [(7, 9, 1), (7, 9, 0)])
    def test_adds_nothing_where_redis_has_forgotten_them_and_reserves_another(self, bench, given, ids):
        bench.give(**given)
        newest = int(given.get('id', 0))
        assert bench.run('enqueue', 4, *ids, 5, A, 5, B, 5, C) == -(newest + 1)
        call = b'3 ' if b' ' in given.get('producer', b'') else b'0 '
        assert bench.holds() == {'producer': call + b'%d' % (newest + 1), 'id': b'%d' % (newest + 1)}

    def test_takes_the_one_that_it_has_reserved_instead(self, bench):
        bench.give(id=b'41')
        assert bench.run('enqueue', 4, 7, 7, 1, 5, A) == -42
        assert bench.run('enqueue', 5, 42, 42, 1, 5, B) == 43
        assert bench.holds()['waiting'] == [B]

    def test_bears_large_numbers(self, bench):
        bench.give(producer=b'3 4503599627370496', id=b'4503599627370496')
        assert bench.run('enqueue', 4, 4503599627370496, 4503599627370496, 1, 5, A) == 4503599627370497
        assert bench.holds()['producer'] == b'4 4503599627370497'


class TestReserve:
    @pytest.mark.parametrize(('given', 'last', 'first', 'record'), [
        ({}, 0, 1, b'0 1'),
        ({'id': b'41'}, 0, 42, b'0 42'),
        ({'id': b'41', 'producer': b'3 0'}, 0, 42, b'3 42'),
        ({'id': b'41', 'producer': b'3 41'}, 41, 41, b'3 41'),  # behind the one that it has
        ({'id': b'41', 'producer': b'3 38'}, 41, 38, b'3 38'),  # or the four
        ({'id': b'42', 'producer': b'3 41'}, 41, 43, b'3 43'),  # another was given one since
        ({'id': b'41', 'producer': b'3 0'}, 41, 42, b'3 42'),
        ({'id': b'41'}, 41, 42, b'0 42'),
    ])
    def test_hands_out_ids_in_a_row(self, bench, given, last, first, record):
        bench.give(**given)
        assert bench.run('reserve', 10, last) == first
        assert bench.holds() == {'id': b'%d' % (int(given.get('id', 0)) + 10), 'producer': record}
        assert 500_000 < bench.conn.pttl('producer') <= 600_000

    def test_called_again_skips_some_and_gives_none_twice(self, bench):
        bench.give(id=b'41', producer=b'3 41')
        bench.run('reserve', 10, 41)
        assert bench.run('reserve', 10, 41) == 52
        assert bench.holds() == {'id': b'61', 'producer': b'3 52'}


class TestDequeue:
    def test_takes_the_oldest_and_grants_its_whole_allowance(self, bench):
        bench.give(waiting=[A, B], notifications=2, enqueued={A: 5000, B: 6000})
        with bench.measured() as moments:
            payload, token = bench.run('dequeue', 'ready', '', 610_000, '')
        assert payload == A
        assert moments.before <= float(token) - 5000 <= moments.after
        assert bench.holds() == {
            'waiting': [B], 'notifications': 1, 'enqueued': {A: 5000, B: 6000}, 'dequeued': {A: float(token)}}

    def test_returns_the_exact_score_as_token(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5000.25})
        _, token = bench.run('dequeue', 'ready', '', 610_000, '')
        assert bench.conn.zscore('dequeued', A) == float(token)
        assert re.match(rb'\d{13}\.\d{3}$', token)

    def test_grants_a_short_lease_to_a_holder_who_renews_it(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5000})
        with bench.measured() as moments:
            _, token = bench.run('dequeue', 'ready', 15_000, 610_000, 'host:1:2')
        assert moments.before <= float(token) - 15_000 <= moments.after
        assert bench.holds()['leases'] == {token: b'host:1:2'}

    def test_gives_a_task_without_allowance_the_default(self, bench):
        bench.give(waiting=[A], notifications=1)
        with bench.measured() as moments:
            _, token = bench.run('dequeue', 'ready', '', 610_000, '')
        assert moments.before <= float(token) - 610_000 <= moments.after
        assert bench.holds()['enqueued'] == {A: 610_000}

    def test_bears_an_allowance_of_zero(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 0})
        with bench.measured() as moments:
            _, token = bench.run('dequeue', 'ready', '', 0, '')
        assert moments.before <= float(token) <= moments.after

    def test_takes_one_payload_that_waits_twice_at_a_time(self, bench):
        bench.give(waiting=[A, A], notifications=2, enqueued={A: 5000})
        first, second = (bench.run('dequeue', 'ready', '', 610_000, '') for _ in range(2))
        assert float(second[1]) > float(first[1])
        assert bench.holds() == {'enqueued': {A: 5000}, 'dequeued': {A: float(second[1])}}

    @pytest.mark.parametrize('mode', ['ready', 'notified', 'anyway'])
    def test_returns_nothing_where_nothing_waits_and_drops_surplus_notifications(self, bench, mode):
        bench.give(notifications=3, enqueued={A: 5}, dequeued={A: HOUR})
        assert bench.run('dequeue', mode, '', 610_000, '') is None
        assert bench.holds() == {'enqueued': {A: 5}, 'dequeued': {A: HOUR}}

    def test_leaves_a_task_to_whom_has_popped_its_notification(self, bench):
        bench.give(waiting=[A], enqueued={A: 5})
        assert bench.run('dequeue', 'ready', '', 610_000, '') is None
        assert bench.holds() == {'waiting': [A], 'enqueued': {A: 5}}

    def test_pops_none_for_who_has_popped_one(self, bench):
        bench.give(waiting=[A, B], notifications=1, enqueued={A: 5, B: 5})
        assert bench.run('dequeue', 'notified', '', 610_000, '')[0] == A
        assert (bench.holds()['waiting'], bench.holds()['notifications']) == ([B], 1)

    def test_takes_a_task_without_notification_after_a_wait_in_vain(self, bench):
        bench.give(waiting=[A], enqueued={A: 5})
        assert bench.run('dequeue', 'anyway', '', 610_000, '')[0] == A
        assert 'waiting' not in bench.holds()

    @pytest.mark.parametrize(('notifications', 'left'), [(0, 0), (1, 1), (2, 1), (3, 2)])
    def test_finds_out_whether_the_caller_has_popped_one(self, bench, notifications, left):
        """Two wait. With fewer notifications the caller has popped one, or one is missing; else one is popped here."""
        bench.give(waiting=[A, B], notifications=notifications)
        assert bench.run('dequeue', 'waited', '', 610_000, '')[0] == A
        assert bench.holds().get('notifications', 0) == left

    def test_finds_nothing_after_a_wait_in_vain(self, bench):
        assert bench.run('dequeue', 'waited', '', 610_000, '') is None
        assert bench.holds() == {}

    def test_keeps_notifications_in_step_after_a_wait_in_vain_too(self, bench):
        bench.give(waiting=[A, B], notifications=2, enqueued={A: 5, B: 5})
        bench.run('dequeue', 'anyway', '', 610_000, '')
        assert bench.holds()['notifications'] == 1

    @on_the_real_server
    @pytest.mark.parametrize('mode', ['ready', 'notified', 'anyway'])
    @pytest.mark.parametrize('holder', ['', 'host:1:2'])
    def test_empties_a_full_server(self, bench, full, mode, holder):
        bench.give(waiting=[A], notifications=1)
        full()
        assert bench.run('dequeue', mode, '', 610_000, holder)[0] == A
        assert 'dequeued' in bench.holds()


class TestRelease:
    @pytest.mark.parametrize('tokens', ['1000.125', '999.000 1000.125', '1000.12500 1001.000', ''])
    def test_forgets_a_dequeued_task(self, bench, tokens):
        bench.give(enqueued={A: 5, B: 6}, dequeued={A: 1000.125, B: 2000}, leases={'1000.125': 'a', '2000.000': 'b'},
                   losses={A: '1', B: '2'})
        assert bench.run('release', A, tokens) == 1
        assert bench.holds() == {
            'enqueued': {B: 6}, 'dequeued': {B: 2000}, 'leases': {b'2000.000': b'b'}, 'losses': {B: b'2'}}

    def test_called_again_finds_nothing_to_do_and_does_not_call_it_anothers(self, bench):
        bench.give(enqueued={A: 5, B: 6}, dequeued={A: 1000.125, B: 2000})
        bench.run('release', A, '1000.125')
        held = bench.holds()
        assert bench.run('release', A, '1000.125') == 2
        assert bench.holds() == held

    def test_does_not_touch_the_next_owners_lease(self, bench):
        given = {'enqueued': {A: 5}, 'dequeued': {A: 1000.125}, 'leases': {b'1000.125': b'a'}, 'losses': {A: b'1'}}
        bench.give(**given)
        assert bench.run('release', A, '1000.124 1000.126 999') == 0
        assert bench.holds() == given

    def test_takes_a_task_that_has_run_out_of_the_list_where_it_waits_again(self, bench):
        bench.give(waiting=[B, A, C], notifications=3, enqueued={A: 5, B: 6, C: 7}, losses={A: '1'})
        assert bench.run('release', A, '1000.125') == 2
        assert bench.holds() == {'waiting': [B, C], 'notifications': 2, 'enqueued': {B: 6, C: 7}}

    def test_looks_for_it_near_the_front_alone(self, bench):
        others = [b'%d' % i for i in range(100)]
        bench.give(waiting=[*others[:99], A], notifications=100, enqueued={A: 5})
        assert bench.run('release', A, '1000') == 2
        given = {'waiting': [*others, A], 'notifications': 101, 'enqueued': {A: 5}}
        bench.give(**given)
        assert bench.run('release', A, '1000') == 0
        assert bench.holds() == given

    def test_looks_at_four_megabytes_at_most(self, bench):
        others = [b'%d' % i * 1_000_000 for i in range(6)]
        bench.give(waiting=[*others[:4], A], notifications=5, enqueued={A: 5})
        assert bench.run('release', A, '1000') == 2
        bench.give(waiting=[*others, A], notifications=7, enqueued={A: 5})
        assert bench.run('release', A, '1000') == 0
        assert bench.holds()['waiting'][-1] == A

    def test_by_payload_alone_leaves_the_list_alone_as_ever(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5})
        assert bench.run('release', A, '') == 2
        assert bench.holds() == {'waiting': [A], 'notifications': 1}

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        bench.give(enqueued={A: 5}, dequeued={A: 1000})
        full()
        assert bench.run('release', A, '1000') == 1


class TestAdvance:
    def test_releases_one_task_and_takes_the_next(self, bench):
        bench.give(waiting=[B, C], notifications=2, enqueued={A: 5, B: 6, C: 7}, dequeued={A: 1000})
        released, payload, token = bench.run('advance', A, '1000', '', '', 'ready', 15_000, 610_000, 'host:1:2')
        assert (released, payload) == (1, B)
        assert bench.holds() == {
            'waiting': [C], 'notifications': 1, 'enqueued': {B: 6, C: 7}, 'dequeued': {B: float(token)},
            'leases': {token: b'host:1:2'}}

    def test_releases_even_if_nothing_waits(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000})
        assert bench.run('advance', A, '1000', '', '', 'ready', 15_000, 610_000, 'h') == [1]
        assert bench.holds() == {}

    def test_takes_the_next_even_if_the_first_has_become_anothers(self, bench):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5, B: 6}, dequeued={A: 2000})
        released, payload, _ = bench.run('advance', A, '1000', '', '', 'ready', 15_000, 610_000, 'h')
        assert (released, payload) == (0, B)
        assert bench.holds()['dequeued'][A] == 2000

    def test_does_not_take_again_what_it_has_just_released(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5})
        assert bench.run('advance', A, '1000', '', '', 'ready', 15_000, 610_000, 'h') == [2]
        assert bench.holds() == {}

    def test_only_takes_where_there_is_nothing_to_release(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5})
        assert bench.run('advance', '', '', '', '', 'ready', 15_000, 610_000, 'h')[:2] == [1, A]

    def test_notes_that_a_task_has_begun_that_was_taken_ahead(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, leases={'1000.000': '?h:1'})
        bench.run('advance', '', '', '1000.000', 'h:1', 'ready', 15_000, 610_000, '?h:2')
        assert bench.holds()['leases'] == {b'1000.000': b'h:1'}

    def test_notes_nothing_of_a_lease_that_was_lost_meanwhile(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 2000})
        bench.run('advance', '', '', '1000.000', 'h:1', 'ready', 15_000, 610_000, '?h:2')
        assert 'leases' not in bench.holds()

    @on_the_real_server
    @pytest.mark.parametrize('done', [A, ''])
    def test_empties_a_full_server(self, bench, full, done):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5}, dequeued={A: 1000})
        full()
        assert bench.run('advance', done, '1000' if done else '', '', '', 'ready', 15_000, 610_000, 'h')[1] == B


class TestAdvanceAny:
    ARGS = ('ready', 15_000, 'h', 610_000, 620_000)

    def test_takes_from_the_first_queue_that_has_a_task(self, bench):
        bench.give(waiting=[A], notifications=1, enqueued={A: 5}, waiting2=[B], notifications2=1, enqueued2={B: 6})
        assert bench.run('advance_any', '', '', '', '', *self.ARGS)[:3] == [1, 1, A]
        released, queue, payload, token = bench.run('advance_any', '', '', '', '', *self.ARGS)
        assert (released, queue, payload) == (1, 2, B)
        held = bench.holds()
        assert (held['dequeued2'], held['leases2']) == ({B: float(token)}, {token: b'h'})
        assert bench.run('advance_any', '', '', '', '', *self.ARGS) == [1]

    def test_releases_a_task_and_takes_one_of_another_queue(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, waiting2=[B, C], notifications2=2, enqueued2={B: 6, C: 7})
        released, queue, payload, token = bench.run('advance_any', A, '1000', '', '', *self.ARGS)
        assert (released, queue, payload) == (1, 2, B)
        assert bench.holds() == {'waiting2': [C], 'notifications2': 1, 'enqueued2': {B: 6, C: 7},
                                 'dequeued2': {B: float(token)}, 'leases2': {token: b'h'}}

    def test_takes_the_next_even_if_the_first_has_become_anothers(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 2000}, waiting2=[B], notifications2=1, enqueued2={B: 6})
        assert bench.run('advance_any', A, '1000', '', '', *self.ARGS)[:3] == [0, 2, B]
        assert bench.holds()['dequeued'] == {A: 2000}

    def test_gives_a_task_without_allowance_that_of_its_own_queue(self, bench):
        bench.give(waiting2=[B], notifications2=1)
        bench.run('advance_any', '', '', '', '', *self.ARGS)
        assert bench.holds()['enqueued2'] == {B: 620_000}

    def test_leaves_what_has_no_notification_until_a_wait_was_in_vain(self, bench):
        bench.give(waiting=[A], waiting2=[B], notifications2=1, enqueued2={B: 6})
        assert bench.run('advance_any', '', '', '', '', *self.ARGS)[2] == B
        assert bench.run('advance_any', '', '', '', '', 'anyway', *self.ARGS[1:])[2] == A

    def test_notes_that_a_task_of_another_queue_has_begun_that_was_taken_ahead(self, bench):
        bench.give(enqueued2={A: 5}, dequeued2={A: 1000}, leases2={'1000.000': '?h:1'})
        bench.run('advance_any', '', '', '1000.000', 'h:1', *self.ARGS)
        assert bench.holds()['leases2'] == {b'1000.000': b'h:1'}

    @on_the_real_server
    def test_empties_a_full_server(self, bench, full):
        bench.give(waiting2=[B], notifications2=1, enqueued={A: 5}, dequeued={A: 1000})
        full()
        assert bench.run('advance_any', A, '1000', '', '', *self.ARGS)[2] == B


class TestAdvanceMany:
    def run(self, bench, *done, begun=('', ''), most=10, most_bytes=1000):
        """Returns the digits, the payloads and the tokens."""
        digits, *taken = bench.run('advance_many', *begun, 15_000, 610_000, 'h', most, most_bytes, *done)
        return digits, taken[::2], taken[1::2]

    def test_releases_all_and_takes_as_many_as_asked_for(self, bench):
        bench.give(waiting=[C, D, A + b'1'], notifications=3, enqueued={A: 5, B: 6, C: 7, A + b'1': 8},
                   dequeued={A: 1000, B: 2000}, leases={'1000.000': 'h', '2000.000': 'h'},
                   losses={A: '1', A + b'1': '2'})
        digits, taken, tokens = self.run(bench, A, '1000', B, '1500 2000', most=2)
        assert (digits, taken) == (b'11', [C, D])
        assert bench.holds() == {
            'waiting': [A + b'1'], 'notifications': 1, 'enqueued': {C: 7, D: 610_000, A + b'1': 8},
            'dequeued': {C: float(tokens[0]), D: float(tokens[1])}, 'leases': dict.fromkeys(tokens, b'h'),
            'losses': {A + b'1': b'2'}}

    def test_takes_alone_what_was_lost_before(self, bench):
        bench.give(waiting=[A, B, C, D], notifications=4, losses={A: '1', C: '2'})
        assert [self.run(bench)[1] for _ in range(5)] == [[A], [B], [C], [D], []]
        assert 'notifications' not in bench.holds()

    def test_gives_each_a_token_of_its_own(self, bench):
        payloads = [b'%d' % number for number in range(100)]
        bench.give(waiting=payloads, notifications=100)
        with bench.measured() as moments:
            _, taken, tokens = self.run(bench, most=100)
        assert taken == payloads
        assert sorted(set(tokens), key=float) == tokens
        assert moments.before + 14_999 <= float(tokens[0]) < float(tokens[-1]) <= moments.after + 15_001
        assert 'waiting' not in bench.holds()

    def test_takes_no_more_than_it_pops_notifications_for(self, bench):
        bench.give(waiting=[A, B, C], notifications=2)
        assert self.run(bench)[1] == [A, B]
        assert self.run(bench)[1] == []
        assert bench.holds()['waiting'] == [C]

    def test_drops_surplus_notifications(self, bench):
        bench.give(waiting=[A], notifications=3)
        assert self.run(bench)[1] == [A]
        assert set(bench.holds()) == {'dequeued', 'enqueued', 'leases'}
        bench.give(notifications=3)
        assert self.run(bench)[1] == []
        assert 'notifications' not in bench.holds()

    def test_takes_no_more_bytes_than_asked_for_but_one_task_at_least(self, bench):
        bench.give(waiting=[b'a' * 700, b'b' * 300, b'c'], notifications=3)
        assert len(self.run(bench)[1]) == 2
        bench.give(waiting=[b'd' * 2000, b'e'], notifications=2)
        assert len(self.run(bench)[1]) == 1

    def test_takes_one_payload_that_waits_twice_at_a_time(self, bench):
        bench.give(waiting=[A, B, A], notifications=3)
        assert self.run(bench)[1] == [A, B]
        assert bench.holds()['waiting'] == [A]

    def test_tells_for_each_whether_it_was_still_held(self, bench):
        """One is another's, one waits again, one is gone."""
        bench.give(waiting=[B, D], notifications=2, enqueued={A: 5, B: 6, D: 7}, dequeued={A: 2000})
        digits, taken, _ = self.run(bench, A, '1000', B, '1000', C, '1000')
        assert (digits, taken) == (b'022', [D])
        assert bench.holds()['dequeued'][A] == 2000

    def test_notes_that_a_task_has_begun_that_was_taken_ahead(self, bench):
        bench.give(enqueued={A: 5}, dequeued={A: 1000}, leases={'1000.000': '?h:1'})
        self.run(bench, begun=('1000.000', 'h:1'))
        assert bench.holds()['leases'] == {b'1000.000': b'h:1'}

    @on_the_real_server
    @pytest.mark.parametrize('done', [(A, '1000'), ()])
    def test_empties_a_full_server(self, bench, full, done):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5}, dequeued={A: 1000}, leases={'1000.000': '?h:1'})
        full()
        assert self.run(bench, *done, begun=('1000.000', 'h:1'))[1] == [B]


class TestRequeue:
    @pytest.mark.parametrize('tokens', ['1000.125', '1 1000.125 2', ''])
    def test_puts_a_dequeued_task_behind_all_others(self, bench, tokens):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5, B: 6}, dequeued={A: 1000.125, C: 2000},
                   leases={'1000.125': 'a', '2000.000': 'c'}, losses={A: '1'})
        assert bench.run('requeue', A, tokens, 'back') == 1
        assert bench.holds() == {
            'waiting': [B, A], 'notifications': 2, 'enqueued': {A: 5, B: 6}, 'dequeued': {C: 2000},
            'leases': {b'2000.000': b'c'}, 'losses': {A: b'1'}}

    def test_puts_it_in_front_on_request(self, bench):
        bench.give(waiting=[B], notifications=1, dequeued={A: 1000})
        assert bench.run('requeue', A, '1000', 'front') == 1
        assert bench.holds() == {'waiting': [A, B], 'notifications': 2}

    @pytest.mark.parametrize('tokens', ['1000', ''])
    def test_called_again_finds_nothing_to_do(self, bench, tokens):
        bench.give(dequeued={A: 1000})
        bench.run('requeue', A, tokens, 'back')
        assert bench.run('requeue', A, tokens, 'back') == 0
        assert bench.holds() == {'waiting': [A], 'notifications': 1}

    def test_does_not_touch_the_next_owners_lease(self, bench):
        given = {'dequeued': {A: 1000}, 'leases': {b'1000.000': b'a'}}
        bench.give(**given)
        assert bench.run('requeue', A, '999', 'back') == 0
        assert bench.holds() == given

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        bench.give(dequeued={A: 1000})
        full()
        assert bench.run('requeue', A, '1000', 'back') == 1


class TestRenew:
    def given(self, bench, **more):
        """A lease of A that has run out, and the token that would renew it for 15 s."""
        bench.give(dequeued={A: 1000.125, B: 2000}, leases={'1000.125': 'a', '2000.000': 'b'}, **more)
        return text(bench.now() + 15_000)

    @pytest.mark.parametrize('tokens', ['1000.125', '999 1000.125 1001'])
    def test_replaces_the_token_by_the_callers_even_past_its_end(self, bench, tokens):
        token = self.given(bench)
        assert bench.run('renew', A, tokens, token, 15_000, 'a') == b'renewed'
        assert bench.holds() == {
            'dequeued': {A: float(token), B: 2000}, 'leases': {token: b'a', b'2000.000': b'b'}}

    def test_called_again_finds_the_new_token_in_place(self, bench):
        token = self.given(bench)
        bench.run('renew', A, '1000.125', token, 15_000, 'a')
        held = bench.holds()
        assert bench.run('renew', A, '1000.125', token, 15_000, 'a') == b'renewed'
        assert bench.holds() == held

    def test_of_a_full_lease_makes_it_one_that_is_renewed(self, bench):
        bench.give(dequeued={A: 1000})
        token = text(bench.now() + 15_000)
        assert bench.run('renew', A, '1000', token, 15_000, 'a') == b'renewed'
        assert bench.holds()['leases'] == {token: b'a'}

    @pytest.mark.parametrize(('payload', 'tokens'), [(A, '999'), (A, ''), (C, '1000.125')])
    def test_tells_that_a_lease_is_lost_and_changes_nothing(self, bench, payload, tokens):
        token = self.given(bench, waiting=[C], notifications=1)
        held = bench.holds()
        assert bench.run('renew', payload, tokens, token, 15_000, 'a') == b'lost'
        assert bench.holds() == held

    @pytest.mark.parametrize('off', [-5000, 5000, -HOUR, HOUR])
    def test_tells_the_time_to_who_has_it_wrong_and_changes_nothing(self, bench, off):
        token = self.given(bench)
        held = bench.holds()
        with bench.measured() as moments:
            reply, = bench.run('renew', A, '1000.125', text(float(token) + off), 15_000, 'a')
        assert moments.before - 0.001 <= float(reply) <= moments.after + 0.001
        assert bench.holds() == held

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        token = self.given(bench)
        full()
        assert bench.run('renew', A, '1000.125', token, 15_000, 'a') == b'renewed'


class TestReclaim:
    def test_finds_what_a_call_took_whose_reply_was_lost(self, bench):
        bench.give(dequeued={A: 1000, B: 2000.5}, leases={'1000.000': 'h:1', '2000.500': 'h:2'})
        held = bench.holds()
        assert bench.run('reclaim', 'h:2') == [B, b'2000.500']
        assert bench.holds() == held

    def test_finds_all_that_it_took(self, bench):
        bench.give(waiting=[A, B], notifications=2)
        _, *taken = bench.run('advance_many', '', '', 15_000, 610_000, 'h:1', 5, 1000)
        found = bench.run('reclaim', 'h:1')
        assert sorted(zip(found[::2], found[1::2])) == sorted(zip(taken[::2], taken[1::2]))

    def test_finds_nothing_where_the_call_took_nothing(self, bench):
        bench.give(dequeued={A: 1000}, leases={'1000.000': 'h:11'})
        assert bench.run('reclaim', 'h:1') is None

    def test_finds_nothing_where_the_lease_was_lost_meanwhile(self, bench):
        bench.give(dequeued={A: 1001}, leases={'1000.000': 'h:1'})
        assert bench.run('reclaim', 'h:1') is None

    def test_finds_what_dequeue_took(self, bench):
        bench.give(waiting=[A], notifications=1)
        taken = bench.run('dequeue', 'ready', 15_000, 610_000, 'h:1')
        assert bench.run('reclaim', 'h:1') == taken
