"""The health check of the containers: well is well, everything else is a complaint."""

import asyncio
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from deploy.certificates import make_authority, make_leaf
from deploy.embedded import free_port
from services.common import health_check
from services.common.rpc_server import RpcServer
from tests.conftest import MakeCertificates


async def check(*arguments: str) -> str:
    return await asyncio.to_thread(health_check.main, list(arguments))


async def test_a_server_that_serves_is_well(certificates: MakeCertificates) -> None:
    tls = certificates("otp")
    server = RpcServer("127.0.0.1:0", tls, {})
    port = await server.start()
    try:
        assert await check("grpc", f"127.0.0.1:{port}", "otp", str(tls)) == ""
    finally:
        await server.stop(0)


async def test_a_server_that_says_it_does_not_serve_is_not_well(certificates: MakeCertificates) -> None:
    tls = certificates("otp")
    server = RpcServer("127.0.0.1:0", tls, {})
    port = await server.start()
    try:
        await server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await check("grpc", f"127.0.0.1:{port}", "otp", str(tls)) == "otp: not serving"
    finally:
        await server.stop(0)


async def test_a_server_answers_nobody_before_it_has_looked_whether_it_can(
    certificates: MakeCertificates,
) -> None:
    tls, port = certificates("otp"), free_port()
    asked, known = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        asked.set()
        await known.wait()

    server = RpcServer(f"127.0.0.1:{port}", tls, {})
    server.follow(look)
    starting = asyncio.create_task(server.start())
    try:
        await asked.wait()
        assert (await check("grpc", f"127.0.0.1:{port}", "otp", str(tls))).startswith("otp: ")
        known.set()
        await starting
        assert await check("grpc", f"127.0.0.1:{port}", "otp", str(tls)) == ""
    finally:
        await server.stop(0)


async def test_another_name_a_rogue_certificate_and_nobody_are_not_well(
    certificates: MakeCertificates, tmp_path: Path
) -> None:
    tls = certificates("otp")
    make_authority(tmp_path / "authority")
    make_leaf(tmp_path / "authority", tmp_path / "rogue", ["otp"])
    server = RpcServer("127.0.0.1:0", tls, {})
    port = await server.start()
    try:
        assert "policy" in await check("grpc", f"127.0.0.1:{port}", "policy", str(tls))
        assert "otp" in await check("grpc", f"127.0.0.1:{port}", "otp", str(tmp_path / "rogue"))
    finally:
        await server.stop(0)
    assert "refused" in await check("grpc", f"127.0.0.1:{port}", "otp", str(tls))


@pytest.fixture
def ready_and_not() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()
            self.wfile.write(b"otp is away")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_200_is_well_and_503_tells_what_it_said(ready_and_not: str) -> None:
    assert health_check.main(["http", f"{ready_and_not}/readyz"]) == ""
    assert health_check.main(["http", f"{ready_and_not}/other"]).endswith("503 otp is away")


def test_a_heartbeat_is_well_while_it_is_young(tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    assert "No such file" in health_check.main(["file", str(beat), "30"])
    beat.touch()
    assert health_check.main(["file", str(beat), "30"]) == ""
    old = time.time() - 60
    os.utime(beat, (old, old))
    assert "60 s old" in health_check.main(["file", str(beat), "30"])


def test_nonsense_is_answered_with_how_to_ask() -> None:
    assert "health_check grpc" in health_check.main(["smtp"])
