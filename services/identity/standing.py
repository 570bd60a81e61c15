"""Finds whose a token is and where its session stands, at every request.

A session that has proven a second factor stands by itself; any other needs its user's factors and the decision, which
are remembered (`remembered`) for as long as the clinic's mark says that they hold (`marks`): a change made anywhere
meets every session within two seconds, for one cheap read a request at most. What is away is said to be away: an
unproven session is then neither let through nor led to enrolment (P10).
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.marks import Mark, Marks
from services.identity.model import (
    Clinic,
    ClinicId,
    Decision,
    EndCause,
    Reason,
    RuleOutcome,
    Session,
    SessionState,
    SignedIn,
    User,
    UserFactors,
    UserId,
)
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.peers.policy import Subject as PolicySubject
from services.identity.remembered import Entry, Remembered, Subject
from services.identity.sessions import Standing, digest_of, end_of, needs_policy, standing_of, state_of, with_degraded
from services.identity.sms_terms import TermsOfClinics
from services.identity.store.sessions import SessionStore

_RENEW_AFTER = timedelta(seconds=1)
_PROOF_WAITS_SECONDS = 1.0
"""For the decision of now, where it is not there by the time the code is."""
_SENTENCES = {
    EndCause.IDLE: "You were signed out because nothing happened for a while. Please sign in again.",
    EndCause.EXPIRED: "Your sign-in has reached its end. Please sign in again.",
    EndCause.REPLACED: "This sign-in goes on under a newer token.",
    EndCause.ENDED: "This sign-in was ended. Please sign in again.",
    EndCause.PASSWORD_CHANGED: "The password was changed. Please sign in again.",
    EndCause.TOO_MANY: "You signed in in too many places; the oldest sign-in was ended. Please sign in again.",
}
NOT_KNOWN = Reason(
    "We cannot check right now whether a code is asked of you. Please try again in a moment.",
    (RuleOutcome("decision", "not_known", "a service does not answer"),),
)
"""Why a session waits of which it cannot be said what it is asked for."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a user beyond their session; None where the peer is away."""

    factors: UserFactors | None
    decision: Decision | None
    away: ServiceError | None = None


class Standings:
    def __init__(
        self, sessions: SessionStore, otp: OtpPeer, policy: PolicyPeer, notifier: NotifierPeer, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._otp = otp
        self._policy = policy
        self._notifier = notifier
        self._clock = clock
        self._marks = Marks(otp, policy, clock)
        self._remembered = Remembered()
        self.sms_terms = TermsOfClinics(policy, clock)

    async def signed_in(self, token: str) -> SignedIn:
        """Whose this token is. Raises `unauthenticated`, with the cause where it was once valid."""
        found = await self._sessions.by_digest(digest_of(token))
        if isinstance(found, EndCause):
            raise over(found)
        if found is None:
            raise unauthenticated()
        session, now = found.session, self._clock.now()
        cause = end_of(session, found.user, now)
        if cause is None and session.reply_until is not None:  # whatever the time: another replica's clock may differ
            cause = None if await self._sessions.reply_seen(session) else EndCause.REPLACED
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
        return await self._settled(session, state, facts)

    async def renew(self, session: Session) -> None:
        """Somebody is there: the idle time begins anew. A session that has only ever waited has none."""
        now = self._clock.now()
        if session.waiting_until is None and now - session.last_seen_at >= _RENEW_AFTER:
            await self._sessions.seen(session.id, now)

    async def view(self, signed_in: SignedIn, *, fresh: bool = False) -> Standing:
        """Where the session stands, as far as it can be said: what is away leaves out what depends on it, and an
        unproven session of which nothing is known is shown as waiting for a second factor, with `NOT_KNOWN`."""
        facts = await self.facts(signed_in.user, signed_in.clinic, fresh=fresh)
        state = state_of(signed_in.session, facts.factors, facts.decision, self._clock.now())
        standing = await self._settled(signed_in.session, state or SessionState.SECOND_FACTOR_REQUIRED, facts)
        return standing if state is not None else replace(standing, reason=NOT_KNOWN)

    async def must_enrol_after_proof(self, signed_in: SignedIn) -> bool:
        """Whether proving a factor now leads to setting up another, since none that the user has is allowed any more.
        What was so at the sign-in stands where a factor was proven since, or where policy does not answer."""
        session = signed_in.session
        if session.verified_at is not None:
            return session.enrol_after_proof
        with suppress(TimeoutError):
            async with asyncio.timeout(_PROOF_WAITS_SECONDS):
                facts = await self.facts(signed_in.user, signed_in.clinic, fresh=False)
                if facts.decision is not None:
                    return facts.decision.must_enrol_after_proof
        return session.enrol_after_proof

    async def facts(self, user: User, clinic: Clinic, *, fresh: bool) -> Facts:
        """The user's factors and the decision; `fresh` asks the peers whatever is remembered. The guess budget in the
        factors is of now only then."""
        subject = Subject(user, clinic, await self._notifier.methods_available())
        if fresh:
            return await self._ask(subject, self._marks.last_of(clinic.id))
        now = self._clock.now()
        if (entry := self._remembered.of(subject, now)) and entry.is_young(now):
            return Facts(entry.factors, entry.decision)
        try:
            mark = await self._marks.of(clinic.id)
        except ServiceError as error:
            return await self._undecided(user, _only_unavailable(error))
        # Looked up after the mark: what was forgotten while it was waited for is not remembered.
        if (entry := self._remembered.of(subject, self._clock.now())) and entry.holds_by(mark):
            return Facts(entry.factors, entry.decision)
        return await self._ask(subject, mark)

    async def decide(self, user: User, clinic: Clinic, factors: UserFactors) -> Decision:
        """The decision for a user with these factors, asked now."""
        return await self._decide(Subject(user, clinic, await self._notifier.methods_available()), factors)

    def forget_user(self, user_id: UserId) -> None:
        """What is remembered of this user may have changed. The clinic's mark stays: by one of before the change, what
        is asked for after it only looks older than it is."""
        self._remembered.forget_user(user_id)

    def forget_clinic(self, clinic_id: ClinicId) -> None:
        """The clinic's rule, or what is set for any of its people, may have changed."""
        self._remembered.forget_clinic(clinic_id)
        self._marks.forget(clinic_id)
        self.sms_terms.forget(clinic_id)

    async def marked(self, standing: Standing) -> Standing:
        """With what does not work of late last, and named."""
        return with_degraded(standing, await self._notifier.degraded())

    async def _settled(self, session: Session, state: SessionState, facts: Facts) -> Standing:
        """Whoever is found active need not wait any more, and has an active session's ends at once."""
        standing = await self.marked(standing_of(state, facts.factors, facts.decision, session))
        if state is not SessionState.ACTIVE or session.waiting_until is None or facts.decision is None:
            return standing
        now, idle_minutes = self._clock.now(), facts.decision.idle_minutes
        await self._sessions.became_active(session, now, idle_minutes)
        return replace(
            standing, became=replace(session, waiting_until=None, last_seen_at=now, idle_minutes=idle_minutes)
        )

    async def _ask(self, subject: Subject, mark: Mark | None) -> Facts:
        """`mark`: read before now, so that what changes the factors from now on makes them stale."""
        with self._remembered.asking(subject) as asking:
            asked_at = self._clock.now()
            try:
                factors = await self._otp.factors_of(subject.user.id)
            except ServiceError as error:
                return Facts(None, None, _only_unavailable(error))
            try:
                decision = await self._decide(subject, factors)
            except ServiceError as error:
                return Facts(factors, None, _only_unavailable(error))
            epoch = mark.factors_epoch if mark else None
            self._remembered.keep(asking, Entry(subject, asked_at, epoch, factors, decision))
            return Facts(factors, decision)

    async def _decide(self, subject: Subject, factors: UserFactors) -> Decision:
        asked = PolicySubject(subject.user, subject.clinic, factors)
        return (await self._policy.decide([asked], subject.methods_available))[0]

    async def _undecided(self, user: User, away: ServiceError) -> Facts:
        """As much as can be said where a peer is away; the factors, where it is not otp."""
        if away.members.get("away") == "otp":
            return Facts(None, None, away)
        try:
            return Facts(await self._otp.factors_of(user.id), None, away)
        except ServiceError as error:
            return Facts(None, None, _only_unavailable(error))


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
            no_way or "Enter a code to continue.",
            methods=[method.value for method in standing.methods],
            **_degraded(standing),
        )
    return enrolment_required(standing)


def enrolment_required(standing: Standing) -> ServiceError:
    offer, reason = standing.enrolment, standing.reason
    return ServiceError(
        ErrorCode.ENROLMENT_REQUIRED,
        "Set up two-factor authentication to continue.",
        methods=[method.value for method in offer.methods] if offer else [],
        phone_required=offer.is_phone_required if offer else False,
        reason=reason.as_json() if reason else None,
        **_degraded(standing),
    )


def _degraded(standing: Standing) -> dict[str, list[str]]:
    return {"degraded": [method.value for method in standing.degraded]} if standing.degraded else {}


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
