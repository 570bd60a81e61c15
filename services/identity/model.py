"""The words of the identity service as types: people and clinics, sessions and what they have proven, and what the
peers say of a user. Plain data; nothing here knows SQL, HTTP or protobuf."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

ClinicId = NewType("ClinicId", str)
UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)
ActivationId = NewType("ActivationId", str)
AppId = NewType("AppId", str)
DeviceId = NewType("DeviceId", str)
BypassId = NewType("BypassId", str)


class Role(StrEnum):
    ADMIN = "admin"
    PRACTITIONER = "practitioner"
    RECEPTIONIST = "receptionist"


class Method(StrEnum):
    """A way to prove a second factor. `backup_code` comes with the others and is never enrolled by itself."""

    TOTP = "totp"
    SMS = "sms"
    BACKUP_CODE = "backup_code"


_METHODS = tuple(Method)


class SessionState(StrEnum):
    SECOND_FACTOR_REQUIRED = "second_factor_required"
    ENROLMENT_REQUIRED = "enrolment_required"
    ACTIVE = "active"


class EndCause(StrEnum):
    """Why a token that was once valid is not any more; the values of `cause` in the API."""

    IDLE = "idle"
    EXPIRED = "expired"
    REPLACED = "replaced"
    ENDED = "ended"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    TOO_MANY = "too_many"


class ActivationKind(StrEnum):
    INVITATION = "invitation"
    RESET = "reset"


class Scope(StrEnum):
    """What an app may do."""

    SESSIONS_READ = "sessions.read"
    USERS_WRITE = "users.write"
    INTEGRATIONS_WRITE = "integrations.write"


@dataclass(frozen=True, slots=True)
class App:
    """A machine of a clinic, known by its key."""

    id: AppId
    clinic_id: ClinicId
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Clinic:
    id: ClinicId
    slug: str
    name: str
    timezone: str
    country: str
    locale: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    id: UserId
    clinic_id: ClinicId
    email: str
    name: str
    role: Role
    phone: str | None
    phone_proven: bool
    locale: str | None
    is_disabled: bool
    has_password: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """What a session has proven and when it ends. `waiting_until` is set while it has never been active."""

    id: SessionId
    user_id: UserId
    clinic_id: ClinicId
    token_digest: bytes
    generation: int
    opened_by: str
    authenticated_at: datetime
    verified_at: datetime | None
    proven_by: Method | None
    enrol_after_proof: bool
    waiting_until: datetime | None
    last_seen_at: datetime
    idle_minutes: int
    expires_at: datetime
    shared_device: bool
    address: str | None
    user_agent: str | None
    ended_at: datetime | None
    end_cause: EndCause | None
    bypass_id: BypassId | None = None
    """The bypass that opened it: good for setting up a factor and nothing else, until one is proven."""
    device_id: DeviceId | None = None
    """The remembered browser that opened it."""
    remembered_at: datetime | None = None
    """When a second factor was proven in that browser; unset again when its remembering ends."""
    ends_bypass: bool = False
    """An unused bypass was there when it was opened, or was granted while it lived: proving a factor in it, also anew,
    is getting in another way."""
    reply_until: datetime | None = None
    """Set while the reply that its token came with may be given again: until then, or the token's first use."""

    @property
    def login_id(self) -> str:
        """Names this session's present token towards otp: what was accepted under it is accepted under no other."""
        return f"{self.id}:{self.generation}"


@dataclass(frozen=True, slots=True)
class Device:
    """A browser in which a second factor was proven, and which need not prove one at every sign-in."""

    id: DeviceId
    user_id: UserId
    remembered_at: datetime
    last_used_at: datetime
    address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session with whose it is and where."""

    session: Session
    user: User
    clinic: Clinic


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from: the address (never one that an untrusted hop claims) and the browser's own name."""

    address: str
    user_agent: str = ""
    browser: str = ""
    """The cookie by which a browser is known again; it proves nothing."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A confirmed second factor (`totp` or `sms`)."""

    method: Method
    enrolled_at: datetime
    last_used_at: datetime | None = None
    phone_hint: str = ""
    is_suspended: bool = False


@dataclass(frozen=True, slots=True)
class UserFactors:
    """What otp knows of a user."""

    factors: tuple[Factor, ...] = ()
    backup_codes_remaining: int = 0
    backup_codes_generated_at: datetime | None = None
    attempts_left: int = 0
    retry_after_seconds: int = 0
    is_locked: bool = False

    @property
    def is_budget_spent(self) -> bool:
        return self.retry_after_seconds > 0 or self.is_locked

    @property
    def is_any_usable(self) -> bool:
        return any(not factor.is_suspended for factor in self.factors)

    def usable_methods(self) -> list[Method]:
        """What could be typed now, best first; a suspended factor opens nothing, nor do the codes that came with it."""
        held = {factor.method for factor in self.factors if not factor.is_suspended}
        methods: list[Method] = [method for method in _METHODS if method in held]
        if methods and self.backup_codes_remaining > 0:
            methods.append(Method.BACKUP_CODE)
        return methods


class Outcome(StrEnum):
    """What the policy service decided for a user who has signed in with a password."""

    ALLOW = "allow"
    SECOND_FACTOR = "second_factor"
    ENROL = "enrol"


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    rule: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why someone is asked, or not: a sentence for the person, and the rules in a form that a machine can replay."""

    sentence: str
    rules: tuple[RuleOutcome, ...] = ()

    def as_json(self) -> dict[str, Any]:
        rules = [{"rule": rule.rule, "outcome": rule.outcome, "detail": rule.detail} for rule in self.rules]
        return {"sentence": self.sentence, "rules": rules}


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A scheduled rule that will lead this user to set up a second factor."""

    enforce_from: datetime
    sentence: str


@dataclass(frozen=True, slots=True)
class Leave:
    """An unused, unexpired bypass: leave to sign in once without a code."""

    id: BypassId
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    outcome: Outcome
    is_two_factor_required: bool
    must_enrol_after_proof: bool
    methods_allowed: tuple[Method, ...]
    is_phone_required: bool
    reason: Reason
    version: int
    epoch: int
    valid_until: datetime | None
    idle_minutes: int
    bypass: Leave | None = None
    upcoming: Upcoming | None = None
    remember_device_minutes: int = 0
    """How long a browser may be remembered now, the strictest hold counted in; 0: not at all."""


def email_key(email: str) -> str:
    """An e-mail address as it is compared: case and outer spaces do not make another account (A03)."""
    return email.strip().lower()


def slug_key(slug: str) -> str:
    return slug.strip().lower()


def in_order(methods: Iterable[Method]) -> tuple[Method, ...]:
    """Methods best first, each once."""
    chosen = set(methods)
    return tuple(method for method in _METHODS if method in chosen)
