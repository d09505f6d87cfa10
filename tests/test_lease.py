"""A worker's hold on a payload. Its own clock counts in seconds from somewhere; the server's in Unix ms."""

import math

import pytest

from delayed._lease import Lease

SERVER = 1_763_904_000_000.5  # the server's clock when a worker's stands at 100
LEASE = 15


def token(seconds):
    """The token of a lease that ends so many seconds after a worker's clock stood at 100."""
    return b'%.3f' % (SERVER + seconds * 1000)


@pytest.fixture
def lease():
    return Lease(b'payload', (token(LEASE),), LEASE, 'holder', 100)


class TestALease:
    def test_is_renewed_every_third_of_it(self, lease):
        assert lease.due == 105
        lease.propose(105, LEASE)
        lease.renewed(105.5)
        assert lease.due == 110.5

    def test_in_full_is_never_renewed(self):
        lease = Lease(b'payload', (token(610),), None, '', 100)
        assert lease.due == math.inf
        lease.propose(105, 610)
        lease.renewed(105)
        assert lease.due == math.inf

    def test_is_renewed_later_where_redis_could_not_be_asked(self, lease):
        lease.retry(107)
        assert lease.due == 107


class TestAProposal:
    def test_ends_one_lease_from_now_by_the_servers_clock(self, lease):
        assert lease.propose(105, LEASE) == token(5 + LEASE)

    def test_may_be_of_any_length(self, lease):
        assert lease.propose(105, 700) == token(5 + 700)

    def test_counts_as_ours_beside_the_confirmed_token_for_its_reply_may_be_lost(self, lease):
        lease.propose(105, LEASE)
        assert lease.tokens == (token(15), token(20))

    def test_stays_the_same_until_a_reply_comes(self, lease):
        assert {lease.propose(moment, LEASE) for moment in (105, 106, 107)} == {token(20)}
        assert lease.tokens == (token(15), token(20))

    def test_is_the_only_token_when_it_was_accepted(self, lease):
        lease.propose(105, LEASE)
        lease.renewed(105)
        assert lease.tokens == (token(20),)
        assert lease.propose(110, LEASE) == token(25)

    def test_that_was_off_is_replaced_by_a_better_one_and_stays_possible(self, lease):
        lease.propose(105, LEASE)
        lease.correct(SERVER + 60_000, 105)
        assert lease.propose(105, LEASE) == token(60 + LEASE)
        assert lease.tokens == (token(15), token(20), token(75))

    def test_learns_the_servers_clock_where_no_token_tells_it(self):
        lease = Lease(b'payload', (), None, '', 100)
        lease.propose(105, LEASE)
        lease.correct(SERVER, 105)
        assert lease.propose(106, LEASE) == token(1 + LEASE)

    def test_of_an_outage_in_an_outage_leaves_the_confirmed_token_and_the_newest(self, lease):
        for second in range(100):
            newest = lease.propose(105 + second, LEASE)
            lease.correct(SERVER + second * 1000, 105 + second)
        assert (lease.tokens[0], lease.tokens[-1]) == (token(15), newest)
        assert len(lease.tokens) <= 8  # all of them have a place in a child's page
