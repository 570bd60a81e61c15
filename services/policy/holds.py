"""Holds: an integration's demand on the whole clinic, set, changed and ended.

A hold belongs to whoever set it: one set by hand to the clinic's administrators, one set by an app to that app. An
operator may change and end any. What changes nothing writes and counts nothing.
"""

import re

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid
from services.policy.model import Actor, ClinicId, Hold
from services.policy.refusals import check_actor, unknown_clinic
from services.policy.store.clinics import Clinics
from services.policy.store.standings import Standings

MOST_DEVICE_TRUST_HOURS = 2160
"""The 90 days that a clinic may allow."""
MOST_HOLDS = 20
"""In one clinic. Every decision names each of them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


class Holds:
    def __init__(self, clinics: Clinics, standings: Standings, clock: Clock) -> None:
        self._clinics = clinics
        self._standings = standings
        self._clock = clock

    async def living(self, clinic_id: ClinicId) -> tuple[Hold, ...]:
        """By name."""
        found = (await self._standings.read([clinic_id], [], self._clock.now())).get(clinic_id)
        if found is None:
            raise unknown_clinic()
        return found.holds

    async def put(
        self,
        clinic_id: ClinicId,
        name: str,
        actor: Actor,
        requires_two_factor: bool,
        max_device_trust_hours: int | None,
    ) -> Hold:
        check_actor(actor)
        hold = Hold(clinic_id, name, requires_two_factor, max_device_trust_hours, actor, self._clock.now())
        check_demand(hold)
        async with self._clinics.lock(clinic_id) as clinic:
            living = await clinic.holds.all()
            before = _named(living, name)
            if before is None and len(living) >= MOST_HOLDS:
                raise ServiceError(
                    ErrorCode.CONFLICT, f"A clinic can have at most {MOST_HOLDS} integrations that require this."
                )
            if before is not None:
                _check_owner(before, actor)
                if _demand(before) == _demand(hold):
                    return before
            await clinic.holds.put(hold)
            detail = {"name": name, **_demand(hold)}
            if before is not None:
                detail["before"] = _demand(before)
            kind = "hold.set" if before is None else "hold.changed"
            await clinic.record_change(_event(kind, hold, actor, self._clock, detail))
        return hold

    async def end(self, clinic_id: ClinicId, name: str, actor: Actor) -> tuple[Hold, ...]:
        """The holds that are left."""
        check_actor(actor)
        async with self._clinics.lock(clinic_id) as clinic:
            living = await clinic.holds.all()
            hold = _named(living, name)
            if hold is None:
                raise ServiceError(ErrorCode.NOT_FOUND, "There is no such integration.")
            _check_owner(hold, actor)
            await clinic.holds.end(name)
            detail = {"name": name, **_demand(hold)}
            await clinic.record_change(_event("hold.ended", hold, actor, self._clock, detail))
        return tuple(other for other in living if other.name != name)


def check_demand(hold: Hold) -> None:
    """Refuses a name or a span that no hold may have."""
    if not _NAME.fullmatch(hold.name):
        raise invalid(
            "name", "Use 1 to 63 of a to z, 0 to 9, dots, hyphens and underscores, and begin with a letter or a digit."
        )
    hours = hold.max_device_trust_hours
    if hours is not None and not 0 <= hours <= MOST_DEVICE_TRUST_HOURS:
        raise invalid("max_device_trust_hours", f"This must be 0 to {MOST_DEVICE_TRUST_HOURS}.")


def _named(holds: tuple[Hold, ...], name: str) -> Hold | None:
    return next((hold for hold in holds if hold.name == name), None)


def _demand(hold: Hold) -> dict[str, object]:
    return {
        "requires_two_factor": hold.requires_two_factor,
        "max_device_trust_hours": hold.max_device_trust_hours,
    }


def _check_owner(hold: Hold, actor: Actor) -> None:
    owner = hold.set_by
    if actor.kind == "operator":
        return
    if owner.kind == "app" and (actor.kind, actor.id) != (owner.kind, owner.id):
        raise ServiceError(
            ErrorCode.FORBIDDEN, "An app has set this: only that app, or an operator, may change or end it."
        )
    if owner.kind != "app" and actor.kind == "app":
        raise ServiceError(ErrorCode.FORBIDDEN, "This was set by hand: an app may change and end only its own.")


def _event(kind: str, hold: Hold, actor: Actor, clock: Clock, detail: dict[str, object]) -> AuditEvent:
    return AuditEvent(
        kind=kind,
        at=clock.now(),
        clinic_id=hold.clinic_id,
        actor_kind=actor.kind,
        actor_id=actor.id,
        subject_id=None,
        address=actor.address,
        detail=detail,
    )
