"""Stands between a client and the tests' Redis server, and loses what a network may lose.

    with CuttingProxy(redis_server.socket_path) as proxy:
        client = proxy.client()
        cut = proxy.cut('EVALSHA')      # the next one is carried out, but its reply never comes: the connection breaks
        with pytest.raises(redis.ConnectionError):
            client.evalsha(...)
        assert cut.seen

It runs in threads of this process, so a test that forks while it stands does so from a process with several threads.
"""

from __future__ import annotations

import collections
import contextlib
import socket
import threading

import redis

from waiting import DEADLINE

CUT, DROP, HOLD, REFUSE = 'cut', 'drop', 'hold', 'refuse'


class Fault:
    """What befalls the next `times` requests that begin with `words`, and their replies."""

    def __init__(self, kind, words, times):
        self.kind = kind
        self._words = [_bytes(word) for word in words]
        self._lock = threading.Lock()
        self._left = times
        self._seen = threading.Semaphore(0)
        self._let_go = threading.Event()
        #: How many requests it has befallen.
        self.seen = 0

    def befalls(self, request):
        """Whether the request is one of those; it is counted then."""
        with self._lock:
            if not self._left or [word.upper() for word in request[:len(self._words)]] != self._words:
                return False
            self._left -= 1
            return True

    def note(self):
        """It has happened: the reply is here, and lost or held."""
        with self._lock:
            self.seen += 1
        self._seen.release()

    def spare(self):
        """What was counted shall not count."""
        with self._lock:
            self._left += 1

    def wait(self):
        """Waits until it has happened once more."""
        assert self._seen.acquire(timeout=DEADLINE), 'no request came that begins with %r' % self._words

    def hold(self):
        self._let_go.wait()

    def let_go(self):
        """Delivers the replies that are held, and holds no further ones."""
        with self._lock:
            self._left = 0
        self._let_go.set()


class CuttingProxy:
    """Forwards connections to a loopback port to the server's Unix socket, whole requests and replies at a time.

    `words` name the requests that a fault is for, by their first words: `cut('EVALSHA', sha)`. An error reply never
    counts: such a request was not carried out, so its reply is delivered, and the fault waits for the next one.
    """

    def __init__(self, server_socket_path):
        self._server = server_socket_path
        self._faults = []
        self._links = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._partitioned = False
        self._listener = socket.create_server(('127.0.0.1', 0))
        self._clients = []
        self.host, self.port = self._listener.getsockname()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def client(self, **kwargs):
        """Returns a new client that goes through the proxy; it is closed with it."""
        client = redis.Redis(self.host, self.port, **kwargs)
        self._clients.append(client)
        return client

    def cut(self, *words, times=1):
        """Replies are lost and their connections break: the requests have been carried out."""
        return self._add(Fault(CUT, words, times))

    def drop(self, *words, times=1):
        """Replies are lost without a sign, until the client's patience ends: the requests have been carried out."""
        return self._add(Fault(DROP, words, times))

    def hold(self, *words, times=1):
        """Replies are late: they come when `let_go` of what this returns is called."""
        return self._add(Fault(HOLD, words, times))

    def refuse(self, *words, times=1):
        """Requests are lost and their connections break: they have not been carried out."""
        return self._add(Fault(REFUSE, words, times))

    def heal(self):
        """From now on no fault befalls anything, and a partition is over."""
        with self._lock:
            self._partitioned = False
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.let_go()

    def partition(self):
        """Breaks all connections, and new ones as soon as they are made, until `heal`."""
        with self._lock:
            self._partitioned = True
            links = list(self._links)
        for link in links:
            link.close()

    def stop(self):
        self._stopped = True
        self.heal()
        for client in self._clients:
            client.close()
            client.connection_pool.disconnect()
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)):
            pass  # wakes the acceptor
        self._acceptor.join(DEADLINE)
        self._listener.close()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()
        for link in links:
            link.join()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()

    def _add(self, fault):
        with self._lock:
            self._faults.append(fault)
        return fault

    def _fault_for(self, request):
        with self._lock:
            return next((fault for fault in self._faults if fault.befalls(request)), None)

    def _accept(self):
        while not self._stopped:
            client, _ = self._listener.accept()
            with self._lock:
                refused = self._stopped or self._partitioned
                if not refused:
                    link = _Link(client, self._server, self._fault_for, self._forget)
                    self._links.add(link)
            if refused:
                client.close()
            else:
                link.start()

    def _forget(self, link):
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection: a thread carries requests, another one replies."""

    def __init__(self, client, server_path, fault_for, forget):
        self._client = client
        self._server = socket.socket(socket.AF_UNIX)
        self._server_path = server_path
        self._fault_for = fault_for
        self._forget = forget
        self._under_way = collections.deque()  # the fault of each request that has no reply yet, or None
        self._threads = [threading.Thread(target=self._run, args=(carry,), daemon=True)
                         for carry in (self._carry_requests, self._carry_replies)]
        self._running = len(self._threads)
        self._lock = threading.Lock()

    def start(self):
        try:
            self._server.connect(self._server_path)
        except OSError:  # the server is down
            self.close()
        for thread in self._threads:
            thread.start()

    def close(self):
        """Ends both threads. A process that was forked meanwhile holds copies of the sockets: so it shuts them down."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def join(self):
        for thread in self._threads:
            thread.join(DEADLINE)

    def _run(self, carry):
        try:
            with contextlib.suppress(OSError):
                carry()
        finally:
            self.close()
            with self._lock:
                self._running -= 1
                last = not self._running
            if last:
                self._client.close()
                self._server.close()
                self._forget(self)

    def _carry_requests(self):
        for message in _messages(self._client):
            fault = self._fault_for(_words(message))
            if fault is not None and fault.kind == REFUSE:
                fault.note()
                return
            self._under_way.append(fault)
            self._server.sendall(message)

    def _carry_replies(self):
        for message in _messages(self._server):
            fault = None
            if message[:1] != b'>':  # what Redis pushes is no reply
                fault = self._under_way.popleft()
            if fault is not None and message[:1] == b'-':
                fault.spare()
            elif fault is not None:
                fault.note()
                if fault.kind == CUT:
                    return
                if fault.kind == DROP:
                    continue
                fault.hold()
            self._client.sendall(message)


def _messages(source):
    """Yields whole requests or replies as they come."""
    pending = b''
    while True:
        chunk = source.recv(1 << 16)
        if not chunk:
            return
        pending += chunk
        end = _end(pending, 0)
        while end is not None:
            yield pending[:end]
            pending = pending[end:]
            end = _end(pending, 0)


def _end(data, start):
    """Returns where the value that begins at `start` ends in RESP 2 or 3; `None`: not here yet."""
    line_end = data.find(b'\r\n', start)
    if line_end < 0:
        return None
    kind, end = data[start:start + 1], line_end + 2
    if kind in b'$=!':
        length = int(data[start + 1:line_end])
        end += length + 2 if length >= 0 else 0
        return end if end <= len(data) else None
    if kind in b'*~>%|':
        parts = int(data[start + 1:line_end]) * (2 if kind in b'%|' else 1) + (kind == b'|')
        for _ in range(parts):
            end = _end(data, end)
            if end is None:
                return None
    return end


def _words(request):
    """The words of a request: an array of strings."""
    words, at = [], request.index(b'\r\n') + 2
    while at < len(request):
        line_end = request.index(b'\r\n', at)
        length = int(request[at + 1:line_end])
        words.append(request[line_end + 2:line_end + 2 + length])
        at = line_end + 2 + length + 2
    return words


def _bytes(word):
    return (word if isinstance(word, bytes) else word.encode()).upper()
