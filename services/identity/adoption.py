"""Who has a second factor and who lacks one: the list of a clinic's people, page by page or whole, with what otp knows
and policy has set of each. Peers are asked for many at a time, so that a clinic of ten thousand is listed, too."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.common.clock import Clock
from services.common.errors import invalid
from services.identity.model import ClinicId, User, UserFactors, UserId
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import UserSettings
from services.identity.store.roster import RosterStore
from services.identity.store.staff import Place, StaffStore

_BATCH = 500
_MOST_BATCHES = 20


class Adopted(StrEnum):
    """The values of the list's filter."""

    MISSING = "missing"
    ENROLLED = "enrolled"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True)
class Member:
    """A person with their second factors and what is set for them."""

    user: User
    factors: UserFactors
    settings: UserSettings
    is_exempt: bool

    def is_among(self, wanted: Adopted) -> bool:
        """Only of those who can sign in: the lists hold whom the counts count."""
        if self.user.is_disabled:
            return False
        if wanted is Adopted.EXEMPT:
            return self.is_exempt
        return bool(self.factors.factors) == (wanted is Adopted.ENROLLED)


@dataclass(frozen=True, slots=True)
class Page:
    members: list[Member]
    next_cursor: str | None


@dataclass(slots=True)
class Counts:
    """Of the clinic's people who are not disabled. An exempt person is enrolled or missing, too."""

    total: int = 0
    enrolled: int = 0
    missing: int = 0
    exempt: int = 0
    without_phone: int = 0


class Adoption:
    def __init__(
        self, store: StaffStore, roster: RosterStore, otp: OtpPeer, settings: PolicySettingsPeer, clock: Clock
    ) -> None:
        self._store = store
        self._roster = roster
        self._otp = otp
        self._settings = settings
        self._clock = clock

    async def people(
        self, clinic_id: ClinicId, *, limit: int, cursor: str | None, text: str | None
    ) -> tuple[list[User], str | None]:
        """Up to `limit` people who are no administrators, and where the next page begins."""
        place = place_from(cursor) if cursor else None
        found = await self._store.page(clinic_id, place, limit + 1, text, with_administrators=False)
        return found[:limit], cursor_at(found[limit - 1]) if len(found) > limit else None

    async def page(
        self, clinic_id: ClinicId, *, limit: int, cursor: str | None, text: str | None, wanted: Adopted | None
    ) -> Page:
        """Up to `limit` people; with `wanted` only such. A page may be short of them and still not be the last."""
        place = place_from(cursor) if cursor else None
        if wanted is None:
            found = await self._store.page(clinic_id, place, limit + 1, text)
            members = await self._members(clinic_id, found[:limit])
            return Page(members, cursor_at(found[limit - 1]) if len(found) > limit else None)
        chosen: list[Member] = []
        for _ in range(_MOST_BATCHES):
            batch = await self._store.page(clinic_id, place, _BATCH, text)
            for member in await self._members(clinic_id, batch):
                if member.is_among(wanted):
                    chosen.append(member)
                if len(chosen) == limit:
                    return Page(chosen, cursor_at(member.user))
            if len(batch) < _BATCH:
                return Page(chosen, None)
            place = Place(batch[-1].created_at, batch[-1].id)
        return Page(chosen, cursor_at(batch[-1]))

    async def every(self, clinic_id: ClinicId, *, text: str | None, wanted: Adopted | None) -> AsyncIterator[Member]:
        """All of them, for an export."""
        place: Place | None = None
        while True:
            batch = await self._store.page(clinic_id, place, _BATCH, text)
            for member in await self._members(clinic_id, batch):
                if wanted is None or member.is_among(wanted):
                    yield member
            if len(batch) < _BATCH:
                return
            place = Place(batch[-1].created_at, batch[-1].id)

    async def counts(self, clinic_id: ClinicId) -> Counts:
        enabled, now = await self._roster.enabled(clinic_id), self._clock.now()
        counts = Counts(total=len(enabled.ids), without_phone=enabled.without_phone)
        for start in range(0, counts.total, _BATCH):
            ids = enabled.ids[start : start + _BATCH]
            enrolled, exempt = await asyncio.gather(
                self._otp.count_enrolled(ids), self._settings.count_exempt(clinic_id, ids, now)
            )
            counts.enrolled += enrolled
            counts.exempt += exempt
        counts.missing = counts.total - counts.enrolled
        return counts

    async def _members(self, clinic_id: ClinicId, users: Sequence[User]) -> list[Member]:
        if not users:
            return []
        ids = [user.id for user in users]
        now = self._clock.now()
        factors, settings = await asyncio.gather(self._otp.factors(ids), self._settings.user_settings(clinic_id, ids))
        return [
            Member(user, held, one, one.is_exempt(now))
            for user, held, one in zip(users, factors, settings, strict=True)
        ]


def cursor_at(user: User) -> str:
    """Where the next page begins; opaque to the caller, and worth nothing in another clinic."""
    return base64.urlsafe_b64encode(f"{user.created_at.isoformat()}|{user.id}".encode()).decode().rstrip("=")


def place_from(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        moment, _, user_id = text.partition("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not user_id.isprintable():
            raise ValueError(moment)
        return Place(created_at, UserId(user_id))
    except (ValueError, binascii.Error):
        raise invalid("cursor", "This is not a place that a page of this list has named.") from None
