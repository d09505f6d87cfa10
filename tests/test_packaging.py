"""What is built and uploaded: all of the product and nothing else, and it runs where nothing else is installed."""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import delayed

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns('.?*', '__pycache__', '*.egg-info', 'build', 'dist')

# The product, named by what it may consist of: a new kind of file is to be thought about.
PRODUCT = {str(path.relative_to(ROOT)) for pattern in ('*.py', 'commands/*.py', 'lua/*.lua', 'py.typed')
           for path in (ROOT / 'delayed').glob(pattern)}


def run(*command, **kwargs):
    """Returns the program's output. Nothing of this process' environment is in its way."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **kwargs)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def build(tmp_path_factory):
    """Builds the source archive, and from that the wheel, out of a copy that also holds what is none of the product."""
    source = tmp_path_factory.mktemp('build') / 'source'
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    for stray in 'delayed/notes.txt', 'delayed/lua/dequeue.lua~', 'delayed/more/__init__.py', 'notes.py':
        (source / stray).parent.mkdir(exist_ok=True)
        (source / stray).write_text('')
    out = source.parent / 'out'
    output = run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(out), str(source))
    return out, output


@pytest.fixture(scope='module')
def wheel(build):
    out, _ = build
    return out / ('delayed-%s-py3-none-any.whl' % delayed.__version__)


@pytest.fixture(scope='module')
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read('delayed-%s.dist-info/METADATA' % delayed.__version__))


@pytest.fixture(scope='module')
def installation(wheel, tmp_path_factory):
    """The programs' directory of a virtual environment that holds the wheel and what it requires."""
    directory = tmp_path_factory.mktemp('installation')
    venv.create(directory, with_pip=True)
    pip = [str(directory / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check', '--no-input', 'install', '-q']
    try:
        run(*pip, 'redis')
    except AssertionError:
        if os.environ.get('CI'):
            raise
        pytest.skip('the package index is out of reach')
    run(*pip, str(wheel))
    return directory / 'bin'


class TestABuild:
    def test_warns_of_nothing(self, build):
        _, output = build
        warnings = [line for line in output.splitlines() if 'warn' in line.lower() and 'byte-compiling' not in line]
        assert warnings == []

    def test_makes_one_source_archive_and_one_wheel_for_every_machine(self, build, wheel):
        out, _ = build
        assert set(os.listdir(out)) == {wheel.name, 'delayed-%s.tar.gz' % delayed.__version__}

    def test_puts_the_product_and_nothing_else_into_the_wheel(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        about = 'delayed-%s.dist-info' % delayed.__version__
        assert {name for name in names if not name.startswith(about)} == PRODUCT
        assert any(name.endswith('LICENSE') for name in names)

    def test_puts_what_building_needs_into_the_source_archive_too(self, build):
        out, _ = build
        top = 'delayed-%s/' % delayed.__version__
        with tarfile.open(out / (top[:-1] + '.tar.gz')) as archive:
            names = {member.name[len(top):] for member in archive.getmembers() if member.isfile()}
        made = {name for name in names if name.startswith('delayed.egg-info/')} | {'PKG-INFO', 'setup.cfg'}
        assert names - made == PRODUCT | {
            'setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE'}

    def test_holds_scripts_for_redis_and_says_that_it_is_typed(self):
        assert 'delayed/lua/dequeue.lua' in PRODUCT
        assert 'delayed/py.typed' in PRODUCT


class TestTheMetadata:
    def test_names_the_version_that_the_package_names(self, metadata):
        assert (metadata['Name'], metadata['Version']) == ('delayed', delayed.__version__)

    def test_asks_for_redis_py_alone(self, metadata):
        required = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
        assert required == ['redis>=4.5']
        assert metadata['Requires-Python'] == '>=3.9'

    def test_offers_extras(self, metadata):
        assert set(metadata.get_all('Provides-Extra')) == {'completion', 'embedded', 'hiredis', 'test'}

    def test_describes_the_project_with_the_readme(self, metadata):
        assert metadata['Description-Content-Type'] == 'text/markdown'
        assert metadata.get_payload(decode=True).decode().strip() == (ROOT / 'README.md').read_text('utf-8').strip()

    def test_tells_the_license(self, metadata):
        assert 'MIT' in (metadata['License'], metadata['License-Expression'])


class TestAnInstalledWheel:
    def test_runs_tasks(self, installation, redis_server, conn, tmp_path):
        (tmp_path / 'tasks.py').write_text('''
import os, signal

def note(path):
    with open(path, 'x') as file:
        file.write('done')

def stop_worker():
    os.kill(os.getppid(), signal.SIGTERM)
''')
        (tmp_path / 'program.py').write_text('''
import sys
import delayed, redis, tasks
from delayed.delay import delay
from delayed.queue import Queue
from delayed.worker import ForkedWorker

queue = Queue('default', redis.Redis.from_url(sys.argv[1]))
delay(queue)(tasks.note)('result')
delay(queue)(tasks.stop_worker)()
ForkedWorker(queue).run()
assert queue.len() == 0
print(delayed.__file__)
''')
        where = run(str(installation / 'python'), '-W', 'error', 'program.py', redis_server.url, cwd=tmp_path,
                    timeout=60)
        assert (tmp_path / 'result').read_text() == 'done'
        assert Path(where.strip()).is_relative_to(installation.parent)
        assert conn.zcard('default_enqueued') == conn.zcard('default_dequeued') == 0

    @pytest.mark.parametrize('command', [['delayed'], ['python', '-m', 'delayed']])
    def test_has_a_command(self, installation, command, tmp_path):
        assert 'worker' in run(str(installation / command[0]), *command[1:], '--help', cwd=tmp_path, timeout=60)
