"""Enrolments of several sessions of one user at once: who knows the password alone must not get a factor in beside the
owner's, whatever they began before (A31)."""

import asyncio

import pytest
from countersign.otp.v1 import otp_pb2

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.otp import backup_codes
from tests.otp.conftest import Otp, Person, fresh, result

OWN, STRANGE = "+447700900141", "+447700900142"
ROUNDS = 12


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


def _two_sessions(otp: Otp) -> tuple[Person, Person]:
    owner = otp.user()
    return owner, Person(otp, owner.user_id)


async def _confirm(
    peer: "Peer[object]", person: Person, enrolment_id: str, code: str, method: str, *, only_first: bool
) -> str:
    request = otp_pb2.ConfirmEnrolmentRequest(
        attempt_id=fresh("att"),
        login_id=fresh("log"),
        caller=person.caller(),
        method=otp_pb2.METHOD_TOTP if method == "totp" else otp_pb2.METHOD_SMS,
        enrolment_id=enrolment_id,
        code=code,
        purpose=otp_pb2.SMS_PURPOSE_UNSPECIFIED if method == "totp" else otp_pb2.SMS_PURPOSE_ENROLMENT,
        only_first=only_first,
    )
    try:
        answer = await peer.call(peer.stub.ConfirmEnrolment, request, seconds=20.0)  # type: ignore[attr-defined]
    except ServiceError as error:
        return error.code.value
    return result(answer.verdict)


@pytest.mark.parametrize("only_first", [True, False])
async def test_a31_of_two_sessions_that_confirm_at_once_one_gets_its_factor_in(otp: Otp, *, only_first: bool) -> None:
    peers = [otp.peer_of("identity", (await otp.another()).server.port) for _ in range(2)]
    for number in range(ROUNDS):
        otp.sql("DELETE FROM number_mark")
        owner, thief = _two_sessions(otp)
        offer = await owner.start_totp()
        owner.secret = offer.secret
        sent = await thief.start_sms(f"+4477009002{number:02}")
        code = otp.notifier.code_to(f"+4477009002{number:02}")
        confirmations = [
            _confirm(peers[0], owner, offer.enrolment_id, owner.code(), "totp", only_first=only_first),
            _confirm(peers[1], thief, sent.enrolment_id, code, "sms", only_first=only_first),
        ]
        if number % 2:
            confirmations.reverse()
        answers = await asyncio.gather(*confirmations)
        assert sorted(answers) == ["accepted", "gone"], answers
        assert len((await owner.factors()).factors) == 1


async def test_a31_what_others_were_setting_up_or_proving_ends_with_its_code_and_ones_own_goes_on(otp: Otp) -> None:
    owner, thief = _two_sessions(otp)
    offer = await owner.start_totp()
    owner.secret = offer.secret
    own = await owner.start_sms(OWN)
    proof = await thief.start_sms(STRANGE, purpose="phone_proof")
    assert result((await owner.confirm(offer.enrolment_id, owner.code())).verdict) == "accepted"
    with pytest.raises(ServiceError) as refused:
        await thief.confirm(proof.enrolment_id, otp.notifier.code_to(STRANGE), "sms", purpose="phone_proof")
    assert refused.value.code is ErrorCode.GONE
    dead = otp.sql("SELECT ended_at, code_sealed FROM challenge WHERE login_id = %s", [proof.enrolment_id])
    assert [(row["ended_at"] is not None, row["code_sealed"]) for row in dead] == [(True, None)]
    assert result((await owner.confirm(own.enrolment_id, otp.notifier.code_to(OWN), "sms")).verdict) == "accepted"


async def test_a31_what_was_begun_after_the_owners_factor_is_not_even_compared(otp: Otp) -> None:
    """By a session that some gateway still took for one without a factor to prove."""
    owner, thief = _two_sessions(otp)
    offer = await owner.start_totp()
    owner.secret = offer.secret
    assert result((await owner.confirm(offer.enrolment_id, owner.code())).verdict) == "accepted"
    late = await thief.start_totp()
    thief.secret = late.secret
    for code in (thief.code(), thief.wrong_code()):
        assert await _confirm(otp.peer, thief, late.enrolment_id, code, "totp", only_first=True) == "gone"
    factors = await owner.factors()
    assert (len(factors.factors), factors.attempts_left) == (1, 5)
    assert await _confirm(otp.peer, thief, late.enrolment_id, thief.code(), "totp", only_first=False) == "accepted"
