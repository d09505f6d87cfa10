"""Log lines as JSON."""

import json
import logging
import sys

from delayed._json_lines import JsonLines


def line(message='%s has ended', args=('task 1',), exc_info=None, **fields):
    record = logging.LogRecord('delayed.logger', logging.WARNING, '/x/worker.py', 17, message, args, exc_info)
    record.created, record.msecs, record.process = 1700000000.25, 250.0, 4711
    vars(record).update(fields)
    text = JsonLines().format(record)
    assert '\n' not in text
    return json.loads(text)


def test_tell_when_where_and_what():
    assert line() == {'time': '2023-11-14T22:13:20.250Z', 'level': 'WARNING', 'message': 'task 1 has ended',
                      'pid': 4711, 'module': 'worker', 'line': 17}


def test_have_the_fields_that_the_record_was_given():
    assert line(task=5, seconds=0.25)['task'] == 5


def test_hold_what_is_no_json_as_text():
    assert line(func=len)['func'] == repr(len)


def test_hold_a_traceback_in_one_line():
    try:
        raise ValueError('on\npurpose')
    except ValueError:
        error = line(exc_info=sys.exc_info())['error']
    assert error.startswith('Traceback') and error.endswith('ValueError: on\npurpose')
