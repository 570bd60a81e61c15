"""The clinic's audit trail as its administrators read it: the trails of the four services merged, newest first.

A service that does not answer makes the whole answer `unavailable`: a list without its events would look complete.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.common.audit_trail import MOST_EVENTS, TrailEvent, TrailPosition
from services.common.errors import invalid
from services.identity.model import ClinicId

_PLACE = re.compile(r"([0-9]{1,17})\.([0-9])\.([0-9]{1,19})")
_LAST_SEQ = 2**63 - 1
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Trail(Protocol):
    async def page(
        self, clinic_id: str, limit: int, before: TrailPosition | None = None, user_id: str = "", kind: str = ""
    ) -> list[TrailEvent]: ...


@dataclass(frozen=True, slots=True)
class ClinicEvent:
    service: str
    event: TrailEvent


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty: everybody's, or of every kind."""

    user_id: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    events: tuple[ClinicEvent, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page ended. Among events of one time the order is that of the services, then of the numbers."""

    at: datetime
    rank: int
    seq: int


class AuditEvents:
    """`trails`: by service. Their order is part of every cursor, so a new one comes last."""

    def __init__(self, trails: Mapping[str, Trail]) -> None:
        self._services = tuple(trails)
        self._trails = tuple(trails.values())

    async def page(self, clinic_id: ClinicId, wanted: Filter, limit: int, cursor: str | None) -> AuditPage:
        """Raises `invalid-request` for a cursor that no page has named."""
        return await self._after(clinic_id, wanted, limit, self._place_from(cursor) if cursor else None)

    async def pages(self, clinic_id: ClinicId, wanted: Filter, cursor: str | None) -> AsyncIterator[AuditPage]:
        """Every page to the end, for an export."""
        while True:
            page = await self.page(clinic_id, wanted, MOST_EVENTS, cursor)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _after(self, clinic_id: ClinicId, wanted: Filter, limit: int, place: _Place | None) -> AuditPage:
        found = await asyncio.gather(
            *(
                trail.page(clinic_id, limit, _position(place, rank), wanted.user_id, wanted.kind)
                for rank, trail in enumerate(self._trails)
            )
        )
        merged = sorted(
            ((event.at, rank, event.seq, event) for rank, events in enumerate(found) for event in events),
            key=lambda one: one[:3],
            reverse=True,
        )
        events = tuple(ClinicEvent(self._services[rank], event) for _, rank, _, event in merged[:limit])
        has_more = len(merged) > limit or any(len(page) == limit for page in found)
        if not events or not has_more:
            return AuditPage(events, None)
        at, rank, seq, _ = merged[len(events) - 1]
        return AuditPage(events, _cursor(_Place(at, rank, seq)))

    def _place_from(self, cursor: str) -> _Place:
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
            parts = _PLACE.fullmatch(text)
            if parts is None:
                raise ValueError(text)
            at, rank, seq = _EPOCH + _microseconds(int(parts[1])), int(parts[2]), int(parts[3])
            if at > _LATEST or rank >= len(self._trails) or seq > _LAST_SEQ:
                raise ValueError(text)
        except (ValueError, OverflowError, binascii.Error):
            raise invalid("cursor", "This is not a place that a page of this list has named.") from None
        return _Place(at, rank, seq)


def _position(place: _Place | None, rank: int) -> TrailPosition | None:
    """Where the trail of the service of this rank goes on after `place`."""
    if place is None:
        return None
    if rank == place.rank:
        return TrailPosition(place.at, place.seq)
    # Of the same time, what stands before in the order has been told, and what stands after has not.
    return TrailPosition(place.at, _LAST_SEQ, is_inclusive=True) if rank < place.rank else TrailPosition(place.at, 0)


def _cursor(place: _Place) -> str:
    """Opaque to the caller, and worth nothing in another clinic."""
    text = f"{(place.at - _EPOCH) // _microseconds(1)}.{place.rank}.{place.seq}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _microseconds(number: int) -> timedelta:
    return timedelta(microseconds=number)
