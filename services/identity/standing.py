"""Finds whose a token is and where its session stands, at every request.

A session that has proven a second factor stands by itself; any other needs its user's factors and the decision, which
are kept at most two seconds, and dropped at once by changes made here. What is away is said to be away: an unproven
session is then neither let through nor led to enrolment (P10).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.model import (
    Clinic,
    ClinicId,
    Decision,
    EndCause,
    Session,
    SessionState,
    SignedIn,
    User,
    UserFactors,
    UserId,
)
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer, Subject
from services.identity.sessions import Standing, digest_of, end_of, needs_policy, standing_of, state_of
from services.identity.store.sessions import SessionStore

_HOLD = timedelta(seconds=2)
_RENEW_AFTER = timedelta(seconds=1)
_MOST_ENTRIES = 20_000
_SENTENCES = {
    EndCause.IDLE: "You were signed out because nothing happened for a while. Please sign in again.",
    EndCause.EXPIRED: "Your sign-in has reached its end. Please sign in again.",
    EndCause.REPLACED: "This sign-in goes on under a newer token.",
    EndCause.ENDED: "This sign-in was ended. Please sign in again.",
    EndCause.PASSWORD_CHANGED: "The password was changed. Please sign in again.",
    EndCause.TOO_MANY: "You signed in in too many places; the oldest sign-in was ended. Please sign in again.",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a user beyond their session; None where the peer is away."""

    factors: UserFactors | None
    decision: Decision | None
    away: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    clinic_id: ClinicId
    user: User
    known_at: datetime
    factors: UserFactors
    decision: Decision


class Standings:
    def __init__(
        self, sessions: SessionStore, otp: OtpPeer, policy: PolicyPeer, notifier: NotifierPeer, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._otp = otp
        self._policy = policy
        self._notifier = notifier
        self._clock = clock
        self._entries: dict[UserId, _Entry] = {}
        self._changes = 0

    async def signed_in(self, token: str) -> SignedIn:
        """Whose this token is. Raises `unauthenticated`, with the cause where it was once valid."""
        found = await self._sessions.by_digest(digest_of(token))
        if isinstance(found, EndCause):
            raise over(found)
        if found is None:
            raise unauthenticated()
        cause = end_of(found.session, found.user, self._clock.now())
        if cause is not None:
            raise over(cause)
        return found

    async def stand(self, signed_in: SignedIn, *, fresh: bool = False) -> Standing:
        """Where the session stands. Raises `unavailable` where it cannot be said, or where the session has proven
        nothing and policy is away (P10)."""
        session = signed_in.session
        if not needs_policy(session):
            return Standing(SessionState.ACTIVE)
        facts = await self.facts(signed_in.user, signed_in.clinic, fresh=fresh)
        state = state_of(session, facts.factors, facts.decision, self._clock.now())
        if facts.away is not None or state is None:
            raise facts.away or unauthenticated()
        if state is SessionState.ACTIVE and session.waiting_until is not None and facts.decision is not None:
            await self._sessions.became_active(session, self._clock.now(), facts.decision.idle_minutes)
        return standing_of(state, facts.factors, facts.decision, session)

    async def renew(self, session: Session) -> None:
        """Somebody is there: the idle time begins anew. A session that has only ever waited has none."""
        now = self._clock.now()
        if session.waiting_until is None and now - session.last_seen_at >= _RENEW_AFTER:
            await self._sessions.seen(session.id, now)

    async def view(self, signed_in: SignedIn, *, fresh: bool = False) -> Standing:
        """Where the session stands, as far as it can be said: what is away leaves out what depends on it, and an
        unproven session of which nothing is known is shown as waiting for a second factor."""
        facts = await self.facts(signed_in.user, signed_in.clinic, fresh=fresh)
        now = self._clock.now()
        state = state_of(signed_in.session, facts.factors, facts.decision, now) or SessionState.SECOND_FACTOR_REQUIRED
        return standing_of(state, facts.factors, facts.decision, signed_in.session)

    async def facts(self, user: User, clinic: Clinic, *, fresh: bool) -> Facts:
        """The user's factors and the decision; `fresh` asks the peers whatever is remembered."""
        now = self._clock.now()
        if not fresh and (entry := self._entry(user, now)):
            return Facts(entry.factors, entry.decision)
        changes = self._changes
        try:
            factors = await self._otp.factors_of(user.id)
        except ServiceError as error:
            return Facts(None, None, _only_unavailable(error))
        try:
            decision = await self.decide(user, clinic, factors)
        except ServiceError as error:
            return Facts(factors, None, _only_unavailable(error))
        if changes == self._changes:
            self._keep(_Entry(clinic.id, user, now, factors, decision))
        return Facts(factors, decision)

    async def decide(self, user: User, clinic: Clinic, factors: UserFactors) -> Decision:
        """The decision for a user with these factors, asked now."""
        available = await self._notifier.methods_available()
        return (await self._policy.decide([Subject(user, clinic, factors)], available))[0]

    def forget_user(self, user_id: UserId) -> None:
        """What is remembered of this user may have changed."""
        self._changes += 1
        self._entries.pop(user_id, None)

    def forget_clinic(self, clinic_id: ClinicId) -> None:
        """The clinic's rule may have changed."""
        self._changes += 1
        self._entries = {user_id: entry for user_id, entry in self._entries.items() if entry.clinic_id != clinic_id}

    def _entry(self, user: User, now: datetime) -> _Entry | None:
        entry = self._entries.get(user.id)
        if entry is None or entry.user != user or not timedelta(0) <= now - entry.known_at < _HOLD:
            return None
        if entry.decision.valid_until is not None and now >= entry.decision.valid_until:
            return None
        return entry

    def _keep(self, entry: _Entry) -> None:
        if len(self._entries) >= _MOST_ENTRIES:
            self._entries.clear()
        self._entries[entry.user.id] = entry


def unauthenticated() -> ServiceError:
    return ServiceError(ErrorCode.UNAUTHENTICATED, "Please sign in.")


def over(cause: EndCause) -> ServiceError:
    """The refusal of a token that was once valid."""
    return ServiceError(ErrorCode.UNAUTHENTICATED, _SENTENCES[cause], cause=cause.value)


def refusal_of(standing: Standing) -> ServiceError:
    """What a session that is not active is told by everything but the way forward."""
    if standing.state is SessionState.SECOND_FACTOR_REQUIRED:
        # Where nothing could be entered, the reason says what helps.
        no_way = standing.reason.sentence if standing.reason and standing.has_factor and not standing.methods else ""
        return ServiceError(
            ErrorCode.SECOND_FACTOR_REQUIRED,
            no_way or "Enter a code from your second factor to go on.",
            methods=[method.value for method in standing.methods],
        )
    return enrolment_required(standing)


def enrolment_required(standing: Standing) -> ServiceError:
    offer, reason = standing.enrolment, standing.reason
    return ServiceError(
        ErrorCode.ENROLMENT_REQUIRED,
        "Set up a second factor to go on.",
        methods=[method.value for method in offer.methods] if offer else [],
        phone_required=offer.is_phone_required if offer else False,
        reason=reason.as_json() if reason else None,
    )


def _only_unavailable(error: ServiceError) -> ServiceError:
    """A peer that refuses to say is as good as one that is away."""
    if error.code is ErrorCode.UNAVAILABLE:
        return error
    return ServiceError(
        ErrorCode.UNAVAILABLE,
        "This is not working just now. Please try again in a moment.",
        retry_after=2,
        away=f"peer answered {error.code}",
    )
