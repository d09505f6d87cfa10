"""What the command shows of the black box, as an operator types it."""

import os
import signal
import sys

import pytest

from delayed.cli import Exit
from delayed.queue import Queue
from delayed.worker import PreforkedWorker
from waiting import DEADLINE, wait_until
from workers import task

linux = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


@linux
class TestTheStack:
    def test_of_a_running_task_is_shown_line_by_line(self, shell, lab, queue):
        program = lab.start_worker(PreforkedWorker(queue))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')

        def shown():
            out = shell.out('status', '--stack', str(program.pid))
            assert out.startswith('child %d\n  ' % pid)
            return 'in pass_gate\n' in out

        wait_until(shown, 'the stack')
        found = shell.json('status', '--stack', str(program.pid), '--json')
        assert (found['pid'], [child['pid'] for child in found['children']]) == (program.pid, [pid])

    def test_of_no_worker_says_so(self, shell):
        status, out, err = shell.run('status', '--stack', str(os.getpid()))
        assert (status, out) == (Exit.FAILED, '')
        assert 'is no worker' in err
        assert 'Traceback' not in err

    def test_of_a_process_that_is_gone_says_so(self, shell):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        status, _, err = shell.run('status', '--stack', str(pid))
        assert status == Exit.FAILED
        assert 'no process %d' % pid in err


@linux
class TestATaskThatHangs:
    def test_is_found_mended_and_run_again(self, shell, conn):
        """As README tells it."""
        shell.write('reports.py', """
            import time

            def build(name):
                while True:
                    time.sleep(1)  # it never ends
            """)
        shell.out('enqueue', 'reports:build', 'May', '--timeout', '2', '--queue', 'default')
        worker = shell.start('worker', 'myapp.tasks:queue', '--on-failure', 'set_aside')
        running, = wait_until(lambda: shell.json('status', '--queue', 'default')['queues'][0]['tasks'], 'the task')
        assert running['function'] == 'reports.build'
        wait_until(lambda: 'line 6 in build' in shell.run('status', '--stack', str(running['pid']))[1], 'the line')
        letter, = wait_until(lambda: shell.json('dead', 'list', '--queue', 'default')['dead'], 'the end of its time')
        assert letter['reason'] == 'it timed out'
        assert 'line 6 in build' in shell.out('dead', 'show', letter['id'], '--queue', 'default')
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(DEADLINE) == 0
        shell.write('reports.py', """
            def build(name):
                print('built', name)
            """)
        status, out, _ = shell.run('dead', 'replay', letter['id'], '--queue', 'default', '--delete')
        assert (status, out.splitlines()[0]) == (Exit.OK, 'built May')
        assert Queue('default', conn).dead_len() == 0


class TestADeadLetter:
    def test_shows_how_its_task_ended_and_where(self, shell, lab, queue):
        lab.drain(PreforkedWorker(queue, on_crash='requeue', max_losses=1), queue, task('abort'))
        letter, = queue.dead()
        out = shell.out('dead', 'show', letter.id, '--queue', 'default')
        assert 'crashed after ' in out
        assert 'in abort\n' in out
        outcome = shell.json('dead', 'show', letter.id, '--queue', 'default')['outcome']
        assert (outcome['outcome'], outcome['signal']) == ('crashed', 6)

    def test_is_listed_with_its_reason_however_long_reason_and_record_are(self, shell, lab, queue):
        lab.drain(PreforkedWorker(queue), queue, task('broken_module_with_much_to_say.f'))
        listed, = shell.json('dead', 'list', '--queue', 'default')['dead']
        assert listed['function'] == 'broken_module_with_much_to_say.f'
        assert listed['reason'].startswith('it cannot be loaded (RuntimeError: """"')
        assert len(queue.dead()[0].outcome.stack) == 8000


class TestTheWorker:
    def test_takes_limits_of_each_task(self, shell, conn, queue):
        shell.write('limited.py', """
from resource import RLIMIT_CPU, RLIMIT_DATA, getrlimit
from myapp.tasks import queue

def limits():
    queue.ledger.caller.command('SET', 'limits', '%d %d' % (getrlimit(RLIMIT_CPU)[0], getrlimit(RLIMIT_DATA)[0]))
""")
        queue.enqueue(task('limited.limits'))
        process = shell.start('worker', '--queue', 'default', '--task-max-cpu', '1000', '--task-max-memory', '900')
        limits = wait_until(lambda: conn.get('limits'), 'the task')
        process.terminate()
        process.wait()
        cpu, memory = map(int, limits.split())
        assert 1000 <= cpu <= 1010
        assert memory == 900 << 20
