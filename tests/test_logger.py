import importlib.util
import io
import logging
import re
import sys

import pytest

import delayed.logger


def load():
    spec = importlib.util.find_spec('delayed.logger')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def module(monkeypatch):
    """`delayed.logger` as a program gets it from its first import.

    `logging` forgets its logger again, so that pytest does not find it and add handlers to it.
    """
    with monkeypatch.context() as patch:
        patch.delitem(logging.root.manager.loggerDict, 'delayed.logger')
        return load()


def formats(handler):
    return handler.formatter._fmt, handler.formatter.datefmt


class TestALoggerThatNobodySetUp:
    def test_is_named_after_its_module(self):
        assert delayed.logger.logger is logging.getLogger('delayed.logger')

    def test_lets_every_level_through_and_tells_the_root_logger_nothing(self, module):
        assert module.logger.level == logging.DEBUG
        assert not module.logger.propagate

    def test_has_exactly_one_handler_and_that_does_nothing(self, module):
        assert [type(handler) for handler in module.logger.handlers] == [logging.NullHandler]

    def test_is_silent(self, module, capfd):
        module.logger.critical('nobody asked')
        assert capfd.readouterr() == ('', '')

    def test_keeps_what_the_program_configured_by_name_before_the_import(self, monkeypatch):
        mine = logging.StreamHandler(io.StringIO())
        monkeypatch.delitem(logging.root.manager.loggerDict, 'delayed.logger')
        logger = logging.getLogger('delayed.logger')
        logger.addHandler(mine)
        assert load().logger is logger
        assert logger.handlers == [mine]


class TestSetupLogger:
    def test_gives_it_one_console_handler_at_debug(self, module):
        module.setup_logger()
        handler, = module.logger.handlers
        assert type(handler) is logging.StreamHandler
        assert handler.stream is sys.stderr
        assert handler.level == logging.DEBUG

    def test_writes_level_time_process_and_place(self, module, capsys):
        module.setup_logger()
        module.logger.warning('task %d', 17)
        assert re.fullmatch(r'\[W \d{6} \d\d:\d\d:\d\d \d+ test_logger:\d+\] task 17\n', capsys.readouterr().err)

    def test_takes_the_formats_by_position_and_by_name(self, module):
        module.setup_logger('%H', '%(message)s')
        assert formats(module.logger.handlers[0]) == ('%(message)s', '%H')
        module.setup_logger(log_format='> %(message)s', date_format='%M')
        assert formats(module.logger.handlers[0]) == ('> %(message)s', '%M')

    def test_twice_adds_no_second_handler(self, module):
        module.setup_logger()
        first = list(module.logger.handlers)
        module.setup_logger()
        assert module.logger.handlers == first

    def test_formats_every_handler_that_the_program_set(self, module):
        mine, mine_too = logging.StreamHandler(io.StringIO()), logging.StreamHandler(io.StringIO())
        module.set_handler(mine)
        module.logger.addHandler(mine_too)
        module.setup_logger('%H', '%(message)s')
        assert module.logger.handlers == [mine, mine_too]
        assert formats(mine) == formats(mine_too) == ('%(message)s', '%H')

    def test_makes_way_for_a_handler_added_beside_the_silent_one(self, module):
        mine = logging.StreamHandler(io.StringIO())
        module.logger.addHandler(mine)
        module.setup_logger()
        assert module.logger.handlers == [mine]

    def test_lowers_no_level_that_the_program_chose(self, module):
        mine = logging.StreamHandler(io.StringIO())
        mine.setLevel(logging.WARNING)
        module.set_handler(mine)
        module.setup_logger()
        assert mine.level == logging.WARNING

    def test_lets_every_level_through_a_handler_without_one(self, module):
        mine = logging.StreamHandler(io.StringIO())
        module.set_handler(mine)
        module.setup_logger()
        assert mine.level == logging.DEBUG

    def test_finds_a_console_again_after_the_handlers_were_taken_away(self, module):
        module.logger.handlers[:] = []
        module.setup_logger()
        assert len(module.logger.handlers) == 1

    def test_refuses_a_wrong_format_and_stays_as_it_was(self, module):
        before = list(module.logger.handlers)
        with pytest.raises(ValueError, match='no field'):
            module.setup_logger(log_format='no field')
        assert module.logger.handlers == before


class TestSetHandler:
    def test_replaces_all_others(self, module):
        module.setup_logger()
        module.logger.addHandler(logging.NullHandler())
        mine = logging.StreamHandler(io.StringIO())
        module.set_handler(mine)
        assert module.logger.handlers == [mine]

    def test_of_the_handler_it_has_changes_nothing(self, module):
        mine = logging.StreamHandler(io.StringIO())
        module.set_handler(mine)
        module.set_handler(mine)
        assert module.logger.handlers == [mine]

    def test_leaves_what_it_replaces_open(self, module, tmp_path):
        old = logging.FileHandler(tmp_path / 'log')
        try:
            module.set_handler(old)
            module.set_handler(logging.NullHandler())
            assert not old.stream.closed
        finally:
            old.close()

    def test_sends_the_records_there(self, module):
        stream = io.StringIO()
        module.set_handler(logging.StreamHandler(stream))
        module.logger.debug('hello')
        assert stream.getvalue() == 'hello\n'


class TestARecord:
    def test_is_heard_by_nobody_until_there_is_a_handler(self, module):
        assert not module.is_heard(logging.CRITICAL)
        module.setup_logger()
        assert module.is_heard(logging.DEBUG)

    def test_is_heard_by_a_handler_of_its_level(self, module):
        mine = logging.StreamHandler(io.StringIO())
        mine.setLevel(logging.WARNING)
        module.set_handler(mine)
        assert not module.is_heard(logging.INFO)
        assert module.is_heard(logging.WARNING)

    def test_is_heard_by_nobody_where_the_logger_has_a_higher_level(self, module):
        module.setup_logger()
        module.logger.setLevel(logging.ERROR)
        assert not module.is_heard(logging.WARNING)

    def test_may_be_heard_above_where_the_program_lets_it_propagate(self, module):
        module.logger.propagate = True
        assert module.is_heard(logging.DEBUG)
