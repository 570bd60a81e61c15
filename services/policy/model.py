"""The words of the policy service: a clinic's rule, a user as the decision sees them, and the decision.

Values only, frozen: equal inputs are equal, so a recorded decision can be replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

ClinicId = NewType("ClinicId", str)
UserId = NewType("UserId", str)


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


@dataclass(frozen=True, slots=True)
class RuleChange:
    """The fields that a change sets; None leaves one as it is."""

    require_two_factor: bool | None = None
    methods: tuple[Method, ...] | None = None
    phone_required: bool | None = None

    def fields(self) -> Mapping[str, Any]:
        every = {
            "require_two_factor": self.require_two_factor,
            "methods": self.methods,
            "phone_required": self.phone_required,
        }
        return {name: value for name, value in every.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: `kind` is user or operator."""

    kind: str
    id: str | None
    address: str | None


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
