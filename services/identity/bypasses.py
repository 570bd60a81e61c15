"""A bypass (R16), from the gateway's side: granted, revoked, undone. What it opens is in `login` and `sessions`.

Policy keeps it, and nothing else of policy is touched by it. Whatever protects is done before whatever opens: factors
are suspended before anybody is let in without them, and what a used bypass did is undone before it is marked so.
"""

from dataclasses import dataclass

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.aftermath import Aftermath
from services.identity.model import Client, ClinicId, SessionId, SignedIn, User, UserId
from services.identity.own_factor import check_own_factor
from services.identity.peers.otp import OtpCaller, OtpPeer
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor, Bypass, BypassState
from services.identity.standing import Standings
from services.identity.store.recovery import RecoveryStore
from services.identity.store.users import UserStore

LIFE_MINUTES = 60
OPERATOR_SESSION = SessionId("operator")
"""Stands where otp wants to know which session asks."""


@dataclass(frozen=True, slots=True)
class Grant:
    reason: str
    expires_in_minutes: int = LIFE_MINUTES
    suspend_factors: bool = False


class Granting:
    """What an administrator's grant and the operator's have in common."""

    def __init__(
        self,
        recovery: RecoveryStore,
        otp: OtpPeer,
        bypasses: PolicyBypassPeer,
        aftermath: Aftermath,
        standings: Standings,
        clock: Clock,
    ) -> None:
        self._aftermath = aftermath
        self._recovery = recovery
        self._otp = otp
        self._bypasses = bypasses
        self._standings = standings
        self._clock = clock

    async def grant(self, user: User, actor: Actor, session_id: SessionId, grant: Grant) -> Bypass:
        """For a stolen phone its factors are suspended, and every session and remembered browser of the user ends."""
        if user.is_disabled:
            raise ServiceError(ErrorCode.CONFLICT, "This account is disabled. Enable it first.")
        if grant.suspend_factors:
            # Before, so that no session can set anything up when what is being set up dies; and after, for one that has
            # proven a factor in between.
            await self._recovery.end_everything(user.id, self._clock.now())
            caller = OtpCaller(user.clinic_id, user.id, session_id, actor.address)
            await self._otp.suspend_factors(caller, "bypass")
            event = AuditEvent(
                "factors.suspended",
                self._clock.now(),
                user.clinic_id,
                actor.kind,
                actor.id,
                user.id,
                actor.address or None,
                {"reason": grant.reason},
            )
            await self._recovery.end_everything(user.id, event.at, event)
            self._standings.forget_user(user.id)
        granted = await self._bypasses.grant(
            user.clinic_id,
            user.id,
            actor,
            grant.reason,
            expires_in_minutes=grant.expires_in_minutes,
            suspend_factors=grant.suspend_factors,
        )
        await self._aftermath.follow_soon("policy", user.id)
        self._standings.forget_user(user.id)
        return granted


class Bypasses:
    """For administrators."""

    def __init__(
        self,
        granting: Granting,
        users: UserStore,
        recovery: RecoveryStore,
        otp: OtpPeer,
        bypasses: PolicyBypassPeer,
        settings: PolicySettingsPeer,
        standings: Standings,
        clock: Clock,
    ) -> None:
        self._granting = granting
        self._users = users
        self._recovery = recovery
        self._otp = otp
        self._bypasses = bypasses
        self._settings = settings
        self._standings = standings
        self._clock = clock

    async def grant(self, by: SignedIn, client: Client, user_id: UserId, grant: Grant) -> Bypass:
        user = await self._someone_else(by, user_id)
        await check_own_factor(self._otp, by.user.id, "let others in")
        return await self._granting.grant(user, Actor.user(by, client), by.session.id, grant)

    async def revoke(self, by: SignedIn, client: Client, user_id: UserId) -> BypassState:
        """Revokes an unused bypass, or undoes one used in the last 24 hours; which of the two it was. Raises
        `not-found` where there is neither.

        Undone: every session and remembered browser of the user ends, what was set up or proven goes, and only an
        activation gives the account a password again.
        """
        user = await self._someone_else(by, user_id)
        known = (await self._settings.user_settings(by.clinic.id, [user.id]))[0].bypass
        if known is not None and known.state is BypassState.USED:
            await check_own_factor(self._otp, by.user.id, "undo what was done with it")
            await self._undo(by, client, user, known)
        revoked = await self._bypasses.revoke(by.clinic.id, user.id, Actor.user(by, client))
        if revoked.state is BypassState.UNDONE and (known is None or known.state is not BypassState.USED):
            await self._undo(by, client, user, revoked)  # it was used in between
        self._standings.forget_user(user.id)
        return revoked.state

    async def _undo(self, by: SignedIn, client: Client, user: User, bypass: Bypass) -> None:
        event = AuditEvent(
            "bypass.undone",
            self._clock.now(),
            by.clinic.id,
            "user",
            by.user.id,
            user.id,
            client.address,
            {"bypass_id": bypass.id, "session_id": bypass.used_session_id},
        )
        has_enrolled = await self._recovery.undo(user.id, bypass.id, event)
        # A gateway that died between otp's word and its own note has not noted it, and one may be at it just now.
        since = None if has_enrolled else bypass.used_at or self._clock.now()
        caller = OtpCaller(by.clinic.id, user.id, by.session.id, client.address)
        await self._otp.remove_all_factors(caller, "bypass_undone", since)
        # After it, so that no proof on its way comes afterwards. One that the owner gave before counts no more either,
        # until they prove a number again: that lets one account more have it, and keeps nobody's number from them.
        await self._otp.forget_proven_number(user.id)
        self._standings.forget_user(user.id)

    async def _someone_else(self, by: SignedIn, user_id: UserId) -> User:
        user = await self._users.by_id(ClinicId(by.clinic.id), user_id)
        if user is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such person in your clinic.")
        if user.id == by.user.id:
            raise ServiceError(ErrorCode.FORBIDDEN, "Another administrator has to do this for you.")
        return user
