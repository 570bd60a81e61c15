"""Codes by text message: for their own login, once, while they live; and never sent without the limits."""

import asyncio
from datetime import UTC, timedelta

import pytest
from countersign.otp.v1 import otp_pb2

from deploy.embedded import EmbeddedRedis
from services.common.errors import ErrorCode, ServiceError
from tests.otp.conftest import PHONE, Otp, Person, fresh, result


async def _sent(user: Person, login: str) -> str:
    await user.send_sms(login)
    return user.otp.notifier.taken[-1].code


async def test_a_code_is_sent_to_the_users_number_and_accepted_once(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    challenge = await user.send_sms(login)
    message = otp.notifier.taken[-1]
    assert (message.to, message.user_id, message.locale, len(message.code)) == (PHONE, user.user_id, "en", 6)
    assert message.not_after.ToDatetime() == challenge.expires_at.ToDatetime()
    assert challenge.expires_at.ToDatetime() - otp.clock.now().replace(tzinfo=None) == timedelta(minutes=5)
    assert challenge.resend_after.ToDatetime() - otp.clock.now().replace(tzinfo=None) == timedelta(seconds=30)
    assert challenge.phone_hint == "+44 ••••23"
    assert challenge.delivery_status == "queued"
    assert await user.sees(message.code, "sms", login) == "accepted"
    assert await user.sees(message.code, "sms") == "already_used"


async def test_p04_a_code_is_accepted_once_of_a_thousand_times(otp: Otp) -> None:
    """At two instances; every other one under the code's own login, which may finish with it and spends it once."""
    user = await otp.user().enrol_sms()
    login = fresh("log")
    code = await _sent(user, login)
    peers = (otp.peer, otp.peer_of("identity", (await otp.another()).server.port))
    hundred = asyncio.Semaphore(100)

    async def submit(number: int) -> str:
        async with hundred:
            return await user.insists(code, "sms", login if number % 2 else "", peers[number // 2 % 2])

    results = await asyncio.gather(*(submit(number) for number in range(1000)))
    assert set(results[0::2]) <= {"already_used", "no_such_factor"}
    assert set(results[1::2]) == {"accepted"}
    spent = "SELECT detail FROM audit_event WHERE subject_id = %s AND kind = 'code.accepted' AND NOT detail ? 'again'"
    assert len(otp.sql(spent, [user.user_id])) == 2, "the enrolment's, and this"


async def test_a73_its_own_login_may_send_it_again_and_spends_it_once(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    code = await _sent(user, login)
    assert await user.sees(code, "sms", login) == "accepted"
    otp.clock.advance(timedelta(minutes=10))
    assert await user.sees(code, "sms", login) == "accepted"
    otp.clock.advance(timedelta(microseconds=1))
    assert await user.sees(code, "sms", login) == "already_used"


async def test_a29_a54_a_code_opens_no_other_login(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    mine, other = fresh("log"), fresh("log")
    code = await _sent(user, mine)
    assert await user.sees(code, "sms", other) == "no_such_factor"
    await user.send_sms(other)
    assert await user.sees(code, "sms", other) == "wrong"
    assert await user.sees(code, "sms", mine) == "accepted"


async def test_a54_after_a_resend_the_earlier_code_is_wrong(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    earlier = await _sent(user, login)
    otp.clock.advance(timedelta(seconds=30))
    newer = await _sent(user, login)
    assert await user.sees(earlier, "sms", login) == "wrong"
    assert await user.sees(newer, "sms", login) == "accepted"
    rows = otp.sql("SELECT ended_at FROM challenge WHERE user_id = %s AND login_id = %s", [user.user_id, login])
    assert len([row for row in rows if row["ended_at"] is None]) == 0


async def test_a_text_that_still_waits_is_called_back_once_its_code_can_no_longer_be_right(otp: Otp) -> None:
    """Each handing over names the user's codes that are dead before their time, and no other."""

    async def keys(login: str) -> tuple[str, list[str]]:
        otp.clock.advance(timedelta(seconds=30))
        await user.send_sms(login)
        message = otp.notifier.taken[-1]
        return message.request_key, list(message.replaces)

    user = await (await otp.user().enrol_totp()).enrol_sms()
    otp.clock.advance(timedelta(minutes=5))
    mine, other = fresh("log"), fresh("log")
    first, replaced = await keys(mine)
    assert replaced == []
    elsewhere, replaced = await keys(other)
    assert replaced == [], "another login's code lives"
    second, replaced = await keys(mine)
    assert replaced == [first]
    assert await user.sees(otp.notifier.taken[-1].code, "sms", mine) == "accepted"
    assert await user.sees(user.code(), login=other) == "accepted"
    otp.clock.advance(timedelta(minutes=2))
    _, replaced = await keys(fresh("log"))
    assert replaced == [elsewhere, first], "not the one that was used"
    assert second not in replaced


async def test_a_number_that_was_mistyped_is_sent_nothing_more_once_another_is_given(otp: Otp) -> None:
    user = otp.user()
    await user.start_sms("+447700900124")
    mistyped = otp.notifier.taken[-1]
    otp.clock.advance(timedelta(seconds=30))
    await user.start_sms(PHONE)
    assert list(otp.notifier.taken[-1].replaces) == [mistyped.request_key]


async def test_a54_after_another_factor_succeeded_in_the_login_its_code_is_dead(otp: Otp) -> None:
    user = await (await otp.user().enrol_totp()).enrol_sms()
    login, other = fresh("log"), fresh("log")
    code = await _sent(user, login)
    elsewhere = await _sent(user, other)
    assert await user.sees(user.code(), login=login) == "accepted"
    assert await user.sees(code, "sms", login) == "no_such_factor"
    assert await user.sees(elsewhere, "sms", other) == "accepted"


async def test_p04_it_lives_five_minutes(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    code = await _sent(user, login)
    otp.clock.advance(timedelta(minutes=5))
    verdict = await user.verify(code, "sms", login)
    assert (result(verdict), verdict.attempts_left) == ("expired", 5)
    otp.clock.advance(timedelta(microseconds=-1))
    assert await user.sees(code, "sms", login) == "accepted"


async def test_p04_it_dies_of_five_wrong_guesses(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    code = await _sent(user, login)
    for _ in range(5):
        assert await user.sees(f"{(int(code) + 1) % 1_000_000:06d}", "sms", login) == "wrong"
    reset = otp_pb2.ResetGuessBudgetRequest(user_id=user.user_id, clinic_id="cli_harbour", cause="test")
    await otp.call("ResetGuessBudget", reset)
    assert await user.sees(code, "sms", login) == "no_such_factor"


async def test_a51_a_second_code_waits_half_a_minute_and_a_fourth_for_another_login(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    login = fresh("log")
    await user.send_sms(login)
    otp.clock.advance(timedelta(seconds=29))
    with pytest.raises(ServiceError) as refusal:
        await user.send_sms(login)
    assert (refusal.value.code, refusal.value.members["retry_after"]) == (ErrorCode.TOO_MANY_ATTEMPTS, 1)
    otp.clock.advance(timedelta(seconds=1))
    assert "wait 1 second before" in refusal.value.detail
    await user.send_sms(login)
    otp.clock.advance(timedelta(minutes=1))
    last = await user.send_sms(login)
    otp.clock.advance(timedelta(minutes=1))
    with pytest.raises(ServiceError, match="too-many-attempts") as refusal:
        await user.send_sms(login)
    assert refusal.value.detail == "No more codes are sent in this sign-in. Sign in again, or use another way."
    told = last.resend_after.ToDatetime(tzinfo=UTC) - otp.clock.now()
    assert timedelta(hours=3) < told, "what is said with the last code of a login holds"
    assert abs(told.total_seconds() - refusal.value.members["retry_after"]) <= 3
    await user.send_sms(fresh("log"))


async def test_a51_when_another_code_may_be_asked_for_holds_for_the_limit_of_an_hour_too(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    for _ in range(5):
        login = fresh("log")
        sent = await user.send_sms(login)
    seen = await otp.call("GetSmsChallenge", otp_pb2.GetSmsChallengeRequest(user_id=user.user_id, login_id=login))
    assert seen.resend_after.ToDatetime(tzinfo=UTC) == sent.resend_after.ToDatetime(tzinfo=UTC)
    assert sent.resend_after.ToDatetime(tzinfo=UTC) - otp.clock.now() == timedelta(minutes=12)
    otp.clock.advance(timedelta(minutes=1))
    with pytest.raises(ServiceError, match="too-many-attempts") as refusal:
        await user.send_sms(login)
    assert refusal.value.members["retry_after"] == 660
    assert refusal.value.detail == "Too many codes were asked for. Please wait 11 minutes, or use another way."
    otp.clock.advance(timedelta(minutes=11))
    await user.send_sms(login)


async def test_a51_five_an_hour_go_to_a_user_and_to_a_number(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    for _ in range(5):
        await user.send_sms(fresh("log"))
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await user.send_sms(fresh("log"))
    with pytest.raises(ServiceError, match="too-many-attempts"):  # the same number, as another user's
        await otp.user().start_sms(PHONE)
    sent = len(otp.notifier.taken)
    await otp.user().start_sms("+447700900199")
    assert len(otp.notifier.taken) == sent + 1


async def test_a50_a_hundred_an_hour_go_to_a_number_range(otp: Otp) -> None:
    for number in range(100):
        await otp.user().start_sms(f"+447700910{number:03d}")
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await otp.user().start_sms("+447700910100")
    await otp.user().start_sms("+447700911100")


async def test_p17_without_the_limits_store_nothing_is_sent(otp: Otp, redis: EmbeddedRedis) -> None:
    user = await otp.user().enrol_sms()
    otp.clock.advance(timedelta(hours=1))
    sent = len(otp.notifier.taken)
    redis.stop()
    try:
        with pytest.raises(ServiceError, match="unavailable"):
            await user.send_sms(fresh("log"))
        with pytest.raises(ServiceError, match="unavailable"):
            await user.start_sms("+447700900124")
        offer = await user.start_totp()  # costs no money, and signing in needs no Redis at all
        assert offer.secret
        assert await user.sees("000000") == "no_such_factor"
    finally:
        redis.start()
    assert len(otp.notifier.taken) == sent
    await user.send_sms(fresh("log"))


async def test_where_the_notifier_is_away_no_code_works_and_asking_again_sends_one(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    otp.notifier.is_away = True
    with pytest.raises(ServiceError, match="unavailable"):
        await user.send_sms(login)
    [row] = otp.sql("SELECT * FROM challenge WHERE login_id = %s", [login])
    assert row["delivery_id"] is None
    assert await user.sees("000000", "sms", login) == "no_such_factor"
    otp.notifier.is_away = False
    code = await _sent(user, login)
    assert [message.request_key for message in otp.notifier.taken].count(row["id"]) == 1
    assert await user.sees(code, "sms", login) == "accepted"


async def test_where_the_notifier_refuses_the_challenge_is_void_and_the_limits_are_given_back(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    otp.notifier.refuses = ServiceError(ErrorCode.INVALID_REQUEST, "This cannot be sent.")
    with pytest.raises(ServiceError, match="unavailable"):
        await user.send_sms(login)
    [row] = otp.sql("SELECT * FROM challenge WHERE login_id = %s", [login])
    assert row["ended_at"] is not None
    assert row["code_sealed"] is None
    otp.notifier.refuses = None
    assert await user.sees(await _sent(user, login), "sms", login) == "accepted"


async def test_p16_a_repeated_request_sends_one_text(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login, request_id = fresh("log"), fresh("req")
    sent = len(otp.notifier.taken)
    first = await user.send_sms(login, request_id)
    assert await user.send_sms(login, request_id) == first
    assert len(otp.notifier.taken) == sent + 1
    number, request_id = "+447700900155", fresh("req")
    offer = await user.start_sms(number, request_id)
    assert (await user.start_sms(number, request_id)).enrolment_id == offer.enrolment_id
    assert len(otp.notifier.taken) == sent + 2


async def test_p16_requests_of_one_login_at_once_send_one_text(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    otp.notifier.delay_seconds = 0.05
    sent = len(otp.notifier.taken)
    answers = await asyncio.gather(*(user.send_sms(login) for _ in range(10)), return_exceptions=True)
    assert len(otp.notifier.taken) == sent + 1
    assert len([answer for answer in answers if not isinstance(answer, Exception)]) == 1


async def test_it_is_said_how_the_delivery_goes(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    request = otp_pb2.GetSmsChallengeRequest(login_id=login, user_id=user.user_id)
    with pytest.raises(ServiceError, match="not-found"):
        await otp.call("GetSmsChallenge", request)
    await user.send_sms(login)
    otp.notifier.statuses[f"dlv_{otp.notifier.taken[-1].request_key}"] = "delivered"
    assert (await otp.call("GetSmsChallenge", request)).delivery_status == "delivered"
    otp.notifier.is_away = True
    assert (await otp.call("GetSmsChallenge", request)).delivery_status == "queued"  # the last known
    request.user_id = "usr_other"
    with pytest.raises(ServiceError, match="not-found"):
        await otp.call("GetSmsChallenge", request)


async def test_someone_without_a_number_is_sent_nothing(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    with pytest.raises(ServiceError, match="not-found"):
        await user.send_sms(fresh("log"))
    assert await user.sees("123456", "sms") == "no_such_factor"


async def test_at_rest_a_code_is_a_keyed_hash_and_the_number_is_sealed(otp: Otp) -> None:
    number = "+447700900188"
    user = await otp.user().enrol_sms(number)
    otp.notifier.is_away = True
    with pytest.raises(ServiceError, match="unavailable"):
        await user.send_sms(fresh("log"))
    otp.notifier.is_away = False
    login = fresh("log")
    code = await _sent(user, login)
    [row] = otp.sql("SELECT * FROM challenge WHERE login_id = %s", [login])
    assert row["code_sealed"] is None
    assert len(row["code_mark"]) == 32
    tables = ("account", "challenge", "enrolment", "verdict", "audit_event")
    dump = "".join(str(otp.sql(f"SELECT * FROM {table}")) for table in tables)
    assert number not in dump
    assert number[-7:] not in dump
    assert f"'{code}'" not in dump
