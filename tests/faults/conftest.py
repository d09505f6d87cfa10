"""Of the scenarios, one worker's are ordinary tests; the other one's run with the whole matrix."""

import pytest

from delayed import worker


@pytest.fixture(params=['PreforkedWorker', pytest.param('ForkedWorker', marks=pytest.mark.faults)])
def worker_class(request):
    return getattr(worker, request.param)
