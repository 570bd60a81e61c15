"""Whatever is killed on a message's way: it is sent at most once, and where it was not sent for certain, it is sent."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from services.common.clock import FixedClock
from services.common.postgres import Database
from services.notifier.relay import Relay
from services.notifier.relay_store import QueuedSignal, RelayStore
from tests.notifier.conftest import (
    ACCOUNT_SID,
    AUTH_TOKEN,
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
    standin.fail("slow", number, seconds=9)
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
    eventually(lambda: {otp.status(each.delivery_id) for each in taken} == {"sent"})
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
    eventually(lambda: otp.status(taken.delivery_id) == "sent")
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
    eventually(lambda: "relay_step_failed" in relay.said())
    assert otp.status(taken.delivery_id) == "queued"
    frozen.thaw()
    eventually(lambda: otp.status(taken.delivery_id) == "sent")
    assert len(standin.calls(number)) == 1
    notifier.stop()


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
    eventually(otp.is_serving)
    eventually(lambda: otp.status(taken.delivery_id) == "sent")
    later = otp.submit(number, code="864209")
    eventually(lambda: otp.status(later.delivery_id) == "sent")
    assert len(standin.calls(number)) == 2
    assert all(child.process.poll() is None for child in notifier.children.values())
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
