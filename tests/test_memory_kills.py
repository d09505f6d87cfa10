"""Whether a kill was the kernel's, for want of memory."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from delayed import _memory_kills
from delayed._memory_kills import MemoryKills
from waiting import wait_until
from workers import report, run_worker, task

_LIMIT = 150_000_000  # bytes


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A system with the files that the test writes."""
    monkeypatch.setattr(_memory_kills, '_CGROUPS', tmp_path / 'cgroup')
    monkeypatch.setattr(_memory_kills, '_ITS_OWN', tmp_path / 'own')
    monkeypatch.setattr(_memory_kills, '_OF_THE_MACHINE', tmp_path / 'vmstat')

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


class TestTheCount:
    @pytest.mark.parametrize(('own', 'counter'), [
        ('0::/a/b\n', 'cgroup/a/b/memory.events'),
        ('0::/elsewhere\n', 'cgroup/memory.events'),  # a container sees its own group as the root
        ('5:cpu,memory:/a\n0::/\n', 'cgroup/memory/a/memory.oom_control'),
        ('5:memory:/elsewhere\n', 'cgroup/memory/memory.oom_control'),
        ('', 'vmstat'),
        ('5:cpu:/a\n', 'vmstat'),
    ])
    def test_of_each_kind_of_control_group_is_found(self, system, own, counter):
        system('own', own)
        system(counter, 'oom_kill_disable 0\noom_kill 7\n')
        kills = MemoryKills()
        assert 'not by the kernel' in kills.why_killed()
        system(counter, 'oom_kill_disable 0\noom_kill 9\n')
        assert 'by the kernel for memory, most likely: it counts 2 ' in kills.why_killed()
        assert 'not by the kernel' in kills.why_killed()

    def test_that_nobody_can_read_leaves_it_open(self, system):
        assert 'perhaps' in MemoryKills().why_killed()

    def test_that_cannot_be_read_any_more_leaves_it_open(self, system, tmp_path):
        system('vmstat', 'oom_kill 0\n')
        kills = MemoryKills()
        (tmp_path / 'vmstat').unlink()
        assert 'perhaps' in kills.why_killed()


@pytest.fixture
def memory_group():
    """A control group with little memory: the function puts the calling process into it."""
    own = next((path for path in _memory_kills._counters() if path.name != 'vmstat' and path.exists()), None)
    if own is None:
        pytest.skip('no control group counts here')
    group = own.parent / ('delayed-test-%d' % os.getpid())
    limit = group / ('memory.limit_in_bytes' if own.name == 'memory.oom_control' else 'memory.max')
    try:
        group.mkdir()
        limit.write_text(str(_LIMIT))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip('no memory group can be made here: %s' % error)
    for swap in ('memory.memsw.limit_in_bytes', 'memory.swap.max'):
        with contextlib.suppress(OSError):
            (group / swap).write_text(str(_LIMIT) if 'memsw' in swap else '0')
    try:
        yield lambda: (group / 'cgroup.procs').write_text(str(os.getpid()))
    finally:
        wait_until(lambda: _removed(group), 'the removal of the group')


def _removed(group: Path):
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def tell(task, kill_signal, exc_info):
    report('killed', kill_signal, task.outcome.note, task.outcome.peak_rss)


class TestAKill:
    def test_by_the_kernel_for_memory_is_told_as_such(self, lab, queue, worker_class, memory_group):
        def program():
            memory_group()
            run_worker(worker_class(queue, error_handler=tell))

        for each in (task('take_memory', 400), task('run'), task('stop_worker')):
            queue.enqueue(each)
        started = lab.start(program)
        assert started.wait() == 0
        signum, note, peak_rss = lab.expect('killed')
        assert signum == signal.SIGKILL
        assert note.startswith('killed by the kernel for memory, most likely')
        assert _LIMIT / 2 < peak_rss < 2 * _LIMIT
        assert lab.reports('ran') == [[[], {}]]
        started.await_last()

    def test_from_outside_is_told_as_such(self, lab, queue, worker_class):
        program = lab.start_worker(worker_class(queue, error_handler=tell))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        os.kill(pid, signal.SIGKILL)
        assert 'from outside' in lab.expect('killed')[1]
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
