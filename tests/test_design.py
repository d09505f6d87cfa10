"""docs/design.md against the code: its drawings, its tables, its map of the modules."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from delayed._attempt import ESCALATE, Attempt, Cause, State, Verdict, judge
from delayed._keys import QueueKeys
from delayed._ledger import Ledger
from delayed._page import Outcome, Step

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'delayed'
DESIGN = (ROOT / 'docs' / 'design.md').read_text('utf-8')


def rows(*first_headings):
    """The cells of the table whose first columns have these headings."""
    head = re.escape('| %s |' % ' | '.join(first_headings))
    table = re.search(r'^%s.*\n\|[ |-]+\n((?:\|.*\n)+)' % head, DESIGN, re.MULTILINE)[1]
    return [[cell.strip() for cell in row.strip('|').split(' | ')] for row in table.splitlines()]


def names(cell):
    return re.findall(r'`(\S+?)`', cell)


def arrows(drawing):
    """{(from, to, method)} of the drawing with this number."""
    text = re.findall(r'```mermaid\n(.*?)```', DESIGN, re.DOTALL)[drawing]
    return {(start, end, method) for start, end, methods in re.findall(r'(\S+) --> (\S+): (.+)', text)
            for method in methods.split(', ')}


class TestDrawings:
    def test_name_a_method_of_the_ledger_at_each_arrow_of_a_task(self):
        assert all(callable(getattr(Ledger, method)) for _, _, method in arrows(0))

    def test_name_a_method_of_the_attempt_at_each_arrow_of_its_states(self):
        assert all(method == 'Attempt' or callable(getattr(Attempt, method)) for _, _, method in arrows(1))

    def test_have_the_arrows_that_the_code_has(self):
        ticks = {(start.name, end.name, 'tick') for start, (end, _) in ESCALATE.items()}
        assert {arrow for arrow in arrows(1) if arrow[2] == 'tick'} == ticks
        assert {state.name for state in State} == {end for _, end, _ in arrows(1)}


class TestTables:
    def test_of_keys_has_those_that_are_built(self):
        keys = QueueKeys('NAME')
        built = {'NAME', keys.producer('ID')} | {getattr(keys, name) for name, value in vars(QueueKeys).items()
                                                 if isinstance(value, property)}
        assert {name for row in rows('Key') for name in names(row[0])} == built

    def test_of_scripts_has_those_that_are_shipped(self):
        shipped = {path.stem for path in (PACKAGE / 'lua').glob('*.lua')} - {'common'}
        assert {name for row in rows('Script') for name in names(row[0])} == shipped

    def test_of_steps_has_them_in_their_order(self):
        assert [name for row in rows('Step', 'Set when') for name in names(row[0])] == [step.name for step in Step]


class TestJudgements:
    TABLE = rows('Step', 'Outcome')

    def test_are_what_the_code_says(self):
        for step, outcome, cause, on_crash in itertools.product(Step, Outcome, [None, *Cause], ['fail', 'requeue']):
            facts = step.name, outcome.name, cause.name if cause else 'none', on_crash
            assert judge(step, outcome, cause, on_crash == 'requeue') is self.look_up(facts), facts

    def look_up(self, facts):
        """The verdict of the first row that fits."""
        for *cells, verdict in self.TABLE:
            if all(cell == 'any' or fact in (names(cell) or [cell]) for cell, fact in zip(cells, facts)):
                return Verdict[names(verdict)[0]]
        return pytest.fail('no row fits %s' % (facts,))


class TestModules:
    MAP = [name for row in rows('Module') for name in names(row[0])]

    def test_are_all_on_the_map(self):
        modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob('*.py')}
        assert sorted(self.MAP) == sorted(name for name in modules if not name.endswith('__init__.py'))

    @pytest.mark.parametrize('name', MAP)
    def test_import_only_what_stands_above_them(self, name):
        above = self.MAP[:self.MAP.index(name)]
        for node in ast.walk(ast.parse((PACKAGE / name).read_text('utf-8'))):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert {*self.imported(name, node)} <= {*above, '__init__.py'}

    def imported(self, name, node):
        """The modules that a relative import of the module `name` gets."""
        folder = [*Path(name).parent.parts][:len(Path(name).parent.parts) - node.level + 1]
        base = PACKAGE.joinpath(*folder, *(node.module or '').split('.'))
        for alias in node.names:
            path = next(path for path in (base / (alias.name + '.py'), base.with_suffix('.py'), base / '__init__.py')
                        if path.exists())
            yield str(path.relative_to(PACKAGE))
