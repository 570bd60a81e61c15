"""Why somebody is asked for a code, or is not let in: all that is known of one person, for the operator. No code,
token, secret or whole telephone number is in it, and the look itself is in the clinic's audit trail.

Whatever is away leaves its part out and is named: this is asked most when something is.
"""

import json
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, TypeVar

from services.common.audit import AuditEvent
from services.common.audit_trail import TrailEvent, TrailPosition
from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import mask_phone
from services.identity.model import Clinic, Decision, Session, SessionState, User, UserFactors
from services.identity.named import person_named
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer, Subject
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import UserSettings
from services.identity.sessions import expires_at, idle_expires_at, state_at_sign_in, state_of
from services.identity.store.clinics import ClinicStore
from services.identity.store.sessions import SessionStore
from services.identity.store.staff import StaffStore

_RECENT = 20
Found = TypeVar("Found")


class Trail(Protocol):
    async def page(
        self, clinic_id: str, limit: int, before: TrailPosition | None = None, user_id: str = "", kind: str = ""
    ) -> list[TrailEvent]: ...


class Explaining:
    def __init__(
        self,
        clinics: ClinicStore,
        staff: StaffStore,
        sessions: SessionStore,
        otp: OtpPeer,
        policy: PolicyPeer,
        settings: PolicySettingsPeer,
        notifier: NotifierPeer,
        trails: Mapping[str, Trail],
        clock: Clock,
    ) -> None:
        self._clinics = clinics
        self._staff = staff
        self._sessions = sessions
        self._otp = otp
        self._policy = policy
        self._settings = settings
        self._notifier = notifier
        self._trails = trails
        self._clock = clock

    async def explain(self, slug: str, email: str) -> dict[str, Any]:
        """Everything that decides what the next sign-in and each open session of this person meets."""
        clinic, user = await person_named(self._clinics, self._staff, slug, email)
        now = self._clock.now()
        event = AuditEvent("user.explained", now, clinic.id, "operator", None, user.id)
        await self._sessions.note(event)
        away: list[str] = []
        factors = await _unless_away(self._otp.factors_of(user.id), away)
        settings = await _unless_away(self._settings.user_settings(clinic.id, [user.id]), away)
        decided = None
        if factors is not None:
            decided = await _unless_away(self._decided(user, clinic, factors), away)
        decision, record = decided or (None, None)
        sessions = await self._sessions.of_user(user.id, now)
        events: list[dict[str, Any]] = []
        for service, trail in self._trails.items():
            found = await _unless_away(trail.page(clinic.id, _RECENT, user_id=user.id), away)
            events += [_event(service, one) for one in found or ()]
        at_sign_in = state_at_sign_in(factors, decision) if factors and decision else None
        return {
            "clinic": {"id": clinic.id, "slug": clinic.slug, "name": clinic.name},
            "user": _user(user),
            "next_sign_in": "refused" if user.is_disabled or not user.has_password else _named(at_sign_in),
            "sessions": [
                _session(session, state_of(session, factors, decision, now) if factors else None)
                for session in sessions
            ],
            "decision": _decision(decision) if decision else None,
            "record": json.loads(record) if record else None,
            "factors": _factors(factors) if factors else None,
            "settings": _settings(settings[0]) if settings else None,
            "recent": sorted(events, key=lambda one: str(one["at"]), reverse=True)[:_RECENT],
            "away": sorted(set(away)),
        }

    async def _decided(self, user: User, clinic: Clinic, factors: UserFactors) -> tuple[Decision, str]:
        available = await self._notifier.methods_available()
        return await self._policy.recorded(Subject(user, clinic, factors), available)


async def _unless_away(answer: Awaitable[Found], away: list[str]) -> Found | None:
    try:
        return await answer
    except ServiceError as error:
        away.append(str(error.members.get("away", error.code)))
        return None


def _named(state: SessionState | None) -> str:
    return state.value if state else "not known"


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role.value,
        "activated": user.has_password,
        "disabled": user.is_disabled,
        "phone": mask_phone(user.phone) if user.phone else None,
        "phone_proven": user.phone_proven,
    }


def _session(session: Session, state: SessionState | None) -> dict[str, Any]:
    return {
        "id": session.id,
        "state": _named(state),
        "opened_by": session.opened_by,
        "authenticated_at": session.authenticated_at.isoformat(),
        "verified_at": session.verified_at.isoformat() if session.verified_at else None,
        "expires_at": expires_at(session).isoformat(),
        "idle_expires_at": idle_expires_at(session).isoformat(),
        "address": session.address,
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "outcome": decision.outcome.value,
        "two_factor_required": decision.is_two_factor_required,
        "methods_allowed": [method.value for method in decision.methods_allowed],
        "phone_required": decision.is_phone_required,
        "reason": decision.reason.as_json(),
        "version": decision.version,
        "epoch": decision.epoch,
        "valid_until": decision.valid_until.isoformat() if decision.valid_until else None,
    }


def _factors(factors: UserFactors) -> dict[str, Any]:
    return {
        "held": [
            {
                "method": factor.method.value,
                "enrolled_at": factor.enrolled_at.isoformat(),
                "last_used_at": factor.last_used_at.isoformat() if factor.last_used_at else None,
                "suspended": factor.is_suspended,
            }
            for factor in factors.factors
        ],
        "backup_codes_remaining": factors.backup_codes_remaining,
        "attempts_left": factors.attempts_left,
        "retry_after_seconds": factors.retry_after_seconds,
        "locked": factors.is_locked,
    }


def _settings(settings: UserSettings) -> dict[str, Any]:
    bypass = settings.bypass
    return {
        "requirement": settings.requirement.value,
        "reason": settings.reason,
        "expires_at": settings.expires_at.isoformat() if settings.expires_at else None,
        "phone_lifted": settings.is_phone_lifted,
        "phone_reason": settings.phone_reason,
        "bypass": {"id": bypass.id, "state": bypass.state.value, "expires_at": bypass.expires_at.isoformat()}
        if bypass
        else None,
    }


def _event(service: str, event: TrailEvent) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(),
        "service": service,
        "kind": event.kind,
        "actor": event.actor_kind,
        "actor_id": event.actor_id,
        "subject_id": event.subject_id,
        "address": event.address,
        "detail": json.loads(event.detail),
    }
