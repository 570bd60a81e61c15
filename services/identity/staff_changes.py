"""Changes of a person by whoever may make them, with what must go with them.

A clinic keeps an administrator who can sign in and is not exempt; whoever is disabled, or is an administrator no more,
has no unused link and no bypass left, neither of their own nor given by them.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from services.common.audit import AuditEvent
from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Role, User, UserId
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import BypassState
from services.identity.store.roster import RosterStore
from services.identity.store.staff import EmailTaken, LastAdministrator, StaffStore, UserChange

_BATCH = 500


class StaffChanges:
    def __init__(self, staff: StaffStore, roster: RosterStore, settings: PolicySettingsPeer) -> None:
        self._staff = staff
        self._roster = roster
        self._settings = settings

    async def apply(self, before: User, change: UserChange, at: datetime, event: AuditEvent) -> User | None:
        """Sets what is given. None where there is no such user. Raises `conflict`, and `unavailable` where something
        that must go with it could not be done: then it is to be asked for again."""

        async def check_others(others: Sequence[UserId]) -> None:
            settings = await self._settings.user_settings(before.clinic_id, others)
            if all(one.is_exempt(at) for one in settings):
                raise LastAdministrator

        if change.disabled is False and before.is_disabled:
            # What their bypass was for is over; it could not be ended for certain while they were disabled.
            await self._settings.end_bypass(before.clinic_id, before.id, "disabled")
        try:
            after = await self._staff.change(before, change, at, event, check_others)
        except EmailTaken:
            raise email_taken() from None
        except LastAdministrator:
            raise last_administrator() from None
        if after is None:
            return None
        if change.disabled:
            with suppress(ServiceError):  # Nobody who is disabled signs in, and enabling them ends it for certain.
                await self._settings.end_bypass(after.clinic_id, after.id, "disabled")
        if before.role is Role.ADMIN and (change.disabled or after.role is not Role.ADMIN):
            cause = "disabled" if change.disabled else "demoted"
            await self._settings.end_bypass(after.clinic_id, after.id, cause)
            await self._end_granted(after, cause)
        return after

    async def _end_granted(self, administrator: User, cause: str) -> None:
        """What an administrator has given away unused is not worth more than the administrator."""
        people = [person.id for person in await self._roster.people(administrator.clinic_id)]
        for start in range(0, len(people), _BATCH):
            for one in await self._settings.user_settings(administrator.clinic_id, people[start : start + _BATCH]):
                bypass = one.bypass
                if bypass and bypass.state is BypassState.UNUSED and bypass.granted_by.id == administrator.id:
                    await self._settings.end_bypass(administrator.clinic_id, one.user_id, f"granter_{cause}")


def last_administrator() -> ServiceError:
    return ServiceError(
        ErrorCode.CONFLICT,
        "This is the clinic's only administrator who can sign in and is not exempt. Make someone else one first.",
    )


def email_taken() -> ServiceError:
    return ServiceError(ErrorCode.CONFLICT, "Someone in this clinic has this e-mail address already.")
