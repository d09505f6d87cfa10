"""docs/operations.md against the code."""

import re
from pathlib import Path

import delayed
from delayed.commands._exit import Exit

PACKAGE = Path(delayed.__file__).parent
OPERATIONS = (PACKAGE.parent / 'docs' / 'operations.md').read_text('utf-8')


def first_cells(heading, column=0):
    table = re.search(r'^\| %s \|.*\n\|[ |-]+\n((?:\|.*\n)+)' % heading, OPERATIONS, re.MULTILINE)[1]
    return [row.strip('|').split(' | ')[column].strip(' `') for row in table.splitlines()]


def test_exit_statuses_are_those_that_there_are():
    assert list(zip(map(int, first_cells('Status')), first_cells('Status', 1))) == [
        (int(status), status.name) for status in Exit]


def test_checks_are_those_that_the_doctor_makes():
    made = set()
    for path in (PACKAGE / 'commands').glob('*.py'):
        text = path.read_text('utf-8')
        made.update(re.findall(r"Finding\(\s*'(\w+)'", text))
        made.update(re.findall(r"\('(\w+)', len\(places\.", text))
    assert set(first_cells('Check')) == made


def test_environment_variables_are_those_that_there_are():
    code = ''.join(path.read_text('utf-8') for path in (PACKAGE / 'commands').glob('*.py'))
    assert set(re.findall(r'DELAYED_[A-Z_]+', OPERATIONS)) <= set(re.findall(r'DELAYED_[A-Z_]+', code))
