"""Bypasses: leave for one user to sign in once without a code. Granted, spent, revoked, undone, ended.

Invariant: of all that try to spend one, one session gets it, and the same session again gets the same answer (P5).
None of this touches the clinic's rule or the user's requirement.
"""

import uuid
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid
from services.common.outbox import OutboxEvent
from services.policy.model import UNDOABLE_FOR, Actor, Bypass, BypassId, BypassState, ClinicId, SessionId, UserId
from services.policy.refusals import check_actor, check_reason
from services.policy.store.bypasses import Bypasses as BypassRows
from services.policy.store.clinics import Clinics, LockedClinic

MOST_MINUTES = 24 * 60
_SYSTEM = Actor("system", None, None)


class Bypasses:
    def __init__(self, clinics: Clinics, bypasses: BypassRows, clock: Clock) -> None:
        self._clinics = clinics
        self._bypasses = bypasses
        self._clock = clock

    async def grant(
        self,
        clinic_id: ClinicId,
        user_id: UserId,
        actor: Actor,
        reason: str,
        expires_in_minutes: int,
        *,
        suspend_factors: bool,
    ) -> Bypass:
        """A new one; an unused one before it is dead."""
        check_actor(actor)
        check_reason(reason)
        if not user_id:
            raise invalid("user_id", "This field is needed.")
        if not 1 <= expires_in_minutes <= MOST_MINUTES:
            raise invalid("expires_in_minutes", f"This must be 1 to {MOST_MINUTES}.")
        if (actor.kind, actor.id) == ("user", user_id):
            raise ServiceError(ErrorCode.FORBIDDEN, "Another administrator has to do this for you.")
        async with self._clinics.lock(clinic_id) as clinic:
            now = self._clock.now()
            bypass = Bypass(
                id=BypassId(f"byp_{uuid.uuid4().hex}"),
                clinic_id=clinic_id,
                user_id=user_id,
                state=BypassState.UNUSED,
                reason=reason.strip(),
                suspend_factors=suspend_factors,
                granted_by=actor,
                granted_at=now,
                expires_at=now + timedelta(minutes=expires_in_minutes),
            )
            events = await self._end_unused(clinic, user_id, "superseded", now)
            await clinic.bypasses.add(bypass)
            detail = {
                "reason": bypass.reason,
                "expires_at": bypass.expires_at.isoformat(),
                "suspend_factors": suspend_factors,
            }
            await clinic.record_change(*events, _event("bypass.granted", bypass, actor, now, **detail))
            await clinic.announce(_granted(bypass))
        return bypass

    async def use(
        self, clinic_id: ClinicId, user_id: UserId, bypass_id: BypassId, session_id: SessionId, address: str | None
    ) -> Bypass:
        """Spends it for the session. GONE for every other session, and where its time is over."""
        if not session_id:
            raise invalid("session_id", "This field is needed.")
        # Looked at before the lock is asked for: whoever comes too late does not wait for it.
        known = await self._bypasses.get(clinic_id, bypass_id)
        if known is None or known.user_id != user_id:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such permission to sign in.")
        if known.is_usable(self._clock.now()):
            used = await self._spend(known, session_id, address)
            if used is not None:
                return used
            known = await self._bypasses.get(clinic_id, bypass_id)
        if known and known.state is BypassState.USED and known.used_session_id == session_id:
            return known
        raise ServiceError(ErrorCode.GONE, "This permission to sign in once has been used, or has expired.")

    async def revoke(self, clinic_id: ClinicId, user_id: UserId, actor: Actor) -> Bypass:
        """Revokes the unused one, or marks the one used in the last 24 hours as undone."""
        check_actor(actor)
        async with self._clinics.lock(clinic_id) as clinic:
            now = self._clock.now()
            bypass = await clinic.bypasses.unused(user_id)
            if bypass is not None and bypass.is_usable(now):
                state, kind = BypassState.REVOKED, "bypass.revoked"
            else:
                bypass = await clinic.bypasses.last_used(user_id, now - UNDOABLE_FOR)
                state, kind = BypassState.UNDONE, "bypass.undone"
            moved = await clinic.bypasses.move(bypass, state) if bypass else None
            if moved is None:
                raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing to revoke or to undo.")
            detail = {"session_id": moved.used_session_id} if moved.used_session_id else {}
            await clinic.record_change(_event(kind, moved, actor, now, **detail))
        return moved

    async def end(self, clinic_id: ClinicId, user_id: UserId, cause: str) -> None:
        """Ends the unused one, if there is one."""
        if not cause:
            raise invalid("cause", "This field is needed.")
        async with self._clinics.lock(clinic_id) as clinic:
            events = await self._end_unused(clinic, user_id, cause, self._clock.now())
            if events:
                await clinic.record_change(*events)

    async def _spend(self, known: Bypass, session_id: SessionId, address: str | None) -> Bypass | None:
        async with self._clinics.lock(known.clinic_id) as clinic:
            now = self._clock.now()
            used = await clinic.bypasses.use(known.id, session_id, now)
            if used is not None:
                user = Actor("user", known.user_id, address)
                await clinic.record_change(_event("bypass.used", used, user, now, session_id=session_id))
        return used

    async def _end_unused(
        self, clinic: LockedClinic, user_id: UserId, cause: str, now: datetime
    ) -> tuple[AuditEvent, ...]:
        """The event to put on record, where there was one."""
        bypass = await clinic.bypasses.unused(user_id)
        if bypass is None:
            return ()
        await clinic.bypasses.move(bypass, BypassState.ENDED)
        return (_event("bypass.ended", bypass, _SYSTEM, now, cause=cause if bypass.is_usable(now) else "expired"),)


def _granted(bypass: Bypass) -> OutboxEvent:
    """What identity has to follow up, whether or not it hears the reply: people are told."""
    by = bypass.granted_by
    detail = {"by": by.id if by.kind == "user" else None, "suspended": bypass.suspend_factors}
    return OutboxEvent("bypass_granted", bypass.granted_at, bypass.clinic_id, bypass.user_id, None, by.address, detail)


def _event(kind: str, bypass: Bypass, actor: Actor, at: datetime, **detail: object) -> AuditEvent:
    return AuditEvent(
        kind=kind,
        at=at,
        clinic_id=bypass.clinic_id,
        actor_kind=actor.kind,
        actor_id=actor.id,
        subject_id=bypass.user_id,
        address=actor.address,
        detail={"bypass_id": bypass.id, **detail},
    )
