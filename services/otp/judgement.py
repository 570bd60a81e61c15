"""From what a code turned out to be to what is told and counted: the same for sign-in, step-up and enrolment (A10)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.otp.model import Account, Attempt, LoginId, Result, SessionId, Verdict

ACCEPTED_AGAIN_FOR = timedelta(minutes=10)
"""How long a login may send its accepted code again, so that a caller that died in between can finish (A73)."""


def refusal_by_budget(account: Account, now: datetime) -> Verdict | None:
    """The verdict on any code while the budget is spent; the code is not looked at, right or wrong."""
    standing = account.budget.standing(now)
    if not standing.is_spent:
        return None
    return Verdict(Result.TOO_MANY_ATTEMPTS, 0, standing.retry_after, standing.is_locked)


def judge(
    account: Account,
    login_id: LoginId,
    result: Result,
    now: datetime,
    retry_after: int = 0,
    clock_skew_seconds: int | None = None,
) -> tuple[Account, Verdict]:
    """The account with the outcome counted, and the verdict. Only a wrong code costs a guess."""
    budget = account.budget
    if result is Result.WRONG:
        budget = budget.after_wrong(now, login_id)
    elif result is Result.ACCEPTED:
        budget = budget.after_success(login_id)
    standing = budget.standing(now)
    is_newly_spent = result is Result.WRONG and standing.is_spent
    verdict = Verdict(
        result,
        standing.attempts_left,
        standing.retry_after if is_newly_spent else retry_after,
        standing.is_locked,
        is_newly_spent,
        clock_skew_seconds,
    )
    return replace(account, budget=budget), verdict


def verdict_event(attempt: Attempt, verdict: Verdict, now: datetime, **facts: object) -> AuditEvent:
    """One event for each verdict. It names the session, not the code."""
    detail: dict[str, object] = {
        "method": attempt.method.value,
        "session_id": attempt.caller.session_id,
        "attempts_left": verdict.attempts_left,
        **facts,
    }
    if verdict.clock_skew_seconds is not None:
        detail["clock_skew_seconds"] = verdict.clock_skew_seconds
    if verdict.is_budget_newly_spent:
        detail["budget_spent"] = True
    if verdict.is_locked:
        detail["locked"] = True
    return _event(attempt, f"code.{verdict.result.value}", now, detail)


def contested_event(attempt: Attempt, accepted_in: Sequence[SessionId], now: datetime) -> AuditEvent:
    """A code that other sessions were accepted with was sent by this one, too late."""
    detail: dict[str, object] = {
        "method": attempt.method.value,
        "session_id": attempt.caller.session_id,
        "accepted_session_ids": sorted(accepted_in),
    }
    return _event(attempt, "code.contested", now, detail)


def _event(attempt: Attempt, kind: str, now: datetime, detail: dict[str, object]) -> AuditEvent:
    return AuditEvent(
        kind=kind,
        at=now,
        clinic_id=attempt.caller.clinic_id,
        actor_kind="user",
        actor_id=attempt.caller.user_id,
        subject_id=attempt.caller.user_id,
        address=attempt.caller.address or None,
        detail=detail,
    )
