"""A certificate authority of the test's own, and TLS in front of a server that has none."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from waiting import DEADLINE

OPENSSL = shutil.which('openssl')


class Authority:
    """Signs certificates, by the `openssl` command. `directory` holds them: NAME.crt, NAME.key."""

    def __init__(self, directory, name='authority'):
        if OPENSSL is None:
            pytest.skip('there is no openssl command')
        self._directory = directory
        self._name = name
        self._run('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                  '-subj', '/CN=%s' % name, '-keyout', self.key(name), '-out', self.certificate(name),
                  '-addext', 'keyUsage=critical,keyCertSign,cRLSign')  # Python 3.13 wants it

    @property
    def ca(self):
        return self.certificate(self._name)

    def certificate(self, name):
        return str(self._directory / (name + '.crt'))

    def key(self, name):
        return str(self._directory / (name + '.key'))

    def sign(self, name, *addresses):
        """Makes a key and a certificate of that name, for these addresses."""
        request = str(self._directory / (name + '.csr'))
        extensions = self._directory / (name + '.ext')
        extensions.write_text('subjectAltName=%s\nauthorityKeyIdentifier=keyid\n' % ','.join(
            ['DNS:' + name, *('IP:' + each for each in addresses)]))
        self._run('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                  '-subj', '/CN=%s' % name, '-keyout', self.key(name), '-out', request)
        self._run('x509', '-req', '-in', request, '-CA', self.ca, '-CAkey', self.key(self._name), '-CAcreateserial',
                  '-days', '2', '-extfile', str(extensions), '-out', self.certificate(name))

    @staticmethod
    def _run(*args):
        subprocess.run([OPENSSL, *args], check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Tunnel:
    """Takes TLS connections on a loopback port, from clients with a certificate alone, and forwards what they say to
    the server's Unix socket."""

    def __init__(self, server_path, authority, name):
        self._server_path = server_path
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.certificate(name), authority.key(name))
        self._context.load_verify_locations(authority.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.host, self.port = self._listener.getsockname()
        self._stopped = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._stopped = True
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)):
            pass  # wakes the acceptor
        self._acceptor.join(DEADLINE)
        self._listener.close()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            if self._stopped:
                client.close()
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        """One connection: one thread for both directions, since a TLS socket is not for two at once."""
        with contextlib.suppress(OSError), self._context.wrap_socket(client, server_side=True) as encrypted, \
                socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server_path)
            encrypted.setblocking(False)
            self._carry(encrypted, server)

    @staticmethod
    def _carry(encrypted, server):
        while True:
            ready, _, _ = select.select([encrypted, server], [], [])
            if server in ready:
                data = server.recv(1 << 16)
                if not data:
                    return
                encrypted.setblocking(True)
                encrypted.sendall(data)
                encrypted.setblocking(False)
            if encrypted in ready:
                with contextlib.suppress(ssl.SSLWantReadError):
                    data = encrypted.recv(1 << 16)
                    while data:
                        server.sendall(data)
                        data = encrypted.recv(1 << 16)  # what TLS holds decrypted shows in no select
                    return
