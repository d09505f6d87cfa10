"""The ledger's scripts against a model of them. See the package `model`.

`DELAYED_MODEL=long` searches further, for some minutes.
"""

import os

import pytest

pytest.importorskip('hypothesis')

from hypothesis import HealthCheck, settings  # noqa: E402
from hypothesis.stateful import run_state_machine_as_test  # noqa: E402

from delayed import _ledger  # noqa: E402
from model.casts import CASTS, FAULTS, LARGE_CASTS, LONG_CASTS, arena_for  # noqa: E402
from model.machine import LedgerMachine  # noqa: E402
from model.search import Search  # noqa: E402

#: A search that goes on for longer than this is broken off; that happens to the longest of the long ones alone.
MOST_WORLDS = 300_000
LONG = os.environ.get('DELAYED_MODEL') == 'long'
SETTINGS = settings(deadline=None, derandomize=not LONG, max_examples=3000 if LONG else 25,
                    stateful_step_count=60, suppress_health_check=list(HealthCheck), print_blob=True)


def search(conn, cast, sources={}):  # noqa: B006
    return Search(arena_for(conn, cast, sources), cast).run(MOST_WORLDS)


class TestEveryInterleaving:
    @pytest.mark.parametrize('name', [
        *CASTS, *(pytest.param(name, marks=pytest.mark.long) for name in LARGE_CASTS), *list(LONG_CASTS) * LONG])
    def test_keeps_each_promise(self, conn, name):
        found = search(conn, {**CASTS, **LARGE_CASTS, **LONG_CASTS}[name])
        assert not found.broken, 'after: ' + ', '.join(found.path)


class TestTheSearch:
    @pytest.mark.parametrize('name', FAULTS)
    def test_finds(self, conn, name):
        fault = FAULTS[name]
        assert search(conn, fault.cast, fault.sources()).broken


@pytest.mark.parametrize('batch', [2, 500][:1 + LONG])
def test_whatever_is_called_does_what_the_reference_does(conn, monkeypatch, batch):
    monkeypatch.setattr(_ledger, 'MOST_TASKS', batch)
    run_state_machine_as_test(lambda: LedgerMachine(conn), settings=SETTINGS)
