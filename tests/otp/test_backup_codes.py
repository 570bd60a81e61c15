"""Backup codes at the service: each once, hashed at rest, and cheap to recognise once spent."""

import asyncio
import re
from datetime import timedelta

import pytest
from argon2 import extract_parameters
from countersign.otp.v1 import otp_pb2

from services.common.errors import ServiceError
from services.otp.code_shape import canonical
from services.otp.marks import Marks
from services.otp.model import Method
from tests.otp.conftest import CODE_PEPPER, Otp, fresh, result


async def test_p03_a_backup_code_is_spent_once(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.backup_codes[3]
    verdict = await user.verify(code, "backup_code")
    assert result(verdict) == "accepted"
    assert verdict.factors.backup_codes_remaining == 9
    again = await user.verify(code, "backup_code")
    assert result(again) == "already_used"
    assert again.attempts_left == 5
    assert (await user.factors()).backup_codes_remaining == 9


async def test_a73_the_login_that_spent_it_may_finish_for_ten_minutes(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code, login = user.backup_codes[0], fresh("log")
    assert await user.sees(code, "backup_code", login) == "accepted"
    otp.clock.advance(timedelta(minutes=10))
    assert await user.sees(code, "backup_code", login) == "accepted"
    assert (await user.factors()).backup_codes_remaining == 9
    assert await user.sees(code, "backup_code") == "already_used"
    otp.clock.advance(timedelta(microseconds=1))
    assert await user.sees(code, "backup_code", login) == "already_used"


async def test_it_is_read_however_it_was_typed(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    dressed = [
        user.backup_codes[0].lower(),
        user.backup_codes[1].replace("-", ""),
        f"  {user.backup_codes[2].replace('-', ' ')}\u200b",
        user.backup_codes[3].replace("0", "O").replace("1", "l"),
    ]
    for code in dressed:
        assert await user.sees(code, "backup_code") == "accepted"


async def test_a_wrong_one_costs_a_guess_and_spends_nothing(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.backup_codes[0]
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")
    verdict = await user.verify(wrong, "backup_code")
    assert (result(verdict), verdict.attempts_left) == ("wrong", 4)
    assert await user.sees(code, "backup_code") == "accepted"
    assert await user.sees(wrong, "backup_code") == "wrong"  # the slot's code is spent by now
    assert await user.sees("Z" * 16, "backup_code") == "wrong"  # a slot nobody has
    assert (await user.factors()).attempts_left == 2


@pytest.mark.parametrize("code", ["", "0123-4567-89AB", "0" * 17, "U" * 16, "not a code at all", "\u0660" * 16])
async def test_a13_one_of_the_wrong_shape_costs_nothing(otp: Otp, code: str) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(code, "backup_code") == "malformed"
    assert (await user.factors()).attempts_left == 5


async def test_a29_anothers_code_is_wrong(otp: Otp) -> None:
    anna, ben = await otp.user().enrol_totp(), await otp.user().enrol_totp()
    assert await anna.sees(ben.backup_codes[0], "backup_code") == "wrong"
    assert await ben.sees(ben.backup_codes[0], "backup_code") == "accepted"


async def test_new_codes_kill_the_old_ones(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(user.backup_codes[0], "backup_code") == "accepted"
    fresh_codes = await user.regenerate()
    assert (await user.factors()).backup_codes_remaining == 10
    assert await user.sees(user.backup_codes[0], "backup_code") == "wrong"
    assert await user.sees(user.backup_codes[1], "backup_code") == "wrong"
    assert await user.sees(fresh_codes[1], "backup_code") == "accepted"


async def test_without_another_factor_there_are_none_to_make(otp: Otp) -> None:
    with pytest.raises(ServiceError, match="conflict"):
        await otp.user().regenerate()


async def test_a45_p03_a_thousand_redemptions_of_one_code_are_one(otp: Otp) -> None:
    """At two instances of the service; each under a login of its own, and the first two sure to meet at the row."""
    user = await otp.user().enrol_totp()
    other = otp.peer_of("identity", (await otp.another()).server.port)
    peers = (otp.peer, other)
    for peer in peers:
        await peer.call(peer.stub.GetFactors, otp_pb2.GetFactorsRequest(user_ids=[user.user_id]), seconds=10.0)

    async def redeem(number: int) -> str:
        request = otp_pb2.VerifyRequest(attempts=[user.attempt(user.backup_codes[5], "backup_code")])
        peer = peers[number % 2]
        try:
            return result((await peer.call(peer.stub.Verify, request, seconds=20.0)).verdicts[0])
        except ServiceError as error:
            return str(error.code)

    with otp.postgres.connect(otp.database_name) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM account WHERE user_id = %s FOR UPDATE", [user.user_id])
        redeeming = [asyncio.create_task(redeem(number)) for number in range(1000)]
        while len(otp.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < 2:
            await asyncio.sleep(0.01)
    results = await asyncio.gather(*redeeming)
    assert results.count("accepted") == 1
    assert set(results) <= {"accepted", "already_used", "unavailable"}
    assert results.count("already_used") >= 100
    assert (await user.factors()).backup_codes_remaining == 9
    assert otp.events(user.user_id).count("code.accepted") == 2  # the enrolment's, and this


@pytest.mark.parametrize("times", [20, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_p03_ten_codes_redeemed_many_times_at_once_are_ten(otp: Otp, times: int) -> None:
    """Two hundred at once, and each goes on asking while the account is too busy to answer."""
    user = await otp.user().enrol_totp()
    at_once = asyncio.Semaphore(200)

    async def redeem(code: str) -> str:
        async with at_once:
            return await user.insists(code, "backup_code")

    results = await asyncio.gather(*(redeem(code) for code in user.backup_codes * times))
    assert results.count("accepted") == 10
    assert results.count("already_used") == 10 * times - 10
    assert (await user.factors()).backup_codes_remaining == 0


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_p03_parallel_regenerations_leave_one_living_set(otp: Otp, count: int) -> None:
    user = await otp.user().enrol_totp()

    async def regenerate() -> list[str]:
        try:
            return await user.regenerate()
        except ServiceError:
            return []

    sets = [codes for codes in await asyncio.gather(*(regenerate() for _ in range(count))) if codes]
    assert sets
    rows = otp.sql("SELECT DISTINCT set_id FROM backup_code WHERE user_id = %s", [user.user_id])
    assert len(rows) == 1
    living = []
    for codes in sets:
        otp.clock.advance(timedelta(days=2))  # so that no guess is refused
        if await user.sees(codes[0], "backup_code") == "accepted":
            living.append(codes)
    assert len(living) == 1


async def test_at_rest_a_code_is_argon2id_of_its_keyed_hash_and_a_spent_one_a_keyed_hash_alone(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(user.backup_codes[0], "backup_code") == "accepted"
    rows = otp.sql("SELECT * FROM backup_code WHERE user_id = %s ORDER BY slot", [user.user_id])
    assert [row["slot"] for row in rows] == list("0123456789")
    spent, living = rows[0], rows[1:]
    code = canonical(Method.BACKUP_CODE, user.backup_codes[0]) or ""
    assert spent["hash"] is None
    assert spent["spent_mark"] == Marks(CODE_PEPPER).spent_backup_code(user.user_id, spent["set_id"], code)
    for row in living:
        assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", row["hash"])
        parameters = extract_parameters(row["hash"])
        assert (parameters.salt_len, parameters.hash_len) == (16, 32)
        assert row["spent_mark"] is None
    assert len({row["hash"] for row in living}) == 9
    everything = str(rows)
    for shown in user.backup_codes:
        assert (canonical(Method.BACKUP_CODE, shown) or "")[1:] not in everything


async def test_while_the_budget_is_spent_nothing_is_hashed(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    await user.spend_budget()
    otp.sql("UPDATE backup_code SET hash = 'not a hash' WHERE user_id = %s", [user.user_id])
    assert await user.sees(user.backup_codes[0], "backup_code") == "too_many_attempts"
    otp.clock.advance(timedelta(minutes=15))
    with pytest.raises(ServiceError, match="unavailable"):  # now it is read, and found unreadable
        await user.sees(user.backup_codes[0], "backup_code")


async def test_a_hash_compared_before_the_row_changed_counts_for_nothing(otp: Otp) -> None:
    """The comparison is done before the lock; what it compared with must still stand there."""
    user = await otp.user().enrol_totp()
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR UPDATE%%'"
    with otp.postgres.connect(otp.database_name) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM account WHERE user_id = %s FOR UPDATE", [user.user_id])
        verifying = asyncio.create_task(user.sees(user.backup_codes[0], "backup_code"))
        while not otp.sql(waiting):
            await asyncio.sleep(0.01)
        connection.execute(
            "UPDATE backup_code SET hash = (SELECT hash FROM backup_code WHERE user_id = %(user)s AND slot = '1')"
            " WHERE user_id = %(user)s AND slot = '0'",
            {"user": user.user_id},
        )
    assert await verifying == "wrong"
