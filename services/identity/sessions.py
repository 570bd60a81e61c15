"""What a session may do now, computed from what it has proven, what the decision is, and the time. Pure.

Invariant: a session whose user has a confirmed factor is never active before it has proven one, whatever policy says
or fails to say, save in a browser that policy lets be remembered now; one that a bypass opened never before it has
proven one at all; and where something needed is not known the answer is None, never a guess.
"""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.identity.model import (
    Client,
    Decision,
    Device,
    EndCause,
    Leave,
    Method,
    Outcome,
    Reason,
    RuleOutcome,
    Session,
    SessionId,
    SessionState,
    SignedIn,
    Upcoming,
    User,
    UserFactors,
    in_order,
)

ABSOLUTE_LIFE = timedelta(hours=12)  # NIST SP 800-63B-4 allows 24 h at AAL2
SECOND_FACTOR_WAIT = timedelta(minutes=5)
ENROLMENT_WAIT = timedelta(minutes=30)
STEP_UP_LIFE = timedelta(minutes=5)
DEFAULT_IDLE_MINUTES = 30
_TOKEN_BYTES = 32
_LET_IN = (
    "You were let in this once without a code: please set up two-factor authentication now. It replaces"
    " what you had set up before."
)


@dataclass(frozen=True, slots=True)
class EnrolmentOffer:
    """What someone who must set up a second factor can set up, and whether a number is asked for first."""

    methods: tuple[Method, ...]
    is_phone_required: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session stands: its state, what would satisfy it now (best first), and why."""

    state: SessionState
    methods: tuple[Method, ...] = ()
    backup_codes_remaining: int | None = None
    enrolment: EnrolmentOffer | None = None
    reason: Reason | None = None
    upcoming: Upcoming | None = None
    remember_device_minutes: int = 0
    degraded: tuple[Method, ...] = ()
    """Methods among these that are there but have not worked of late; they are listed last."""
    became: Session | None = None
    """The session as it is from now on, where it was found active and had only ever waited."""

    @property
    def has_factor(self) -> bool:
        """As far as was looked: a session that stands by its own proof is not asked."""
        return self.backup_codes_remaining is not None


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as its bearer is shown it; `token` only where it is new."""

    signed_in: SignedIn
    standing: Standing
    token: str | None = None
    device_token: str | None = None


def new_token() -> str:
    """256 bits from the system's generator."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> bytes:
    """All that is stored of a token. It has 256 bits of its own, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def opened(
    user: User,
    token: str,
    state: SessionState,
    decision: Decision | None,
    client: Client,
    now: datetime,
    *,
    shared: bool,
    device: Device | None = None,
    bypass: Leave | None = None,
) -> Session:
    """The session that a right password opens, in a remembered browser, or by a bypass."""
    waits = {
        SessionState.SECOND_FACTOR_REQUIRED: now + SECOND_FACTOR_WAIT,
        SessionState.ENROLMENT_REQUIRED: now + ENROLMENT_WAIT,
        SessionState.ACTIVE: None,
    }
    return Session(
        id=SessionId(f"ses_{uuid.uuid4().hex}"),
        user_id=user.id,
        clinic_id=user.clinic_id,
        token_digest=digest_of(token),
        generation=1,
        opened_by="password" if bypass is None else "bypass",
        authenticated_at=now,
        verified_at=None,
        proven_by=None,
        enrol_after_proof=decision is not None and decision.must_enrol_after_proof,
        waiting_until=waits[state],
        last_seen_at=now,
        idle_minutes=decision.idle_minutes if decision else DEFAULT_IDLE_MINUTES,
        expires_at=now + ABSOLUTE_LIFE,
        shared_device=shared,
        address=client.address,
        user_agent=client.user_agent[:200],
        ended_at=None,
        end_cause=None,
        bypass_id=bypass.id if bypass else None,
        device_id=device.id if device else None,
        remembered_at=device.remembered_at if device else None,
        ends_bypass=bypass is None and decision is not None and decision.bypass is not None,
    )


def end_of(session: Session, user: User, now: datetime) -> EndCause | None:
    """Why the session is over, or None while it lives."""
    if session.end_cause is not None:
        return session.end_cause
    if user.is_disabled:
        return EndCause.ENDED
    if now >= expires_at(session):
        return EndCause.EXPIRED
    if session.waiting_until is None and now >= idle_expires_at(session):
        return EndCause.IDLE
    return None


def expires_at(session: Session) -> datetime:
    """The session's end whatever happens; for one that has only ever waited, the end of its waiting."""
    return session.expires_at if session.waiting_until is None else min(session.expires_at, session.waiting_until)


def idle_expires_at(session: Session) -> datetime:
    if session.waiting_until is not None:
        return expires_at(session)
    return min(session.last_seen_at + timedelta(minutes=session.idle_minutes), session.expires_at)


def needs_policy(session: Session) -> bool:
    """Whether the state depends on more than what the session itself has proven."""
    return session.verified_at is None or session.enrol_after_proof


def remembered_until(remembered_at: datetime, decision: Decision) -> datetime:
    """When a browser has to prove a second factor again, by the clinic's days and the strictest hold of now."""
    return remembered_at + timedelta(minutes=decision.remember_device_minutes)


def state_of(
    session: Session, factors: UserFactors | None, decision: Decision | None, now: datetime
) -> SessionState | None:
    """The session's state now; None where that cannot be said without what is missing."""
    if session.verified_at is not None:
        if not session.enrol_after_proof:
            return SessionState.ACTIVE
        if decision is None:
            return None
        return SessionState.ENROLMENT_REQUIRED if decision.must_enrol_after_proof else SessionState.ACTIVE
    if session.bypass_id is not None:
        return SessionState.ENROLMENT_REQUIRED if decision is not None else None
    if factors is not None and _is_remembered(session, factors, decision, now):
        return SessionState.ACTIVE
    return _unproven_state(factors, decision)


def _unproven_state(factors: UserFactors | None, decision: Decision | None) -> SessionState | None:
    if factors is None:
        return None
    if factors.factors:
        return SessionState.SECOND_FACTOR_REQUIRED
    if decision is None:
        return None
    if decision.outcome is Outcome.ALLOW:
        return SessionState.ACTIVE
    if decision.outcome is Outcome.ENROL:
        return SessionState.ENROLMENT_REQUIRED
    return SessionState.SECOND_FACTOR_REQUIRED


def state_at_sign_in(
    factors: UserFactors, decision: Decision, *, has_proven_since: bool = False
) -> SessionState | None:
    """The state of a session that a right password would open now, in a browser that is not remembered.
    `has_proven_since`: whether the user has proven a second factor since a bypass was given, which is over then."""
    if decision.bypass is not None and not has_proven_since:
        return SessionState.ENROLMENT_REQUIRED
    return _unproven_state(factors, decision)


def _is_remembered(session: Session, factors: UserFactors, decision: Decision | None, now: datetime) -> bool:
    if session.remembered_at is None or session.shared_device or decision is None or not factors.is_any_usable:
        return False
    return now < remembered_until(session.remembered_at, decision)


def standing_of(
    state: SessionState, factors: UserFactors | None, decision: Decision | None, session: Session | None = None
) -> Standing:
    """The state with what goes with it. `session`: where it may be one that a bypass opened."""
    reason = decision.reason if decision else None
    if session is not None and session.bypass_id is not None and state is SessionState.ENROLMENT_REQUIRED and reason:
        reason = Reason(
            _LET_IN, (*reason.rules, RuleOutcome("bypass", "used", f"opened this session: {session.bypass_id}"))
        )
    # Who was let in once may still find the phone; after a code of a factor that is not allowed, no other code helps.
    is_let_in = session is not None and session.bypass_id is not None
    helps = state is not SessionState.ENROLMENT_REQUIRED or is_let_in
    methods = tuple(factors.usable_methods()) if factors and helps else ()
    offer = None
    if state is SessionState.ENROLMENT_REQUIRED and decision is not None:
        offer = EnrolmentOffer(decision.methods_allowed, decision.is_phone_required)
    return Standing(
        state=state,
        methods=methods,
        backup_codes_remaining=factors.backup_codes_remaining if factors and factors.factors else None,
        enrolment=offer,
        reason=reason,
        upcoming=decision.upcoming if decision else None,
        remember_device_minutes=decision.remember_device_minutes if decision else 0,
    )


def with_degraded(standing: Standing, degraded: frozenset[Method]) -> Standing:
    """What has not worked of late stands last, and is named."""
    offer = standing.enrolment
    if offer is not None:
        offer = replace(offer, methods=_last(offer.methods, degraded))
    named = {*standing.methods, *(offer.methods if offer else ())} & degraded
    methods = _last(standing.methods, degraded)
    return replace(standing, methods=methods, enrolment=offer, degraded=in_order(named)) if named else standing


def _last(methods: tuple[Method, ...], degraded: frozenset[Method]) -> tuple[Method, ...]:
    return tuple(sorted(methods, key=degraded.__contains__))


def is_fresh(session: Session, now: datetime) -> bool:
    """Whether a second factor was proven recently enough for what weakens or changes an account (P11)."""
    return session.verified_at is not None and now - session.verified_at <= STEP_UP_LIFE


def amr_of(session: Session) -> list[str]:
    """Authentication methods by RFC 8176. Nothing is registered for backup codes: `mfa` says that there was one."""
    if session.proven_by is None:
        return ["pwd"]
    named = {Method.TOTP: ["otp"], Method.SMS: ["sms"], Method.BACKUP_CODE: []}
    return ["pwd", *named[session.proven_by], "mfa"]


def acr_of(session: Session) -> str:
    return "aal2" if session.verified_at is not None else "aal1"
