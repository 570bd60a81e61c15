"""The words of the policy service: what a clinic, its integrations and its administrators ask, a user as the decision
sees them, and the decision.

Values only, frozen: equal inputs are equal, so a recorded decision can be replayed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

ClinicId = NewType("ClinicId", str)
UserId = NewType("UserId", str)
BypassId = NewType("BypassId", str)
SessionId = NewType("SessionId", str)


class Method(StrEnum):
    """A kind of second factor. The order is the one in which they are offered: the strongest first."""

    TOTP = "totp"
    SMS = "sms"
    BACKUP_CODE = "backup_code"


CHOOSABLE = (Method.TOTP, Method.SMS)
"""What a clinic may allow. Backup codes come with every factor and are not a choice."""


@dataclass(frozen=True, slots=True)
class ClinicRule:
    """What a clinic asks of its people. `version` counts its changes; `epoch` whatever could change a decision."""

    clinic_id: ClinicId
    require_two_factor: bool
    """Whether the rule is on, where it has no date."""
    required_since: datetime | None
    """When `require_two_factor` last became true."""
    methods: tuple[Method, ...]
    phone_required: bool
    remember_device_days: int
    idle_minutes: int
    sms_countries: tuple[str, ...]
    sms_daily_cap: int
    version: int = 1
    epoch: int = 1
    enforce_from: datetime | None = None
    """With a date, the rule is in force from then on, whatever `require_two_factor` says."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The date that a change sets; None: no date any more."""

    enforce_from: datetime | None


@dataclass(frozen=True, slots=True)
class RuleChange:
    """The fields that a change sets; None leaves one as it is."""

    require_two_factor: bool | None = None
    schedule: Schedule | None = None
    methods: tuple[Method, ...] | None = None
    phone_required: bool | None = None
    remember_device_days: int | None = None
    idle_minutes: int | None = None
    sms_countries: tuple[str, ...] | None = None
    sms_daily_cap: int | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: `kind` is user, app or operator."""

    kind: str
    id: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """An integration's demand on the whole clinic, for as long as the hold stands."""

    clinic_id: ClinicId
    name: str
    requires_two_factor: bool
    max_device_trust_hours: int | None
    """The longest a browser may be remembered; None leaves that to the clinic."""
    set_by: Actor
    set_at: datetime


class Requirement(StrEnum):
    CLINIC_DEFAULT = "clinic_default"
    REQUIRED = "required"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True)
class PhoneLift:
    """The clinic's need of a mobile number does not hold for this person."""

    reason: str
    set_by: Actor
    set_at: datetime


@dataclass(frozen=True, slots=True)
class UserSetting:
    """What is set for one person. Reason, who and when are the requirement's; a lifted number has its own."""

    clinic_id: ClinicId
    user_id: UserId
    requirement: Requirement
    reason: str
    expires_at: datetime | None
    """The end of an exemption; None: it has none."""
    set_by: Actor
    set_at: datetime
    lift: PhoneLift | None = None

    def is_exempt(self, at: datetime) -> bool:
        return self.requirement is Requirement.EXEMPT and (self.expires_at is None or at < self.expires_at)


UNDOABLE_FOR = timedelta(hours=24)
"""How long after its use a bypass can be undone."""


class BypassState(StrEnum):
    UNUSED = "unused"
    USED = "used"
    REVOKED = "revoked"
    ENDED = "ended"
    """The user got in another way, may not sign in any more, or was granted a newer one."""
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Bypass:
    """Leave for one user to sign in once without a code. A row of its own: it changes no rule and no requirement."""

    id: BypassId
    clinic_id: ClinicId
    user_id: UserId
    state: BypassState
    reason: str
    suspend_factors: bool
    granted_by: Actor
    granted_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    used_session_id: SessionId | None = None

    def is_usable(self, at: datetime) -> bool:
        return self.state is BypassState.UNUSED and at < self.expires_at


@dataclass(frozen=True, slots=True)
class HeldFactor:
    """A confirmed factor. `method` is None for a kind that this version does not know: it still proves its owner."""

    method: Method | None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What identity knows of a user that a decision depends on."""

    clinic_id: ClinicId
    clinic_name: str
    timezone: str
    user_id: UserId
    factors: tuple[HeldFactor, ...]
    has_phone: bool
    methods_available: frozenset[Method]
    """What this deployment can do just now."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision depends on. Equal facts give an equal decision with equal reasons, now and when replayed."""

    rule: ClinicRule
    subject: Subject
    at: datetime
    holds: tuple[Hold, ...] = ()
    setting: UserSetting | None = None
    bypass: Bypass | None = None

    @property
    def clinic(self) -> str:
        return self.subject.clinic_name or "Your clinic"


class Outcome(StrEnum):
    ALLOW = "allow"
    """A password is enough."""
    SECOND_FACTOR = "second_factor"
    """Has a factor and is asked for it."""
    ENROL = "enrol"
    """Has none and must set one up first."""


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule that was looked at, what it said, and the facts it said it on."""

    rule: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reason:
    sentence: str
    rules: tuple[RuleOutcome, ...]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A scheduled rule that will lead the user to set up a second factor."""

    enforce_from: datetime
    sentence: str


@dataclass(frozen=True, slots=True)
class Decision:
    outcome: Outcome
    two_factor_required: bool
    """A rule requires it, whether or not the user has a factor."""
    enrol_after_proof: bool
    """Has only factors that the clinic does not allow: must set up an allowed one after the code."""
    methods_allowed: tuple[Method, ...]
    phone_required: bool
    reason: Reason
    version: int
    epoch: int
    valid_until: datetime | None
    """The first moment at which the same facts would decide otherwise; None: not before the epoch moves."""
    idle_minutes: int
    bypass: Bypass | None
    """An unused leave to sign in once without a code, still in time."""
    upcoming: Upcoming | None
    remember_device_minutes: int
    """How long a browser may be remembered: the clinic's days, cut by the strictest hold. 0: not at all."""
