"""Who signed a payload, and for which queue."""

import hashlib
import hmac
import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delayed._signature import Signer, is_signed, pickle_in
from delayed.errors import InvalidArgument, Refused, WrongType

SECRET, OTHER = 's' * 32, b'other ' * 6
# What the first release that signs made of b'pickle' for the queue named `default`.
KNOWN = bytes.fromhex('d544533124fac7599992abcf99dab2fedba0883dd828846e4d8df08bc2cd0d7191782893') + b'pickle'
HEADER = 36


def refusal(signer, payload):
    with pytest.raises(Refused) as caught:
        signer.verified(payload)
    assert caught.value.payload == payload
    return str(caught.value)


class TestASigner:
    def test_signs_as_is_documented(self):
        key = hmac.new(SECRET.encode(), b'delayed payload 1\0default', hashlib.sha256).digest()
        assert Signer('default', SECRET).sign(b'pickle') == b'\xd5DS1' + hmac.new(
            key, b'pickle', hashlib.sha256).digest() + b'pickle'

    def test_signs_as_it_always_did(self):
        assert Signer('default', SECRET).sign(b'pickle') == KNOWN

    @given(st.binary())
    def test_knows_again_what_it_signed(self, pickled):
        payload = Signer('default', SECRET).sign(pickled)
        assert is_signed(payload)
        assert pickle_in(payload) == pickled
        assert Signer('default', SECRET.encode()).verified(payload) == pickled

    @given(st.integers(0, len(KNOWN) * 8 - 1))
    def test_refuses_a_payload_of_which_one_bit_was_changed(self, bit):
        changed = bytearray(KNOWN)
        changed[bit // 8] ^= 1 << bit % 8
        refusal(Signer('default', SECRET), bytes(changed))

    @pytest.mark.parametrize('length', range(len(KNOWN)))
    def test_refuses_a_payload_that_was_cut_off(self, length):
        refusal(Signer('default', SECRET), KNOWN[:length])

    @pytest.mark.parametrize('payload', [KNOWN + b'.', KNOWN[:4] + KNOWN, KNOWN[HEADER:], KNOWN[:HEADER], b''])
    def test_refuses_a_payload_that_was_made_longer_or_shorter(self, payload):
        refusal(Signer('default', SECRET), payload)

    def test_refuses_that_of_another_queue(self):
        assert 'another queue' in refusal(Signer('default2', SECRET), KNOWN)

    def test_refuses_that_of_another_secret(self):
        assert 'another secret' in refusal(Signer('default', OTHER), KNOWN)

    def test_refuses_one_that_is_not_signed(self):
        assert refusal(Signer('default', SECRET), b'pickle') == 'it is not signed'

    def test_signs_with_the_first_secret_and_accepts_each(self):
        both = Signer('default', [OTHER, SECRET])
        assert both.sign(b'pickle') == Signer('default', OTHER).sign(b'pickle')
        assert both.verified(KNOWN) == both.verified(both.sign(b'pickle')) == b'pickle'

    def test_shows_no_secret(self):
        assert SECRET not in repr(Signer('default', SECRET))
        with pytest.raises(InvalidArgument) as caught:
            Signer('default', ['short', SECRET])
        assert 'short' not in str(caught.value)

    def test_takes_any_name_of_a_queue(self):
        signer = Signer('\udc80 \N{SNOWMAN}', SECRET)
        assert signer.verified(signer.sign(b'pickle')) == b'pickle'


class TestWithoutASecret:
    @pytest.mark.parametrize('secret', [None, False])
    def test_payloads_stay_as_they_are(self, secret):
        signer = Signer('default', secret)
        assert not signer.signs
        assert signer.sign(b'pickle') == signer.verified(b'pickle') == b'pickle'

    def test_signed_ones_are_refused_with_the_remedy(self):
        assert 'DELAYED_SECRET' in refusal(Signer('default'), KNOWN)


class TestTheSecret:
    def test_may_come_from_the_environment(self, monkeypatch):
        monkeypatch.setenv('DELAYED_SECRET', '%s\n %s' % (SECRET, OTHER.decode().replace(' ', '-')))
        assert Signer('default').sign(b'pickle') == KNOWN
        rotated = Signer('default', OTHER.decode().replace(' ', '-'))
        assert Signer('default').verified(rotated.sign(b'pickle')) == b'pickle'

    def test_of_the_environment_gives_way_to_one_that_is_given(self, monkeypatch):
        monkeypatch.setenv('DELAYED_SECRET', 'e' * 32)
        assert Signer('default', SECRET).sign(b'pickle') == KNOWN
        assert not Signer('default', False).signs

    @pytest.mark.parametrize('value', ['', '  ', 'short', SECRET + ' short'])
    def test_of_the_environment_must_be_long_enough(self, monkeypatch, value):
        monkeypatch.setenv('DELAYED_SECRET', value)
        with pytest.raises(InvalidArgument, match='DELAYED_SECRET has . bytes.*token_urlsafe'):
            Signer('default')

    @pytest.mark.parametrize('secret', ['', b'', [], 's' * 31, b's' * 31, [SECRET, '']])
    def test_must_be_long_enough(self, secret):
        with pytest.raises(InvalidArgument, match='token_urlsafe'):
            Signer('default', secret)

    @pytest.mark.parametrize('secret', [0, 32, True, [SECRET, None], {SECRET: 1}, bytearray(32)])
    def test_must_be_text_or_bytes(self, secret):
        with pytest.raises(WrongType, match='secret must be'):
            Signer('default', secret)


class TestAcceptUnsignedUntil:
    @pytest.mark.parametrize('moment', [
        lambda: time.time() + 600, lambda: int(time.time()) + 600,
        lambda: datetime.now(timezone(timedelta(hours=5))) + timedelta(minutes=10)])
    def test_accepts_unsigned_payloads_and_signs_itself(self, moment):
        signer = Signer('default', SECRET, moment())
        assert signer.verified(b'pickle') == signer.verified(KNOWN) == b'pickle'
        assert signer.sign(b'pickle') == KNOWN

    def test_refuses_wrong_signatures_all_the_same(self):
        refusal(Signer('default', OTHER, time.time() + 600), KNOWN)

    def test_ends_at_that_moment(self, monkeypatch):
        now = 1_900_000_000.0
        monkeypatch.setattr(time, 'time', lambda: now)
        for signer in (Signer('default', SECRET, now), Signer('default', SECRET, datetime.fromtimestamp(
                now, timezone.utc))):
            refusal(signer, b'pickle')
        assert Signer('default', SECRET, now + 0.001).verified(b'pickle') == b'pickle'

    @pytest.mark.parametrize(('moment', 'words'), [
        (datetime(2030, 1, 31), 'time zone'), (float('inf'), 'finite'), (float('nan'), 'finite')])
    def test_names_one_moment(self, moment, words):
        with pytest.raises(InvalidArgument, match=words):
            Signer('default', SECRET, moment)

    @pytest.mark.parametrize('moment', ['2030-01-31', True, timedelta(1)])
    def test_is_a_moment(self, moment):
        with pytest.raises(WrongType, match='accept_unsigned_until'):
            Signer('default', SECRET, moment)

    def test_makes_no_sense_without_a_secret(self):
        with pytest.raises(InvalidArgument, match='without a secret'):
            Signer('default', None, time.time() + 600)
