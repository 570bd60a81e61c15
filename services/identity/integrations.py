"""What integrations demand of a clinic, as its administrators and the apps themselves set and end it.

An app sets and ends its own holds only; what an app has set, no administrator of the clinic loosens (R15).
"""

from contextlib import AsyncExitStack

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import ClinicId, UserId
from services.identity.own_factor import check_own_factor
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor, Hold, HoldTerms
from services.identity.remembering import Forgetting
from services.identity.standing import Standings


class Integrations:
    def __init__(
        self, settings: PolicySettingsPeer, otp: OtpPeer, standings: Standings, forgetting: Forgetting
    ) -> None:
        self._settings = settings
        self._otp = otp
        self._standings = standings
        self._forgetting = forgetting

    async def holds(self, clinic_id: ClinicId, by: Actor) -> list[Hold]:
        """The clinic's holds, by name; to an app, its own."""
        return [hold for hold in await self._settings.holds(clinic_id) if by.kind != "app" or is_of(hold, by)]

    async def put(self, clinic_id: ClinicId, by: Actor, terms: HoldTerms) -> Hold:
        """Sets a hold; it counts for every session and every remembered browser from its next request on."""
        before = await self._named(clinic_id, terms.name)
        if before is not None:
            self._check_own(before, by)
            if by.kind == "user" and _loosens(before, terms):
                await check_own_factor(self._otp, UserId(by.id or ""), "loosen what an integration requires")
        async with AsyncExitStack() as around:
            if terms.max_device_trust_hours is not None or _caps(before):
                await around.enter_async_context(self._forgetting.around(clinic_id, by))
            hold = await self._settings.put_hold(clinic_id, terms, by)
            self._standings.forget_clinic(clinic_id)
        return hold

    async def check_may_put(self, clinic_id: ClinicId, by: Actor, name: str) -> None:
        """Raises `forbidden` where the hold of this name is not theirs to set."""
        before = await self._named(clinic_id, name)
        if before is not None:
            self._check_own(before, by)

    async def end(self, clinic_id: ClinicId, by: Actor, name: str) -> None:
        before = await self._named(clinic_id, name)
        if before is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no integration of this name.")
        self._check_own(before, by)
        if by.kind == "user":
            await check_own_factor(self._otp, UserId(by.id or ""), "end what an integration requires")
        async with AsyncExitStack() as around:
            if _caps(before):
                await around.enter_async_context(self._forgetting.around(clinic_id, by))
            await self._settings.end_hold(clinic_id, name, by)
            self._standings.forget_clinic(clinic_id)

    async def _named(self, clinic_id: ClinicId, name: str) -> Hold | None:
        return next((hold for hold in await self._settings.holds(clinic_id) if hold.name == name), None)

    def _check_own(self, hold: Hold, by: Actor) -> None:
        if by.kind == "app" and not is_of(hold, by):
            raise ServiceError(ErrorCode.FORBIDDEN, "This hold was set by someone else.")
        if by.kind == "user" and hold.set_by.kind == "app":
            raise ServiceError(
                ErrorCode.FORBIDDEN, "An app has set this hold; only the app itself or an operator changes or ends it."
            )


def is_of(hold: Hold, app: Actor) -> bool:
    return hold.set_by.kind == app.kind and hold.set_by.id == app.id


def _caps(hold: Hold | None) -> bool:
    return hold is not None and hold.max_device_trust_hours is not None


def _loosens(before: Hold, after: HoldTerms) -> bool:
    if before.requires_two_factor and not after.requires_two_factor:
        return True
    cap = before.max_device_trust_hours
    return cap is not None and (after.max_device_trust_hours is None or after.max_device_trust_hours > cap)
