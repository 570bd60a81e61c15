"""What an operator sees of deliveries and may do to them: hints, never a number or a code; and nothing that may have
been sent is sent again (R20)."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from click.testing import Result
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from deploy.embedded import free_port
from services.common.errors import ErrorCode, ServiceError
from services.notifier.__main__ import app
from services.notifier.hastening import Hastening
from services.notifier.model import LONGEST_SENDING, DeliveryId, Outcome, State, Verdict
from services.notifier.operator_store import OperatorStore
from services.notifier.queue_watch import QueueWatch
from tests.notifier.conftest import ROOT, Client, MakeNotifier, Notifier, Standin, eventually
from tests.notifier.house import House


@dataclass
class Desk:
    """An operator at the house's database."""

    house: House
    store: OperatorStore
    hastening: Hastening


@pytest.fixture
def desk(house: House) -> Desk:
    store = OperatorStore(house.store._database)
    return Desk(house, store, Hastening(store, house.clock))


async def put_back(house: House, number: str, seconds: float = 300) -> DeliveryId:
    """A code that waits for its next try, because no provider was there."""
    delivery = await house.submit(number, seconds)
    provider, house.provider = house.provider, None
    await house.dispatch().send(delivery.id)
    house.provider = provider
    assert await house.state(delivery) is State.QUEUED
    return delivery.id


async def test_a_code_that_waits_for_its_next_try_is_due_at_once_and_sent_once(
    desk: Desk, standin: Standin, number: str
) -> None:
    house = desk.house
    waits = await put_back(house, number)
    await house.dispatch().send(waits)
    assert standin.calls(number) == []  # it is not its time yet
    shown = await desk.hastening.resend(waits)
    assert shown.next_at > house.clock.now()
    assert await house.relay().publish_due() == 1
    await house.dispatch().send(waits)
    await house.dispatch().send(waits)
    assert len(standin.calls(number)) == 1


async def test_it_is_on_record_who_hastened_it(desk: Desk, number: str) -> None:
    waits = await put_back(desk.house, number)
    await desk.hastening.resend(waits)
    found = await desk.store.find(waits)
    assert found
    history = await desk.store.history(found, desk.house.clock.now())
    assert [(event.kind, event.actor_kind) for event in history] == [
        ("delivery.queued", "system"),
        ("delivery.sending", "system"),
        ("delivery.queued", "system"),
        ("delivery.hastened", "operator"),
    ]
    assert history[2].reason == "no_provider"


async def ended(house: House, number: str, state: State) -> DeliveryId:
    """A delivery in this state, brought there as the notifier does."""
    delivery = await house.submit(number)
    now = house.clock.now()
    if state is State.EXPIRED:
        house.clock.advance(timedelta(seconds=300))
        await house.relay().sweep()
        return delivery.id
    claim = await house.store.claim(delivery.id, now, now)
    assert claim
    if state is State.UNKNOWN:
        house.clock.advance(LONGEST_SENDING)
        await house.relay().sweep()
    elif state is not State.SENDING:
        outcome = Outcome(Verdict.ACCEPTED, sid=f"SM{delivery.id[4:]}")
        reached = State.SENT if state is State.DELIVERED else state
        await house.store.end_attempt(claim.delivery, reached, outcome, "standin", None, now)
        if state is State.DELIVERED:
            sid = f"SM{delivery.id[4:]}"
            assert await house.store.apply_callback(delivery.id, sid, "delivered", state, None, None, now)
    return delivery.id


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (State.SENDING, "being sent at this moment"),
        (State.SENT, "The provider has it"),
        (State.DELIVERED, "The provider has it"),
        (State.UNKNOWN, "may have been sent"),
        (State.FAILED, "number and content are gone"),
        (State.EXPIRED, "number and content are gone"),
    ],
)
async def test_what_may_have_been_sent_or_has_ended_is_refused_with_what_to_do_instead(
    desk: Desk, number: str, state: State, says: str
) -> None:
    delivery_id = await ended(desk.house, number, state)
    before = await desk.store.find(delivery_id)
    assert before
    assert before.state is state
    with pytest.raises(ServiceError, match=says) as refused:
        await desk.hastening.resend(delivery_id)
    assert refused.value.code is ErrorCode.CONFLICT
    assert state is State.SENDING or "ask for a new code" in refused.value.detail
    assert not await desk.store.hasten(before, desk.house.clock.now(), desk.house.clock.now())
    assert await desk.store.find(delivery_id) == before


async def test_what_is_due_already_too_late_or_not_there_is_refused(desk: Desk, number: str) -> None:
    due = await desk.house.submit(number)
    with pytest.raises(ServiceError, match="due already"):
        await desk.hastening.resend(due.id)
    waits = await put_back(desk.house, number, seconds=10.6)
    desk.house.clock.advance(timedelta(seconds=0.7))
    with pytest.raises(ServiceError, match="Too little of its life"):
        await desk.hastening.resend(waits)
    for unknown in ("dlv_" + "0" * 32, "dlv_nonsense", ""):
        with pytest.raises(ServiceError, match="no such delivery") as refused:
            await desk.hastening.resend(unknown)
        assert refused.value.code is ErrorCode.NOT_FOUND


async def test_of_two_operators_and_a_worker_one_moves_it(desk: Desk, number: str, standin: Standin) -> None:
    waits = await put_back(desk.house, number)
    results = await asyncio.gather(*(desk.hastening.resend(waits) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 1
    await asyncio.gather(*(desk.house.dispatch().send(waits) for _ in range(5)))
    assert len(standin.calls(number)) == 1


async def test_the_oldest_come_first_by_state(desk: Desk, number: str) -> None:
    house = desk.house
    first = await put_back(house, number)
    house.clock.advance(timedelta(seconds=1))
    second = await house.submit(number)
    expired = await house.submit(number, seconds=11)
    house.clock.advance(timedelta(seconds=2))
    await house.relay().sweep()
    both = [shown.id for shown in await desk.store.page([State.QUEUED, State.SENDING], 10)]
    assert both == [first, second.id]
    assert [shown.id for shown in await desk.store.page([State.QUEUED], 1)] == [first]
    assert [shown.id for shown in await desk.store.page([State.QUEUED], 1, newest_first=True)] == [second.id]
    assert [shown.id for shown in await desk.store.page([State.EXPIRED], 10)] == [expired.id]


async def test_what_waits_is_measured_by_age_and_sort(desk: Desk, number: str) -> None:
    house = desk.house
    await house.submit(number)
    await house.notify(number)
    house.clock.advance(timedelta(seconds=30))
    claimed = await house.submit(number)
    await house.store.claim(claimed.id, house.clock.now(), house.clock.now())
    await QueueWatch(desk.store, house.clock).measure()

    def count(state: str, sort: str, age: str) -> float | None:
        return REGISTRY.get_sample_value("notifier_open_deliveries", {"state": state, "sort": sort, "age": age})

    assert count("queued", "code", "60s") == 1
    assert count("queued", "notice", "60s") == 1
    assert count("sending", "code", "10s") == 1
    assert count("queued", "code", "10s") == 0
    house.clock.advance(timedelta(hours=2))
    await house.relay().sweep()
    await QueueWatch(desk.store, house.clock).measure()
    assert count("queued", "code", "60s") == 0
    assert count("queued", "code", "inf") == 0


def typed(notifier: Notifier, *arguments: str) -> Result:
    """The same without a process of its own, which takes a second to start."""
    return CliRunner().invoke(app, arguments, env=notifier.environment)


def command(notifier: Notifier, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command as an operator types it, with the settings of the front."""
    return subprocess.run(
        [sys.executable, "-m", "services.notifier", *arguments],
        env={**notifier.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_commands_show_hints_and_never_a_number_or_a_code(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    taken = otp.submit(number, code="864209")
    eventually(lambda: otp.status(taken.delivery_id) == "delivered")
    listed = typed(running, "deliveries", "--state", "delivered", "--newest", "--limit", "5", "--json")
    assert listed.exit_code == 0, listed.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in listed.stdout.splitlines()]
    assert taken.delivery_id in {row["id"] for row in rows}
    one = typed(running, "deliveries", taken.delivery_id)
    assert [line.split()[1].rstrip(",") for line in one.stdout.splitlines() if line.startswith("  20")] == [
        *("delivery.queued", "delivery.sending", "delivery.sent", "delivery.delivered")
    ]
    refused = typed(running, "resend", taken.delivery_id)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("The provider has it")
    whole = json.loads(command(running, "deliveries", taken.delivery_id, "--json").stdout)
    assert whole["to_hint"].endswith(number[-3:][-2:])
    assert whole["history"][0]["kind"] == "delivery.queued"
    assert len(standin.calls(number)) == 1
    for text in (listed.stdout, one.stdout, json.dumps(whole), refused.stderr):
        assert number not in text
        assert number[1:] not in text
        assert "864209" not in text
        assert "sealed" not in text


def test_a_database_that_is_away_is_said_in_a_sentence(make_notifier: MakeNotifier) -> None:
    away = make_notifier(
        database_url=f"host=127.0.0.1 port={free_port()} dbname=notifier user=notifier", database_password="of-nobody"
    )
    done = typed(away, "deliveries")
    assert done.exit_code == 2
    assert "no answer from database" in done.stderr
    assert "Traceback" not in done.stderr


def test_relay_and_worker_tell_the_age_of_their_heartbeat(make_notifier: MakeNotifier, tmp_path: Any) -> None:
    ports = {"relay": free_port(), "worker": free_port()}
    notifier = make_notifier()
    for process, port in ports.items():
        notifier.start(
            process,
            NOTIFIER_METRICS_LISTEN=f"127.0.0.1:{port}",
            NOTIFIER_HEARTBEAT_FILE=str(tmp_path / process),
            NOTIFIER_WORKER_EVENTS="true",
        )

    def age(process: str) -> float | None:
        try:
            told = httpx.get(f"http://127.0.0.1:{ports[process]}/metrics").text
        except httpx.TransportError:
            return None
        lines = [line for line in told.splitlines() if line.startswith("notifier_heartbeat_age_seconds{")]
        return float(lines[0].split()[1]) if lines else None

    for process in ports:
        eventually(lambda process=process: age(process) is not None and (tmp_path / process).exists())
        seen: list[float] = []

        def it_beats_again(process: str = process, seen: list[float] = seen) -> bool:
            seen.append(age(process) or 0)
            return any(later < sooner for sooner, later in pairwise(seen))

        eventually(it_beats_again)
        assert max(seen) > min(seen)
    notifier.stop()
