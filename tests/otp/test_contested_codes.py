"""One code in two hands: one session wins, the other is told that it was used, and an alert is there (A20)."""

import asyncio
from typing import Any

import pytest
from countersign.otp.v1 import otp_pb2
from prometheus_client import REGISTRY

from tests.otp.conftest import Otp, Person, fresh, result


async def sends(user: Person, code: str, session: str, method: str = "totp") -> otp_pb2.Verdict:
    attempt = user.attempt(code, method, login=f"{session}:1")
    attempt.caller.session_id = session
    answer = await user.otp.call("Verify", otp_pb2.VerifyRequest(attempts=[attempt]))
    verdict: otp_pb2.Verdict = answer.verdicts[0]
    return verdict


def alerts() -> float:
    return REGISTRY.get_sample_value("otp_codes_contested_total") or 0.0


@pytest.mark.parametrize("method", ["totp", "backup_code"])
async def test_a20_victim_and_phisher_race_one_code_one_wins_and_the_loser_and_the_clinic_hear_of_it(
    otp: Otp, method: str
) -> None:
    user = await otp.user().enrol_totp()
    code = user.code() if method == "totp" else user.backup_codes[0]
    before = alerts()
    victim, phisher = fresh("ses"), fresh("ses")
    verdicts = await asyncio.gather(sends(user, code, victim, method), sends(user, code, phisher, method))
    told = {session: result(verdict) for session, verdict in zip((victim, phisher), verdicts, strict=True)}
    assert sorted(told.values()) == ["accepted", "already_used"]
    [winner] = [session for session, one in told.items() if one == "accepted"]
    [loser] = [session for session, one in told.items() if one == "already_used"]
    assert alerts() == before + 1
    [event] = otp.sql(
        "SELECT detail FROM audit_event WHERE kind = 'code.contested' AND subject_id = %s", [user.user_id]
    )
    expected: dict[str, Any] = {"method": method, "session_id": loser, "accepted_session_ids": [winner]}
    assert event["detail"] == expected
    assert (await user.factors()).attempts_left == 5


async def test_a20_one_session_that_sends_its_own_code_again_alarms_nobody(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    before = alerts()
    code = user.code()
    assert await user.sees(code, login=f"{user.session_id}:1") == "accepted"
    assert await user.sees(code, login=f"{user.session_id}:1") == "accepted"
    assert await user.sees(code, login=f"{user.session_id}:2") == "already_used"  # A19: at the step-up
    assert "code.contested" not in otp.events(user.user_id)
    assert alerts() == before
