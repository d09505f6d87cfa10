"""What all scripts have in common; see bench.py for what each of them does alone."""

import re
from pathlib import Path

import pytest
from bench import KEYS_OF

import delayed
from delayed import _scripts

LUA = Path(delayed.__file__).parent / 'lua'
SCRIPTS = sorted(path.stem for path in LUA.glob('*.lua') if path.stem != 'common')


class TestEveryScript:
    def test_is_loaded_and_shipped(self):
        assert sorted(script.name for script in _scripts.ALL) == SCRIPTS == sorted(KEYS_OF)

    def test_goes_to_the_server_without_comments_of_whole_lines(self):
        for script in _scripts.ALL:
            assert '[[' not in script.source  # a text or a comment of several lines
            code = [line for line in (LUA / (script.name + '.lua')).read_text().split('\n')
                    if not line.lstrip().startswith('--')]
            assert script.source.endswith('\n'.join(code)), script.name
            assert not re.search('^ *--', script.source, re.MULTILINE), script.name

    @pytest.mark.parametrize('name', SCRIPTS)
    def test_begins_with_its_purpose_keys_arguments_and_result(self, name):
        header = re.match('(-- .*\n)+', (LUA / (name + '.lua')).read_text())[0]
        assert header[3].isupper()
        for part in ('KEYS', 'ARGV', 'Returns'):
            assert re.search(r'^-- %s\b' % part, header, re.MULTILINE), part
        assert re.search('[Cc]rash|Changes nothing|only reads', header)

    @pytest.mark.parametrize('name', SCRIPTS)
    @pytest.mark.parametrize('what', ['KEYS', 'ARGV'])
    def test_uses_nothing_that_its_header_does_not_name(self, name, what):
        source = (LUA / (name + '.lua')).read_text()
        header = re.match('(-- .*\n)+', source)[0]
        named = set()
        for first, last in re.findall(r'^-- %s\[(\d+)(?:\.\.(\d+))?\]' % what, header, re.MULTILINE):
            named.update(range(int(first), int(last or first) + 1))
        used = {int(index) for index in re.findall(r'%s\[(\d+)\]' % what, source[len(header):])}
        assert used <= named

    @pytest.mark.parametrize('name', SCRIPTS)
    def test_has_a_header_that_counts_the_keys_right(self, name):
        header = re.match('(-- .*\n)+', (LUA / (name + '.lua')).read_text())[0]
        named = re.findall(r'^-- KEYS\[(?:\d+\.\.)?(\d+)\]', header, re.MULTILINE)
        assert int(named[-1]) == len(KEYS_OF[name])

    def test_is_kept_by_redis_under_the_name_we_call_it_by(self, conn):
        for script in _scripts.ALL:
            assert conn.script_load(script.source) == script.sha

    def test_takes_the_time_from_the_server_and_draws_no_lots(self):
        for path in LUA.glob('*.lua'):
            assert not re.search(r'os\.(time|clock)|math\.random|srandmember', path.read_text())


class TestProbe:
    def test_finds_nothing_denied_where_all_is_allowed_and_changes_nothing(self, bench):
        assert bench.run('probe') == []
        assert bench.holds() == {}

    def test_names_what_is_denied_where_the_server_can_tell(self, conn, redis_server):
        version = int(conn.info('server')['redis_version'].split('.')[0])
        if version < 6:
            pytest.skip('it has no users')
        conn.acl_setuser('limited', enabled=True, nopass=True, commands=['+@all', '-lpop'], keys=KEYS_OF['probe'])
        limited = redis_server.client(username='limited', password='any')
        script, keys = _scripts.PROBE, KEYS_OF['probe']
        denied = [[b'lpop', b'waiting'], [b'lpop', b'notifications']]
        assert limited.eval(script.source, len(keys), *keys) == (denied if version >= 7 else [])
        limited.close()
        limited.connection_pool.disconnect()
        conn.acl_deluser('limited')

    def test_names_all_that_the_other_scripts_of_a_worker_call(self):
        """Each `redis.call` of a worker's scripts stands in its table."""
        called = set()
        for name in ('common', 'dequeue', 'release', 'advance', 'advance_any', 'advance_many', 'requeue', 'lose',
                     'renew', 'reclaim', 'requeue_lost', 'may_sweep', 'tidy', 'set_aside'):
            called.update(re.findall(r"redis\.call\('(\w+)'", (LUA / (name + '.lua')).read_text()))
        probed = set(re.findall(r"\{'(\w+)', \d", (LUA / 'probe.lua').read_text())) | {'time'}
        assert called <= probed
