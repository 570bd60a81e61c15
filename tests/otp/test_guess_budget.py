"""The guess budget at the service: one for an account, over everything, and in PostgreSQL alone."""

import asyncio
from datetime import timedelta

import pytest
import redis as redis_client
from countersign.otp.v1 import otp_pb2

from services.common.errors import ServiceError
from tests.otp.conftest import Otp, fresh, result


async def test_the_fifth_wrong_code_spends_the_budget_and_says_so_once(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    verdicts = [await user.verify(user.wrong_code()) for _ in range(6)]
    assert [result(verdict) for verdict in verdicts] == ["wrong"] * 5 + ["too_many_attempts"]
    assert [verdict.attempts_left for verdict in verdicts] == [4, 3, 2, 1, 0, 0]
    assert [verdict.budget_newly_spent for verdict in verdicts] == [False] * 4 + [True, False]
    assert verdicts[4].retry_after_seconds == verdicts[5].retry_after_seconds == 900


async def test_a08_while_it_is_spent_a_right_code_is_not_looked_at(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    await user.spend_budget()
    assert await user.sees(user.code()) == "too_many_attempts"
    otp.clock.advance(timedelta(minutes=15, microseconds=-1))
    assert await user.sees(user.code()) == "too_many_attempts"
    otp.clock.advance(timedelta(microseconds=1))
    assert await user.sees(user.code()) == "accepted"


async def test_p06_twenty_a_day(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    begun = otp.clock.now()
    for _ in range(4):
        await user.spend_budget()
        otp.clock.advance(timedelta(minutes=15))
    verdict = await user.verify(user.code())
    assert result(verdict) == "too_many_attempts"
    assert otp.clock.now() + timedelta(seconds=verdict.retry_after_seconds) == begun + timedelta(hours=24)


async def test_p06_a08_fifty_lock_the_account_until_someone_opens_it(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    for _ in range(10):
        await user.spend_budget()
        otp.clock.advance(timedelta(hours=7))
    otp.clock.advance(timedelta(days=90))
    verdict = await user.verify(user.code())
    assert (result(verdict), verdict.locked) == ("too_many_attempts", True)
    assert (await user.factors()).locked
    reset = otp_pb2.ResetGuessBudgetRequest(user_id=user.user_id, clinic_id="cli_harbour", cause="password_reset")
    await otp.call("ResetGuessBudget", reset)
    assert (await user.factors()).attempts_left == 5
    assert await user.sees(user.code()) == "accepted"
    [event] = otp.sql(
        "SELECT detail FROM audit_event WHERE kind = 'guess_budget.reset' AND subject_id = %s", [user.user_id]
    )
    assert (event["detail"]["wrong_guesses"], event["detail"]["cause"]) == (50, "password_reset")
    assert event["detail"]["locked_at"] is not None


async def test_the_owners_typos_never_lock(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    for _ in range(60):
        login = fresh("log")
        assert await user.sees(user.wrong_code(), login=login) == "wrong"
        assert await user.sees(user.code(), login=login) == "accepted"
        otp.clock.advance(timedelta(hours=2))
    assert not (await user.factors()).locked


async def test_a05_a_success_between_guesses_gives_no_more_of_them(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    login = fresh("log")
    await user.spend_budget(2)
    for _ in range(2):
        assert await user.sees(user.wrong_code(), login=login) == "wrong"
    assert await user.sees(user.code(), login=login) == "accepted"
    verdict = await user.verify(user.wrong_code())
    assert (result(verdict), verdict.attempts_left) == ("wrong", 0)
    otp.clock.advance(timedelta(minutes=1))
    assert await user.sees(user.code()) == "too_many_attempts"


async def test_a07_totp_sms_and_backup_codes_share_one_budget(otp: Otp) -> None:
    user = await (await otp.user().enrol_totp()).enrol_sms()
    login = fresh("log")
    await user.send_sms(login)
    right = otp.notifier.taken[-1].code
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    assert await user.sees(user.wrong_code()) == "wrong"
    assert await user.sees(wrong, "sms", login) == "wrong"
    assert await user.sees("0" * 16, "backup_code") == "wrong"
    assert await user.sees(wrong, "sms", login) == "wrong"
    verdict = await user.verify(user.wrong_code())
    assert (result(verdict), verdict.budget_newly_spent) == ("wrong", True)
    for code, method in ((user.code(), "totp"), (right, "sms"), (user.backup_codes[0], "backup_code")):
        assert await user.sees(code, method, login) == "too_many_attempts"


async def test_a06_a_resend_gives_no_more_guesses(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    await user.send_sms(login)
    for _ in range(4):
        right = otp.notifier.taken[-1].code
        assert await user.sees(f"{(int(right) + 1) % 1_000_000:06d}", "sms", login) == "wrong"
    otp.clock.advance(timedelta(seconds=30))
    await user.send_sms(login)
    right = otp.notifier.taken[-1].code
    verdict = await user.verify(f"{(int(right) + 1) % 1_000_000:06d}", "sms", login)
    assert (result(verdict), verdict.attempts_left) == ("wrong", 0)
    assert await user.sees(right, "sms", login) == "too_many_attempts"
    otp.clock.advance(timedelta(seconds=30))
    with pytest.raises(ServiceError, match="too-many-attempts") as refusal:  # no text is paid for meanwhile
        await user.send_sms(login)
    assert refusal.value.members["retry_after"] > 800


async def test_a10_wrong_codes_for_an_enrolment_count_in_the_same_budget(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    offer = await user.start_totp()
    for _ in range(3):
        assert result((await user.confirm(offer.enrolment_id, "000000")).verdict) == "wrong"
    await user.spend_budget(2)
    assert result((await user.confirm(offer.enrolment_id, "000000")).verdict) == "too_many_attempts"
    assert await user.sees(user.code()) == "too_many_attempts"


async def test_p07_a11_an_emptied_redis_changes_nothing(otp: Otp, clean_redis: redis_client.Redis) -> None:
    user = await otp.user().enrol_totp()
    await user.spend_budget(3)
    clean_redis.flushall()
    assert (await user.factors()).attempts_left == 2
    await user.spend_budget(2)
    clean_redis.flushall()
    assert await user.sees(user.code()) == "too_many_attempts"


async def test_p07_a21_a_restarted_service_remembers_guesses_and_spent_codes(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    spent = user.code()
    assert await user.sees(spent) == "accepted"
    await user.spend_budget(3)
    otp.peer = otp.peer_of("identity", (await otp.another()).server.port)
    assert await user.sees(spent) == "already_used"
    assert (await user.factors()).attempts_left == 2


@pytest.mark.parametrize("guesses", [5, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_p06_a01_a02_guesses_over_two_hundred_logins_compare_five(otp: Otp, guesses: int) -> None:
    """200 logins at 200 addresses with 50 wrong codes each (a tenth of them in the daily run), at two instances."""
    user = await otp.user().enrol_totp()
    other = otp.peer_of("identity", (await otp.another()).server.port)
    compared: list[str] = []
    wrong = user.wrong_code()

    async def guess(login: str, number: int) -> None:
        peer = (otp.peer, other)[number % 2]
        address = f"198.51.100.{number}"
        compared.extend([await user.insists(wrong, login=login, peer=peer, address=address) for _ in range(guesses)])

    logins = [fresh("log") for _ in range(200)]
    for start in range(0, len(logins), 50):
        await asyncio.gather(*(guess(login, start + at) for at, login in enumerate(logins[start : start + 50])))
    assert len(compared) == 200 * guesses
    assert compared.count("wrong") == 5
    assert compared.count("too_many_attempts") == 200 * guesses - 5
    assert otp.events(user.user_id).count("code.wrong") == 5


async def test_a02_a_thousand_guesses_at_once_compare_five(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    wrong = user.wrong_code()

    async def guess() -> str:
        try:
            return await user.sees(wrong)
        except ServiceError as error:
            return str(error.code)

    results = await asyncio.gather(*(guess() for _ in range(1000)))
    assert results.count("wrong") <= 5
    assert otp.events(user.user_id).count("code.wrong") == results.count("wrong")
    assert set(results) <= {"wrong", "too_many_attempts", "unavailable"}
    assert (await user.factors()).attempts_left == 5 - results.count("wrong")
