"""docs/deployment.md: its commands are understood, its time limits fit, its unit is one that systemd accepts."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from delayed import cli

DOCUMENT = (Path(__file__).parent.parent / 'docs' / 'deployment.md').read_text('utf-8')


def block(language):
    return re.search(r'^```%s\n(.*?)^```$' % language, DOCUMENT, re.MULTILINE | re.DOTALL)[1]


def parsed(command):
    """The arguments of a `delayed worker ...`, as the command understands them."""
    return cli._parser('delayed').parse_args(command[command.index('delayed') + 1:])


def commands():
    """Those of the page: the unit's, the manifest's, Docker's, and what stands in the text."""
    yield shlex.split(re.search('^ExecStart=(.*)', block('ini'), re.MULTILINE)[1])
    yield re.findall(r'[^\s,"\[\]]+', re.search(r'command: (\[.*\])', block('yaml'))[1])
    for command in re.findall(r'`((?:docker run [^`]*)?delayed worker [^`]*)`', DOCUMENT):
        yield shlex.split(command)


COMMANDS = list(commands())


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_commands_are_understood(command):
    if '--help' not in command:
        assert parsed(command).run


def test_all_kinds_of_commands_were_found():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(('command', 'limit'), [
    (COMMANDS[0], r'^TimeoutStopSec=(\d+)$'),
    (COMMANDS[1], r'terminationGracePeriodSeconds: (\d+)'),
    (next(command for command in COMMANDS if command[0] == 'docker'), r'docker run --init --stop-timeout (\d+)'),
])
def test_tasks_are_handed_back_before_the_process_manager_kills(command, limit):
    seconds = int(re.search(limit, DOCUMENT, re.MULTILINE)[1])
    assert 5 <= seconds - parsed(command).stop_timeout <= seconds / 5


def test_the_unit_is_accepted_by_systemd(tmp_path):
    if not shutil.which('systemd-analyze'):
        pytest.skip('systemd is not installed')
    unit = tmp_path / 'myapp-worker.service'
    unit.write_text(block('ini'))
    result = subprocess.run(['systemd-analyze', 'verify', '--man=no', str(unit)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    assert (result.returncode, [line for line in result.stdout.splitlines() if unit.name in line]) == (0, [])


def test_the_manifest_is_yaml():
    yaml = pytest.importorskip('yaml')
    manifest = yaml.safe_load(block('yaml'))
    container, = manifest['spec']['template']['spec']['containers']
    assert container['command'][:2] == ['delayed', 'worker']
    assert all(isinstance(part, str) for part in container['command'])
    assert manifest['spec']['selector']['matchLabels'] == manifest['spec']['template']['metadata']['labels']


def test_the_manifest_is_one_that_kubectl_reads(tmp_path):
    if not shutil.which('kubectl'):
        pytest.skip('kubectl is not installed')
    (tmp_path / 'worker.yaml').write_text(block('yaml'))
    (tmp_path / 'kustomization.yaml').write_text('resources: [worker.yaml]\n')
    read = subprocess.run(['kubectl', 'kustomize', str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert 'kind: Deployment' in read and 'terminationGracePeriodSeconds: 60' in read
