"""One HTTP request whose time is bounded from its name's look-up to the last byte of its answer, and of which it is
known whether a byte of it may have left. Before it leaves, `may_leave` is asked one last time; cut off or given up, it
leaves nothing behind that the kernel would go on sending.

It rests on requests and urllib3, with connections that are watched: urllib3's own timeouts are for each address of a
name, for the encryption's handshake and for each piece of an answer, and together have no end.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_DISCARD_AT_CLOSE = struct.pack("ii", 1, 0)
_LINGER_AT_CLOSE = struct.pack("ii", 0, 0)


class TooLate(Exception):
    """The request was held back: not a byte of it has left."""


class BoundedCall:
    """`connect_seconds` for everything before the first byte of the request, `answer_seconds` for everything after.
    Made for one request."""

    def __init__(
        self, connect_seconds: float, answer_seconds: Callable[[], float], may_leave: Callable[[], bool]
    ) -> None:
        self.has_left = False
        """A byte of the request may have left."""
        self.seconds_to_answer = 0.0
        self._connect_seconds = connect_seconds
        self._connect_by = time.monotonic() + connect_seconds
        self._answer_seconds = answer_seconds
        self._may_leave = may_leave
        self._socket: socket.socket | None = None
        self._end: threading.Timer | None = None

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        """As `requests.request`, over a connection of its own. Raises TooLate, or what requests and urllib3 raise."""
        try:
            with requests.Session() as session:
                for scheme in ("https://", "http://"):
                    session.mount(scheme, _Adapter(self))
                headers: Mapping[str, str] = {**(given.pop("headers", None) or {}), "Connection": "close"}
                return session.request(
                    method,
                    url,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._connect_seconds,
                    **given,
                )
        finally:
            if self._end:
                self._end.cancel()

    def connect(self, connection: HTTPConnection, host: str, port: int) -> socket.socket:
        """To the first address of the name that answers, each in its share of the time that is left."""
        try:
            addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(host, connection, error) from error
        failed: OSError | None = None
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            try:
                with contextlib.ExitStack() as unless_connected:
                    connected = unless_connected.enter_context(socket.socket(family, kind, protocol))
                    connected.settimeout(self._left_to_connect(connection) / (len(addresses) - position))
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connected.connect(address)
                    connected.settimeout(self._left_to_connect(connection))  # for the handshake of its encryption
                    unless_connected.pop_all()
                    return connected
            except OSError as error:
                failed = error
        if isinstance(failed, TimeoutError):
            raise ConnectTimeoutError(connection, "not connected in time") from failed
        raise NewConnectionError(connection, f"not connected: {failed}") from failed

    def leaves(self, connected: socket.socket) -> None:
        """From here on nobody can tell whether the request has left, until it is answered."""
        if time.monotonic() > self._connect_by or not self._may_leave():
            raise TooLate
        self.seconds_to_answer = self._answer_seconds()
        self._socket = getattr(connected, "socket", connected)  # of an encrypted proxy's, the one below
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_AT_CLOSE)
        self._end = threading.Timer(self.seconds_to_answer, _cut_off, [self._socket])
        self._end.daemon = True
        self._end.start()
        self.has_left = True

    def is_answered(self) -> None:
        """All of the request has arrived, so there is nothing to discard any more."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AT_CLOSE)

    def _left_to_connect(self, connection: HTTPConnection) -> float:
        left = self._connect_by - time.monotonic()
        if left <= 0:
            raise ConnectTimeoutError(connection, "not connected in time")
        return left


class _Adapter(HTTPAdapter):
    """Makes connections that the call watches; requests' own retries are off by default."""

    def __init__(self, call: BoundedCall) -> None:
        self._call = call
        super().__init__()

    def get_connection_with_tls_context(self, *arguments: Any, **named: Any) -> urllib3.HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(*arguments, **named)
        watched = _WatchedHttps if isinstance(pool, urllib3.HTTPSConnectionPool) else _Watched

        def connect(*given: Any, **more: Any) -> HTTPConnection:
            connection = watched(*given, **more)
            connection.call = self._call
            return connection

        pool.ConnectionCls = connect  # type: ignore[assignment]
        return pool


class _Watched(HTTPConnection):
    call: BoundedCall

    def _new_conn(self) -> socket.socket:
        return self.call.connect(self, self._dns_host, self.port or 0)

    def request(self, *arguments: Any, **named: Any) -> None:
        if self.sock is None:
            self.connect()
        self.call.leaves(self.sock)
        super().request(*arguments, **named)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        self.timeout = self.call.seconds_to_answer
        response = super().getresponse()
        self.call.is_answered()
        return response


class _WatchedHttps(_Watched, HTTPSConnection):
    """The same with encryption, which is part of connecting."""


def _cut_off(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # The plain socket's own: that of TLS forgets the encryption first, and a byte might follow in the clear.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
