import io

from delayed._demo_report import Kill, Progress, Report, table
from delayed._demo_task import FileHash, Hold, Result, Traces

ONE, TWO = FileHash('aa', 3, 30), FileHash('bb', 4, 1040)
VICTIM, CHILD, SURVIVOR = 11, 12, 21


class Terminal(io.StringIO):
    def isatty(self):
        return True


def report(results=None, begun=None, finished=None, failures=None, kill=True, left_over=0):
    """Of a run that went well: the second of two files was interrupted at 102 s, and run again until 104.5 s."""
    traces = Traces(
        results={0: Result(ONE, VICTIM, 101.0), 1: Result(TWO, SURVIVOR, 104.5)} if results is None else results,
        begun={0: 1, 1: 2} if begun is None else begun,
        finished={0: 1, 1: 1} if finished is None else finished, failures=failures or {})
    return Report(['one.py', 'two.py'], [ONE, TWO], traces,
                  Kill(Hold(VICTIM, CHILD, 1), 102.0) if kill else None, 100.0, left_over)


class TestTheTable:
    def test_says_what_was_hashed_killed_and_recovered_and_how_fast(self):
        assert dict(report().rows()) == {
            'files': '2',
            'bytes': '1,070, in 7 lines',
            'hashed once': '2 of 2',
            'equal': '2 of 2 to what hashlib gives directly',
            'killed': 'worker 11 and its child 12, with SIGKILL',
            'interrupted': 'two.py, half-way, before anything was written',
            'recovered': 'by worker 21, 2.5 s after the kill',
            'begun': '1 tasks once, 1 more than once (the interrupted one)',
            'speed': '0 tasks per second, the wait for the interrupted one included; 1 until the kill',
        }

    def test_counts_only_what_holds(self):
        rows = dict(report(results={1: Result(ONE, SURVIVOR, 104.5)}, finished={1: 2}).rows())
        assert rows['hashed once'] == '0 of 2'
        assert rows['equal'].startswith('0 of 2')

    def test_can_be_shown_when_nothing_happened_at_all(self):
        rows = dict(report(results={}, begun={}, finished={}, kill=False).rows())
        assert rows['killed'] == 'no worker'
        assert rows['speed'] == '0 tasks per second'

    def test_stands_in_columns(self):
        assert table([('a', '1'), ('long', '2')]) == 'a     1\nlong  2'


class TestTheProblems:
    def test_are_none_where_all_is_well(self):
        assert report().problems() == []

    def test_name_a_file_that_was_not_hashed(self):
        assert report(results={1: Result(TWO, SURVIVOR, 104.5)}).problems() == ['not hashed: one.py']

    def test_name_a_file_that_was_hashed_twice(self):
        assert report(finished={0: 2, 1: 1}).problems() == ['hashed more than once: one.py']

    def test_name_a_file_that_was_hashed_wrongly(self):
        wrong = {0: Result(ONE._replace(lines=4), VICTIM, 101.0), 1: Result(TWO, SURVIVOR, 104.5)}
        assert report(results=wrong).problems() == ['hashed wrongly: one.py']

    def test_name_a_task_that_began_again_although_nobody_killed_it(self):
        assert report(begun={0: 2, 1: 2}).problems() == ['begun again although nobody killed it: one.py']

    def test_name_a_task_that_failed_and_say_why(self):
        assert report(failures={0: 'signal 15'}).problems() == ['one.py failed: signal 15']

    def test_name_the_interrupted_task_where_it_did_not_come_back(self):
        problems = report(results={0: Result(ONE, VICTIM, 101.0)}).problems()
        assert problems == ['not hashed: two.py', 'not recovered: two.py']

    def test_tell_where_the_killed_worker_itself_wrote_the_result(self):
        both = {0: Result(ONE, VICTIM, 101.0), 1: Result(TWO, VICTIM, 101.5)}
        assert report(results=both).problems() == ['not recovered: two.py']

    def test_tell_where_no_worker_was_killed(self):
        assert report(begun={0: 1, 1: 1}, kill=False).problems() == ['no worker was killed in the middle of a task']

    def test_tell_what_is_left_in_redis(self):
        assert report(left_over=2).problems() == ['left over in Redis: 2 tasks']

    def test_name_three_of_many_files(self):
        many = Report(list('abcdef'), [ONE] * 6, Traces({}, {}, {}, {}), None, 100.0, 0)
        assert many.problems()[0] == 'not hashed: a, b, c and 3 more'


class TestProgress:
    def test_is_a_line_for_each_quarter_where_there_is_no_terminal(self):
        stream = io.StringIO()
        progress = Progress(stream)
        for what in ('enqueued', 'hashed'):
            for done in range(2001):
                progress.show(what, done, 2000)
        assert stream.getvalue().splitlines() == [
            '%s: %s of 2,000' % (what, done)
            for what in ('enqueued', 'hashed') for done in ('500', '1,000', '1,500', '2,000')]

    def test_is_one_line_for_a_single_file(self):
        stream = io.StringIO()
        Progress(stream).show('hashed', 1, 1)
        assert stream.getvalue() == 'hashed: 1 of 1\n'

    def test_is_a_bar_on_a_terminal_which_lines_and_the_end_take_away(self, monkeypatch):
        monkeypatch.setenv('TERM', 'xterm')
        stream = Terminal()
        progress = Progress(stream)
        progress.show('hashed', 1000, 1000)
        progress.say('a line')
        progress.show('hashed', 1000, 1000)
        progress.clear()
        progress.clear()
        bar = '\r\x1b[Khashed [%s] 1,000/1,000' % ('#' * 40)
        assert stream.getvalue() == bar + '\r\x1b[Ka line\n' + bar + '\r\x1b[K'

    def test_draws_a_bar_now_and_then_and_always_when_it_is_full(self, monkeypatch):
        monkeypatch.setenv('TERM', 'xterm')
        stream = Terminal()
        progress = Progress(stream)
        for done in range(10_001):
            progress.show('hashed', done, 10_000)
        bars = stream.getvalue().split('\r\x1b[K')[1:]
        assert bars[0].endswith('     0/10,000')
        assert bars[-1].endswith('] 10,000/10,000')
        assert len(bars) < 5000

    def test_writes_plain_lines_on_a_dumb_terminal(self, monkeypatch):
        monkeypatch.setenv('TERM', 'dumb')
        stream = Terminal()
        Progress(stream).show('hashed', 4, 4)
        assert stream.getvalue() == 'hashed: 4 of 4\n'

    def test_writes_what_the_stream_can_encode(self):
        stream = io.TextIOWrapper(io.BytesIO(), 'ascii')
        Progress(stream).say('in /home/j\xfcrgen')
        assert stream.buffer.getvalue() == b'in /home/j\\xfcrgen\n'
