"""Tables, texts and JSON as commands print them."""

import io

import pytest

from delayed.commands._output import printable, say, say_json, table

HEADS = 'queue', 'waiting', 'why'
ROWS = [('default', '12', 'it cannot be read'), ('a-queue-with-a-long-name', '1,000', 'lost')]


class TestATable:
    def test_aligns_texts_left_and_numbers_right(self):
        assert table(HEADS, ROWS) == [
            'queue                     waiting  why',
            'default                        12  it cannot be read',
            'a-queue-with-a-long-name    1,000  lost',
        ]

    def test_takes_durations_for_numbers(self):
        assert table(['wait'], [['2m03s'], ['>1s'], ['?'], ['-']]) == [' wait', '2m03s', '  >1s', '    ?', '    -']

    def test_cuts_the_widest_cells_to_fit_and_never_numbers(self):
        assert table(HEADS, ROWS, 40) == [
            'queue           waiting  why',
            'default              12  it cannot be...',
            'a-queue-wit...    1,000  lost',
        ]

    @pytest.mark.parametrize('columns', range(1, 60))
    def test_fits_any_width(self, columns):
        assert all(len(line) <= columns for line in table(HEADS, ROWS, columns))

    def test_without_rows_has_its_heads(self):
        assert table(HEADS, []) == ['queue  waiting  why']

    def test_keeps_to_one_line_and_does_not_command_the_terminal(self):
        assert table(['why'], [['a\n\x1b[2Jé']])[1] == 'a\\n\\x1b[2Jé'


def test_printable_text_stays_as_it_is():
    assert printable('größer → x') == 'größer → x'


def test_say_bears_any_encoding():
    stream = io.TextIOWrapper(io.BytesIO(), 'latin-1', newline='\n')
    say('größer →', stream)
    assert stream.buffer.getvalue() == 'größer \\u2192\n'.encode('latin-1')


def test_json_is_one_document(capsys):
    say_json({'a': [1, None]})
    say_json({'a': 'é'}, lines=True)
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    null\n  ]\n}\n{"a": "é"}\n'
