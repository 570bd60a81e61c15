"""The notifier as it runs: front, relay and worker as processes of their own, with a real PostgreSQL, a real Redis as
broker, and the stand-in for Twilio."""

import base64
import contextlib
import itertools
import json
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from countersign.notifier.v1 import notifier_pb2 as pb
from countersign.notifier.v1.notifier_pb2_grpc import NotifierStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg.rows import dict_row

from deploy.databases import Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres, EmbeddedRedis, free_port
from services.common.clock import Clock
from services.common.migrate import migrate
from services.common.postgres import Database
from services.common.sealing import Keyring
from services.notifier.twilio_sms import TwilioSms
from tests.conftest import MakeCertificates, MakeDatabase, sealer_of
from tests.notifier.callback_receiver import CallbackReceiver
from tests.notifier.house import House
from tests.notifier.processes import ROOT, Child, Standin, eventually, start

ACCOUNT_SID = f"AC{'5a' * 16}"
AUTH_TOKEN = "stand-in-token-of-the-tests"
BROKER_PASSWORD = "broker-password-of-the-tests"

_numbers = itertools.count(0)


@pytest.fixture
def number() -> str:
    """A number of this test alone, from the range that Ofcom keeps for drama."""
    return f"+447700900{next(_numbers) % 1000:03}"


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
        return self._stub.Submit(request, timeout=30, metadata=(("x-request-id", request_id),))

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
        return list(self._stub.Notify(request, timeout=30).deliveries)

    def get(self, delivery_id: str) -> pb.Delivery:
        return self._stub.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery_id), timeout=30)

    def status(self, delivery_id: str) -> str:
        return self.get(delivery_id).status

    def capabilities(self) -> pb.Capabilities:
        return self._stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=30, wait_for_ready=True)

    def can_send(self) -> bool:
        return self.capabilities().sms

    def call_back(self, form: dict[str, str], signature: str, query: str) -> None:
        request = pb.ReceiveTwilioStatusRequest(form=form, signature=signature, query=query)
        self._stub.ReceiveTwilioStatus(request, timeout=30)

    def is_serving(self) -> bool:
        request = health_pb2.HealthCheckRequest()
        try:
            answer = health_pb2_grpc.HealthStub(self._channel).Check(request, timeout=2)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()


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
    """The whole notifier: front, relay and worker, with callbacks, and a provider timeout that is short, but no trap
    for a busy machine."""
    notifier = make_lasting_notifier(callback_url=receiver.url, twilio_timeout_seconds="3")
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


def twilio_at(url: str, clock: Clock, seconds: float) -> TwilioSms:
    return TwilioSms(
        "standin",
        ACCOUNT_SID,
        AUTH_TOKEN,
        url,
        sender="+15005550006",
        messaging_service_sid=None,
        timeout_seconds=seconds,
        clock=clock,
    )


@pytest.fixture
async def house(database: MakeDatabase, keyring_file: Path, standin: Standin) -> AsyncIterator[House]:
    url = database("notifier")
    opened = Database(*url)
    await opened.open()
    house = House(opened, url, Keyring.load(keyring_file))
    house.provider = twilio_at(standin.url, house.clock, seconds=5)
    yield house
    house.threads.shutdown()
    await opened.close()


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where connecting takes for ever: its queue of connections is full and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            waiting.append(filler)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), 0.3)
        yield int(listener.getsockname()[1])
        for filler in waiting:
            filler.close()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "broker", free_port(), password=BROKER_PASSWORD)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_database(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, str, str]]:
    server = EmbeddedPostgres(tmp_path / "data", "superuser-password")
    server.start()
    with server.connect("postgres") as connection:
        # The sealer's password as in every other test: it signs in at the database that `url` names.
        secret = Passwords("app-password", "owner-password", sealer_of("notifier")[1])
        prepare_service(connection, "notifier", "notifier", secret)
    owner = server.url("notifier", "notifier_owner")
    migrate(owner, "owner-password", ROOT / "services" / "notifier" / "migrations")
    yield server, server.url("notifier", "notifier"), "app-password"
    server.stop()
