"""Signals to a monitor, to its child, and to both: who heeds them, and whose handlers stay."""

import os
import signal
import socket
import sys
import threading
import time

import pytest

from delayed._page import Page
from delayed._shield import Shield
from delayed._stop import Stop
from delayed._wakeup import Wakeup
from delayed.queue import Queue
from delayed.task import Task
from waiting import wait_until
from workers import has_children, open_files, pass_gate, remains, report, run_worker, task, told

STOPPING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


class SlowToRead:
    """Reading it takes longer than a tenth of a second."""

    def __reduce__(self):
        return time.sleep, (0.11,)


def other(signum):
    return signal.SIGINT if signum == signal.SIGTERM else signal.SIGTERM


@pytest.fixture(params=STOPPING, ids=lambda signum: signum.name)
def signum(request):
    return request.param


class TestASignalToTheMonitor:
    def test_stops_it_when_the_running_task_is_finished(self, lab, queue, worker_class, signum):
        queue.enqueue(task('hold'))
        queue.enqueue(task('run', 'later'))
        program = lab.start_worker(told(worker_class, queue))
        lab.expect('holds')
        program.signal(signum)
        lab.open_gate()
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 1]]
        assert queue.len() == 1

    def test_stops_an_idle_one(self, lab, queue, worker_class, signum):
        program = lab.start_worker(worker_class(queue))
        queue.enqueue(task('run'))
        lab.expect('ran')
        program.signal(signum)
        assert program.wait() == 0

    def test_and_another_hand_the_running_task_back(self, lab, queue, conn, worker_class, signum):
        queue.enqueue(task('hold'))
        queue.enqueue(task('run', 'behind it'))
        program = lab.start_worker(told(worker_class, queue))
        lab.expect('holds')
        program.signal(signum)
        program.signal(other(signum))
        assert program.wait() == 0
        assert lab.reports() == []  # it has not failed
        lab.open_gate()
        lab.drain(told(worker_class, queue), queue)
        assert [kind for kind, *_ in lab.reports()] == ['holds', 'succeeded', 'ran', 'succeeded', 'succeeded']
        assert remains(conn) == set()

    def test_and_another_that_interrupts_its_handler_hand_the_running_task_back(
            self, lab, queue, worker_class, monkeypatch):
        def ask(stop, urgent=False):
            if not interrupted:
                interrupted.append(True)
                os.kill(os.getpid(), signal.SIGINT)
            original(stop, urgent)

        interrupted, original = [], Stop.ask
        monkeypatch.setattr(Stop, 'ask', ask)
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue))
        lab.expect('holds')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert queue.len() == 1

    def test_and_another_hand_back_a_task_that_heeds_no_signal(self, lab, queue, conn, worker_class):
        queue.enqueue(task('ignore', int(signal.SIGTERM)))
        program = lab.start_worker(told(worker_class, queue))
        lab.expect('ignores')
        program.signal(signal.SIGTERM)
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert lab.reports() == []
        assert queue.len() == 1
        assert remains(conn) == {b'default', b'default_noti', b'default_enqueued'}


class TestASignalToTheProcessGroup:
    """As Ctrl-C in a terminal, or what many a service manager does."""

    def test_stops_the_worker_and_leaves_the_task_alone(self, lab, queue, conn, worker_class, signum):
        queue.enqueue(task('hold'))
        program = lab.start_worker(told(worker_class, queue))
        lab.expect('holds')
        program.signal_group(signum)
        lab.open_gate()
        assert program.wait() == 0
        assert lab.reports() == [['succeeded', 1]]
        assert remains(conn) == set()

    def test_leaves_an_idle_child_alone(self, lab, queue, worker_class):
        program = lab.start(lambda: run_deaf(worker_class(queue)))
        queue.enqueue(task('run', 1))
        lab.expect('ran')
        program.signal_group(signal.SIGINT)
        queue.enqueue(task('run', 2))
        assert lab.expect('ran') == [[2], {}]
        assert lab.log('WARNING') == []


def run_deaf(worker):
    """Runs a worker in a program that does nothing at SIGINT."""
    signal.signal(signal.SIGINT, lambda *_: None)
    worker.run()


class TestASignalToTheChild:
    def test_by_somebody_else_does_not_end_the_task(self, lab, queue, worker_class, signum):
        program = lab.start_worker(told(worker_class, queue))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        os.kill(pid, signum)
        lab.open_gate()
        assert lab.expect('succeeded') == [1]
        queue.enqueue(task('stop_worker'))
        assert program.wait() == 0


class TestASignalByTheMonitor:
    def test_counts_even_if_it_came_before_the_child_could_heed_it(self, lab):
        def child():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            os.kill(os.getpid(), signal.SIGTERM)
            page = Page()
            page.asked_to_end = True
            Shield.of({signal.SIGTERM: signal.SIG_DFL}, {}).rise(page, mask, lambda: None)

        assert lab.start(child).wait() == -signal.SIGTERM


class TestATaskOutOfTime:
    def test_is_ended_by_sigterm(self, lab, queue, conn, worker_class):
        lab.drain(told(worker_class, queue), queue, task('time.sleep', 3600, timeout=0.1), task('run'))
        assert lab.reports('failed') == [[1, signal.SIGTERM, None, None, False]]
        assert lab.reports('ran') == [[[], {}]]
        assert remains(conn) == set()

    def test_is_ended_by_sigkill_if_it_ignores_sigterm(self, lab, queue, conn, worker_class):
        for timeout in (0.2, 2, 20):  # a slow machine takes its time until the task has come that far
            lab.drain(told(worker_class, queue, kill_timeout=0.1), queue,
                      task('ignore', int(signal.SIGTERM), timeout=timeout), task('run'))
            if lab.reports('ignores'):
                break
        assert [signum for _, signum, *_ in lab.reports('failed')][-1] == signal.SIGKILL
        assert lab.reports('ran')[-1] == [[], {}]
        assert remains(conn) == set()

    def test_is_ended_by_sigkill_if_it_does_not_let_go_of_the_interpreter(self, lab, queue, conn, worker_class):
        worker = told(worker_class, queue, kill_timeout=0.1)
        lab.drain(worker, queue, task('builtins.sum', range(10 ** 15), timeout=0.1))
        assert lab.reports('failed') == [[1, signal.SIGKILL, None, None, False]]
        assert remains(conn) == set()

    def test_is_ended_by_the_timeout_of_its_workers_queue_if_it_has_none(self, lab, conn, worker_class):
        Queue('default', conn).enqueue(task('time.sleep', 3600))
        Queue('default', conn).enqueue(task('time.sleep', 3600, timeout=0))
        mine = Queue('default', conn, default_timeout=0.2)
        lab.drain(told(worker_class, mine), mine)
        assert lab.reports('failed') == [[1, 15, None, None, False], [2, 15, None, None, False]]

    def test_whose_own_timeout_is_longer_is_given_time_to_be_read(self, lab, conn, worker_class):
        queue = Queue('default', conn, default_timeout=0.01)
        for name, args in (('run', (SlowToRead(),)), ('run', ()), ('stop_worker', ())):
            queue.enqueue(task(name, *args, timeout=3600))
        assert lab.start_worker(told(worker_class, queue)).wait() == 0
        assert len(lab.reports('ran')) == 2

    @pytest.mark.parametrize('timeout', [1e9, 1e12, 1e20, float(sys.maxsize), 1e300])
    def test_has_time_without_end_if_it_asks_for_it(self, lab, queue, conn, worker_class, timeout):
        lab.drain(told(worker_class, queue), queue, task('run', timeout=timeout))
        assert lab.reports() == [['ran', [], {}], ['succeeded', 1], ['succeeded', 2]]
        assert remains(conn) == set()


class TestTheProgramsOwnDispositions:
    def test_stay_and_are_its_childrens(self, lab, queue, worker_class, signum):
        def program():
            signal.signal(signum, handler)
            worker = worker_class(queue, success_handler=lambda _: report('in the child', is_mine()))
            run_worker(worker)
            report('after', is_mine())

        def handler(*_):
            report('mine')

        def is_mine():
            return signal.getsignal(signum) is handler

        queue.enqueue(task('kill_parent', int(signum)))
        queue.enqueue(task('kill_parent', int(other(signum))))
        assert lab.start(program).wait() == 0
        assert sorted(lab.reports()) == [['after', True], ['in the child', True], ['in the child', True], ['mine']]

    def test_ignored_stays_ignored(self, lab, queue, worker_class, signum):
        def program():
            signal.signal(signum, signal.SIG_IGN)
            worker = worker_class(queue)
            run_worker(worker)
            report('after', signal.getsignal(signum) is signal.SIG_IGN)

        for name, args in (('disposition', (int(signum),)), ('kill_parent', (int(signum),)), ('run', ()),
                           ('kill_parent', (int(other(signum)),))):
            queue.enqueue(task(name, *args))
        assert lab.start(program).wait() == 0
        assert lab.reports() == [['disposition', True], ['ran', [], {}], ['after', True]]

    def test_sigterm_ignored_leaves_a_task_out_of_time_to_sigkill(self, lab, queue, worker_class):
        def program():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            run_worker(told(worker_class, queue, kill_timeout=0.1))

        queue.enqueue(task('time.sleep', 3600, timeout=0.1))
        queue.enqueue(task('kill_parent', int(signal.SIGINT)))
        assert lab.start(program).wait() == 0
        assert lab.reports('failed') == [[1, signal.SIGKILL, None, None, False]]

    def test_a_handler_may_stop_the_worker(self, lab, queue, worker_class):
        def program():
            signal.signal(signal.SIGTERM, lambda *_: worker.stop())
            run_worker(worker)

        worker = told(worker_class, queue)
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert lab.reports() == [['succeeded', 1]]

    def test_a_handler_that_raises_hands_the_running_task_back_without_a_loss(self, lab, queue, conn, worker_class):
        class Left(BaseException):
            pass

        def leave(*_):
            raise Left

        def program():
            signal.signal(signal.SIGTERM, leave)
            before = open_files()
            with pytest.raises(Left):
                worker_class(queue, lease=6).run()
            assert open_files() == before
            assert not has_children()

        queue.enqueue(task('hold'))
        queue.enqueue(task('run'))
        program = lab.start(program)
        lab.expect('holds')
        leases = conn.hkeys('default_leases')
        # Later than any fork: what a handler raises in one, Python swallows.
        wait_until(lambda: conn.hkeys('default_leases') != leases, 'a renewal')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert not conn.exists('default_dequeued', 'default_leases', 'default_losses')
        assert [Task.deserialize(payload).id for payload in conn.lrange('default', 0, -1)] == [1, 2]

    def test_a_handler_that_raises_leaves_nothing_of_an_idle_worker(self, lab, queue, conn, worker_class):
        def program():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
            before = open_files()
            with pytest.raises(SystemExit):
                worker_class(queue).run()
            assert open_files() == before
            assert not has_children()

        program = lab.start(program)
        wait_until(lambda: conn.info('clients')['blocked_clients'], 'the wait for a task')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_wake_no_process_that_the_program_forks(self):
        """A file may have the number of the descriptor there."""
        wakeup = Wakeup()
        wakeup.heed_signals()
        pid = os.fork()
        if pid == 0:
            os._exit(signal.set_wakeup_fd(-1) + 1)
        assert os.waitpid(pid, 0)[1] == 0
        wakeup.close()
        assert signal.set_wakeup_fd(-1) == -1

    def test_another_thread_may_get_them(self, lab, queue, worker_class):
        """Then they interrupt no wait of the main thread, as one that comes just before it begins."""
        def program():
            def get_one():
                pass_gate()
                signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

            threading.Thread(target=get_one).start()
            worker_class(queue, lease=None, sweep_interval=None).run()

        queue.enqueue(task('time.sleep', 1e6))
        program = lab.start(program)
        wait_until(lambda: lab.log('DEBUG running task'), 'the beginning of the task')
        lab.open_gate()
        wait_until(lambda: any('a second signal' in line for line in lab.log('INFO')), 'the signal to be heeded')
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_a_wakeup_descriptor_hears_of_no_signal_in_a_child(self, lab, queue, worker_class):
        """An event loop's, say: it would take the child's SIGTERM for its own."""
        def program():
            mine, loops = socket.socketpair()
            for end in (mine, loops):
                end.setblocking(False)
            signal.set_wakeup_fd(loops.fileno())
            run_worker(told(worker_class, queue, kill_timeout=0.1))
            assert signal.set_wakeup_fd(-1) == loops.fileno()
            report('heard', list(mine.recv(100)))

        queue.enqueue(task('time.sleep', 3600, timeout=0.1))
        queue.enqueue(task('kill_parent', int(signal.SIGINT)))
        assert lab.start(program).wait() == 0
        assert lab.expect('failed')[1] == signal.SIGTERM
        assert lab.expect('heard') == [[signal.SIGINT]]

    def test_sigchld_may_be_ignored(self, lab, queue, conn, worker_class):
        def program():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            run_worker(worker_class(queue))

        for name, args in (('run', ()), ('os._exit', (1,)), ('os.abort', ()), ('fail', ()), ('stop_worker', ())):
            queue.enqueue(task(name, *args))
        assert lab.start(program).wait() == 0
        assert remains(conn) == set()

    def test_sigchld_ignored_hides_no_signal_that_the_worker_itself_has_sent(self, lab, queue, worker_class):
        def program():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            run_worker(told(worker_class, queue, kill_timeout=0))

        for _ in range(10):
            queue.enqueue(task('time.sleep', 3600, timeout=0.01))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert {signum for _, signum, *_ in lab.reports('failed')} <= {signal.SIGTERM, signal.SIGKILL}

    def test_sigchld_may_have_a_handler_that_reaps(self, lab, queue, conn, worker_class):
        def reap(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass

        def program():
            signal.signal(signal.SIGCHLD, reap)
            run_worker(worker_class(queue))

        queue.enqueue(task('time.sleep', 3600, timeout=0.1))
        for name, args in (('run', ()), ('os._exit', (1,)), ('os.abort', ()), ('fail', ()), ('stop_worker', ())):
            queue.enqueue(task(name, *args))
        assert lab.start(program).wait() == 0
        assert remains(conn) == set()


class TestOutsideTheMainThread:
    def test_no_disposition_is_touched(self, lab, queue, worker_class):
        def program():
            before = {signum: signal.getsignal(signum) for signum in STOPPING}
            thread = threading.Thread(target=worker.run)
            thread.start()
            queue.enqueue(task('where'))
            wait_until(lambda: not remains(queue_conn))
            assert {signum: signal.getsignal(signum) for signum in STOPPING} == before
            worker.stop()
            thread.join()

        worker, queue_conn = worker_class(queue), queue._conn
        assert lab.start(program).wait() == 0


class TestACallOfRedis:
    @pytest.mark.parametrize('held', [False, True])
    def test_leaves_no_number_to_the_client_to_turn_into_text(self, queue, monkeypatch, held):
        """For hiredis crashes where a signal handler raises meanwhile, as that of Ctrl-C does."""
        def pack_command(self, *args):
            raise AssertionError('%r is left to the client' % (args,))

        def send_packed_command(self, pieces, *args, **options):
            sent.extend([pieces] if isinstance(pieces, (bytes, str)) else pieces)
            return sending(self, pieces, *args, **options)

        queue.len()  # opens the connection, which says hello by itself
        connections = queue._conn.connection_pool.connection_class
        sent, sending = [], connections.send_packed_command
        caller = queue.ledger.caller.hold() if held else queue.ledger.caller
        ledger = queue.ledger.using(caller)
        ledger.waiting()
        monkeypatch.setattr(connections, 'pack_command', pack_command)
        monkeypatch.setattr(connections, 'send_packed_command', send_packed_command)
        queue.enqueue(task('run', timeout=1.5))
        taken = ledger.take('ready', 15_000.0, 'holder:1')
        assert ledger.requeue(taken.payload, (taken.token,))
        assert not ledger.wait(0.01) or ledger.take('notified')
        assert ledger.sweep(3) == 0
        assert ledger.dead_letters(0, 10) == []
        caller.let_go()
        assert len(sent) > 5 and {type(piece) for piece in sent} == {bytes}
