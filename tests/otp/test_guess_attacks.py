"""Attacks on the guess budget that need more than one wrong code after another: kills, detours, a full Redis."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta

import pytest
import redis as redis_client
from pydantic import SecretStr

from services.common.errors import ErrorCode, ServiceError
from tests.otp.conftest import Otp, fresh, result


async def failing(otp: Otp, point: str, count: int) -> tuple[asyncio.subprocess.Process, int]:
    values = {name: value for name, value in otp.settings.model_dump().items() if value not in (None, "")}
    environment = {
        f"OTP_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
    }
    arguments = ["-m", "tests.otp.failing_otp", point, str(count)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **environment}, stdout=PIPE
    )
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.startswith("port "):
            return process, int(line.split()[1])
    raise AssertionError("did not start")


@pytest.mark.parametrize("point", ["compared", "written", "committed"])
async def test_p07_a09_a_kill_after_the_comparison_tells_no_verdict_and_every_told_one_is_counted(
    otp: Otp, point: str
) -> None:
    user = await otp.user().enrol_totp()
    otp.clock.advance(timedelta(minutes=-2))
    process, port = await failing(otp, point, 3)
    own, told = otp.peer, [0]
    try:
        otp.peer = otp.peer_of("identity", port)
        told = [(await user.verify(user.wrong_code())).attempts_left for _ in range(2)]
        with pytest.raises(ServiceError) as failure:
            await user.verify(user.wrong_code())
        assert failure.value.code is ErrorCode.UNAVAILABLE
        assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    otp.peer = own
    assert told == [4, 3]
    # Counted and not told is one guess less for whoever guesses; told and not counted would be one for free.
    assert (await user.factors()).attempts_left == (2 if point == "committed" else 3)
    assert otp.events(user.user_id).count("code.wrong") == (3 if point == "committed" else 2)


async def test_a10_step_up_and_set_up_spend_what_sign_in_spends(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    offer = await user.start_totp()
    session = user.session_id
    left = [
        (await user.verify(user.wrong_code(), login=f"{session}:1")).attempts_left,
        (await user.verify(user.wrong_code(), login=f"{session}:2")).attempts_left,
        (await user.verify("0" * 16, "backup_code", login=f"{session}:2")).attempts_left,
        (await user.confirm(offer.enrolment_id, "000000", login=f"{session}:2")).verdict.attempts_left,
        (await user.verify(user.wrong_code(), login=fresh("log"))).attempts_left,
    ]
    assert left == [4, 3, 2, 1, 0]
    assert result((await user.confirm(offer.enrolment_id, user.code())).verdict) == "too_many_attempts"


async def test_p07_a11_a_full_redis_allows_no_guess_more(otp: Otp, clean_redis: redis_client.Redis) -> None:
    user = await otp.user().enrol_totp()
    await user.spend_budget(3)
    before = clean_redis.config_get("maxmemory")["maxmemory"]
    clean_redis.config_set("maxmemory", "1")
    try:
        assert (await user.factors()).attempts_left == 2
        await user.spend_budget(2)
        assert await user.sees(user.code()) == "too_many_attempts"
    finally:
        clean_redis.config_set("maxmemory", before or "0")
