"""A hostile web on the loopback address: listeners that count bytes, servers that misbehave, resolvers that lie."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from pathlib import Path

PUBLIC = "93.184.216.34"
"""A public address. Nothing here connects to it: see `Internet`."""

TLS = Path(__file__).parents[1] / "data" / "tls"
"""A certificate of "images.example" that signs itself, and its key."""


class Server:
    """Accepts connections on 127.0.0.1 and ::1 with one port, and hands each to a function, in a thread of its own.

    Args:
        serve: called with the connected socket; without one, everything is read and nothing answered.
        tls: whether to speak TLS, with the certificate of `TLS`.

    Attributes:
        received: the bytes that came in, all connections together.
        connections: how many there were.
        names: what each TLS client called the server.
    """

    def __init__(self, serve=None, *, tls=False):
        self._serve = serve
        self.received, self.connections, self.names = bytearray(), 0, []
        self.closing = threading.Event()
        self._context = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
            self._context.sni_callback = lambda connection, name, context: self.names.append(name)
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):  # a machine without IPv6
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self.url = f"http://127.0.0.1:{self.port}"
        self._open = []
        for listener in self._sockets:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection):
        with contextlib.suppress(OSError), connection:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            if self._serve is None:
                while data := connection.recv(65536):
                    self.received += data
            else:
                self._serve(connection)

    def request(self, connection):
        """Read a request up to its empty line."""
        data = b""
        while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
            data += more
        self.received += data
        return data

    def close(self):
        self.closing.set()
        for each in [*self._sockets, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Resolver:
    """Takes the place of `socket.getaddrinfo`: the one thing here that a test machine does not have is a name server.

    Args:
        names: the addresses of each name, as a list per look-up; the last one repeats. A function is called instead.
        default: the addresses of every other name.

    Attributes:
        asked: the names that were looked up.
    """

    def __init__(self, names=None, default=("127.0.0.1", "::1")):
        self._names = {name: answers if callable(answers) else list(answers) for name, answers in (names or {}).items()}
        self._default = default
        self.asked = []

    def __call__(self, host, port, *args, **kwargs):
        self.asked.append(host)
        answers = self._names.get(host, [self._default])
        if callable(answers):
            answers = [answers()]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} at 10.9.8.7 is not known")
        return [self._entry(address, port) for address in addresses]

    @staticmethod
    def _entry(address, port):
        if ipaddress.ip_address(address).version == 4:
            return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))

    def install(self, monkeypatch):
        monkeypatch.setattr(socket, "getaddrinfo", self)
        return self


class Internet:
    """Stands in for public addresses, which a test cannot use: connections to them reach a loopback server instead.

    Connections to all other addresses are real.

    Attributes:
        connected: (address, port) of each connection to a public address.
    """

    def __init__(self, monkeypatch, servers):
        self.connected = []
        connect = asyncio.BaseEventLoop.create_connection

        async def create_connection(loop, factory, host=None, port=None, **kwargs):
            if host in servers:
                self.connected.append((host, port))
                host, port = "127.0.0.1", servers[host].port
            return await connect(loop, factory, host, port, **kwargs)

        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
