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
            moment, *counts, head = bench.run('census', 1)
        assert moments.before - 1 <= float(moment) <= moments.after + 1
        assert list(map(int, counts)) == [3, 2, 4, 2, 1, 1, 1, 1, 17]
        assert head == A[:1]
        assert bench.holds() == held

    def test_of_nothing_is_all_zeros(self, bench):
        _, *counts, head = bench.run('census', 100)
        assert (list(map(int, counts)), head) == ([0] * 9, b'')


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


def pace_of(*ages_and_counts, now):
    """Entries, newest first, of (age in ms of its beginning and end, last id, how many unfinished)."""
    return ['%.3f %.3f %d %d' % (now - begin, now - end, last_id, unfinished)
            for begin, end, last_id, unfinished in ages_and_counts]


def entries(bench):
    return [[float(field) for field in entry.split()] for entry in bench.conn.lrange('pace', 0, -1)]


class TestAnnounce:
    def test_notes_the_worker_and_when_it_told(self, bench):
        with bench.measured() as moments:
            bench.run('announce', 'host:1:ab', 15_000, '{"up": 1}', 'again')
        (name, text), = bench.conn.hgetall('workers').items()
        told, holds, facts = text.split(b' ', 2)
        assert (name, holds, facts) == (b'host:1:ab', b'15000', b'{"up": 1}')
        assert moments.before - 1 <= float(told) <= moments.after + 1
        assert 100_000 < bench.conn.pttl('workers') <= 150_000

    def test_of_a_short_lease_does_not_shorten_the_others(self, bench):
        bench.run('announce', 'a', 60_000, '{}', 'again')
        bench.run('announce', 'b', 1000, '{}', 'again')
        assert bench.conn.pttl('workers') > 500_000

    def test_forgets_the_dead_when_a_worker_begins(self, bench):
        now = bench.now()
        bench.give(workers={'dead': '%.3f 1000 {}' % (now - 11_000), 'late': '%.3f 1000 {}' % (now - 9000)})
        bench.run('announce', 'a', 1000, '{}', 'again')
        assert bench.conn.hkeys('workers') == [b'dead', b'late', b'a']
        bench.run('announce', 'a', 1000, '{}', 'first')
        assert set(bench.conn.hkeys('workers')) == {b'late', b'a'}

    def test_notes_the_pace_each_two_seconds(self, bench):
        bench.give(id='17', enqueued={A: 1, B: 2})
        for _ in range(2):
            bench.run('announce', 'a', 1000, '{}', 'again')
        (since, till, *counts), = entries(bench)
        assert (since, counts) == (till, [17, 2])
        now = bench.now()
        bench.give(pace=pace_of((5000, 3000, 16, 1), now=now))
        bench.run('announce', 'a', 1000, '{}', 'again')
        (newest, *_, last_id, unfinished), (_, till, *_) = entries(bench)
        assert (last_id, unfinished) == (17, 2)
        assert newest >= now > till

    def test_lengthens_the_last_entry_where_nothing_happened(self, bench):
        now = bench.now()
        bench.give(id='17', enqueued={A: 1}, pace=pace_of((5000, 3000, 17, 1), now=now))
        bench.run('announce', 'a', 1000, '{}', 'again')
        (since, till, *counts), = entries(bench)
        assert (since, counts) == (pytest.approx(now - 5000, abs=1), [17, 1])
        assert till >= now - 1

    def test_thins_what_is_old(self, bench):
        now = bench.now()
        bench.give(id='1000', pace=pace_of(*((age * 3000, age * 3000, 400 - age, 1) for age in range(1, 301)), now=now))
        bench.run('announce', 'a', 1000, '{}', 'again')
        ids = [entry[2] for entry in entries(bench)]
        assert ids[:100] == [1000, *range(399, 300, -1)]
        assert ids[100:] == list(range(300, 99, -2))

    @on_the_real_server
    def test_works_on_a_full_server(self, bench, full):
        full()
        assert bench.run('announce', 'a', 1000, '{}', 'first') == 1

    @on_the_real_server
    def test_survives_a_clock_that_was_set_back(self, bench):
        bench.give(id='17', pace=pace_of((-50_000, -60_000, 17, 0), now=bench.now()))
        bench.run('announce', 'a', 1000, '{}', 'again')
        assert entries(bench)[0][1] <= bench.now() + 1


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
