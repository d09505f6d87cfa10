"""The moves that workers make and `Queue` does not offer. What each script does alone stands in tests/lua."""

import pytest

from delayed._producer import Call
from delayed.queue import Queue
from queues import keys, payload_of, server_ms, task_of, waiting

LEASE = 15_000


@pytest.fixture
def queue(real_or_fake):
    return Queue('default', real_or_fake)


@pytest.fixture
def ledger(queue):
    """One of three waiting tasks."""
    for number in (1, 2, 3):
        queue.enqueue(task_of(number))
    return queue.ledger


class TestAWorkersLease:
    def test_is_short_and_noted_with_its_holder(self, ledger, real_or_fake):
        taken = ledger.take('ready', LEASE, 'a worker')
        assert taken.payload == payload_of(1)
        assert float(taken.token) == pytest.approx(server_ms(real_or_fake) + LEASE, abs=10_000)
        assert real_or_fake.hgetall('default_leases') == {taken.token: b'a worker'}

    def test_is_found_by_its_holder(self, ledger):
        taken = ledger.take('ready', LEASE, 'a worker')
        assert ledger.reclaim('a worker') == taken
        assert ledger.reclaim('another') is None

    def test_is_renewed_to_a_token_of_the_workers_choice(self, ledger, real_or_fake):
        taken = ledger.take('ready', LEASE, 'a worker')
        token = b'%.3f' % (server_ms(real_or_fake) + LEASE)
        assert ledger.renew(taken.payload, (taken.token,), token, LEASE, 'a worker') is True
        assert ledger.renew(taken.payload, (b'1.000',), b'%.3f' % (float(token) + 1), LEASE, 'a worker') is False
        assert ledger.release(taken.payload, (taken.token, token))

    def test_is_not_renewed_to_a_token_that_is_off_but_told_the_time(self, ledger, real_or_fake):
        taken = ledger.take('ready', LEASE, 'a worker')
        now = ledger.renew(taken.payload, (taken.token,), b'1000.000', LEASE, 'a worker')
        assert now == pytest.approx(server_ms(real_or_fake), abs=10_000)


class TestAdvancing:
    def test_releases_one_task_and_takes_the_next(self, ledger, real_or_fake):
        done = ledger.take('ready', LEASE, 'call 1')
        ledger.advance(done.payload, (done.token,), (b'', ''), 'ready', LEASE, 'call 2')
        held, taken = ledger.advanced()
        assert ([*held], [each.payload for each in taken]) == ([True], [payload_of(2)])
        assert waiting(real_or_fake) == [3]
        assert real_or_fake.zcard('default_enqueued') == 2

    def test_takes_ahead_and_notes_later_that_it_has_begun(self, ledger, real_or_fake):
        ledger.advance(b'', (), (b'', ''), 'ready', LEASE, '?call 1')
        _, (ahead,) = ledger.advanced()
        assert real_or_fake.hget('default_leases', ahead.token) == b'?call 1'
        ledger.advance(b'', (), (ahead.token, 'call 1'), 'ready', LEASE, '?call 2')
        ledger.advanced()
        assert real_or_fake.hget('default_leases', ahead.token) == b'call 1'

    def test_tells_that_a_lease_was_lost_and_that_nothing_waits(self, ledger):
        for number in (1, 2, 3):
            taken = ledger.take('ready', LEASE, 'call %d' % number)
        ledger.advance(taken.payload, (b'1.000',), (b'', ''), 'ready', LEASE, 'call 4')
        held, taken = ledger.advanced()
        assert ([*held], [*taken]) == ([False], [])


class TestEndsOfATask:
    def test_may_be_back_in_front(self, ledger, real_or_fake):
        taken = ledger.take('ready', LEASE, 'a worker')
        assert ledger.requeue(taken.payload, (taken.token,), 'front')
        assert waiting(real_or_fake) == [1, 2, 3]

    def test_may_be_a_loss_until_there_are_too_many(self, ledger, real_or_fake):
        for loss in (1, 2, 3):
            taken = ledger.take('ready', LEASE, 'a worker')
            assert ledger.lose(taken.payload, (taken.token,), max_losses=3) == (1 if loss < 3 else 2)
        assert ledger.lose(taken.payload, (taken.token,), max_losses=3) == 0
        letter, = ledger.dead_letters(0, 10)
        assert (letter.payload, len(letter.lost_at)) == (payload_of(1), 3)
        assert waiting(real_or_fake) == [2, 3]

    def test_may_be_its_setting_aside(self, ledger):
        taken = ledger.take('ready', LEASE, 'a worker')
        assert not ledger.set_aside(taken.payload, (b'1.000',), 'a reason')
        assert ledger.set_aside(taken.payload, (taken.token,), 'a reason')
        assert ledger.dead_letters(0, 1)[0].reason == 'a reason'


class TestSweeping:
    def test_may_spare_what_workers_renew(self, ledger, real_or_fake):
        ledger.take('ready', 0, 'a worker')
        assert ledger.sweep(max_losses=3, spare_renewed=True) == 0
        assert ledger.sweep(max_losses=3) == 1
        assert waiting(real_or_fake) == [1, 2, 3]

    def test_tells_what_was_lost_by_whom_and_what_became_of_it(self, ledger):
        lost = []
        first = ledger.take('ready', 0, '?elsewhere:77:x:1')
        ledger.sweep(max_losses=1, tell=lost.append)
        taken = ledger.take('ready', 0, 'elsewhere:77:x:2')
        ledger.sweep(max_losses=1, tell=lost.append)
        assert lost == [(first.payload, 'elsewhere:77:x:1', True), (taken.payload, 'elsewhere:77:x:2', False)]

    def test_tells_no_more_than_a_few_of_very_many(self, conn):
        ledger = Queue('many', conn).ledger
        for number in range(60):
            ledger.enqueue(Call('a producer', number), (0, payload_of(number)))
            ledger.take('ready', 0, '')
        lost = []
        assert ledger.sweep(max_losses=3, tell=lost.append) == 60
        assert 0 < len(lost) < 30

    def test_asks_first_whether_the_living_had_the_chance_to_renew(self, ledger, real_or_fake):
        assert not ledger.may_sweep(LEASE)
        real_or_fake.set('default_swept', '%.3f 0' % server_ms(real_or_fake))
        assert ledger.may_sweep(LEASE)


class TestPermissions:
    def test_are_told_where_they_lack(self, queue):
        assert queue.ledger.denied() == []

    def test_are_named_with_their_keys(self, conn, redis_server):
        if int(conn.info('server')['redis_version'].split('.')[0]) < 7:
            pytest.skip('this server cannot tell')
        conn.acl_setuser('limited', enabled=True, nopass=True, commands=['+@all', '-hscan'], keys=['default*'])
        limited = redis_server.client(username='limited', password='any')
        denied = Queue('default', limited).ledger.denied()
        limited.close()
        limited.connection_pool.disconnect()
        conn.acl_deluser('limited')
        assert denied == [('hscan', 'default_leases'), ('hscan', 'default_losses')]


def test_another_client_makes_the_same_moves(ledger, queue, real_or_fake):
    held = ledger.caller.hold()
    taken = ledger.using(held).take('ready', LEASE, 'a worker')
    held.let_go()
    assert queue.ledger.release(taken.payload, (taken.token,))
    assert keys(real_or_fake) == ['default', 'default_enqueued', 'default_noti']
