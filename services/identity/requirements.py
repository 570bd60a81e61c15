"""What is required of single users: read, and set by their clinic's administrators.

Nobody exempts themselves, nobody without a second factor lifts anything from others, and a clinic keeps an
administrator who is not exempt.
"""

from dataclasses import dataclass

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Client, SignedIn, User, UserId
from services.identity.overviews import Overview, told_of
from services.identity.own_factor import check_own_factor
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor, Requirement, RequirementChange, UserSettings
from services.identity.standing import Standings
from services.identity.store.staff import StaffStore
from services.identity.store.users import UserStore
from services.identity.users import not_found


@dataclass(frozen=True, slots=True)
class UserOverview:
    """A user's second factors, what is asked of them, and what is set for them alone."""

    overview: Overview
    settings: UserSettings


class Requirements:
    def __init__(
        self,
        users: UserStore,
        staff: StaffStore,
        otp: OtpPeer,
        settings: PolicySettingsPeer,
        standings: Standings,
    ) -> None:
        self._users = users
        self._staff = staff
        self._otp = otp
        self._settings = settings
        self._standings = standings

    async def of(self, by: SignedIn, user_id: UserId) -> UserOverview:
        user = await self._user(by, user_id)
        (settings,) = await self._settings.user_settings(by.clinic.id, [user.id])
        return await self._overview(by, user, settings)

    async def set(self, by: SignedIn, client: Client, user_id: UserId, change: RequirementChange) -> UserOverview:
        """Sets what is given; it counts from the user's next request on."""
        user = await self._user(by, user_id)
        (before,) = await self._settings.user_settings(by.clinic.id, [user.id])
        if user.id == by.user.id and (change.requirement is Requirement.EXEMPT or change.phone_required is False):
            raise ServiceError(ErrorCode.FORBIDDEN, "Another administrator has to do this for you.")
        if self._lifts(change, before):
            await check_own_factor(self._otp, by.user.id, "lift for others what is required of them")
        # Held until policy has answered: who can administer must not change while the last of them may be exempted.
        async with self._staff.holding_administrators(by.clinic.id) as administrators:
            after = await self._settings.set_requirement(
                by.clinic.id,
                user.id,
                change,
                Actor.user(by, client),
                is_administrator=user.id in administrators,
                other_administrators=[one for one in administrators if one != user.id],
            )
        self._standings.forget_clinic(by.clinic.id)
        return await self._overview(by, user, after)

    def _lifts(self, change: RequirementChange, before: UserSettings) -> bool:
        """Whether less is required of the user afterwards."""
        if change.requirement is Requirement.EXEMPT or change.phone_required is False:
            return True
        if before.requirement is Requirement.EXEMPT and change.requirement is None and change.sets_expiry:
            return True
        return before.requirement is Requirement.REQUIRED and change.requirement is Requirement.CLINIC_DEFAULT

    async def _user(self, by: SignedIn, user_id: UserId) -> User:
        user = await self._users.by_id(by.clinic.id, user_id)
        if user is None:
            raise not_found()
        return user

    async def _overview(self, by: SignedIn, user: User, settings: UserSettings) -> UserOverview:
        factors = await self._otp.factors_of(user.id)
        decision = await self._standings.decide(user, by.clinic, factors)
        overview = Overview(factors, decision)
        return UserOverview(overview if user.id == by.user.id else told_of(user.name, overview), settings)
