"""What the otp service speaks of. Plain values; they change only by making a new one."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from services.common.outbox import OutboxEvent
from services.otp.clock_coach import NOTHING_REMEMBERED, ClockMemory
from services.otp.guess_budget import GuessBudget

UserId = NewType("UserId", str)
ClinicId = NewType("ClinicId", str)
SessionId = NewType("SessionId", str)
LoginId = NewType("LoginId", str)
AttemptId = NewType("AttemptId", str)
EnrolmentId = NewType("EnrolmentId", str)
ChallengeId = NewType("ChallengeId", str)


class Method(StrEnum):
    TOTP = "totp"
    SMS = "sms"
    BACKUP_CODE = "backup_code"


class Result(StrEnum):
    ACCEPTED = "accepted"
    WRONG = "wrong"
    ALREADY_USED = "already_used"
    EXPIRED = "expired"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    NO_SUCH_FACTOR = "no_such_factor"
    MALFORMED = "malformed"


class EnrolmentKind(StrEnum):
    TOTP = "totp"
    SMS = "sms"
    PHONE_PROOF = "phone_proof"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a call is for, and where it came from."""

    clinic_id: ClinicId
    user_id: UserId
    session_id: SessionId
    address: str
    user_agent: str = ""

    def announcement(self, kind: str, at: datetime, **detail: object) -> OutboxEvent:
        """What identity has to follow up, whether or not it hears the reply: sessions to end, people to tell."""
        if self.user_agent:
            detail["user_agent"] = self.user_agent
        return OutboxEvent(kind, at, self.clinic_id, self.user_id, self.session_id, self.address or None, detail)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One code as typed. `attempt_id` is the same again only when the same call is repeated."""

    attempt_id: AttemptId
    login_id: LoginId
    caller: Caller
    method: Method
    code: str


@dataclass(frozen=True, slots=True)
class TotpFactor:
    id: str
    secret: bytes
    """Sealed."""
    enrolled_at: datetime
    last_used_at: datetime | None
    last_step: int
    clock: ClockMemory = NOTHING_REMEMBERED


@dataclass(frozen=True, slots=True)
class SmsFactor:
    id: str
    phone: bytes
    """Sealed."""
    phone_hint: str
    enrolled_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """A user's confirmed factors and guess budget."""

    user_id: UserId
    clinic_id: ClinicId
    budget: GuessBudget
    totp: TotpFactor | None = None
    sms: SmsFactor | None = None
    backup_codes_left: int = 0
    backup_codes_generated_at: datetime | None = None
    suspended_at: datetime | None = None
    """Set while the factors and codes there are prove nobody any more; only what replaces all of them ends it."""

    @property
    def is_suspended(self) -> bool:
        return self.suspended_at is not None

    @property
    def has_factor(self) -> bool:
        return self.totp is not None or self.sms is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to an attempt."""

    result: Result
    attempts_left: int
    retry_after: int = 0
    is_locked: bool = False
    is_budget_newly_spent: bool = False
    clock_skew_seconds: int | None = None
    is_contested: bool = False
    """Another session was accepted with this very code."""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    verdict: Verdict
    login_id: LoginId
    mark: bytes


@dataclass(frozen=True, slots=True)
class BackupCode:
    """One of a user's ten. `hash` is None once it is spent."""

    slot: str
    set_id: str
    hash: str | None
    spent_mark: bytes | None
    spent_login_id: LoginId | None
    spent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A factor being set up, or a number being proven."""

    id: EnrolmentId
    user_id: UserId
    session_id: SessionId
    request_id: str | None
    kind: EnrolmentKind
    secret: bytes | None
    """Sealed; None once it is over."""
    phone_hint: str | None
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    confirmed_at: datetime | None = None
    confirmed_login_id: LoginId | None = None
    confirmed_mark: bytes | None = None
    has_made_backup_codes: bool = False
    clock: ClockMemory = NOTHING_REMEMBERED

    def is_open(self, now: datetime) -> bool:
        return self.ended_at is None and self.confirmed_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Challenge:
    """A code sent by text message. `login_id` is the login it is for, or the enrolment's id."""

    id: ChallengeId
    user_id: UserId
    login_id: LoginId
    request_id: str
    code_mark: bytes
    code_sealed: bytes | None
    phone_hint: str
    wrong_guesses: int
    created_at: datetime
    expires_at: datetime
    delivery_id: str | None
    delivery_status: str
    ended_at: datetime | None = None
    spent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """A code for an enrolment, and what its success shall end. `enrolment_id` is empty for a session's newest phone
    proof."""

    attempt: Attempt
    enrolment_id: EnrolmentId
    kind: EnrolmentKind
    methods_allowed: Collection[Method]
    replaces_all: bool
    only_repeats: bool = False
    """Nothing may be confirmed by it that is not confirmed yet."""
    only_first: bool = False
    """Nothing may be confirmed by it beside a factor."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The answer. `account`, `new_codes` and `phone` only with ACCEPTED."""

    verdict: Verdict
    account: Account | None = None
    new_codes: tuple[str, ...] = ()
    generated_at: datetime | None = None
    phone: str = ""
    is_number_refused: bool = False
    """It has too many accounts already; the verdict says nothing."""
