"""Every step of a task's way, and everything that can happen there. The table is in table.py.

The ordinary run tries every 47th cell; `pytest -m 'long or not long' tests/faults`, or `make long`, tries all.
"""

import dataclasses
import os
import sys

import pytest

from delayed.errors import ServerNotFound

from . import page
from .faults import FAULTS
from .runner import Crew
from .steps import DEQUEUED, STEPS
from .table import cells, rows

LANES = 12  # cells wait far more than they work
CELLS = cells()
#: Of several queues none is waited for alone; and the empty one is swept first, at which these steps would be held.
SEVERAL = [dataclasses.replace(cell, several=True) for cell in CELLS
           if not cell.step.together and not cell.step.batch and not cell.step.name.startswith('lost before')]
#: By another engine than by default.
SINGLY = [dataclasses.replace(cell, singly=True) for cell in CELLS
          if cell.worker == 'PreforkedWorker' and not cell.step.batch]


@pytest.fixture(scope='module')
def crew(request):
    """Runs the chosen cells, in the order of the tests."""
    params = [item.callspec.params for item in request.session.items
              if item.module is request.module and hasattr(item, 'callspec')]
    chosen = [each.get('cell') or each['each_cell'] for each in params if 'cell' in each or 'each_cell' in each]
    crew = Crew(list(dict.fromkeys(chosen)), LANES)
    yield crew
    crew.close()


def check(crew, cell):
    error, _ = crew.result(cell)
    if isinstance(error, ServerNotFound) and not os.environ.get('CI'):
        pytest.skip(str(error))
    if error is not None:
        raise error


if sys.platform == 'linux':  # states of processes are read from /proc
    @pytest.mark.parametrize('cell', CELLS[::47], ids=str)
    def test_holds_at(crew, cell):
        check(crew, cell)

    @pytest.mark.parametrize('cell', SEVERAL[5::71] + SINGLY[7::71], ids=str)
    def test_holds_with_a_variant_at(crew, cell):
        check(crew, cell)

    @pytest.mark.long
    def test_each_holds_at(crew, each_cell):
        check(crew, each_cell)

    def pytest_generate_tests(metafunc):
        if 'each_cell' in metafunc.fixturenames:  # thousands, which are not even counted where they are not to run
            wanted = metafunc.config.option.markexpr != 'not long'
            metafunc.parametrize('each_cell', [*CELLS, *SEVERAL[::4], *SINGLY[::4]] if wanted else CELLS[:1], ids=str)


class TestTheTable:
    def test_names_each_step_once(self):
        assert len({step.name for step in STEPS}) == len(STEPS)

    @pytest.mark.parametrize('step, entries', rows(), ids=lambda value: getattr(value, 'name', ''))
    def test_allows_a_task_to_run_again_only_where_the_guarantee_does(self, step, entries):
        for fault, entry in zip(FAULTS, entries):
            if 'again' in entry.split('/'):
                assert requeues_by_choice(step) or may_run_again(step, fault), fault.name

    @pytest.mark.parametrize('step, entries', rows(), ids=lambda value: getattr(value, 'name', ''))
    def test_loses_replies_at_calls_alone(self, step, entries):
        assert (entries[-1] != '-') == step.calls

    def test_is_in_the_documentation_as_it_is_here(self):
        assert page.is_up_to_date(), 'run: python -m tests.faults --write'


def may_run_again(step, fault):
    """The guarantee: both its processes die after it has begun and before its release arrives, or its worker is frozen
    or cut off for longer than the lease."""
    dies = {'child': fault.kills in ('child', 'both') or step.childless,
            'monitor': fault.kills in ('monitor', 'both') or step.alone}
    if step.alone:  # its child is all that is left of its worker
        frozen = fault.freezes == 'child'
    else:
        frozen = fault.freezes in ('monitor', 'both')
    return step.place == DEQUEUED and (step.begun and all(dies.values()) or frozen or fault.name == 'worker cut off')


def requeues_by_choice(step):
    return 'on_crash' in step.name
