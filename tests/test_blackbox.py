"""What is on record of each task's end: the same for both workers."""

import json
import logging
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from delayed._attempt import Cause
from delayed._blackbox import judge_kind
from delayed._limits import Limits
from delayed._page import Outcome as PageOutcome
from delayed._page import Step
from delayed.logger import set_handler
from delayed.outcome import Kind, Outcome
from waiting import wait_until
from workers import report, run_worker, task

linux = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


def tell(task, *_):
    report('outcome', task.outcome.as_fields())


@pytest.fixture
def recorded(worker_class, queue):
    """A worker whose handlers report the record."""
    return lambda **options: worker_class(queue, **{'success_handler': tell, 'error_handler': tell, **options})


def expect_outcome(lab):
    return lab.expect('outcome')[0]


class TestTheRecordOfATask:
    def test_that_finished_tells_who_ran_it_where_and_when(self, lab, queue, recorded):
        before = time.time()
        program = lab.drain(recorded(), queue, task('where'))
        outcome = expect_outcome(lab)
        pid, monitor = lab.expect('where')
        assert monitor == program.pid
        assert outcome['outcome'] == 'finished'
        assert (outcome['task_id'], outcome['function'], outcome['queue']) == (1, 'tasks.where', 'default')
        assert (outcome['worker'], outcome['child_pid']) == ('%s:%d' % (socket.gethostname(), program.pid), pid)
        assert before <= outcome['started_at'] <= time.time()
        assert 'exit_code' not in outcome and 'signal' not in outcome and 'stack' not in outcome

    def test_that_finished_tells_what_it_used(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('burn', 0.05), task('run'))
        burnt, idle = expect_outcome(lab), expect_outcome(lab)
        assert 0.05 <= burnt['user_seconds'] + burnt['system_seconds'] <= burnt['run_seconds'] * 1.5
        assert idle['user_seconds'] + idle['system_seconds'] < 0.05
        assert burnt['peak_rss'] >= burnt['peak_rss_before'] > 1_000_000

    def test_counts_the_programs_that_it_started_and_no_others(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('burn_elsewhere', 0.3), task('run'), task('os._exit', 1))
        burnt, idle, dead = (expect_outcome(lab) for _ in range(3))
        assert burnt['user_seconds'] + burnt['system_seconds'] >= 0.3
        assert idle['user_seconds'] + idle['system_seconds'] < 0.3
        assert dead['user_seconds'] + dead['system_seconds'] < 0.3

    def test_that_raised_the_peak_of_its_process_tells_so(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('take_memory', 100), task('run'))
        outcome = expect_outcome(lab)
        assert outcome['peak_rss'] - outcome['peak_rss_before'] > 90_000_000
        later = expect_outcome(lab)
        assert later['peak_rss'] - later['peak_rss_before'] < 10_000_000

    def test_that_failed_comes_with_its_exception(self, lab, queue, worker_class):
        def handler(task, kill_signal, exc_info):
            report('failed', task.outcome.as_fields()['outcome'], kill_signal, str(exc_info[1]))

        lab.drain(worker_class(queue, error_handler=handler), queue, task('fail', 'this'))
        assert lab.reports() == [['failed', 'failed', None, 'this']]

    def test_that_ended_its_process_has_the_exit_code(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('os._exit', 7))
        outcome = expect_outcome(lab)
        assert (outcome['outcome'], outcome['exit_code']) == ('ended its process', 7)
        assert outcome['run_seconds'] >= 0
        assert outcome['user_seconds'] >= 0

    def test_that_was_killed_from_outside_has_the_signal(self, lab, queue, recorded):
        program = lab.start_worker(recorded())
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')
        os.kill(pid, signal.SIGKILL)
        outcome = expect_outcome(lab)
        assert (outcome['outcome'], outcome['signal'], outcome['task_id']) == ('was killed', signal.SIGKILL, 1)
        assert 'killed' in outcome['note']
        program.signal(signal.SIGTERM)
        assert program.wait() == 0

    def test_that_was_read_by_nobody_is_known_by_what_its_bytes_begin_with(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('kill_self', 9))
        outcome = expect_outcome(lab)
        assert (outcome['task_id'], outcome['function']) == (1, 'tasks.kill_self')

    def test_is_on_no_task_that_has_not_run(self, queue):
        queue.enqueue(task('run'))
        assert queue.dequeue().outcome is None


@linux
class TestTheStack:
    @pytest.mark.parametrize('name', ['spin', 'nap', 'backtrack', 'add_up'])
    def test_of_a_task_that_timed_out_shows_its_line(self, lab, queue, recorded, name):
        lab.drain(recorded(kill_timeout=0.2), queue, task(name, timeout=0.5), task('run'))
        outcome = expect_outcome(lab)
        assert outcome['outcome'] == 'timed out'
        assert re.search(r'in %s$' % name, outcome['stack'])  # the frames of its worker are left out
        assert outcome['signal'] == (signal.SIGKILL if name == 'add_up' else signal.SIGTERM)
        assert 'note' not in outcome  # that it was SIGKILL is no riddle: the worker has sent it
        assert 'in %s' % name in '\n'.join(lab.log())

    def test_has_every_thread(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('use_thread', timeout=0.5))
        stack = expect_outcome(lab)['stack']
        assert 'in nap' in stack
        assert 'in spin' in stack
        assert stack.count('hread 0x') == 2

    @pytest.mark.parametrize(('name', 'signum'), [('read_null', signal.SIGSEGV), ('abort', signal.SIGABRT)])
    def test_of_a_crash_shows_its_line(self, lab, queue, recorded, name, signum):
        lab.drain(recorded(), queue, task('run'), task(name), task('run'))
        expect_outcome(lab)
        outcome = expect_outcome(lab)
        assert (outcome['outcome'], outcome['signal']) == ('crashed', signum)
        assert outcome['stack'].startswith('Fatal Python error')
        assert 'in %s' % name in outcome['stack']

    def test_is_missing_where_the_process_runs_another_program(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('os.execvp', 'sleep', ['sleep', '3600'], timeout=0.2))
        outcome = expect_outcome(lab)
        assert (outcome['outcome'], outcome['signal']) == ('timed out', signal.SIGTERM)
        assert 'stack' not in outcome

    def test_goes_to_the_file_of_a_task_that_has_its_own_faulthandler(self, lab, queue, recorded, tmp_path):
        path = str(tmp_path / 'own')
        lab.drain(recorded(), queue, task('crash_with_own_faulthandler', path))
        assert 'stack' not in expect_outcome(lab)
        with open(path) as own:
            assert 'in crash_with_own_faulthandler' in own.read()

    def test_goes_to_the_file_of_a_program_that_has_its_own_faulthandler(self, lab, queue, recorded, tmp_path):
        import faulthandler

        def program():
            with open(tmp_path / 'own', 'w') as own:
                faulthandler.enable(own)
                run_worker(recorded())
                assert faulthandler.is_enabled()

        for each in (task('read_null'), task('nap', timeout=0.5), task('stop_worker')):
            queue.enqueue(each)
        assert lab.start(program).wait() == 0
        crash, timeout = expect_outcome(lab), expect_outcome(lab)
        assert 'stack' not in crash
        assert "program's own faulthandler" in crash['note']
        assert 'in nap' in timeout['stack']
        own = (tmp_path / 'own').read_text()
        assert 'in read_null' in own
        assert 'in nap' not in own

    def test_of_a_task_that_closes_all_descriptors_is_written_to_no_file_of_its_own(
            self, lab, queue, recorded, tmp_path):
        lab.drain(recorded(), queue, task('close_all_and_crash', str(tmp_path)))
        assert expect_outcome(lab)['outcome'] == 'crashed'
        assert {path.read_bytes() for path in tmp_path.iterdir() if path.name.isdigit()} == {b''}

    def test_of_an_orphan_that_timed_out_is_told_by_itself(self, lab, queue, recorded):
        program = lab.start_worker(recorded())
        queue.enqueue(task('hold', timeout=1))
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        outcome = expect_outcome(lab)
        assert outcome['outcome'] == 'timed out'
        assert 'in hold' in outcome['stack']
        program.await_last()


class TestTheLog:
    def test_has_one_record_with_the_fields_for_each_end(self, lab, queue, recorded):
        class Fields(logging.Handler):
            def emit(self, record):
                if hasattr(record, 'outcome'):
                    report('logged', record.levelname, record.outcome, record.task_id, record.getMessage())
                    json.dumps({name: value for name, value in vars(record).items() if name in Outcome.__annotations__})

        def program():
            set_handler(Fields())
            run_worker(recorded())

        for each in (task('run'), task('fail'), task('os._exit', 3), task('no_such_module_at_all.f'),
                     task('stop_worker')):
            queue.enqueue(each)
        assert lab.start(program).wait() == 0
        logged = lab.reports('logged')
        assert [record[:3] for record in logged] == [
            ['DEBUG', 'finished', 1], ['ERROR', 'failed', 2], ['ERROR', 'ended its process', 3],
            ['ERROR', 'cannot be loaded', 4], ['DEBUG', 'finished', 5]]
        assert logged[0][3].startswith('task 1 (tasks.run) finished after ')
        assert logged[2][3].startswith('task 3 (os._exit) ended its process after ')
        assert 'CPU' in logged[0][3]

    def test_makes_no_record_of_what_nobody_hears(self, lab, queue, worker_class):
        class Warnings(logging.Handler):
            level = logging.WARNING

            def emit(self, record):
                report('logged', record.levelname)

        def program():
            set_handler(Warnings(logging.WARNING))
            made = logging.getLogRecordFactory()
            logging.setLogRecordFactory(lambda *args, **kwargs: report('made', args[4]) or made(*args, **kwargs))
            run_worker(worker_class(queue))

        queue.enqueue(task('run'))
        queue.enqueue(task('stop_worker'))
        assert lab.start(program).wait() == 0
        assert not [text for text, in lab.reports('made') if 'finished' in text or '%s (%s.%s)' in text]


class TestADeadLetter:
    def test_of_a_function_that_is_missing_has_the_traceback(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('broken_module.f'))
        letter, = queue.dead()
        assert letter.outcome.kind is Kind.NOT_LOADABLE
        assert (letter.outcome.task_id, letter.outcome.function) == (1, 'broken_module.f')
        assert 'broken_module.py", line' in letter.outcome.stack
        assert 'broken on purpose' in letter.outcome.stack
        assert 'broken on purpose' in letter.reason

    def test_of_bytes_that_cannot_be_read_has_the_traceback(self, lab, queue, conn, recorded):
        conn.rpush('default', b'no task')
        conn.rpush('default_noti', '1')
        lab.drain(recorded(), queue)
        letter, = queue.dead()
        assert letter.outcome.kind is Kind.UNREADABLE
        assert letter.outcome.task_id is None
        assert 'UnpicklingError' in letter.outcome.stack
        assert letter.payload == b'no task'

    def test_of_a_task_that_crashed_too_often_has_the_last_crash(self, lab, queue, recorded):
        lab.drain(recorded(on_crash='requeue', max_losses=2), queue, task('abort'))
        letter, = queue.dead()
        assert letter.outcome.kind is Kind.CRASHED
        assert letter.outcome.signal == signal.SIGABRT
        assert len(letter.lost_at) == 2

    @pytest.mark.parametrize('prefetch', [1, 8])
    def test_of_each_task_that_failed_is_kept_if_wanted(self, lab, queue, conn, recorded, worker_class, prefetch):
        if worker_class.__name__ == 'ForkedWorker':
            prefetch = 1
        lab.drain(recorded(on_failure='set_aside', prefetch=prefetch, kill_timeout=1), queue, task('run'),
                  task('fail', 'on purpose'), task('burn', 3600, timeout=0.2), task('abort'), task('os._exit', 3),
                  task('run'))
        assert [letter.reason for letter in queue.dead()] == [
            'it failed (ValueError: on purpose)', 'it timed out', 'it crashed', 'it ended its process']
        assert [letter.outcome.kind for letter in queue.dead()] == [
            Kind.FAILED, Kind.TIMED_OUT, Kind.CRASHED, Kind.EXITED]
        failed, timed_out, crashed, exited = (letter.outcome.stack for letter in queue.dead())
        assert 'in fail\n' in failed and 'in burn' in timed_out and 'in abort' in crashed and exited is None
        assert [values[0]['outcome'] for values in lab.reports('outcome')] == [  # the handlers are called all the same
            'finished', 'failed', 'timed out', 'crashed', 'ended its process', 'finished', 'finished']
        assert not conn.exists('default_enqueued', 'default_dequeued', 'default_leases', 'default_losses')

    @pytest.mark.parametrize('how', ['fails', 'times out'])
    def test_is_kept_by_a_child_whose_monitor_is_dead_too(self, lab, queue, recorded, how):
        program = lab.start_worker(recorded(on_failure='set_aside', kill_timeout=0.1))
        queue.enqueue(task('hold_and_fail', timeout=None if how == 'fails' else 1))
        lab.expect('holds')
        program.signal(signal.SIGKILL)
        if how == 'fails':
            lab.open_gate()
        letter, = wait_until(queue.dead, 'the dead letter')
        assert letter.reason == ('it failed (ValueError: on purpose)' if how == 'fails' else
                                 'it timed out when its monitor was dead')
        program.await_last()

    def test_is_kept_whatever_was_raised(self, lab, queue, recorded):
        lab.drain(recorded(on_failure='set_aside'), queue, task('fail_oddly'))
        letter, = queue.dead()
        assert 'SyntaxError' in letter.outcome.stack
        assert expect_outcome(lab)['outcome'] == 'failed'

    def test_waits_again_as_any_other(self, lab, queue, recorded):
        lab.drain(recorded(), queue, task('broken_module.f'))
        letter, = queue.dead()
        assert queue.requeue_dead(letter.id)
        assert queue.dequeue().func_name == 'f'

    def test_without_a_record_has_none(self, queue, conn):
        conn.rpush('default', b'no task')
        conn.rpush('default_noti', '1')
        assert queue.dequeue() is None
        assert queue.dead()[0].outcome is None

    @pytest.mark.parametrize('outcome', ['not JSON', '{"outcome": "of a later version"}', 17])
    def test_with_a_record_of_a_later_version_is_read_without(self, queue, conn, outcome):
        header = json.dumps({'reason': 'why', 'lost_at': '', 'allowance': '1', 'outcome': outcome})
        conn.zadd('default_dead', {header + '\npayload': 1000})
        letter, = queue.dead()
        assert (letter.reason, letter.payload, letter.outcome) == ('why', b'payload', None)


class TestTheKind:
    @pytest.mark.parametrize(('step', 'outcome', 'cause', 'signum', 'kind'), [
        (Step.ENDED, PageOutcome.FINISHED, Cause.TIMED_OUT, 15, Kind.FINISHED),  # its handler took too long
        (Step.ENDED, PageOutcome.FAILED, None, 9, Kind.FAILED),
        (Step.READ, PageOutcome.NONE, Cause.TIMED_OUT, 15, Kind.TIMED_OUT),
        (Step.READ, PageOutcome.NONE, Cause.TIMED_OUT, 9, Kind.TIMED_OUT),
        (Step.READ, PageOutcome.NONE, Cause.HANDED_BACK, 15, Kind.HANDED_BACK),
        (Step.READ, PageOutcome.NONE, Cause.LEASE_LOST, 9, Kind.LEASE_LOST),
        (Step.IDLE, PageOutcome.NONE, Cause.NOT_BEGUN, 9, Kind.NOT_BEGUN),
        (Step.RECEIVED, PageOutcome.NONE, Cause.TIMED_OUT, 9, Kind.NOT_BEGUN),
        (Step.BEGUN, PageOutcome.NONE, Cause.NOT_BEGUN, 9, Kind.TIMED_OUT),  # at the last moment
        (Step.RECEIVED, PageOutcome.NONE, None, 9, Kind.HANDED_BACK),
        (Step.BEGUN, PageOutcome.NONE, None, None, Kind.EXITED),
        (Step.READ, PageOutcome.NONE, None, 9, Kind.KILLED),
        (Step.READ, PageOutcome.NONE, None, 15, Kind.KILLED),
        (Step.READ, PageOutcome.NONE, None, signal.SIGSEGV, Kind.CRASHED),
        (Step.READ, PageOutcome.NONE, None, signal.SIGXCPU, Kind.KILLED),  # a limit of the program's own
    ])
    def test_follows_from_how_far_it_came_and_how_it_died(self, step, outcome, cause, signum, kind):
        assert judge_kind(step, outcome, cause, signum, Limits()) is kind

    def test_is_known_for_every_end(self):
        for step in Step:
            for outcome in list(PageOutcome)[1:]:
                for cause in [None, *Cause]:
                    for signum in [None, 9, 11]:
                        assert judge_kind(step, outcome, cause, signum, Limits()) in Kind


class TestLimits:
    def test_of_processor_time_end_a_task_and_show_its_line(self, lab, queue, recorded):
        lab.drain(recorded(task_max_cpu=0.1), queue, task('run'), task('spin'), task('run'))
        expect_outcome(lab)
        outcome = expect_outcome(lab)
        assert (outcome['outcome'], outcome['limit'], outcome['signal']) == (
            'exceeded its limit', 'task_max_cpu', signal.SIGXCPU)
        assert 0.1 <= outcome['user_seconds'] + outcome['system_seconds']
        assert 'in spin' in outcome['stack']
        assert expect_outcome(lab)['outcome'] == 'finished'

    def test_of_processor_time_hold_for_each_task_anew(self, lab, queue, recorded):
        lab.drain(recorded(task_max_cpu=1), queue, *[task('burn', 0.7)] * 3)
        assert [outcome['outcome'] for outcome, in lab.reports('outcome')] == ['finished'] * 4

    @linux
    def test_of_memory_are_a_memory_error_that_is_told_as_such(self, lab, queue, recorded):
        own = int(re.search(r'VmData:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) // 1000  # it is forked
        lab.drain(recorded(task_max_memory=own + 250), queue, task('take_memory', 100), task('take_memory', 400),
                  task('take_memory', 100))
        assert lab.reports('took') == [[100_000_000], [100_000_000]]
        outcomes = [outcome for outcome, in lab.reports('outcome')]
        assert [outcome['outcome'] for outcome in outcomes] == [
            'finished', 'exceeded its limit', 'finished', 'finished']
        assert outcomes[1]['limit'] == 'task_max_memory'

    def test_are_not_there_when_handlers_run(self, lab, queue, worker_class):
        import resource

        def handler(*_):
            report('limits', resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_DATA)[0])

        before = resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_DATA)[0]
        worker = worker_class(queue, success_handler=handler, error_handler=handler, task_max_cpu=5,
                              task_max_memory=1000)
        lab.drain(worker, queue, task('run'), task('fail'))
        assert [tuple(limits) for limits in lab.reports('limits')] == [before] * 3

    @pytest.mark.parametrize('option', ['task_max_cpu', 'task_max_memory'])
    @pytest.mark.parametrize('value', [0, -1, float('inf'), 'much', True])
    def test_that_make_no_sense_are_refused(self, queue, worker_class, option, value):
        with pytest.raises(ValueError, match=option):
            worker_class(queue, **{option: value})


class TestAWorker:
    def test_has_one_file_of_stacks_for_each_child_and_none_at_the_end(self, lab, queue, recorded):
        """That none is left at the end is what `run_worker` looks for in each test."""
        if not os.path.isdir('/proc/self/fd'):
            pytest.skip('nothing tells of the descriptors here')
        program = lab.start_worker(recorded())
        for _ in range(20):
            queue.enqueue(task('os._exit', 1))
        queue.enqueue(task('hold'))
        pid, _ = lab.expect('holds')

        def files(pid):
            links = []
            for name in os.listdir('/proc/%d/fd' % pid):
                try:
                    links.append(os.readlink('/proc/%d/fd/%s' % (pid, name)))
                except FileNotFoundError:
                    pass
            return len([link for link in links if 'delayed-stacks' in link])

        assert files(pid) == 1
        wait_until(lambda: files(program.pid) <= 2, 'the end of earlier files')  # one more for a spare child
        lab.open_gate()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
