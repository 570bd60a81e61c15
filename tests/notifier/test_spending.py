"""What text messages may cost: caps that hold exactly, whoever asks how often at once; countries; and what becomes of a
notice that may not be paid for."""

import asyncio
import concurrent.futures
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from countersign.notifier.v1 import notifier_pb2 as pb
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from services.common.errors import ErrorCode, ServiceError
from services.notifier import notice_texts, sms, texts
from services.notifier.model import Channel, Happening, Kind, NoticeKind, Terms
from services.notifier.spending import CAP_OF_A_NEW_CLINIC, EVERYDAY
from services.policy.rules import SMS_DAILY_CAP
from tests.notifier.conftest import Client, MakeNotifier, Notifier, eventually
from tests.notifier.house import START, House

GB = Terms(1000, ("GB",))


def outcome(call: Any, *arguments: Any, **named: Any) -> str:
    """`taken`, or the code of the refusal."""
    try:
        call(*arguments, **named)
    except grpc.RpcError as error:
        return error.code().name.lower()  # type: ignore[attr-defined,no-any-return]
    return "taken"


def only_front(make_notifier: MakeNotifier, cap: int) -> Notifier:
    """A front alone: what it takes on is counted, and nothing is sent."""
    notifier = make_notifier(sms_daily_cap=str(cap))
    notifier.start("serve")
    identity = notifier.client("identity")
    assert eventually(identity.is_serving, 30)
    assert eventually(identity.can_send)
    identity.close()
    return notifier


def spent(notifier: Notifier) -> dict[str, int]:
    return {row["clinic_id"]: row["texts"] for row in notifier.rows("SELECT clinic_id, texts FROM sms_spending")}


def submit(client: Client, to: str, cap: int, countries: tuple[str, ...] = ("GB",), **more: Any) -> pb.Delivery:
    return client.submit(to, countries=countries, clinic_daily_cap=cap, **more)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.full)])
def test_a50_pumping_requests_send_no_more_than_the_caps(make_notifier: MakeNotifier, count: int) -> None:
    """Sequential numbers, five clinics of which three at most fill the deployment's cap, fifty requests at a time."""
    notifier = only_front(make_notifier, cap=count // 5)
    clinic_cap = count // 16
    clients = [notifier.client("otp") for _ in range(4)]

    def pump(number: int) -> tuple[str, str]:
        clinic = f"cli_{number % 5}"
        to = f"+447700900{number % 1000:03}" if number % 7 else f"+44901{number:07}"  # every seventh at a premium
        return clinic, outcome(submit, clients[number % 4], to, clinic_cap, clinic_id=clinic)

    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        met = Counter(threads.map(pump, range(count)))
    taken = {clinic: times for (clinic, what), times in met.items() if what == "taken"}
    assert sum(taken.values()) == count // 5
    assert max(taken.values()) <= clinic_cap
    assert {what for _, what in met} == {"taken", "resource_exhausted", "invalid_argument"}
    assert spent(notifier) == {**taken, "": count // 5}
    assert notifier.rows("SELECT count(*) AS n FROM delivery")[0]["n"] == count // 5
    for client in clients:
        client.close()
    notifier.stop()


def test_r22_a_cap_is_exact_under_fifty_at_once_and_a_repeat_costs_nothing(make_notifier: MakeNotifier) -> None:
    notifier = only_front(make_notifier, cap=100)
    client = notifier.client("otp")
    keys = [f"chl_{secrets.token_hex(16)}" for _ in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        ordered = [
            threads.submit(outcome, submit, client, f"+447700900{number % 50:03}", 17, request_key=keys[number % 50])
            for number in range(150)
        ]
        met = Counter(one.result() for one in ordered)
    assert met == {"taken": 51, "resource_exhausted": 99}
    assert spent(notifier) == {"cli_harbour": 17, "": 17}
    # What is on record is told, also by a clinic that may send nothing any more.
    [known] = notifier.rows("SELECT id, request_key FROM delivery LIMIT 1")
    repeated = submit(client, "+447700900001", 0, request_key=known["request_key"])
    assert repeated.delivery_id == known["id"]
    assert submit(client, "+447700900001", 0, ("FR",), request_key=known["request_key"]) == repeated
    client.close()
    notifier.stop()


def test_a_refusal_says_what_is_spent_and_until_when(make_notifier: MakeNotifier, number: str) -> None:
    notifier = only_front(make_notifier, cap=1)
    client = notifier.client("otp")
    for cap, clinic, whose in ((0, "cli_one", "Your clinic has sent all"), (1, "cli_two", "No more text messages")):
        if clinic == "cli_two":
            assert outcome(submit, client, number, 5, clinic_id="cli_three") == "taken"
        with pytest.raises(grpc.RpcError) as caught:
            submit(client, number, cap, clinic_id=clinic)
        assert str(caught.value.details()).startswith(whose)  # type: ignore[attr-defined]
        [packed] = [value for key, value in caught.value.trailing_metadata() if key.endswith("-bin")]  # type: ignore[attr-defined]
        info = ErrorInfo()
        assert Status.FromString(packed).details[0].Unpack(info)
        left = (datetime.now(UTC).replace(hour=23, minute=59, second=59) - datetime.now(UTC)).total_seconds()
        assert info.reason == "too-many-attempts"
        assert int(info.metadata["retry_after"]) == pytest.approx(left, abs=5) or left < 5
    assert spent(notifier) == {"cli_three": 1, "": 1}, "what one cap refuses is not counted by the other"
    client.close()
    notifier.stop()


async def test_r22_the_next_day_in_utc_begins_anew(house: House) -> None:
    house.daily_cap = 2
    house.clock.set(datetime(2026, 11, 20, 23, 59, 30, tzinfo=UTC))
    for _ in range(2):
        await house.submit("+447700900001", terms=GB)
    with pytest.raises(ServiceError) as caught:
        await house.submit("+447700900001", terms=GB)
    assert (caught.value.code, caught.value.members["retry_after"]) == (ErrorCode.TOO_MANY_ATTEMPTS, 30)
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 2
    house.clock.advance(timedelta(seconds=30))
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 0
    await house.submit("+447700900001", terms=GB)
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 1


@pytest.mark.parametrize(
    ("number", "countries", "is_taken"),
    [
        ("+447700900001", ("GB",), True),  # in no range that is known: of the country whose code it has
        ("+447700900001", ("FR", "GB"), True),
        ("+447700900001", ("FR",), False),
        ("+447781123456", ("GB",), False),  # Guernsey
        ("+447781123456", ("GG",), True),
        ("+18765551234", ("US",), False),  # Jamaica
        ("+12025550123", ("US",), True),
        ("+4915112345678", ("GB",), False),
        ("+4915112345678", (), True),  # not known
    ],
)
async def test_a50_a_text_goes_to_the_countries_of_the_clinic_alone(
    house: House, number: str, countries: tuple[str, ...], is_taken: bool
) -> None:
    if is_taken:
        assert (await house.submit(number, terms=Terms(5, countries))).channel is Channel.SMS
        return
    with pytest.raises(ServiceError) as caught:
        await house.submit(number, terms=Terms(5, countries))
    assert caught.value.code is ErrorCode.CONFLICT
    assert "this country" in caught.value.detail
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 0


@pytest.mark.parametrize("kind", [Kind.ENROLMENT_CODE, Kind.PHONE_PROOF_CODE])
async def test_a_number_that_was_just_typed_gets_nothing_where_the_countries_are_not_known(
    house: House, kind: Kind
) -> None:
    with pytest.raises(ServiceError, match="invalid-request"):
        await house.submit("+447700900001", kind=kind)
    await house.submit("+447700900001", kind=kind, terms=GB)


async def test_what_was_counted_over_forty_days_ago_is_dropped(house: House) -> None:
    today, relay = house.clock.now().date(), house.relay()
    async with house.store._database.connection() as connection:

        async def days() -> list[int]:
            cursor = await connection.execute("SELECT DISTINCT day FROM sms_spending ORDER BY day DESC")
            return [(today - row["day"]).days for row in await cursor.fetchall()]

        for ago in (0, 1, 39, 40, 41, 400):
            for clinic in ("cli_harbour", ""):
                await connection.execute(
                    "INSERT INTO sms_spending VALUES (%s, %s, 7)", [START - timedelta(ago), clinic]
                )
        await relay.sweep()
        assert await days() == [0, 1, 39, 40]
        assert await house.relay_store.texts_taken_on(house.clock.now()) == 7
        house.clock.advance(timedelta(days=1))
        await relay.sweep()
        assert await days() == [0, 1, 39], "by a relay that goes on, too"


async def test_a_cap_that_is_not_known_is_that_of_a_new_clinic(house: House) -> None:
    assert CAP_OF_A_NEW_CLINIC == SMS_DAILY_CAP
    async with house.store._database.connection() as connection:
        await connection.execute(
            "INSERT INTO sms_spending VALUES (%s, 'cli_harbour', %s)", [house.clock.now().date(), SMS_DAILY_CAP - 1]
        )
    await house.submit("+447700900001")
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await house.submit("+447700900001")
    await house.submit("+447700900001", terms=GB)


async def test_r23_a_notice_that_may_not_be_paid_for_goes_by_mail_alone(house: House) -> None:
    house.can_mail = True
    both = {"phone": "+447700900001", "email": "nurse@example.com"}
    assert [each.channel for each in await house.notify(**both, terms=GB)] == [Channel.SMS, Channel.EMAIL]
    for refused in (Terms(1, ("GB",)), Terms(1000, ("FR",)), Terms(0, ("GB",))):
        assert [each.channel for each in await house.notify(**both, terms=refused)] == [Channel.EMAIL]
        assert await house.notify("+447700900001", terms=refused) == []
    house.daily_cap = 1
    assert [each.channel for each in await house.notify(**both, terms=GB)] == [Channel.EMAIL]
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 1, "an e-mail costs nothing"


async def test_r23_a_repeated_notice_is_counted_once(house: House) -> None:
    given = {"request_key": "ntc_once", "terms": GB}
    taken = await asyncio.gather(*(house.notify("+447700900001", **given) for _ in range(5)))
    assert len({each.id for [each] in taken}) == 1
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 1


LONG = Happening(datetime(2026, 9, 22, 8, 12, tzinfo=UTC), "Europe/Berlin", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff")


async def test_r22_a_notice_in_two_parts_is_counted_as_what_it_costs(house: House) -> None:
    body = notice_texts.text_message(NoticeKind.NEW_BROWSER, "fr", LONG, "Countersign")
    assert sms.segments(body) == 2
    told = {"kind": NoticeKind.NEW_BROWSER, "locale": "fr", "happening": LONG, "terms": Terms(10, ("GB",))}
    sent = [len(await house.notify("+447700900001", **told)) for _ in range(4)]
    assert sent == [1, 1, 0, 0], "half of ten texts is room for two such notices, and for no third"
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 4
    short = {**told, "kind": NoticeKind.BACKUP_CODES_MADE, "locale": "en", "happening": Happening(START, "UTC")}
    assert len(await house.notify("+447700900001", **short)) == 1, "but for a shorter one"
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 5
    for terms in (Terms(3, ("GB",)), Terms(1000, ("GB",))):  # a first one of the day; the deployment's purse
        house.daily_cap = 13
        assert await house.notify("+447700900001", **{**told, "terms": terms, "clinic_id": "cli_other"}) == []


async def test_r22_a_code_costs_one_text_whatever_the_product_is_called(house: House) -> None:
    house.product_name = "Клиника за самым синим морем"
    for locale in texts.languages():
        await house.submit("+447700900001", terms=GB, locale=locale)
    assert await house.relay_store.texts_taken_on(house.clock.now()) == 5


@pytest.mark.parametrize("kind", sorted(EVERYDAY))
async def test_r22_everyday_notices_leave_half_of_a_days_texts_to_the_codes(house: House, kind: NoticeKind) -> None:
    terms = Terms(4, ("GB",))
    sent = [len(await house.notify("+447700900001", kind=kind, terms=terms)) for _ in range(4)]
    assert sent == [1, 1, 0, 0]
    for _ in range(2):
        await house.submit("+447700900001", terms=terms)
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await house.submit("+447700900001", terms=terms)


THEFT = set(NoticeKind) - {
    *(NoticeKind.FACTOR_ADDED, NoticeKind.NEW_BROWSER),
    *(NoticeKind.BACKUP_CODES_MADE, NoticeKind.BACKUP_CODES_LOW),
}


@pytest.mark.parametrize("kind", sorted(THEFT))
async def test_r22_what_may_tell_of_a_theft_is_told_by_the_whole_of_a_days_texts(
    house: House, kind: NoticeKind
) -> None:
    """Else whoever causes texts enough (new browsers) would keep the owner from hearing of what comes next."""
    terms = Terms(4, ("GB",))
    for _ in range(2):
        assert await house.notify("+447700900001", kind=NoticeKind.NEW_BROWSER, terms=terms)
    assert await house.notify("+447700900001", kind=NoticeKind.NEW_BROWSER, terms=terms) == []
    happening = Happening(house.clock.now(), "Europe/Berlin", method="totp")
    told = {"kind": kind, "terms": terms, "happening": happening}
    cost = sms.segments(notice_texts.text_message(kind, "en", happening, "Countersign"))
    sent = [len(await house.notify("+447700900001", **told)) for _ in range(3)]
    assert sent == ([1, 1, 0] if cost == 1 else [1, 0, 0]), "to the cap, and no further"
    house.daily_cap = 4
    assert await house.notify("+447700900001", **{**told, "clinic_id": "cli_other"}) == [], "the deployment's, too"
    house.daily_cap += cost
    assert len(await house.notify("+447700900001", **{**told, "clinic_id": "cli_other"})) == 1
