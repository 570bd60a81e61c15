"""What a change of the rule, or a hold, would do to everybody of the clinic, before it is made (R17).

Nothing here decides: policy's decision for now and for then, and the gateway's own computation of where a session
stands, are the ones that the next request will meet.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.clock import Clock
from services.identity.clinic import ClinicOperations
from services.identity.integrations import Integrations
from services.identity.model import (
    Clinic,
    Decision,
    Reason,
    Session,
    SessionState,
    SignedIn,
    UserFactors,
)
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import (
    Actor,
    Foreseen,
    HoldTerms,
    RuleChange,
    Weighed,
)
from services.identity.sessions import state_at_sign_in, state_of
from services.identity.store.roster import Listed, RosterStore
from services.identity.store.sessions import SessionStore

BATCH = 500
"""Users a call: with their reasons some half a megabyte, far below what a message may be."""
_SIDE_BY_SIDE = 4
"""So that otp, policy and the gateway work at the same time, and each still serves others in between."""
_STRICTEST = (SessionState.SECOND_FACTOR_REQUIRED, SessionState.ENROLMENT_REQUIRED, SessionState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Previewed:
    """One user: the state their next request would meet, or their next sign-in where they have no session."""

    user: Listed
    now: SessionState
    then: SessionState
    reason: Reason
    has_session: bool
    has_factor: bool
    is_exempt: bool


@dataclass(slots=True)
class Totals:
    """Of those who are not disabled."""

    stopped_now: int = 0
    """Have a live session, which would be stopped at its next request."""
    stopped_at_sign_in: int = 0
    """Have none, and would be led to more than a password when they sign in next."""
    no_factor: int = 0
    no_phone: int = 0
    exempt: int = 0
    unaffected: int = 0
    """Would meet the same as now."""

    def count(self, one: Previewed) -> None:
        if one.user.is_disabled:
            return
        stops = one.now is SessionState.ACTIVE and one.then is not SessionState.ACTIVE
        self.stopped_now += stops and one.has_session
        self.stopped_at_sign_in += stops and not one.has_session
        self.no_factor += not one.has_factor
        self.no_phone += not one.user.has_phone
        self.exempt += one.is_exempt
        self.unaffected += one.now is one.then


class Previews:
    def __init__(
        self,
        roster: RosterStore,
        sessions: SessionStore,
        clinics: ClinicOperations,
        integrations: Integrations,
        otp: OtpPeer,
        settings: PolicySettingsPeer,
        notifier: NotifierPeer,
        clock: Clock,
    ) -> None:
        self._roster = roster
        self._sessions = sessions
        self._clinics = clinics
        self._integrations = integrations
        self._otp = otp
        self._settings = settings
        self._notifier = notifier
        self._clock = clock

    async def of_rule(self, by: SignedIn, change: RuleChange) -> tuple[list[Previewed], Totals]:
        """If the rule were changed so."""
        await self._clinics.check(change)
        return await self._of(by.clinic, change)

    async def of_hold(self, by: SignedIn, terms: HoldTerms) -> tuple[list[Previewed], Totals]:
        """If an integration demanded this. Refused where setting it would be."""
        await self._integrations.check_may_put(by.clinic.id, Actor("user", by.user.id), terms.name)
        return await self._of(by.clinic, terms)

    async def _of(self, clinic: Clinic, would_be: RuleChange | HoldTerms) -> tuple[list[Previewed], Totals]:
        available = await self._notifier.methods_available()
        people = await self._roster.people(clinic.id)
        now = self._clock.now()
        sessions = await self._roster.sessions(clinic.id, now)
        batches = [people[start : start + BATCH] for start in range(0, len(people), BATCH)]

        async def look(batch: list[Listed]) -> list[Previewed]:
            factors = await self._otp.factors([user.id for user in batch])
            weighed = [Weighed(user.id, user.has_phone, held) for user, held in zip(batch, factors, strict=True)]
            foreseen = await self._settings.preview(clinic, weighed, available, would_be)
            looked_at: list[Previewed] = []
            for user, held in zip(batch, factors, strict=True):
                live, one = sessions.get(user.id, ()), foreseen[user.id]
                leave = None if live else one.now.bypass
                proven = leave is not None and await self._sessions.has_proven_since(user.id, leave.granted_at)
                looked_at.append(_previewed(user, held, one, live, now, has_proven_since=proven))
            return looked_at

        found: list[Previewed] = []
        for start in range(0, len(batches), _SIDE_BY_SIDE):
            for some in await asyncio.gather(*(look(batch) for batch in batches[start : start + _SIDE_BY_SIDE])):
                found += some
        totals = Totals()
        for previewed in found:
            totals.count(previewed)
        return found, totals


def _previewed(
    user: Listed,
    factors: UserFactors,
    foreseen: Foreseen,
    live: Sequence[Session],
    now: datetime,
    *,
    has_proven_since: bool,
) -> Previewed:
    return Previewed(
        user=user,
        now=_met(live, factors, foreseen.now, now, has_proven_since),
        then=_met(live, factors, foreseen.then, now, has_proven_since),
        reason=foreseen.then.reason,
        has_session=bool(live),
        has_factor=bool(factors.factors),
        is_exempt=foreseen.is_exempt,
    )


def _met(
    live: Sequence[Session], factors: UserFactors, decision: Decision, now: datetime, has_proven_since: bool
) -> SessionState:
    """The strictest of the states of the user's sessions; without one, that of the next sign-in."""
    if not live:
        at_sign_in = state_at_sign_in(factors, decision, has_proven_since=has_proven_since)
        return at_sign_in or SessionState.SECOND_FACTOR_REQUIRED
    states = {state_of(session, factors, decision, now) for session in live}
    return next((state for state in _STRICTEST if state in states), SessionState.SECOND_FACTOR_REQUIRED)
