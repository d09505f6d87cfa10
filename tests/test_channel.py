"""Whole messages over a pipe, however little of one it takes at a time."""

import contextlib
import os
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delayed import constants
from delayed._channel import Reader, Writer

LENGTH = struct.Struct('=I')


@pytest.fixture
def pipe():
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            pass


def fill(pipe_end):
    try:
        while os.write(pipe_end, b'x' * 4096):
            pass
    except BlockingIOError:
        pass


class TestWriter:
    @pytest.mark.parametrize('size', [0, 1, 70, 65531])
    def test_sends_the_length_in_native_order_and_then_the_message(self, pipe, size):
        writer = Writer(pipe[1])
        writer.send(b'm' * size)
        assert not writer.pending
        assert os.read(pipe[0], 1 << 20) == LENGTH.pack(size) + b'm' * size

    def test_keeps_what_a_full_pipe_does_not_take(self, pipe):
        message = os.urandom(1_000_000)
        writer = Writer(pipe[1])
        writer.send(message)
        received = b''
        while writer.pending:
            received += os.read(pipe[0], 1 << 20)
            writer.flush()
        received += os.read(pipe[0], 1 << 20)
        assert received == LENGTH.pack(len(message)) + message

    def test_waits_where_not_one_byte_fits(self, pipe):
        fill(pipe[1])
        writer = Writer(pipe[1])
        writer.send(b'message')
        assert writer.pending
        os.read(pipe[0], 1 << 20)
        writer.flush()
        assert not writer.pending

    def test_says_that_nobody_reads_any_more(self, pipe):
        os.close(pipe[0])
        with pytest.raises(BrokenPipeError):
            Writer(pipe[1]).send(b'message')

    def test_gives_up_the_rest_when_it_is_told_to(self, pipe):
        writer = Writer(pipe[1])
        writer.send(b'm' * 1_000_000)
        writer.drop()
        assert not writer.pending
        writer.flush()

    def test_flushes_nothing_where_nothing_is_pending(self, pipe):
        Writer(pipe[1]).flush()
        with pytest.raises(BlockingIOError):
            os.read(pipe[0], 1)


class TestReader:
    @given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 500), min_size=1), st.booleans())
    @settings(max_examples=50, deadline=None)
    def test_finds_the_messages_in_whatever_pieces_they_come(self, messages, sizes, many):
        stream = b''.join(LENGTH.pack(len(message)) + message for message in messages)
        read_end, write_end = os.pipe()
        try:
            reader, found, number = Reader(read_end), [], 0
            while stream:
                size = sizes[number % len(sizes)]
                os.write(write_end, stream[:size])
                stream, number = stream[size:], number + 1
                assert reader.fill()
                found += reader.messages() if many else iter(reader.next, None)
            assert found == messages
        finally:
            os.close(read_end)
            os.close(write_end)

    @pytest.mark.parametrize('part', [b'', b'\1', LENGTH.pack(5), LENGTH.pack(5) + b'four'])
    def test_has_no_message_before_it_is_whole(self, pipe, part):
        os.write(pipe[1], part)
        reader = Reader(pipe[0])
        if part:
            assert reader.fill()
        assert reader.next() is None
        assert reader.messages() == []
        with pytest.raises(BlockingIOError):
            reader.fill()

    @pytest.mark.parametrize('part', [b'', b'\1', LENGTH.pack(5), LENGTH.pack(5) + b'four'])
    def test_ends_with_the_pipe_and_forgets_a_message_that_was_cut_off(self, pipe, part):
        os.write(pipe[1], part)
        os.close(pipe[1])
        reader = Reader(pipe[0])
        assert reader.receive() is None
        assert reader.receive_all() == []

    @pytest.mark.parametrize('receive', [Reader.receive, lambda reader: reader.receive_all()[0]])
    def test_waits_for_a_whole_message(self, pipe, receive):
        os.set_blocking(pipe[0], True)
        message = os.urandom(1_000_000)
        received = []
        thread = threading.Thread(target=lambda: received.append(receive(Reader(pipe[0]))))
        thread.start()
        os.set_blocking(pipe[1], True)
        Writer(pipe[1]).send(message)
        thread.join()
        assert received == [message]

    def test_receives_all_that_have_come(self, pipe):
        reader = Reader(pipe[0])
        os.write(pipe[1], (LENGTH.pack(2) + b'ab') * 2 + LENGTH.pack(3) + b'c')
        assert reader.receive_all() == [b'ab', b'ab']
        os.write(pipe[1], b'de')
        assert reader.receive_all() == [b'cde']

    @pytest.mark.parametrize('messages', [[b'alone'], [b''], [b'', b''], [b'two', b'of them']])
    @pytest.mark.parametrize('first', [1, 3, 4, 6, 100])
    def test_receives_all_in_whatever_pieces_they_come(self, pipe, messages, first):
        data = b''.join(LENGTH.pack(len(each)) + each for each in messages)
        reader, received = Reader(pipe[0]), []
        for piece in filter(None, (data[:first], data[first:])):
            os.write(pipe[1], piece)
            with contextlib.suppress(BlockingIOError):  # what has come is no whole message
                received += reader.receive_all()
        assert received == messages
        assert not reader.holds_part

    def test_reads_as_much_at_once_as_buf_size_says_at_that_time(self, pipe, monkeypatch):
        reader = Reader(pipe[0])
        os.write(pipe[1], LENGTH.pack(2) + b'ab')
        monkeypatch.setattr(constants, 'BUF_SIZE', 5)
        reader.fill()
        assert reader.next() is None
        reader.fill()
        assert reader.next() == b'ab'

    def test_refuses_a_message_that_claims_to_be_too_long(self, pipe):
        reader = Reader(pipe[0], most=100)
        os.write(pipe[1], b'a task wrote this into a pipe that is not its own')
        reader.fill()
        with pytest.raises(ValueError, match='bytes'):
            reader.messages()
        reader.drop()
        assert reader.messages() == []

    def test_gives_what_came_before_such_a_message(self, pipe):
        reader = Reader(pipe[0], most=100)
        os.write(pipe[1], LENGTH.pack(2) + b'ab' + LENGTH.pack(1000))
        reader.fill()
        assert reader.messages() == [b'ab']
        with pytest.raises(ValueError, match='bytes'):
            reader.messages()
