"""Notices as they are written, waited with and shown: what happened to an account, and who is told how. Plain data, as
in `model`. Nothing here carries a code, a token, a link or a telephone number."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.identity.browsers import words_of
from services.identity.model import BypassId, Client, ClinicId, Method, Session, SignedIn, User, UserId

TOLD_WITHIN = timedelta(hours=24)
"""What could not be told by then is not told by text any more; the app shows it all the same."""
KEPT_FOR = timedelta(days=90)
LOW_CODES = 3
"""From this many unused backup codes on, people are told at each one that is used."""
MOST_A_DAY = 5
"""Of one kind to one person: whoever makes new codes all day long, or sets numbers by turns, makes us text little."""
ONE_SPENT_BUDGET = timedelta(minutes=15)
"""What is spent again sooner, because an old guess has just passed out of the count, is the same to whoever is told."""


class NoticeKind(StrEnum):
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
    STAFF_GUESSES_SPENT = "staff_guesses_spent"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    PASSWORD_RESET = "password_reset"  # noqa: S105
    PHONE_CHANGED = "phone_changed"
    NEW_BROWSER = "new_browser"


class Whom(StrEnum):
    OWNER = "owner"
    """Of the account that it happened to."""
    GRANTER = "granter"
    """The administrator who granted the bypass; nobody where it was the operator."""
    ADMINISTRATORS = "administrators"
    """Every administrator of the clinic who can sign in."""
    OTHER_ADMINISTRATORS = "other_administrators"
    """The same but the owner, should they be one."""


class Number(StrEnum):
    """Which number is texted, by whoever is told."""

    PROVEN = "proven"
    """The one on file, if it is proven."""
    ON_FILE = "on_file"
    """The one on file, proven or not."""
    AS_IT_WAS = "as_it_was"
    """The same, before it is replaced; where there was none there is nothing to tell."""
    BEFORE_BYPASS = "before_bypass"
    """The one on file when the bypass was used, proven or not."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened to a user's account, to be written with it."""

    kind: NoticeKind
    at: datetime
    clinic_id: ClinicId
    user_id: UserId
    detail: Mapping[str, Any] = field(default_factory=dict)
    whom: Whom = Whom.OWNER
    number: Number = Number.PROVEN
    is_shown: bool = True
    most_a_day: int | None = MOST_A_DAY
    """Sent no more often than this in a day, save to a number as it was that is proven; shown every time."""
    once_in: timedelta | None = None
    """Nothing where whoever is told was told the same, of the same person, within this time."""


@dataclass(frozen=True, slots=True)
class DueNotice:
    """One that the notifier has not taken yet."""

    id: str
    kind: NoticeKind
    at: datetime
    clinic_id: ClinicId
    user_id: UserId
    detail: Mapping[str, Any]
    phone: bytes | None
    email: str | None
    locale: str
    timezone: str


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """One as its reader is shown it. `whose`, `by`: names of people, where others are concerned."""

    id: str
    kind: NoticeKind
    at: datetime
    detail: Mapping[str, Any]
    whose: str | None
    by: str | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account it is, where no more is known of them."""

    clinic_id: ClinicId
    id: UserId


def of_own(kind: NoticeKind, signed_in: SignedIn, client: Client, at: datetime, **detail: Any) -> Notice:
    """What somebody who is signed in did to their own account, or another in their name."""
    return of_account(kind, signed_in.user, client, at, **detail)


def of_account(kind: NoticeKind, user: User | Owner, client: Client, at: datetime, **detail: Any) -> Notice:
    """What was done to this account from there."""
    return Notice(kind, at, user.clinic_id, user.id, {**detail, **_origin(client)})


def factor_set_up(
    owner: Owner,
    client: Client,
    at: datetime,
    method: Method,
    removed: Iterable[Method],
    bypass_id: BypassId | None,
    *,
    is_changed: bool,
) -> list[Notice]:
    """`removed`: what went with it. `is_changed`: it took the place of one of its kind. `bypass_id`: where it was set
    up in a session that a bypass opened, and so in place of everything."""
    if bypass_id is not None:
        return _bypass_enrolled(owner, client, at, bypass_id, method)
    kind = NoticeKind.FACTOR_CHANGED if is_changed else NoticeKind.FACTOR_ADDED
    told = [(kind, method), *((NoticeKind.FACTOR_REMOVED, one) for one in sorted(removed))]
    return [of_account(kind, owner, client, at, method=one.value) for kind, one in told]


def codes_left(owner: Owner, client: Client, at: datetime, left: int) -> list[Notice]:
    """A backup code was spent; nothing to tell while there are many."""
    if left > LOW_CODES:
        return []
    return [of_account(NoticeKind.BACKUP_CODES_LOW, owner, client, at, codes_left=left)]


def guesses_spent(owner: Owner, client: Client, at: datetime) -> list[Notice]:
    """Administrators see it in the app alone: a thief could have them texted once for each person."""
    own = of_account(NoticeKind.GUESSES_SPENT, owner, client, at)
    about = of_account(NoticeKind.STAFF_GUESSES_SPENT, owner, client, at, user_id=owner.id)
    return [
        replace(own, most_a_day=1, once_in=ONE_SPENT_BUDGET),
        replace(about, most_a_day=0, once_in=ONE_SPENT_BUDGET, whom=Whom.OTHER_ADMINISTRATORS),
    ]


def phone_changed(user: User, at: datetime, *, client: Client | None = None, by: str | None = None) -> Notice:
    """To the number as it was; whoever puts it in force tells the new one, where that is proven."""
    detail = {"by": by} if by else _origin(client) if client else {}
    return Notice(
        NoticeKind.PHONE_CHANGED,
        at,
        user.clinic_id,
        user.id,
        detail,
        number=Number.AS_IT_WAS,
    )


def bypass_granted(user: Owner, at: datetime, by: str | None, *, suspended: bool) -> list[Notice]:
    """`by`: the administrator; None: the operator, of whom the clinic's administrators are told."""
    detail: dict[str, Any] = {"suspended": suspended, **({"by": by} if by else {})}
    kind = NoticeKind.BYPASS_GRANTED
    told = [Notice(kind, at, user.clinic_id, user.id, detail, number=Number.ON_FILE)]
    if by is None:
        about = {**detail, "user_id": user.id}
        kind = NoticeKind.OPERATOR_BYPASS_GRANTED
        told.append(Notice(kind, at, user.clinic_id, user.id, about, whom=Whom.ADMINISTRATORS))
    return told


def bypass_used(user: User, client: Client, at: datetime, bypass_id: BypassId) -> list[Notice]:
    detail = {"bypass_id": bypass_id, **_origin(client)}
    kind, granter = NoticeKind.BYPASS_USED, NoticeKind.GRANTED_BYPASS_USED
    return [
        Notice(kind, at, user.clinic_id, user.id, detail, number=Number.ON_FILE),
        Notice(granter, at, user.clinic_id, user.id, {**detail, "user_id": user.id}, whom=Whom.GRANTER),
    ]


def _bypass_enrolled(user: Owner, client: Client, at: datetime, bypass_id: BypassId, method: Method) -> list[Notice]:
    detail = {"bypass_id": bypass_id, "method": method.value, **_origin(client)}
    kind, granter = NoticeKind.BYPASS_ENROLLED, NoticeKind.GRANTED_BYPASS_ENROLLED
    return [
        Notice(kind, at, user.clinic_id, user.id, detail, number=Number.BEFORE_BYPASS),
        Notice(granter, at, user.clinic_id, user.id, {**detail, "user_id": user.id}, whom=Whom.GRANTER),
    ]


def new_browser(session: Session, client: Client, at: datetime) -> Notice:
    return Notice(NoticeKind.NEW_BROWSER, at, session.clinic_id, session.user_id, _origin(client))


def _origin(client: Client) -> dict[str, str]:
    found = {"address": client.address, "browser": words_of(client.user_agent)}
    return {name: words for name, words in found.items() if words}
