"""The notifier's words: a delivery and its states, and what a provider's answer can mean."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Protocol

DeliveryId = NewType("DeliveryId", str)

LEAST_LIFE = timedelta(seconds=10)
"""No call is begun with less than this left of a message's life."""

LONGEST_START = timedelta(seconds=4)
"""So long may pass from preparing a text to its first byte leaving, for finding and reaching the provider (two packets
may be lost). Else nothing leaves. The life that the provider is told is this much shorter, so that nothing outlives its
message."""

LONGEST_SENDING = timedelta(seconds=60)
"""Whoever has been sending for longer has died: no call takes that long."""


class State(StrEnum):
    """How a delivery fares; the values are those of the API. It only ever moves forward, but for `sending` → `queued`
    where it is certain that nothing was sent."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


class Channel(StrEnum):
    """How a message goes. Codes go by text alone."""

    SMS = "sms"
    EMAIL = "email"


class Kind(StrEnum):
    """What a code is for."""

    SIGN_IN_CODE = "sign_in_code"
    ENROLMENT_CODE = "enrolment_code"
    PHONE_PROOF_CODE = "phone_proof_code"


class NoticeKind(StrEnum):
    """What a notice tells of."""

    FACTOR_ADDED = "factor_added"
    FACTOR_CHANGED = "factor_changed"
    FACTOR_REMOVED = "factor_removed"
    BYPASS_GRANTED = "bypass_granted"
    BYPASS_USED = "bypass_used"
    BYPASS_ENROLLED = "bypass_enrolled"
    GRANTED_BYPASS_USED = "granted_bypass_used"
    GRANTED_BYPASS_ENROLLED = "granted_bypass_enrolled"
    OPERATOR_BYPASS_GRANTED = "operator_bypass_granted"
    BACKUP_CODES_MADE = "backup_codes_made"
    BACKUP_CODES_LOW = "backup_codes_low"
    GUESSES_SPENT = "guesses_spent"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    PASSWORD_RESET = "password_reset"  # noqa: S105
    PHONE_CHANGED = "phone_changed"
    NEW_BROWSER = "new_browser"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a clinic spends on text messages, as far as the caller knows it: None and empty where it does not."""

    daily_cap: int | None = None
    countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """How many text messages may be taken on in a day, each counted as often as it is paid for (its segments)."""

    clinic: int
    deployment: int


class Purse(StrEnum):
    """Whose cap."""

    CLINIC = "clinic"
    DEPLOYMENT = "deployment"


class CapReached(Exception):
    """No more text messages today."""

    def __init__(self, purse: Purse) -> None:
        super().__init__(purse)
        self.purse = purse


@dataclass(frozen=True, slots=True)
class Recent:
    """How many text messages went out of late, and how many did not, for the provider's sake or ours; what failed for
    the number's counts as neither."""

    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class Order:
    """A code to send, as the caller asked for it."""

    request_key: str
    kind: Kind
    to: str = field(repr=False)
    code: str = field(repr=False)
    not_after: datetime
    clinic_id: str
    user_id: str
    locale: str
    terms: Terms = Terms()
    replaces: tuple[str, ...] = ()
    """Request keys of the user's earlier codes that can no longer be right."""


@dataclass(frozen=True, slots=True)
class Happening:
    """What a notice says of it: when, and where from and how as far as that is known."""

    at: datetime
    timezone: str
    address: str = field(default="", repr=False)
    browser: str = ""
    method: str = ""
    backup_codes_left: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to give by every channel that there is, as the caller asked for it."""

    request_key: str
    kind: NoticeKind
    phone: str = field(repr=False)
    email: str = field(repr=False)
    happening: Happening
    not_after: datetime
    clinic_id: str
    user_id: str
    locale: str
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A row to be."""

    id: DeliveryId
    request_key: str
    kind: Kind | NoticeKind
    channel: Channel
    segments: int
    """As how many text messages it is paid for; an e-mail as none."""
    to_hint: str
    sealed: bytes = field(repr=False)
    not_after: datetime
    clinic_id: str
    user_id: str
    locale: str

    @property
    def is_notice(self) -> bool:
        return isinstance(self.kind, NoticeKind)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery's row, without what is sealed."""

    id: DeliveryId
    kind: Kind | NoticeKind
    channel: Channel
    locale: str
    clinic_id: str
    user_id: str
    to_hint: str
    state: State
    reason: str | None
    provider_sid: str | None
    attempt: int
    request_id: str
    not_after: datetime

    @property
    def is_notice(self) -> bool:
        return isinstance(self.kind, NoticeKind)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker, and no other, may send now."""

    delivery: Delivery
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """What a provider is asked to send. Never shown in a representation: it holds a number and a code."""

    to: str
    body: str
    not_after: datetime
    valid_seconds: int
    """What the provider is told is left of its life. It must still be left when the text leaves."""
    status_callback: str | None

    def __repr__(self) -> str:
        return "Text(…)"


@dataclass(frozen=True, slots=True)
class Mail:
    """A message that a mail server is asked to send. `id` is the same at every attempt. Never shown in a
    representation."""

    id: DeliveryId
    to: str
    subject: str
    body: str
    at: datetime

    def __repr__(self) -> str:
        return "Mail(…)"


class Verdict(StrEnum):
    """What is certain after a call to the provider."""

    ACCEPTED = "accepted"  # 2xx: it will send it
    NOT_SENT = "not_sent"  # it never heard of it: try again
    BUSY = "busy"  # try again later
    LOCKED_OUT = "locked_out"  # our credentials are wrong; try again, and alert
    REFUSED = "refused"  # it will not send this
    UNKNOWN = "unknown"  # it may or may not send it: never again by itself


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with the provider's own words for it: message id, error code, seconds to wait."""

    verdict: Verdict
    reason: str = ""
    sid: str | None = None
    code: int | None = None
    retry_after: float | None = None


class Provider(Protocol):
    """Sends text messages. `send` blocks, gives up in time, and never raises for what the provider did."""

    name: str

    def send(self, text: Text) -> Outcome: ...

    def signed(self, url: str, form: dict[str, str], signature: str) -> bool:
        """Whether this callback came from the provider."""


class Mailer(Protocol):
    """Sends e-mail, on the same terms."""

    name: str

    def send(self, mail: Mail) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Callback:
    """What a provider's status callback tells of a delivery."""

    delivery_id: DeliveryId
    sid: str
    status: str
    code: int | None


def is_delivery_id(candidate: object) -> bool:
    return (
        isinstance(candidate, str)
        and len(candidate) == 36
        and candidate.startswith("dlv_")
        and all(digit in "0123456789abcdef" for digit in candidate[4:])
    )
