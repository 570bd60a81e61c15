"""The session's state as a pure function: every combination of proofs, factors and decision, the ends by the second."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.model import (
    BypassId,
    Client,
    ClinicId,
    Decision,
    DeviceId,
    EndCause,
    Factor,
    Leave,
    Method,
    Outcome,
    Reason,
    Role,
    Session,
    SessionState,
    User,
    UserFactors,
    UserId,
)
from services.identity.sessions import (
    acr_of,
    amr_of,
    end_of,
    expires_at,
    idle_expires_at,
    is_fresh,
    needs_policy,
    new_token,
    opened,
    standing_of,
    state_of,
)

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
USER = User(UserId("usr_1"), ClinicId("cli_1"), "a@b.example", "Ana", Role.ADMIN, None, False, None, False, True, NOW)
NONE = UserFactors()
TOTP = UserFactors((Factor(Method.TOTP, NOW),), 10)
SUSPENDED = UserFactors((Factor(Method.TOTP, NOW, is_suspended=True),), 10)
SECOND = timedelta(seconds=1)

active, code, enrol = SessionState.ACTIVE, SessionState.SECOND_FACTOR_REQUIRED, SessionState.ENROLMENT_REQUIRED


def decision(outcome: Outcome, *, enrol_after_proof: bool = False) -> Decision:
    return Decision(
        outcome=outcome,
        is_two_factor_required=outcome is not Outcome.ALLOW,
        must_enrol_after_proof=enrol_after_proof,
        methods_allowed=(Method.TOTP,),
        is_phone_required=True,
        reason=Reason("Because."),
        version=1,
        epoch=1,
        valid_until=None,
        idle_minutes=30,
    )


ALLOW, ASK, ENROL = decision(Outcome.ALLOW), decision(Outcome.SECOND_FACTOR), decision(Outcome.ENROL)


def session(state: SessionState = active, decided: Decision | None = ALLOW) -> Session:
    return opened(USER, new_token(), state, decided, Client("192.0.2.7"), NOW, shared=False)


def proven(minutes_ago: float = 0, *, must_enrol: bool = False) -> Session:
    at = NOW - timedelta(minutes=minutes_ago)
    return replace(session(), verified_at=at, proven_by=Method.TOTP, enrol_after_proof=must_enrol)


@pytest.mark.parametrize(
    ("factors", "decided", "expected"),
    [
        (NONE, ALLOW, active),
        (NONE, ENROL, enrol),
        (NONE, ASK, code),  # an outcome that was not understood
        (NONE, None, None),
        (TOTP, ALLOW, code),
        (TOTP, ASK, code),
        (TOTP, ENROL, code),
        (TOTP, None, code),
        (SUSPENDED, ALLOW, code),
        (SUSPENDED, None, code),
        (None, ALLOW, None),
        (None, None, None),
    ],
)
def test_an_unproven_session_is_what_factors_and_decision_make_it(
    factors: UserFactors | None, decided: Decision | None, expected: SessionState | None
) -> None:
    assert state_of(session(), factors, decided, NOW) is expected


def test_p10_no_unproven_session_with_a_factor_is_ever_active() -> None:
    for factors, decided in itertools.product((TOTP, SUSPENDED), (ALLOW, ASK, ENROL, None)):
        assert state_of(session(), factors, decided, NOW) is code


@pytest.mark.parametrize("decided", [ALLOW, ASK, ENROL, decision(Outcome.SECOND_FACTOR, enrol_after_proof=True), None])
@pytest.mark.parametrize("factors", [NONE, TOTP, None])
def test_a_proven_session_stands_by_itself(factors: UserFactors | None, decided: Decision | None) -> None:
    assert state_of(proven(), factors, decided, NOW) is active


def remembered(days_ago: float = 1, *, shared: bool = False) -> Session:
    at = NOW - timedelta(days=days_ago)
    return replace(session(), device_id=DeviceId("dev_1"), remembered_at=at, shared_device=shared)


SEVEN_DAYS = replace(ASK, remember_device_minutes=7 * 24 * 60)


@pytest.mark.parametrize(
    ("one", "factors", "decided", "expected"),
    [
        (remembered(), TOTP, SEVEN_DAYS, active),
        (remembered(7), TOTP, SEVEN_DAYS, code),
        (remembered(7 - 1e-5), TOTP, SEVEN_DAYS, active),
        (remembered(), TOTP, ASK, code),  # the clinic allows no days
        (remembered(), TOTP, replace(SEVEN_DAYS, remember_device_minutes=24 * 60), code),  # the strictest hold
        (remembered(), TOTP, None, code),
        (remembered(), SUSPENDED, SEVEN_DAYS, code),
        (remembered(), NONE, ENROL, enrol),
        (remembered(), None, SEVEN_DAYS, None),
        (remembered(shared=True), TOTP, SEVEN_DAYS, code),
        (session(), TOTP, SEVEN_DAYS, code),  # only where it was proven
    ],
)
def test_a_remembered_browser_stands_for_a_code_as_long_as_policy_lets_it(
    one: Session, factors: UserFactors | None, decided: Decision | None, expected: SessionState | None
) -> None:
    assert state_of(one, factors, decided, NOW) is expected
    assert needs_policy(one)
    assert (amr_of(one), acr_of(one), is_fresh(one, NOW)) == (["pwd"], "aal1", False)


@pytest.mark.parametrize("factors", [NONE, TOTP, SUSPENDED, None])
@pytest.mark.parametrize("decided", [ALLOW, ASK, ENROL, SEVEN_DAYS])
def test_a46_what_a_bypass_opened_enrols_only_whatever_holds_until_a_factor_is_proven(
    factors: UserFactors | None, decided: Decision
) -> None:
    leave = Leave(BypassId("byp_1"), NOW)
    opened_by_it = opened(USER, new_token(), enrol, decided, Client("192.0.2.7"), NOW, shared=False, bypass=leave)
    assert state_of(opened_by_it, factors, decided, NOW) is enrol
    assert state_of(opened_by_it, factors, None, NOW) is None  # nobody is led to enrolment by an outage
    assert expires_at(opened_by_it) == NOW + timedelta(minutes=30)
    done = replace(opened_by_it, verified_at=NOW, proven_by=Method.TOTP)
    assert state_of(done, factors, decided, NOW) is active


def test_whose_factors_are_all_disallowed_at_sign_in_sets_up_another_after_the_code() -> None:
    narrowed = decision(Outcome.SECOND_FACTOR, enrol_after_proof=True)
    waiting = session(code, narrowed)
    assert waiting.enrol_after_proof
    assert state_of(waiting, TOTP, narrowed, NOW) is code
    assert state_of(proven(must_enrol=True), TOTP, narrowed, NOW) is enrol
    assert state_of(proven(must_enrol=True), TOTP, ASK, NOW) is active
    assert state_of(proven(must_enrol=True), TOTP, None, NOW) is None


@pytest.mark.parametrize(
    ("state", "life", "cause"),
    [(code, timedelta(minutes=5), EndCause.EXPIRED), (enrol, timedelta(minutes=30), EndCause.EXPIRED)],
)
def test_p15_a_session_that_waits_since_its_sign_in_ends_on_the_second(
    state: SessionState, life: timedelta, cause: EndCause
) -> None:
    waiting = session(state)
    assert end_of(waiting, USER, NOW + life - SECOND) is None
    assert end_of(waiting, USER, NOW + life) is cause
    assert expires_at(waiting) == idle_expires_at(waiting) == NOW + life


def test_p15_idle_and_absolute_ends_come_on_the_second() -> None:
    idle, absolute = timedelta(minutes=30), timedelta(hours=12)
    one = session()
    assert end_of(one, USER, NOW + idle - SECOND) is None
    assert end_of(one, USER, NOW + idle) is EndCause.IDLE
    busy = replace(one, last_seen_at=NOW + absolute - SECOND)
    assert end_of(busy, USER, NOW + absolute - SECOND) is None
    assert end_of(busy, USER, NOW + absolute) is EndCause.EXPIRED
    assert idle_expires_at(busy) == NOW + absolute


def test_a48_a_disabled_user_has_no_session() -> None:
    assert end_of(proven(), replace(USER, is_disabled=True), NOW) is EndCause.ENDED


def test_p11_a_proof_is_fresh_for_five_minutes() -> None:
    assert is_fresh(proven(5), NOW)
    assert not is_fresh(replace(proven(5), verified_at=NOW - timedelta(minutes=5) - SECOND), NOW)
    assert not is_fresh(session(), NOW)


@pytest.mark.parametrize(
    ("method", "amr", "acr"),
    [
        (None, ["pwd"], "aal1"),
        (Method.TOTP, ["pwd", "otp", "mfa"], "aal2"),
        (Method.SMS, ["pwd", "sms", "mfa"], "aal2"),
        (Method.BACKUP_CODE, ["pwd", "mfa"], "aal2"),
    ],
)
def test_proofs_are_named_as_rfc_8176_names_them(method: Method | None, amr: list[str], acr: str) -> None:
    one = replace(session(), verified_at=NOW if method else None, proven_by=method)
    assert (amr_of(one), acr_of(one)) == (amr, acr)


def test_a_suspended_factor_can_be_asked_for_and_opens_nothing() -> None:
    assert standing_of(code, SUSPENDED, None).methods == ()
    assert standing_of(code, TOTP, None).methods == (Method.TOTP, Method.BACKUP_CODE)
    assert standing_of(enrol, TOTP, None).methods == (), "the code was right; what it proves is not allowed"


def test_tokens_have_256_bits_and_never_repeat() -> None:
    made = {new_token() for _ in range(10_000)}
    assert len(made) == 10_000
    assert {len(token) for token in made} == {43}
