import argparse
import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import delayed
from delayed import cli
from delayed.cli import Exit, main
from delayed.queue import Queue
from delayed.task import Task
from demos import DEMO
from waiting import DEADLINE, wait_until

COMMANDS = [module.__name__.rpartition('.')[2] for module in cli._COMMANDS]
#: Their examples are run elsewhere, for they end late or never.
ENDLESS = 'demo', 'worker'
PROGRAM = [sys.executable, '-W', 'error', '-m', 'delayed']


def run(*args):
    """Runs `python -m delayed` with these arguments."""
    return subprocess.run([*PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE)


def parsers(parser, name='delayed'):
    """The parser and those of its commands, with their names."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                yield from parsers(below, '%s %s' % (name, command))


def examples():
    """What stands under `examples:` in all helps, as arguments."""
    for _, parser in parsers(cli._parser('delayed')):
        text = parser.format_help().partition('examples:\n')[2]
        yield from (shlex.split(line) for line in re.findall('^  delayed (.*)', text, re.MULTILINE))


EXAMPLES = sorted(set(map(tuple, examples())))


class TestHelp:
    @pytest.mark.parametrize('args', [[], *([command] for command in COMMANDS)])
    def test_goes_to_the_output_and_ends_with_examples(self, args, capsys):
        assert main([*args, '--help']) == Exit.OK
        out, err = capsys.readouterr()
        assert err == ''
        assert re.search(r'\nexamples:\n(  delayed .*\n)+$', out)

    def test_names_each_option_with_its_default(self):
        for name, parser in parsers(cli._parser('delayed')):
            for action in parser._actions:
                if action.option_strings and action.dest not in ('help', 'version'):
                    assert '(default: ' in action.help, (name, action.option_strings)

    def test_names_each_exit_status(self, capsys):
        main(['--help'])
        out = capsys.readouterr().out
        assert [int(status) for status in re.findall(r'^  +(\d+)  ', out, re.MULTILINE)] == list(Exit)

    def test_names_the_program_as_the_user_has_typed_it(self):
        assert run('--help').stdout.startswith('usage: python -m delayed [')

    def test_has_examples_of_the_demo_that_run(self, redis_server):
        urls = 'redis://localhost:6379/0', redis_server.url
        commands = [[part.replace(*urls) for part in example] for example in EXAMPLES if example[0] == 'demo']
        assert len(commands) >= 4
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(subprocess.Popen([*PROGRAM, *command], stdout=subprocess.DEVNULL))
                       for command in commands]
            statuses = [process.wait(4 * DEADLINE) for process in running]
        assert dict(zip(map(tuple, commands), statuses)) == dict.fromkeys(map(tuple, commands), Exit.OK)

    @pytest.mark.parametrize('example', [example for example in EXAMPLES if example[0] not in ENDLESS],
                             ids=' '.join)
    def test_has_examples_that_run(self, shell, conn, redis_server, example):
        letter = Task(1, 'myapp.tasks', 'add', (1, 2)).serialize()
        conn.zadd('default_dead', {b'{"reason": "why", "lost_at": "", "allowance": "610000"}\n' + letter:
                                   1795445657871.770})
        args = [part.replace('redis://localhost:6379/0', redis_server.url) for part in example]
        if '--wait' not in args:  # the doctor finds that the tests' server keeps nothing
            assert shell.run(*args)[0] == (Exit.FAILED if 'doctor' in args else Exit.OK)
            return
        process = shell.start(*args)
        queue = Queue('default', conn)
        queue.release(wait_until(queue.dequeue, 'the task'))
        assert process.wait(DEADLINE) == Exit.OK


class TestVersion:
    def test_is_that_of_the_package(self, capsys):
        assert main(['--version']) == Exit.OK
        assert capsys.readouterr().out == 'delayed %s\n' % delayed.__version__


class TestMistakes:
    @pytest.mark.parametrize('args, told', [
        ([], 'usage: delayed '),
        (['dmeo'], "'dmeo'"),
        (['demo', '--file'], 'expected one argument'),
        (['demo', '--files', '0'], "must be a whole number from 1 up, not '0'"),
        (['demo', '--files', 'all'], "not 'all'"),
        (['demo', 'more'], 'unrecognized arguments: more'),
    ])
    def test_are_told_on_the_error_stream_and_end_nothing_but_the_call(self, args, told, capsys):
        assert main(args) == Exit.USAGE
        out, err = capsys.readouterr()
        assert out == ''
        assert told in err


class TestCompletion:
    def test_is_asked_for_what_may_come_next_where_a_shell_wants_it(self, shell):
        shell.write('argcomplete.py', '''
            def autocomplete(parser):
                print('completes', parser.prog)
                raise SystemExit(0)
        ''')
        shell.env['_ARGCOMPLETE'] = '1'
        assert shell.out() == 'completes python -m delayed\n'

    @pytest.mark.parametrize('name', ['cli', '__main__'])
    def test_is_found_by_the_mark_in_the_file(self, name):
        assert 'PYTHON_ARGCOMPLETE_OK' in (Path(delayed.__file__).parent / (name + '.py')).read_text()[:1024]


class TestTheProgram:
    def test_ends_with_the_status_that_main_returns(self):
        assert run('--version').returncode == Exit.OK
        assert run('no-command').returncode == Exit.USAGE

    def test_ends_quietly_when_nobody_reads_its_output_any_more(self):
        with subprocess.Popen([*DEMO, '--files', '3'], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            os.read(program.stdout.fileno(), 1)
            program.stdout.close()
            program.stdout = None
            _, err = program.communicate(timeout=DEADLINE)
        assert (program.returncode, err) == (Exit.UNREAD, b'')

    def test_does_not_import_what_a_command_needs_before_it_runs(self):
        code = 'import sys; from delayed.cli import main; main(["--version"]); sys.exit("redis" in sys.modules)'
        assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL, timeout=DEADLINE).returncode == 0
