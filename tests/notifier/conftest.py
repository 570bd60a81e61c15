"""The notifier as it runs: front, relay and worker as processes of their own, with a real PostgreSQL, a real Redis as
broker, and the stand-in for Twilio."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from aiohttp import web
from countersign.notifier.v1 import notifier_pb2 as pb
from countersign.notifier.v1.notifier_pb2_grpc import NotifierStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg.rows import dict_row

from deploy.embedded import EmbeddedRedis, free_port
from services.common.postgres import Database
from services.common.sealing import Keyring
from services.notifier.twilio_sms import TwilioSms
from tests.conftest import MakeCertificates, MakeDatabase, sealer_of
from tests.notifier.house import House

ROOT = Path(__file__).parent.parent.parent
ACCOUNT_SID = f"AC{'5a' * 16}"
AUTH_TOKEN = "stand-in-token-of-the-tests"
BROKER_PASSWORD = "broker-password-of-the-tests"

_numbers = itertools.count(0)


def eventually(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What `check` answers as soon as that is true; fails after `seconds`."""
    ends_at = time.monotonic() + seconds
    while True:
        if found := check():
            return found
        assert time.monotonic() < ends_at, f"not within {seconds} s; last: {found!r}"
        time.sleep(0.02)


@pytest.fixture
def number() -> str:
    """A number of this test alone, from the range that Ofcom keeps for drama."""
    return f"+447700900{next(_numbers) % 1000:03}"


@dataclass
class Child:
    """One process of ours and what it logged."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def stop(self, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Standin:
    """The stand-in for Twilio, seen from outside."""

    url: str
    child: Child

    def inbox(self, to: str) -> list[dict[str, Any]]:
        return list(httpx.get(f"{self.url}/inbox", params={"to": to}).json())

    def calls(self, to: str) -> list[dict[str, Any]]:
        """Every attempt to send to this number, newest first."""
        return [call for call in httpx.get(f"{self.url}/calls").json() if call["form"].get("To") == to]

    def fail(self, kind: str, to: str, count: int = 1, **more: Any) -> None:
        given = {"kind": kind, "to": to, "count": count, **more}
        httpx.post(f"{self.url}/faults", json=given).raise_for_status()


def start(arguments: list[str], environment: dict[str, str], folder: Path) -> Child:
    log = folder / f"{arguments[-1].replace('/', '_')}-{secrets.token_hex(3)}.log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=kept | paths | environment, stdout=output, stderr=output, cwd=folder
        )
    return Child(process, log)


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    folder = tmp_path_factory.mktemp("standin")
    environment = {"STANDIN_ACCOUNT_SID": ACCOUNT_SID, "STANDIN_AUTH_TOKEN": AUTH_TOKEN}
    child = start(["deploy.twilio_standin", "--step-seconds=0.05", "--listen=127.0.0.1:0"], environment, folder)
    url = json.loads(eventually(child.said))["listening"]
    yield Standin(url, child)
    child.stop()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    folder, options = tmp_path_factory.mktemp("broker"), ["databases 256"]  # one for each notifier that is made
    server = EmbeddedRedis(folder, free_port(), password=BROKER_PASSWORD, options=options)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def keyring_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keyring") / "keyring.json"
    path.write_text(json.dumps({"active": 1, "keys": {"1": base64.b64encode(secrets.token_bytes(32)).decode()}}))
    return path


@dataclass
class Notifier:
    """A notifier with a database of its own. `start` brings up one of its processes."""

    environment: dict[str, str]
    database: tuple[str, str]
    folder: Path
    tls: MakeCertificates
    port: int
    children: dict[str, Child] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)

    def start(self, command: str, **changed: str) -> Child:
        child = start(["services.notifier", command], self.environment | changed, self.folder)
        self.children[command] = child
        self.logs.append(child.log)
        return child

    def run(self, *commands: str) -> "Client":
        """Starts these and answers a client as soon as the front can send."""
        for command in commands or ("serve", "relay", "worker"):
            self.start(command)
        identity = self.client("identity")
        assert eventually(identity.can_send)
        identity.close()
        return self.client("otp")

    def stop(self) -> None:
        for child in self.children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.stop()
            child.process.kill()
            child.process.wait()

    def said(self) -> str:
        return "".join(log.read_text() for log in self.logs)

    def row(self, delivery_id: str) -> dict[str, Any]:
        return self.rows("SELECT * FROM delivery WHERE id = %s", delivery_id)[0]

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        url, password = self.database
        with psycopg.connect(url, password=password, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)  # type: ignore[arg-type]
            return list(cursor.fetchall()) if cursor.description else []

    def client(self, caller: str = "otp") -> "Client":
        return Client(self.port, self.tls(caller))


class Client:
    """A caller of the notifier, under its own certificate."""

    def __init__(self, port: int, folder: Path) -> None:
        ca, cert, key = ((folder / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem"))
        options = [("grpc.ssl_target_name_override", "notifier"), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.secure_channel(
            f"127.0.0.1:{port}", grpc.ssl_channel_credentials(ca, key, cert), options=options
        )
        self._stub = NotifierStub(self._channel)

    def submit(self, to: str, code: str = "246810", seconds: float = 300, **changed: Any) -> pb.Delivery:
        request_id = changed.pop("request_id", None) or secrets.token_hex(8)
        given: dict[str, Any] = {"request_key": f"chl_{secrets.token_hex(16)}", "kind": pb.MESSAGE_KIND_SIGN_IN_CODE}
        given |= {"clinic_id": "cli_harbour", "user_id": "usr_nurse", "locale": "en"}
        request = pb.SubmitRequest(to=to, code=code, **given | changed)
        request.not_after.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
        return self._stub.Submit(request, timeout=5, metadata=(("x-request-id", request_id),))

    def notify(self, kind: "pb.NoticeKind.ValueType", seconds: float = 3600, **given: Any) -> list[pb.Delivery]:
        request = pb.NotifyRequest(
            request_key=f"ntc_{secrets.token_hex(16)}",
            kind=kind,
            clinic_id="cli_harbour",
            user_id="usr_nurse",
            locale="en",
            timezone="Europe/Berlin",
        )
        now = datetime.now(UTC)
        request.happened_at.FromDatetime(given.pop("happened_at", now))
        request.not_after.FromDatetime(now + timedelta(seconds=seconds))
        for name, value in given.items():
            setattr(request, name, value)
        return list(self._stub.Notify(request, timeout=5).deliveries)

    def get(self, delivery_id: str) -> pb.Delivery:
        return self._stub.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery_id), timeout=5)

    def status(self, delivery_id: str) -> str:
        return self.get(delivery_id).status

    def capabilities(self) -> pb.Capabilities:
        return self._stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=30, wait_for_ready=True)

    def can_send(self) -> bool:
        return self.capabilities().sms

    def call_back(self, form: dict[str, str], signature: str, query: str) -> None:
        request = pb.ReceiveTwilioStatusRequest(form=form, signature=signature, query=query)
        self._stub.ReceiveTwilioStatus(request, timeout=5)

    def is_serving(self) -> bool:
        request = health_pb2.HealthCheckRequest()
        try:
            answer = health_pb2_grpc.HealthStub(self._channel).Check(request, timeout=2)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()


class CallbackReceiver:
    """The gateway's part in a callback: hands form, signature and query to the notifier, whichever is set."""

    def __init__(self) -> None:
        self.port = free_port()
        self.client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    async def _listen(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/webhooks/twilio/status", self._take)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _take(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.client is None:
            return web.Response(status=503)
        try:
            signature = request.headers.get("X-Twilio-Signature", "")
            await asyncio.to_thread(self.client.call_back, form, signature, request.query_string)
        except grpc.RpcError as error:
            forbidden = error.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
            return web.Response(status=403 if forbidden else 503)
        return web.Response(status=204)

    def stop(self) -> None:
        if self._runner:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


MakeNotifier = Callable[..., Notifier]


@pytest.fixture(scope="session")
def make_lasting_notifier(
    database: MakeDatabase,
    certificates: MakeCertificates,
    broker: EmbeddedRedis,
    standin: Standin,
    keyring_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeNotifier]:
    """Makes a notifier with a database of its own; nothing runs yet. Settings without their prefix are taken over.
    It is stopped by whoever asked for it, at the latest when all tests have run."""
    made: list[Notifier] = []

    def make(**changed: str) -> Notifier:
        url, password = changed.get("database_url") or "", changed.get("database_password") or ""
        if not url:
            url, password = database("notifier")
        sealer_url, sealer_password = sealer_of("notifier", url)
        folder, port = tmp_path_factory.mktemp("notifier"), free_port()
        settings = {
            "listen": f"127.0.0.1:{port}",
            "tls_dir": str(certificates("notifier")),
            "database_url": url,
            "database_password": password,
            "sealer_database_url": sealer_url,
            "sealer_database_password": sealer_password,
            # A queue of its own: a worker would drop what it finds no row for.
            "broker_url": broker.url.removesuffix("/0") + f"/{len(made)}",
            "broker_password": BROKER_PASSWORD,
            "keyring_file": str(keyring_file),
            "standin_url": standin.url,
            "standin_account_sid": ACCOUNT_SID,
            "standin_auth_token": AUTH_TOKEN,
        }
        environment = {f"NOTIFIER_{name.upper()}": value for name, value in (settings | changed).items() if value}
        notifier = Notifier(environment, (url, password), folder, certificates, port)
        made.append(notifier)
        return notifier

    yield make
    for notifier in made:
        notifier.stop()


@pytest.fixture
def make_notifier(make_lasting_notifier: MakeNotifier) -> Iterator[MakeNotifier]:
    """The same for one test: what it started ends with it."""
    made: list[Notifier] = []

    def make(**changed: str) -> Notifier:
        made.append(make_lasting_notifier(**changed))
        return made[-1]

    yield make
    for notifier in made:
        notifier.stop()


@pytest.fixture(scope="session")
def receiver() -> Iterator[CallbackReceiver]:
    receiver = CallbackReceiver()
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="session")
def running(make_lasting_notifier: MakeNotifier, receiver: CallbackReceiver) -> Iterator[Notifier]:
    """The whole notifier: front, relay and worker, with callbacks, and a provider timeout fit for tests."""
    notifier = make_lasting_notifier(callback_url=receiver.url, twilio_timeout_seconds="1")
    notifier.run().close()
    receiver.client = notifier.client("identity")
    yield notifier
    receiver.client.close()
    receiver.client = None


@pytest.fixture
def otp(running: Notifier) -> Iterator[Client]:
    client = running.client("otp")
    yield client
    client.close()


@pytest.fixture
def identity(running: Notifier) -> Iterator[Client]:
    client = running.client("identity")
    yield client
    client.close()


@pytest.fixture
async def house(database: MakeDatabase, keyring_file: Path, standin: Standin) -> AsyncIterator[House]:
    url = database("notifier")
    opened = Database(*url)
    await opened.open()
    account: dict[str, Any] = {"sender": "+15005550006", "messaging_service_sid": None, "timeout_seconds": 2}
    house = House(
        opened, url, Keyring.load(keyring_file), TwilioSms("standin", ACCOUNT_SID, AUTH_TOKEN, standin.url, **account)
    )
    yield house
    house.threads.shutdown()
    await opened.close()
