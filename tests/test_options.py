"""Options with their unit, default and environment variable."""

import argparse

import pytest

from delayed.commands._options import described, flag, is_typed, natural, option, positive, seconds
from delayed.errors import InvalidArgument


def parse(add, *argv):
    """What an option named --value is, and its help. `add(parser)` adds it."""
    parser = described(argparse.ArgumentParser, 'Does it.', '\n  %(prog)s\n', prog='it', exit_on_error=False)
    add(parser)
    return parser.parse_args(argv).value, ' '.join(parser.format_help().split())


def with_seconds(parser):
    option(parser, '--value', type=seconds, metavar='SECONDS', default=60.0, env='IT', help='wait so long')


def with_many(parser):
    option(parser, '--value', metavar='NAME', env='IT', many=True, help='a name')


def with_choices(parser):
    option(parser, '--value', choices=('text', 'json'), default='text', env='IT', help='the format')


class TestAnOption:
    def test_tells_unit_default_and_variable(self):
        value, help = parse(with_seconds)
        assert value == 60
        assert '--value SECONDS wait so long (default: 60.0; environment: IT)' in help

    def test_tells_the_same_default_where_the_variable_is_set(self, monkeypatch):
        monkeypatch.setenv('IT', '5')
        value, help = parse(with_seconds)
        assert value == 5
        assert '(default: 60.0; environment: IT)' in help

    def test_is_what_was_typed_before_all_else(self, monkeypatch):
        monkeypatch.setenv('IT', 'wrong')
        assert parse(with_seconds, '--value', '7')[0] == 7

    def test_refuses_what_the_variable_holds_and_names_it(self, monkeypatch):
        monkeypatch.setenv('IT', 'soon')
        with pytest.raises(argparse.ArgumentError) as caught:
            parse(with_seconds)
        assert "the environment variable IT must be a number of seconds, not 'soon'" in str(caught.value)

    @pytest.mark.parametrize('text', ['0', '-1', 'nan', 'inf', 'x', ''])
    def test_of_seconds_takes_a_finite_number_above_0(self, text):
        with pytest.raises(argparse.ArgumentError):
            parse(with_seconds, '--value=' + text)

    @pytest.mark.parametrize('convert, good, bad', [(positive, '1', '0'), (natural, '0', '-1'), (positive, '9', '1.5')])
    def test_of_whole_numbers_takes_them_alone(self, convert, good, bad):
        assert convert(good) == int(good)
        with pytest.raises(argparse.ArgumentTypeError):
            convert(bad)

    def test_may_be_given_several_times(self, monkeypatch):
        assert parse(with_many)[0] == []
        assert parse(with_many, '--value', 'a', '--value', 'b')[0] == ['a', 'b']
        monkeypatch.setenv('IT', 'c d')
        assert parse(with_many)[0] == ['c', 'd']
        assert parse(with_many, '--value', 'a', '--value', 'b')[0] == ['a', 'b']

    def test_may_have_choices_that_hold_for_the_variable_too(self, monkeypatch):
        assert parse(with_choices, '--value', 'json')[0] == 'json'
        monkeypatch.setenv('IT', 'yaml')
        with pytest.raises(argparse.ArgumentError, match="the environment variable IT must be one of text, json"):
            parse(with_choices)

    def test_knows_whether_it_was_typed(self, monkeypatch):
        assert is_typed(parse(with_many, '--value', 'a')[0][0])
        monkeypatch.setenv('IT', 'c')
        assert not is_typed(parse(with_many)[0][0])


class TestAFlag:
    @staticmethod
    def add(parser):
        flag(parser, '--value', env='IT', help='do it')

    @pytest.mark.parametrize('text, value', [('1', True), ('Yes', True), ('0', False), ('', False), ('off', False)])
    def test_has_a_variable(self, text, value, monkeypatch):
        monkeypatch.setenv('IT', text)
        assert parse(self.add)[0] is value
        assert parse(self.add, '--value')[0] is True

    def test_refuses_any_other_text(self, monkeypatch):
        monkeypatch.setenv('IT', 'maybe')
        with pytest.raises(InvalidArgument, match="variable IT must be one of 1, true, .*, not 'maybe'"):
            parse(self.add)
