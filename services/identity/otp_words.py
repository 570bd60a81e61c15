"""What otp says of codes and of factors being set up. Plain data, as in `model`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.identity.model import UserFactors


class VerdictResult(StrEnum):
    ACCEPTED = "accepted"
    WRONG = "wrong"
    ALREADY_USED = "already_used"
    EXPIRED = "expired"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    NO_SUCH_FACTOR = "no_such_factor"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What otp says of one code."""

    result: VerdictResult
    attempts_left: int = 0
    retry_after_seconds: int = 0
    is_locked: bool = False
    clock_skew_seconds: int | None = None
    is_budget_newly_spent: bool = False
    factors: UserFactors | None = None


@dataclass(frozen=True, slots=True)
class TotpEnrolment:
    id: str
    secret: str
    otpauth_uri: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SmsEnrolment:
    id: str
    phone_hint: str
    expires_at: datetime
    resend_after: datetime
    delivery_status: str


@dataclass(frozen=True, slots=True)
class SmsChallenge:
    expires_at: datetime
    resend_after: datetime
    phone_hint: str
    delivery_status: str
    delivery_detail: str


@dataclass(frozen=True, slots=True)
class BackupCodes:
    codes: tuple[str, ...]
    generated_at: datetime


@dataclass(frozen=True, slots=True)
class EnrolmentVerdict:
    verdict: Verdict
    backup_codes: BackupCodes | None
    phone: str | None
