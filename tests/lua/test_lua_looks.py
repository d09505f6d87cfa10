"""How operators look at a queue; and how they mend one."""

import hashlib

import pytest
from bench import A, B, C, D, on_the_real_server, text

HEADER = b'{"reason": "why", "lost_at": "", "allowance": "5"}\n'


class TestCensus:
    def test_counts_what_there_is_at_one_moment_and_changes_nothing(self, bench):
        now = bench.now()
        bench.give(waiting=[A, B, C], notifications=2, enqueued={A: 1, B: 2, C: 3, D: 4}, leases={'1000.000': 'a'},
                   dequeued={D: now - 1000, b'e': now + 60_000}, losses={D: '1'}, dead={HEADER + A: 5}, id='17')
        held = bench.holds()
        with bench.measured() as moments:
            moment, *counts = bench.run('census')
        assert moments.before - 1 <= float(moment) <= moments.after + 1
        assert list(map(int, counts)) == [3, 2, 4, 2, 1, 1, 1, 1, 17]
        assert bench.holds() == held

    def test_of_nothing_is_all_zeros(self, bench):
        _, *counts = bench.run('census')
        assert list(map(int, counts)) == [0] * 9


class TestPeek:
    def test_sends_the_first_bytes_of_each_with_its_holder_and_its_allowance(self, bench):
        bench.give(dequeued={A: 1000.125, B: 2000}, leases={'1000.125': 'host:1:ab:3'}, enqueued={B: 7})
        held = bench.holds()
        with bench.measured() as moments:
            now, *found = bench.run('peek', 0, 10, 2, 1000)
        assert moments.before - 1 <= float(now) <= moments.after + 1
        assert found == [[A[:2], len(A), b'1000.125', b'host:1:ab:3', b''], [B[:2], len(B), b'2000.000', b'', b'7']]
        assert bench.holds() == held

    def test_looks_at_a_page(self, bench):
        bench.give(dequeued={A: 1, B: 2, C: 3, D: 4})
        assert [entry[0] for entry in bench.run('peek', 1, 2, 9, 1000)[1:]] == [B, C]
        assert bench.run('peek', 4, 2, 9, 1000)[1:] == []

    def test_looks_at_no_more_bytes_than_it_may_but_at_one_member(self, bench):
        bench.give(dequeued={A: 1, B: 2, C: 3, D: 4})
        assert [entry[0] for entry in bench.run('peek', 0, 4, 9, 1)[1:]] == [A]
        assert [entry[0] for entry in bench.run('peek', 0, 4, 9, len(A) + 1)[1:]] == [A, B]


class TestWhereabouts:
    @pytest.mark.parametrize('keys, place', [
        ({'enqueued': {A: 5}, 'dequeued': {A: 1000}}, [b'dequeued', b'']),
        ({'enqueued': {A: 5}}, [b'waiting', b'']),
        ({'enqueued': {B: 5}}, [b'gone', b'']),
        ({'dead': {HEADER + A: 1000.125, HEADER + B: 2000}}, [b'dead', b'1000.125']),
        ({'dead': {HEADER + b'x' + A: 1000}}, [b'gone', b'']),
    ])
    def test_tells_where_a_task_is(self, bench, keys, place):
        bench.give(**keys)
        assert bench.run('whereabouts', A)[1:] == place

    def test_looks_at_the_newest_hundred_letters_alone(self, bench):
        bench.give(dead={HEADER + b'%d' % number: 2000 + number for number in range(100)})
        assert bench.run('whereabouts', b'0')[1:] == [b'dead', b'2000.000']
        bench.conn.zadd('dead', {HEADER + b'100': 2100})
        assert bench.run('whereabouts', b'0')[1:] == [b'gone', b'']


class TestRestore:
    def test_puts_a_task_that_is_nowhere_in_front_and_once(self, bench):
        bench.give(waiting=[B], notifications=1, enqueued={A: 5, B: 6})
        assert bench.run('restore', A, 100) == b'restored'
        assert bench.holds() == {'waiting': [A, B], 'notifications': 2, 'enqueued': {A: 5, B: 6}}
        assert bench.run('restore', A, 100) == b'placed'
        assert bench.holds() == {'waiting': [A, B], 'notifications': 2, 'enqueued': {A: 5, B: 6}}

    @pytest.mark.parametrize('keys', [
        {'enqueued': {A: 5}, 'dequeued': {A: 1000}},
        {'enqueued': {B: 5}},
        {'enqueued': {A: 5}, 'waiting': [*(b'%d' % number for number in range(25)), A], 'notifications': 26},
    ])
    def test_leaves_what_has_its_place_or_is_none(self, bench, keys):
        bench.give(**keys)
        held = bench.holds()
        assert bench.run('restore', A, 100) == b'placed'
        assert bench.holds() == held

    def test_leaves_what_it_cannot_be_sure_of(self, bench):
        bench.give(waiting=[B, C], notifications=2, enqueued={A: 5})
        assert bench.run('restore', A, 1) == b'unsure'
        bench.give(waiting=[b'x' * (9 << 20), C], notifications=2)
        assert bench.run('restore', A, 100) == b'unsure'
        assert bench.conn.llen('waiting') == 2


@on_the_real_server
def test_scores_are_told_as_tokens_are(bench):
    bench.give(dequeued={A: 1795445657871.77})
    assert bench.run('peek', 0, 1, 9, 9)[1][2] == text(1795445657871.77)


def note(now, since, till, payload, taken=0, count=1):
    """A note of so many ms ago."""
    return b'%.3f %.3f %d %d\n' % (now - since, now - till, taken, count) + payload


def notes(bench):
    """(since, till, taken, count, payload) of each, newest first."""
    entries = (entry.split(b'\n', 1) for entry in bench.conn.lrange('pace', 0, -1))
    return [(*map(float, numbers.split()), payload) for numbers, payload in entries]


class TestAnnounce:
    def test_notes_the_worker_and_when_it_told(self, bench):
        with bench.measured() as moments:
            bench.run('announce', 'host:1:ab', 15_000, '{"up": 1}', 'again', 0)
        (name, text), = bench.conn.hgetall('workers').items()
        told, holds, facts = text.split(b' ', 2)
        assert (name, holds, facts) == (b'host:1:ab', b'15000', b'{"up": 1}')
        assert moments.before - 1 <= float(told) <= moments.after + 1
        assert 100_000 < bench.conn.pttl('workers') <= 150_000

    def test_of_a_short_lease_does_not_shorten_the_others(self, bench):
        bench.run('announce', 'a', 60_000, '{}', 'again', 0)
        bench.run('announce', 'b', 1000, '{}', 'again', 0)
        assert bench.conn.pttl('workers') > 500_000

    def test_forgets_the_dead_when_a_worker_begins(self, bench):
        now = bench.now()
        bench.give(workers={'dead': '%.3f 1000 {}' % (now - 11_000), 'late': '%.3f 1000 {}' % (now - 9000)})
        bench.run('announce', 'a', 1000, '{}', 'again', 0)
        assert bench.conn.hkeys('workers') == [b'dead', b'late', b'a']
        bench.run('announce', 'a', 1000, '{}', 'first', 0)
        assert set(bench.conn.hkeys('workers')) == {b'late', b'a'}

    def test_notes_the_pace_each_two_seconds_and_counts_all_the_time(self, bench):
        bench.give(waiting=[A, B])
        for _ in range(2):
            bench.run('announce', 'a', 1000, '{}', 'again', 3)
        (since, till, *counts), = notes(bench)
        assert (since, counts) == (till, [6, 2, B])
        now = bench.now()
        bench.give(waiting=[A, B, C], pace=[note(now, 5000, 3000, B, taken=6, count=2)])
        bench.run('announce', 'a', 1000, '{}', 'again', 1)
        (newest, *_, taken, count, payload), (_, till, *_) = notes(bench)
        assert (taken, count, payload) == (7, 3, C)
        assert newest >= now > till

    def test_keeps_since_when_a_payload_is_the_last(self, bench):
        now = bench.now()
        bench.give(waiting=[A], pace=[note(now, 5000, 3000, A)])
        bench.run('announce', 'a', 1000, '{}', 'again', 0)
        (since, till, *_), _ = notes(bench)
        assert (since, till >= now - 1) == (pytest.approx(now - 5000, abs=1), True)

    @pytest.mark.parametrize('waiting, payload', [([], b''), ([b'x' * 2049], b'?'), ([b'x' * 2048], b'x' * 2048)])
    def test_keeps_no_large_payload(self, bench, waiting, payload):
        bench.give(waiting=waiting)
        bench.run('announce', 'a', 1000, '{}', 'again', 0)
        assert notes(bench)[0][-1] == payload

    def test_thins_what_is_old(self, bench):
        now = bench.now()
        bench.give(pace=[note(now, age * 3000, age * 3000, b'', taken=400 - age) for age in range(1, 301)])
        bench.run('announce', 'a', 1000, '{}', 'again', 1)
        taken = [entry[2] for entry in notes(bench)]
        assert taken[:100] == [400, *range(399, 300, -1)]
        assert taken[100:] == list(range(300, 99, -2))

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        full()
        assert bench.run('announce', 'a', 1000, '{}', 'first', 0) == 1

    @on_the_real_server
    def test_survives_a_clock_that_was_set_back(self, bench):
        bench.give(pace=[note(bench.now(), -50_000, -60_000, b'')])
        bench.run('announce', 'a', 1000, '{}', 'again', 0)
        assert notes(bench)[0][1] <= bench.now() + 1


class TestOldest:
    def look(self, bench, *entries, now):
        """How many ms ago the answers are."""
        bench.give(pace=[note(now, *entry) for entry in entries])
        moment, *answers, _ = bench.run('oldest')
        assert float(moment) >= now - 1
        return [answer and round(now - float(answer)) for answer in answers]

    def test_bounds_the_wait_by_what_waits_still_and_what_is_gone(self, bench):
        bench.give(enqueued={A: 1, B: 2, C: 3}, dequeued={C: 1000})
        now = bench.now()
        assert self.look(bench, (2000, 1000, B), (6000, 4000, A), (9000, 7000, C), now=now) == [6000, 7000]
        assert self.look(bench, (2000, 1000, B), (6000, 4000, A), now=now) == [6000, b'']
        assert self.look(bench, (2000, 1000, D), (6000, 4000, A), now=now) == [b'', 1000]
        assert self.look(bench, (2000, 1000, B), (6000, 4000, b''), (9000, 7000, A), now=now) == [2000, 4000]

    def test_passes_over_large_payloads(self, bench):
        bench.give(enqueued={A: 1})
        assert self.look(bench, (2000, 1000, b'?'), (6000, 4000, A), now=bench.now()) == [6000, b'']

    def test_of_no_notes_is_unknown(self, bench):
        assert bench.run('oldest')[1:] == [b'', b'', b'']
        assert bench.holds() == {}

    def test_has_the_end_of_the_payload_that_is_next(self, bench):
        bench.give(waiting=[b'x' * 50 + b'and 12 bytes', b'another'])
        assert bench.run('oldest')[3] == b'and 12 bytes'


@on_the_real_server  # fakeredis has no sha1hex
class TestDigests:
    def names(self, *payloads):
        return [hashlib.sha1(payload).hexdigest().encode() for payload in payloads]

    def test_name_the_payloads_of_one_place(self, bench):
        bench.give(waiting=[A, B], enqueued={A: 2, B: 1, C: 3}, dequeued={C: 1000})
        held = bench.holds()
        assert bench.run('digests', 'waiting', 0, 500, 1000) == self.names(A, B)
        assert bench.run('digests', 'enqueued', 0, 500, 1000) == self.names(B, A, C)
        assert bench.run('digests', 'dequeued', 0, 500, 1000) == self.names(C)
        assert bench.holds() == held

    def test_come_in_pages_that_are_bounded_by_bytes_too(self, bench):
        payloads = [b'%03d' % number for number in range(35)]
        bench.give(waiting=payloads)
        assert bench.run('digests', 'waiting', 3, 15, 1000) == self.names(*payloads[3:18])
        assert bench.run('digests', 'waiting', 0, 500, 1) == self.names(*payloads[:10])
        assert bench.run('digests', 'waiting', 35, 500, 1) == []


@on_the_real_server
def test_server_info_tells_the_time_and_four_sections(bench):
    with bench.measured() as moments:
        now, *sections = bench.run('server_info')
    assert moments.before - 1 <= float(now) <= moments.after + 1
    for section, name in zip(sections, (b'redis_version:', b'maxmemory:', b'aof_enabled:', b'role:')):
        assert name in section
    assert bench.holds() == {}
