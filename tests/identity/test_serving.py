"""The gateway as a process: what it takes from a raw socket (A72), how it stops, and settings that stop its start."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from countersign.identity.v1 import sessions_pb2
from countersign.identity.v1.sessions_pb2_grpc import SessionsStub
from pydantic import SecretStr, ValidationError

from deploy.embedded import free_port
from services.common.errors import ServiceError
from services.common.rpc_client import Peer
from services.identity.settings import IdentitySettings
from tests.conftest import MakeCertificates
from tests.identity.people import PASSWORD, Person, Stack

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Served:
    process: asyncio.subprocess.Process
    port: int
    rpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, request: bytes, *, leaves: bool = False) -> bytes:
        """What comes back for bytes that no client library would send."""

        def exchange() -> bytes:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=20)) as connection:
                connection.sendall(request)
                if leaves:
                    connection.shutdown(socket.SHUT_WR)
                received = b""
                while part := connection.recv(65536):
                    received += part
                return received

        return await asyncio.to_thread(exchange)


def environment_of(settings: IdentitySettings, **changes: str) -> dict[str, str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"}
    for name in IdentitySettings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            environment[f"IDENTITY_{name.upper()}"] = text
    return environment | {f"IDENTITY_{name.upper()}": value for name, value in changes.items()}


@asynccontextmanager
async def serving(stack: Stack, log: Path) -> AsyncIterator[Served]:
    port, rpc_port = free_port(), free_port()
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.identity",
            "serve",
            cwd=ROOT,
            env=environment_of(stack.settings, listen=f"127.0.0.1:{port}", grpc_listen=f"127.0.0.1:{rpc_port}"),
            stdout=written,
            stderr=written,
        )
        served = Served(process, port, rpc_port)
        try:
            async with httpx.AsyncClient() as client:
                for _ in range(300):
                    try:
                        await client.get(f"{served.url}/healthz")
                        break
                    except httpx.TransportError:
                        assert process.returncode is None, log.read_text()
                        await asyncio.sleep(0.1)
            yield served
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a72_the_process_survives_what_a_socket_can_bring_and_drains_when_asked(
    stack: Stack, person: Person, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with serving(stack, log) as served:
        head = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        smuggled = await served.raw(
            head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        )
        assert smuggled.startswith(b"HTTP/1.1 400")
        assert smuggled.count(b"HTTP/1.1") == 1
        twice = await served.raw(head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x")
        assert twice.startswith(b"HTTP/1.1 400")
        chunked = await served.raw(
            head
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"fff0\r\n"
            + b"x" * 0xFFF0
            + b"\r\n"
            + b"20\r\n"
            + b"x" * 32
            + b"\r\n0\r\n\r\n"
        )
        assert chunked.startswith(b"HTTP/1.1 413")
        promised = await served.raw(head + b"Content-Length: 10485760\r\n\r\n{")
        assert promised.startswith(b"HTTP/1.1 413")
        cut_short = await served.raw(head + b"Content-Length: 100\r\n\r\n{", leaves=True)
        assert b"HTTP/1.1 2" not in cut_short
        assert (await served.raw(b"\x16\x03\x01\x02\x00", leaves=True)).startswith((b"HTTP/1.1 400", b""))
        header = await served.raw(
            b"GET /v1/session HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
        )
        assert header.startswith(b"HTTP/1.1 401")
        async with httpx.AsyncClient(base_url=served.url) as client:
            body = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}
            opened = await client.post("/v1/sessions", json=body)
            assert opened.status_code == 201, opened.text
            assert "server" not in opened.headers
            token = {"Authorization": f"Bearer {opened.json()['token']}"}
            # A drain lets what has begun finish: the sign-ins are in line when the signal comes.
            begun = [asyncio.create_task(client.post("/v1/sessions", json=body)) for _ in range(8)]
            await asyncio.sleep(0.05)
            assert (await client.get("/v1/me", headers=token)).status_code == 200
            served.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*begun, return_exceptions=True)
            assert all(isinstance(answer, httpx.Response) and answer.status_code == 201 for answer in answers)
        began = time.monotonic()
        assert await asyncio.wait_for(served.process.wait(), 15) == 0
        assert time.monotonic() - began < 12
    written = log.read_text()
    assert '"route": "/v1/sessions"' in written
    assert PASSWORD not in written
    assert "Traceback" not in written


async def test_the_door_for_back_ends_opens_with_the_process_and_drains_with_it(
    stack: Stack, person: Person, certificates: MakeCertificates, tmp_path: Path
) -> None:
    await person.sign_in()
    async with serving(stack, tmp_path / "log") as served:
        back_end = Peer(SessionsStub, f"127.0.0.1:{served.rpc_port}", "identity", certificates("backend"))
        await back_end.ping(10.0)
        request = sessions_pb2.AuthenticateRequest(token=person.token, background=True)
        # The process has the clock of the wall, and the session is of another day: what matters is who answers.
        with pytest.raises(ServiceError) as refused:
            await back_end.call(back_end.stub.Authenticate, request, 10.0)
        assert refused.value.members["cause"] in ("expired", "idle")
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(served.process.wait(), 15) == 0
        with pytest.raises(ServiceError):
            await back_end.ping()
        await back_end.close()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("argon2_memory_kib", "1024", "OWASP"),
        ("argon2_time_cost", "0", "OWASP"),
        ("public_url", "http://app.harbour.example", "https"),
        ("public_url", "https://app.harbour.example/?x=1", "path"),
        ("public_url", "app.harbour.example", "http"),
        ("allowed_origins", "https://app.harbour.example/path", "origin"),
        ("trusted_proxies", "caddy", "does not appear to be an IPv4 or IPv6 address"),
        ("csrf_key", "short", "32"),
        ("password_pepper", "short", "32"),
    ],
)
def test_settings_that_would_protect_nobody_stop_the_start(
    stack_settings: IdentitySettings, name: str, value: str, said: str
) -> None:
    given = {**stack_settings.model_dump(), "allow_cheap_password_hash_for_tests": False, "argon2_memory_kib": 47104}
    with pytest.raises(ValidationError, match=re.escape(said)):
        IdentitySettings(**{**given, name: value})


@pytest.fixture
def stack_settings(tmp_path: Path) -> IdentitySettings:
    secret = SecretStr("x" * 40)
    return IdentitySettings(
        tls_dir=tmp_path,
        database_url="host=x",
        database_password=secret,
        sealer_database_url="host=x",
        sealer_database_password=secret,
        otp_target="x:1",
        policy_target="x:1",
        notifier_target="x:1",
        redis_url="redis://x",
        redis_password=secret,
        limits_pepper=secret,
        password_pepper=secret,
        csrf_key=secret,
        keyring_file=tmp_path / "keyring.json",
    )
