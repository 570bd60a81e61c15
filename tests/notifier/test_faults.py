"""Whatever is killed on a message's way: it is sent at most once, and where it was not sent for certain, it is sent."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.databases import Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres, EmbeddedRedis, free_port
from services.common.clock import FixedClock
from services.common.migrate import migrate
from services.common.postgres import Database
from services.notifier.relay import Relay
from services.notifier.relay_store import QueuedSignal, RelayStore
from tests.conftest import sealer_of
from tests.notifier.conftest import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    BROKER_PASSWORD,
    ROOT,
    Child,
    MakeNotifier,
    Notifier,
    Standin,
    eventually,
)


def sweep_later(notifier: Notifier, seconds: float) -> None:
    """What a relay does `seconds` from now."""

    async def sweep() -> None:
        database = Database(*notifier.database)
        await database.open()
        relay = Relay(
            RelayStore(database),
            QueuedSignal(*notifier.database),
            lambda _: None,
            lambda: 0,
            FixedClock(datetime.now(UTC) + timedelta(seconds=seconds)),
        )
        await relay.sweep()
        await database.close()

    asyncio.run(sweep())


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


def test_p16_a_worker_killed_between_claim_and_send_never_leads_to_a_second_try(
    make_notifier: MakeNotifier, standin: Standin, deaf_port: int, number: str
) -> None:
    account = {"twilio_account_sid": ACCOUNT_SID, "twilio_auth_token": AUTH_TOKEN, "twilio_from": "+15005550006"}
    notifier = make_notifier(standin_url="", twilio_base_url=f"http://127.0.0.1:{deaf_port}", **account)
    otp = notifier.run()
    taken = otp.submit(number)
    eventually(lambda: otp.status(taken.delivery_id) == "sending")
    notifier.children["worker"].kill()
    # The next worker reaches a provider that would take the message.
    notifier.start("worker", NOTIFIER_TWILIO_BASE_URL=standin.url)
    other = otp.submit(number, code="864209")
    eventually(lambda: otp.status(other.delivery_id) == "sent")
    sweep_later(notifier, 50)
    assert otp.status(taken.delivery_id) == "sending"
    sweep_later(notifier, 61)
    assert otp.status(taken.delivery_id) == "unknown"
    assert notifier.row(taken.delivery_id)["reason"] == "worker_lost"
    assert [message["body"][:6] for message in standin.inbox(number)] == ["864209"]
    assert len(standin.calls(number)) == 1
    notifier.stop()


def test_f11_a_worker_killed_while_the_provider_answers_sends_once(
    make_notifier: MakeNotifier, standin: Standin, number: str
) -> None:
    notifier = make_notifier()
    otp = notifier.run()
    standin.fail("slow", number, seconds=5)
    taken = otp.submit(number)
    assert eventually(lambda: standin.inbox(number))
    notifier.children["worker"].kill()
    notifier.start("worker")
    other = otp.submit(number, code="864209")
    eventually(lambda: otp.status(other.delivery_id) == "sent")
    sweep_later(notifier, 61)
    assert otp.status(taken.delivery_id) == "unknown"
    assert len(standin.calls(number)) == 2
    notifier.stop()


def test_a_relay_killed_and_started_again_goes_on_from_the_rows(
    make_notifier: MakeNotifier, standin: Standin, number: str
) -> None:
    notifier = make_notifier()
    otp = notifier.run()
    notifier.children["relay"].kill()
    waiting = [otp.submit(number) for _ in range(5)]
    assert {otp.status(each.delivery_id) for each in waiting} == {"queued"}
    notifier.start("relay")
    eventually(lambda: {otp.status(each.delivery_id) for each in waiting} == {"sent"})
    assert len(standin.calls(number)) == 5
    notifier.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "broker", free_port(), password=BROKER_PASSWORD)
    server.start()
    yield server
    server.stop()


def test_f05_a_broker_killed_and_back_delivers_all_that_was_taken_meanwhile(
    make_notifier: MakeNotifier, standin: Standin, own_broker: EmbeddedRedis, number: str
) -> None:
    """The broker forgets everything; the rows do not. Submitting never waits for it."""
    notifier = make_notifier(broker_url=own_broker.url)
    otp = notifier.run()
    eventually(lambda: otp.status(otp.submit(number).delivery_id) == "queued")
    eventually(lambda: len(standin.inbox(number)) == 1)
    own_broker.kill()
    taken = [otp.submit(number) for _ in range(5)]
    own_broker.start()
    eventually(lambda: {otp.status(each.delivery_id) for each in taken} == {"sent"}, 30)
    assert len(standin.calls(number)) == 6
    assert all(child.process.poll() is None for child in notifier.children.values())
    notifier.stop()


def test_f05_ids_that_the_broker_lost_after_taking_them_are_published_again(
    make_notifier: MakeNotifier, standin: Standin, own_broker: EmbeddedRedis, number: str
) -> None:
    notifier = make_notifier(broker_url=own_broker.url)
    otp = notifier.run("serve", "relay")
    taken = otp.submit(number)
    eventually(lambda: notifier.row(taken.delivery_id)["published_at"])
    own_broker.kill()
    own_broker.start()
    notifier.start("worker")
    eventually(lambda: otp.status(taken.delivery_id) == "sent", 30)
    assert len(standin.calls(number)) == 1
    notifier.stop()


def test_f02_a_frozen_broker_holds_up_neither_submitting_nor_what_comes_after(
    make_notifier: MakeNotifier, standin: Standin, own_broker: EmbeddedRedis, number: str
) -> None:
    notifier = make_notifier(broker_url=own_broker.url)
    otp = notifier.run()
    assert own_broker._process
    frozen = Child(own_broker._process, own_broker.log)
    frozen.freeze()
    taken = otp.submit(number)
    relay = notifier.children["relay"]
    eventually(lambda: "relay_step_failed" in relay.said(), 20)
    assert otp.status(taken.delivery_id) == "queued"
    frozen.thaw()
    eventually(lambda: otp.status(taken.delivery_id) == "sent", 30)
    assert len(standin.calls(number)) == 1
    notifier.stop()


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


def test_f07_a_database_killed_while_the_provider_answers_is_told_when_it_is_back(
    make_notifier: MakeNotifier, standin: Standin, own_database: tuple[EmbeddedPostgres, str, str], number: str
) -> None:
    """The provider's answer is kept until it is on record; and all processes find the database again by themselves."""
    server, url, password = own_database
    notifier = make_notifier(database_url=url, database_password=password)
    notifier.database = (url, password)
    otp = notifier.run()
    assert otp.is_serving()
    standin.fail("slow", number, seconds=1.5)
    taken = otp.submit(number)
    assert eventually(lambda: standin.inbox(number))
    server.kill()
    eventually(lambda: not otp.is_serving())
    server.start()
    eventually(otp.is_serving, 30)
    eventually(lambda: otp.status(taken.delivery_id) == "sent", 30)
    later = otp.submit(number, code="864209")
    eventually(lambda: otp.status(later.delivery_id) == "sent", 30)
    assert len(standin.calls(number)) == 2
    assert all(child.process.poll() is None for child in notifier.children.values())
    notifier.stop()


def test_p16_whatever_is_killed_every_message_ends_in_a_stated_outcome_and_none_is_sent_twice(
    make_notifier: MakeNotifier, standin: Standin, own_broker: EmbeddedRedis, number: str
) -> None:
    """Each message has a code of its own, so that the provider's ledger says what became of it."""
    notifier = make_notifier(broker_url=own_broker.url, twilio_timeout_seconds="1")
    otp = notifier.run()
    for kind, count in (("slow", 10), ("drop_after_accept", 5), ("429", 5), ("500", 5), ("21610", 5), ("hang", 3)):
        standin.fail(kind, number, count, seconds=0.5 if kind == "slow" else 1.5)
    taken: dict[str, str] = {}
    for n in range(120):
        code = f"{n:06}"
        taken[code] = otp.submit(number, code=code).delivery_id
        if n in (30, 60, 90):
            notifier.children["worker"].kill()
            notifier.start("worker")
        if n == 45:
            own_broker.kill()
            own_broker.start()
        if n == 75:
            notifier.children["relay"].kill()
            notifier.start("relay")
    open_ones = (
        "SELECT 1 FROM delivery WHERE state = 'queued' OR (state = 'sending' AND sending_at > now() - '5 s'::interval)"
    )
    eventually(lambda: not notifier.rows(open_ones), 60)
    sweep_later(notifier, 61)
    states = {code: otp.status(delivery_id) for code, delivery_id in taken.items()}
    calls: dict[str, list[int | None]] = {code: [] for code in taken}
    for call in standin.calls(number):
        calls[call["form"]["Body"][:6]].append(call["answered"])
    arrived = [message["body"][:6] for message in standin.inbox(number)]
    assert len(arrived) == len(set(arrived))
    for code, state in states.items():
        # A call whose answer may have been lost is the last one.
        assert len([answered for answered in calls[code] if answered != 429]) <= 1, (code, calls[code])
        if state == "sent":
            assert code in arrived
        elif state == "failed":
            assert code not in arrived
            assert calls[code][0] == 400  # the newest; it may have been asked to wait before
        else:
            assert state == "unknown", (code, state)
    unknown = [code for code, state in states.items() if state == "unknown"]
    assert len(unknown) <= 13 + 3 * 8  # the faults whose answer is lost, and what each killed worker had in hand
    notifier.stop()


def test_sigterm_finishes_what_is_in_hand(
    make_notifier: MakeNotifier, standin: Standin, number: str, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    notifier = make_notifier()
    notifier.start("worker", NOTIFIER_HEARTBEAT_FILE=str(heartbeat))
    otp = notifier.run("serve", "relay")
    assert eventually(heartbeat.exists)
    standin.fail("slow", number, seconds=1.5)
    taken = otp.submit(number)
    assert eventually(lambda: standin.inbox(number))
    assert notifier.children["worker"].stop() == 0
    assert otp.status(taken.delivery_id) == "sent"
    assert not heartbeat.exists()
    assert notifier.children["relay"].stop() == 0
    assert notifier.children["serve"].stop() == 0
