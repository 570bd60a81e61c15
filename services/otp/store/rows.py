"""Rows of the database as values of the model, and back."""

from datetime import UTC, datetime
from typing import Any

from psycopg.rows import DictRow

from services.otp.clock_coach import ClockMemory, Sighting
from services.otp.guess_budget import DEFAULT_LIMITS, Guess, GuessBudget, GuessLimits
from services.otp.model import (
    Account,
    BackupCode,
    Challenge,
    Enrolment,
    EnrolmentKind,
    Result,
    SmsFactor,
    StoredVerdict,
    TotpFactor,
    Verdict,
)

ACCOUNT_COLUMNS = (
    "user_id, clinic_id, guesses, locked_at, totp_id, totp_secret, totp_enrolled_at, totp_last_used_at, totp_last_step,"
    " sms_id, sms_phone, sms_phone_hint, sms_enrolled_at, sms_last_used_at, backup_codes_left,"
    " backup_codes_generated_at, suspended_at, totp_clock"
)
BACKUP_CODE_COLUMNS = "slot, set_id, hash, spent_mark, spent_login_id, spent_at"
ENROLMENT_COLUMNS = (
    "id, user_id, session_id, request_id, kind, secret, phone_hint, created_at, expires_at, ended_at, confirmed_at,"
    " confirmed_login_id, confirmed_mark, has_made_backup_codes, totp_clock"
)
CHALLENGE_COLUMNS = (
    "id, user_id, login_id, request_id, code_mark, code_sealed, phone_hint, wrong_guesses, created_at, expires_at,"
    " delivery_id, delivery_status, ended_at, spent_at"
)
VERDICT_COLUMNS = (
    "login_id, mark, result, attempts_left, retry_after, is_locked, is_budget_newly_spent, clock_skew_seconds"
)


def account(row: DictRow, limits: GuessLimits = DEFAULT_LIMITS) -> Account:
    totp = sms = None
    if row["totp_id"] is not None:
        totp = TotpFactor(
            row["totp_id"],
            row["totp_secret"],
            row["totp_enrolled_at"],
            row["totp_last_used_at"],
            row["totp_last_step"],
            clock_memory(row["totp_clock"]),
        )
    if row["sms_id"] is not None:
        sms = SmsFactor(
            row["sms_id"], row["sms_phone"], row["sms_phone_hint"], row["sms_enrolled_at"], row["sms_last_used_at"]
        )
    return Account(
        user_id=row["user_id"],
        clinic_id=row["clinic_id"],
        budget=GuessBudget(
            [
                Guess(datetime.fromtimestamp(at, UTC), login_id, is_forgiven)
                for at, login_id, is_forgiven in row["guesses"]
            ],
            row["locked_at"],
            limits,
        ),
        totp=totp,
        sms=sms,
        backup_codes_left=row["backup_codes_left"],
        backup_codes_generated_at=row["backup_codes_generated_at"],
        suspended_at=row["suspended_at"],
    )


def guesses(budget: GuessBudget) -> list[list[Any]]:
    return [[guess.at.timestamp(), guess.login_id, guess.is_forgiven] for guess in budget.guesses]


def clock(memory: ClockMemory) -> dict[str, Any]:
    return {
        "sightings": [[sighting.at.timestamp(), sighting.step, sighting.offset] for sighting in memory.sightings],
        "burned": list(memory.burned_steps),
    }


def clock_memory(kept: dict[str, Any]) -> ClockMemory:
    return ClockMemory(
        [Sighting(datetime.fromtimestamp(at, UTC), step, offset) for at, step, offset in kept.get("sightings", [])],
        kept.get("burned", []),
    )


def backup_code(row: DictRow) -> BackupCode:
    return BackupCode(**row)


def enrolment(row: DictRow) -> Enrolment:
    known = {**row, "kind": EnrolmentKind(row["kind"])}
    return Enrolment(clock=clock_memory(known.pop("totp_clock")), **known)


def challenge(row: DictRow) -> Challenge:
    return Challenge(**row)


def stored_verdict(row: DictRow) -> StoredVerdict:
    verdict = Verdict(
        Result(row["result"]),
        row["attempts_left"],
        row["retry_after"],
        row["is_locked"],
        row["is_budget_newly_spent"],
        row["clock_skew_seconds"],
    )
    return StoredVerdict(verdict, row["login_id"], row["mark"])
