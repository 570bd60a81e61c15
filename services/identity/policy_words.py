"""The words of policy as administrators use them: the rule, holds, what is set for one person, bypasses, previews.
Plain data, as in `model`; nothing here knows SQL, HTTP or protobuf."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.identity.model import (
    BypassId,
    Client,
    ClinicId,
    Decision,
    Method,
    SignedIn,
    UserFactors,
    UserId,
)


@dataclass(frozen=True, slots=True)
class SecurityRule:
    """The clinic's rule as policy holds it."""

    clinic_id: ClinicId
    require_two_factor: bool
    enforce_from: datetime | None
    methods: tuple[Method, ...]
    phone_required: bool
    remember_device_days: int
    idle_minutes: int
    sms_countries: tuple[str, ...]
    sms_daily_cap: int
    version: int
    epoch: int
    required_since: datetime | None


@dataclass(frozen=True, slots=True)
class SmsTerms:
    """What the rule lets be spent on text messages."""

    daily_cap: int
    countries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """The date from which the rule is to hold; None takes it away."""

    enforce_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What an administrator wants changed; None leaves it as it is."""

    require_two_factor: bool | None = None
    schedule: ScheduleChange | None = None
    methods: tuple[Method, ...] | None = None
    phone_required: bool | None = None
    remember_device_days: int | None = None
    idle_minutes: int | None = None
    sms_countries: tuple[str, ...] | None = None
    sms_daily_cap: int | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: a user, an app or the operator; `id` names which user or app."""

    kind: str
    id: str | None = None
    address: str = ""

    @classmethod
    def user(cls, signed_in: SignedIn, client: Client) -> "Actor":
        return cls("user", signed_in.user.id, client.address)


@dataclass(frozen=True, slots=True)
class Hold:
    """An integration's demand on the whole clinic."""

    name: str
    requires_two_factor: bool
    max_device_trust_hours: int | None
    set_by: Actor
    set_at: datetime


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What an integration demands, or would."""

    name: str
    requires_two_factor: bool
    max_device_trust_hours: int | None = None


class Requirement(StrEnum):
    CLINIC_DEFAULT = "clinic_default"
    REQUIRED = "required"
    EXEMPT = "exempt"


class BypassState(StrEnum):
    UNUSED = "unused"
    USED = "used"
    REVOKED = "revoked"
    EXPIRED = "expired"
    ENDED = "ended"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Bypass:
    """An administrator's leave for one user to sign in once without a code."""

    id: BypassId
    user_id: UserId
    state: BypassState
    reason: str
    granted_by: Actor
    granted_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_session_id: str | None
    suspend_factors: bool


@dataclass(frozen=True, slots=True)
class UserSettings:
    """What is set for one user, and the bypass that is unused or can still be undone."""

    user_id: UserId
    requirement: Requirement
    reason: str
    expires_at: datetime | None
    is_phone_lifted: bool
    set_by: Actor | None
    set_at: datetime | None
    bypass: Bypass | None
    phone_reason: str | None = None
    """Why the number is lifted, and below by whom and when: the requirement's are its own."""
    phone_set_by: Actor | None = None
    phone_set_at: datetime | None = None

    def is_exempt(self, at: datetime) -> bool:
        return self.requirement is Requirement.EXEMPT and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True, slots=True)
class RequirementChange:
    """What to set for one user; None leaves it as it is. `sets_expiry` says whether `expires_at` is meant."""

    requirement: Requirement | None = None
    reason: str | None = None
    sets_expiry: bool = False
    expires_at: datetime | None = None
    phone_required: bool | None = None


@dataclass(frozen=True, slots=True)
class Weighed:
    """A user as a preview needs to know them."""

    user_id: UserId
    has_phone: bool
    factors: UserFactors


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The decision of now beside the one of then."""

    now: Decision
    then: Decision
    is_exempt: bool
