"""What texts cost: the clinic's terms are passed on, what the notifier refuses is told, one number has few accounts,
and where codes are sent that nobody types, that shows."""

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from countersign.otp.v1 import otp_pb2
from prometheus_client import REGISTRY

from services.common.errors import ErrorCode, ServiceError
from services.otp import number_limit
from tests.otp.conftest import PHONE, Otp, Person, fresh, result

TERMS = otp_pb2.SmsTerms(daily_cap=40, countries=["GB", "IE"])


async def start(user: Person, phone: str = PHONE, purpose: str = "enrolment", **more: Any) -> Any:
    request = otp_pb2.StartSmsEnrolmentRequest(
        caller=user.caller(),
        request_id=more.pop("request_id", "") or fresh("req"),
        phone=phone,
        locale="en",
        purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF if purpose == "phone_proof" else otp_pb2.SMS_PURPOSE_ENROLMENT,
        **more,
    )
    return await user.otp.call("StartSmsEnrolment", request)


async def send(user: Person, **more: Any) -> Any:
    request = otp_pb2.SendSmsCodeRequest(
        request_id=fresh("req"), login_id=fresh("log"), caller=user.caller(), locale="en", **more
    )
    return await user.otp.call("SendSmsCode", request)


async def prove(user: Person, phone: str = PHONE) -> Any:
    await start(user, phone, "phone_proof")
    code = user.otp.notifier.code_to(phone)
    return await user.confirm("", code, "sms", purpose="phone_proof")


def outcome(answer: Any) -> str:
    return answer.code.value if isinstance(answer, ServiceError) else "sent"


async def met(call: Awaitable[Any]) -> str:
    """`sent`, or the code of the refusal."""
    [answer] = await asyncio.gather(call, return_exceptions=True)
    return outcome(answer)


async def test_r22_the_clinics_terms_go_with_every_code_and_what_is_not_known_is_left_unset(otp: Otp) -> None:
    user = otp.user()
    offer = await start(user, terms=TERMS)
    await user.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms")
    otp.clock.advance(timedelta(minutes=1))
    await send(user, terms=TERMS)
    for message in otp.notifier.taken:
        assert (message.clinic_daily_cap, list(message.countries)) == (40, ["GB", "IE"])
    await send(user, terms=otp_pb2.SmsTerms(daily_cap=0, countries=["GB"]))
    assert otp.notifier.taken[-1].HasField("clinic_daily_cap")
    otp.clock.advance(timedelta(minutes=1))
    await send(user)
    assert not otp.notifier.taken[-1].HasField("clinic_daily_cap")
    assert not otp.notifier.taken[-1].countries


@pytest.mark.parametrize(
    "refusal",
    [
        ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, "All is spent today.", retry_after=3600, locked=False),
        ServiceError(ErrorCode.CONFLICT, "Not to this country."),
    ],
)
async def test_r22_what_may_not_be_paid_for_is_said_and_no_code_works(otp: Otp, refusal: ServiceError) -> None:
    user = await otp.user().enrol_sms()
    otp.notifier.refuses = refusal
    for call in (send(user), start(user, "+447700900777")):
        with pytest.raises(ServiceError) as caught:
            await call
        assert (caught.value.code, caught.value.detail) == (refusal.code, refusal.detail)
        assert caught.value.members == refusal.members
    rows = otp.sql("SELECT * FROM challenge WHERE user_id = %s AND delivery_id IS NULL", [user.user_id])
    assert len(rows) == 2
    assert all(row["ended_at"] and row["code_sealed"] is None for row in rows)


async def test_r22_a_repeated_call_does_not_turn_a_refusal_into_a_code_that_was_sent(otp: Otp) -> None:
    user, request_id = otp.user(), fresh("req")
    otp.notifier.refuses = ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, "All is spent today.", retry_after=3600)
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await start(user, request_id=request_id)
    with pytest.raises(ServiceError, match="unavailable"):
        await start(user, request_id=request_id)


async def test_a55_one_number_on_fifty_accounts_stops_at_three(otp: Otp) -> None:
    people = [otp.user() for _ in range(50)]
    kept = []
    for number, user in enumerate(people):
        purpose = "phone_proof" if number % 2 else "enrolment"
        [offer] = await asyncio.gather(start(user, purpose=purpose), return_exceptions=True)
        if outcome(offer) == "sent":
            answer = await user.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms", purpose=purpose)
            assert result(answer.verdict) == "accepted"
            kept.append(number)
        else:
            assert outcome(offer) == "conflict"
            assert "as many accounts" in str(offer)
            assert otp.events(user.user_id) == ["number.refused"]
        otp.clock.advance(timedelta(hours=1))
    assert kept == [0, 1, 2]
    assert len(otp.notifier.taken) == 3
    [event] = otp.sql("SELECT * FROM audit_event WHERE subject_id = %s", [people[7].user_id])
    assert event["detail"]["reason"] == "too_many_accounts"
    assert PHONE[-6:] not in str(event)


async def test_a55_refused_set_ups_spend_no_text_of_the_number(otp: Otp) -> None:
    holders = [otp.user() for _ in range(3)]
    for holder in holders:
        await prove(holder)
    otp.clock.advance(timedelta(hours=2))
    strangers = [otp.user() for _ in range(3)]
    for stranger in strangers:
        for _ in range(3):
            assert await met(start(stranger)) == "conflict"
    for _ in range(5):  # as many texts as a number gets in an hour
        assert await met(prove(holders[0])) == "sent"
        otp.clock.advance(timedelta(seconds=30))
        holders = [*holders[1:], holders[0]]
    otp.clock.advance(timedelta(hours=2))
    for _ in range(20):
        assert await met(start(strangers[0])) == "conflict"
    assert await met(start(strangers[0])) == "too-many-attempts", "asking on ends with the enrolments of an hour"


async def test_r22_a_refused_text_spends_nothing_but_the_pause_of_a_sign_in(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=2))
    caps = ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, "All is spent today.", retry_after=3600)
    for refusal in (caps, ServiceError(ErrorCode.CONFLICT, "Not to this country.")):
        otp.notifier.refuses = refusal
        for _ in range(4):
            assert await met(send(user)) == refusal.code.value
            assert await met(start(user)) == refusal.code.value
    login = fresh("log")
    first, again = (
        otp_pb2.SendSmsCodeRequest(request_id=fresh("req"), login_id=login, caller=user.caller()) for _ in range(2)
    )
    assert await met(otp.call("SendSmsCode", first)) == "conflict"
    with pytest.raises(ServiceError, match="too-many-attempts") as paused:
        await otp.call("SendSmsCode", again)
    assert paused.value.detail == "Please wait 30 seconds before you ask for another code."
    otp.notifier.refuses = None
    for _ in range(5):
        assert await met(send(user)) == "sent"


async def test_a55_those_who_began_together_are_held_to_it_at_the_confirmation(otp: Otp) -> None:
    people = [otp.user() for _ in range(5)]  # as many texts as a number gets in an hour
    for user in people:
        await start(user, purpose="phone_proof")
    codes = {message.user_id: message.code for message in otp.notifier.taken}
    answers = await asyncio.gather(
        *(user.confirm("", codes[user.user_id], "sms", purpose="phone_proof") for user in people),
        return_exceptions=True,
    )
    assert Counter(outcome(answer) for answer in answers) == {"sent": 3, "conflict": 2}
    assert len(otp.sql("SELECT * FROM number_mark")) == 3
    for user, answer in zip(people, answers, strict=True):
        if isinstance(answer, ServiceError):
            assert otp.events(user.user_id)[-1] == "number.refused"
            with pytest.raises(ServiceError, match="gone"):
                await user.confirm("", codes[user.user_id], "sms", purpose="phone_proof")


async def test_a55_a_number_is_free_again_when_the_factor_or_the_proof_goes(otp: Otp) -> None:
    one, two, three, four = (otp.user() for _ in range(4))
    await one.enrol_sms()
    await one.enrol_sms()  # anew, and proven too: the same account
    await prove(one)
    await two.enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    await prove(three)

    async def is_full() -> bool:
        otp.clock.advance(timedelta(hours=1))
        for user in (one, two, three, four):
            user.session_id = fresh("ses")
        return {"conflict": True, "sent": False}[await met(start(four))]

    assert await is_full()
    await two.remove("sms")
    assert not await is_full()
    await two.enrol_sms()
    assert await is_full()
    await two.enrol_sms("+447700900222")
    assert not await is_full()
    otp.clock.advance(timedelta(hours=1))
    await two.enrol_sms()
    assert await is_full()
    await otp.call("ForgetProvenNumber", otp_pb2.ForgetProvenNumberRequest(user_id=three.user_id))
    assert not await is_full()
    await otp.call("ForgetProvenNumber", otp_pb2.ForgetProvenNumberRequest(user_id=one.user_id))
    otp.clock.advance(timedelta(hours=1))
    assert result((await prove(three)).verdict) == "accepted"
    assert await is_full(), "the factor counts, whatever was proven"
    otp.clock.advance(timedelta(hours=1))
    assert result((await prove(three, "+447700900223")).verdict) == "accepted"
    assert not await is_full()


async def test_a55_numbers_of_an_earlier_version_are_counted_once_they_were_marked(otp: Otp) -> None:
    people = [await otp.user().enrol_sms() for _ in range(3)]
    before = otp.sql("SELECT * FROM number_mark ORDER BY user_id")
    otp.sql("DELETE FROM number_mark")
    otp.sql(
        "UPDATE account SET sms_phone = '\\x00' WHERE sms_id IS NOT NULL AND NOT user_id = ANY (%s)",
        [[user.user_id for user in people]],
    )
    marks = number_limit.NumberMarks(
        otp.service._number_marks._numbers, otp.service._number_marks._vault, otp.service._number_marks._marks
    )
    assert await marks.catch_up() >= 3
    assert otp.sql("SELECT * FROM number_mark ORDER BY user_id") == before
    otp.clock.advance(timedelta(hours=1))
    with pytest.raises(ServiceError, match="conflict"):
        await start(otp.user())


async def test_a51_a_send_loop_is_one_in_thirty_seconds_three_a_login_and_five_an_hour(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    before, began = len(otp.notifier.taken), otp.clock.now()
    login, sent_at = fresh("log"), []
    for second in range(0, 600, 5):
        if await met(user.send_sms(login)) == "sent":
            sent_at.append(second)
        otp.clock.advance(timedelta(seconds=5))
    assert sent_at == [0, 30, 60], "one in thirty seconds, three a login"
    sent = len(sent_at)
    while (gone := (otp.clock.now() - began).total_seconds()) < 3600:
        sent += await met(user.send_sms(fresh("log"))) == "sent"
        assert sent <= 5 + math.floor(gone / 720)
        otp.clock.advance(timedelta(seconds=60))
    assert len(otp.notifier.taken) == before + sent


async def test_a50_a_share_of_codes_used_under_a_fifth_shows(otp: Otp) -> None:
    otp.sql("DELETE FROM challenge")

    def row(minutes: int, *, used: bool, taken: bool = True) -> list[Any]:
        at = otp.clock.now() - timedelta(minutes=minutes)
        return [
            f"chl_{secrets.token_hex(8)}",
            user.user_id,
            fresh("log"),
            fresh("req"),
            at,
            at + timedelta(minutes=5),
            "dlv_1" if taken else None,
            at if used else None,
            at,
        ]

    user = await otp.user().enrol_totp()
    statement = (
        "INSERT INTO challenge (id, user_id, login_id, request_id, code_mark, phone_hint, created_at, expires_at,"
        " delivery_id, spent_at, ended_at) VALUES (%s, %s, %s, %s, '', '', %s, %s, %s, %s, %s)"
    )
    conversions = otp.service._conversions
    for minutes in range(6, 25):
        otp.sql(statement, row(minutes, used=False))
    assert math.isnan(await conversions.measure()), "nineteen say nothing"
    otp.sql(statement, row(25, used=True))
    assert await conversions.measure() == pytest.approx(1 / 20)
    assert REGISTRY.get_sample_value("otp_sms_conversion_ratio") == pytest.approx(1 / 20)
    for other in (row(3, used=True), row(61, used=True), row(30, used=True, taken=False)):
        otp.sql(statement, other)  # lives still; too long ago; never handed over
    assert await conversions.measure() == pytest.approx(1 / 20)
    for minutes in range(6, 16):
        otp.sql(statement, row(minutes, used=True))
    assert await conversions.measure() == pytest.approx(11 / 30)
    assert REGISTRY.get_sample_value("otp_sms_codes_sent") == 30
    otp.clock.advance(timedelta(hours=1))
    assert math.isnan(await conversions.measure())
