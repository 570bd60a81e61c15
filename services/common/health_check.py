"""Asks one process of ours whether it is well, for container health checks: exit code 0, or 1 and a line that says why.

    python -m services.common.health_check grpc HOST:PORT NAME TLS_DIR   the standard health service, over mutual TLS
    python -m services.common.health_check http URL                      answers 200
    python -m services.common.health_check file PATH SECONDS             was touched within so many seconds

It runs every few seconds beside every process, so it imports the standard library alone: the gRPC package would take
ten times as long to load as the whole check takes.
"""

import http.client
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = 4.0
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7  # RFC 9113, section 6
_END_STREAM, _END_HEADERS = 1, 4
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


def _grpc(target: str, name: str, tls_dir: str) -> str:
    host, _, port = target.rpartition(":")
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": name,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    folder = Path(tls_dir)
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                + _frame(_SETTINGS, 0, 0, b"")
                + _frame(_HEADERS, _END_HEADERS, 1, b"".join(_header(*pair) for pair in headers.items()))
                + _frame(_DATA, _END_STREAM, 1, b"\0\0\0\0\0")  # an empty HealthCheckRequest, not compressed
            )
            for kind, stream, payload in _frames(connection):
                if kind == _DATA and stream == 1:
                    return "" if payload[5:] == _SERVING else f"{name}: not serving"
                if kind in (_RST_STREAM, _GOAWAY):
                    break
    except OSError as error:
        return f"{name}: {error}"
    return f"{name}: no answer"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header(name: str, value: str) -> bytes:
    """A literal field with a new name, without indexing or Huffman coding (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, stream and payload of what comes in, until the other side closes or _SECONDS are over."""
    ends_at = time.monotonic() + _SECONDS
    received = b""
    while time.monotonic() < ends_at:
        while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3], "big"):
            length = int.from_bytes(received[:3], "big")
            yield received[3], int.from_bytes(received[5:9], "big"), received[9 : 9 + length]
            received = received[9 + length :]
        chunk = connection.recv(65536)
        if not chunk:
            return
        received += chunk


def _http(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        text = answer.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"{url}: {answer.status} {text}"


def _file(path: str, seconds: str) -> str:
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if age <= float(seconds) else f"{path}: {age:.0f} s old"


def main(arguments: list[str]) -> str:
    """The complaint, or nothing."""
    match arguments:
        case ["grpc", target, name, tls_dir]:
            return _grpc(target, name, tls_dir)
        case ["http", url]:
            return _http(url)
        case ["file", path, seconds]:
            return _file(path, seconds)
    return str(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
