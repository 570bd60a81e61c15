"""What is set for one person: the requirement, its reason and end, and whether their number is lifted.

Invariant: a clinic that has an administrator who is not exempt keeps one. The check is made under the clinic's lock,
so two administrators who exempt each other at once cannot both succeed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid
from services.policy.model import Actor, Bypass, ClinicId, PhoneLift, Requirement, UserId, UserSetting
from services.policy.refusals import check_actor, check_future, check_reason, unknown_clinic
from services.policy.store.clinics import Clinics
from services.policy.store.standings import Standings


@dataclass(frozen=True, slots=True)
class Expiry:
    """The end that a change sets; None: no end."""

    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SettingChange:
    """The fields that a change sets; None leaves one as it is."""

    requirement: Requirement | None = None
    reason: str | None = None
    expiry: Expiry | None = None
    is_phone_lifted: bool | None = None


@dataclass(frozen=True, slots=True)
class Administrators:
    """What identity knows of the clinic's activated and enabled administrators."""

    includes_user: bool
    others: tuple[UserId, ...]


@dataclass(frozen=True, slots=True)
class SettingWithBypass:
    setting: UserSetting | None
    bypass: Bypass | None


class Requirements:
    def __init__(self, clinics: Clinics, standings: Standings, clock: Clock) -> None:
        self._clinics = clinics
        self._standings = standings
        self._clock = clock

    async def of(self, clinic_id: ClinicId, user_ids: Sequence[UserId]) -> list[SettingWithBypass]:
        """What is set for each, in the order asked for."""
        found = await self._standings.read([clinic_id], user_ids, self._clock.now())
        standing = found.get(clinic_id)
        if standing is None:
            raise unknown_clinic()
        return [
            SettingWithBypass(standing.settings.get(user_id), standing.bypasses.get(user_id)) for user_id in user_ids
        ]

    async def count_exempt(self, clinic_id: ClinicId, user_ids: Sequence[UserId]) -> int:
        """How many of them are exempt now."""
        return await self._standings.count_exempt(clinic_id, user_ids, self._clock.now())

    async def change(
        self, clinic_id: ClinicId, user_id: UserId, actor: Actor, change: SettingChange, administrators: Administrators
    ) -> SettingWithBypass:
        check_actor(actor)
        if not user_id:
            raise invalid("user_id", "This field is needed.")
        async with self._clinics.lock(clinic_id) as clinic:
            now = self._clock.now()
            before = (await clinic.settings.of([user_id])).get(user_id) or _untouched(clinic_id, user_id, actor, now)
            after = changed_setting(before, change, actor, now)
            if _demands(after) != _demands(before):
                _check_self(before, after, actor, now)
                if administrators.includes_user and after.is_exempt(now):
                    others = await clinic.settings.of(administrators.others)
                    _check_last_administrator(administrators.others, others, now)
                await clinic.settings.put(after)
                await clinic.record_change(_event(before, after, actor, now))
        return (await self.of(clinic_id, [user_id]))[0]


def changed_setting(before: UserSetting, change: SettingChange, actor: Actor, at: datetime) -> UserSetting:
    """The setting after the change; what is left out stays, but what belonged to an exemption ends with it. The reason
    is for what the change names; one for what the change does not name would be for both, where both are set."""
    names_requirement = change.requirement is not None or change.expiry is not None
    names_phone = change.is_phone_lifted is not None
    if change.reason is not None and not names_requirement and not names_phone:
        names_phone = before.lift is not None
        names_requirement = before.requirement is not Requirement.CLINIC_DEFAULT or not names_phone
        if names_phone and names_requirement:
            raise invalid("reason", "Is this for the requirement or for the lifted number?")
    after = _with_requirement(before, change, change.reason if names_requirement else None, at)
    if _demands(after)[:3] != _demands(before)[:3]:
        after = replace(after, set_by=actor, set_at=at)
    if names_phone:
        is_lifted = before.lift is not None if change.is_phone_lifted is None else change.is_phone_lifted
        after = replace(after, lift=_lift(before.lift, change.reason, actor, at) if is_lifted else None)
    return after


def _with_requirement(before: UserSetting, change: SettingChange, reason: str | None, at: datetime) -> UserSetting:
    after = replace(before, requirement=change.requirement or before.requirement)
    is_exempt = after.requirement is Requirement.EXEMPT
    if change.expiry is not None:
        if change.expiry.expires_at is not None and not is_exempt:
            raise invalid("expires_at", "Only an exemption can have an end.")
        after = replace(after, expires_at=change.expiry.expires_at)
    elif not is_exempt:
        after = replace(after, expires_at=None)
    names_exemption = change.requirement is Requirement.EXEMPT or change.expiry is not None
    if is_exempt and names_exemption and after.expires_at is not None:
        check_future("expires_at", after.expires_at, at)
    if reason is not None:
        after = replace(after, reason=reason.strip())
    elif after.requirement is not before.requirement:
        after = replace(after, reason="")
    if is_exempt or after.reason:
        check_reason(after.reason)
    return after


def _lift(before: PhoneLift | None, reason: str | None, actor: Actor, at: datetime) -> PhoneLift:
    if before is not None and (reason is None or reason.strip() == before.reason):
        return before
    check_reason(reason or "")
    return PhoneLift((reason or "").strip(), actor, at)


def _untouched(clinic_id: ClinicId, user_id: UserId, actor: Actor, at: datetime) -> UserSetting:
    return UserSetting(clinic_id, user_id, Requirement.CLINIC_DEFAULT, "", None, actor, at)


_NAMED = ("requirement", "reason", "expires_at", "phone_reason")


def _demands(setting: UserSetting) -> tuple[object, ...]:
    return setting.requirement, setting.reason, setting.expires_at, setting.lift and setting.lift.reason


def _check_self(before: UserSetting, after: UserSetting, actor: Actor, at: datetime) -> None:
    """Nobody loosens for themselves what is asked of them."""
    loosens = (after.is_exempt(at) and (not before.is_exempt(at) or after.expires_at != before.expires_at)) or (
        after.lift is not None and before.lift is None
    )
    if loosens and (actor.kind, actor.id) == ("user", after.user_id):
        raise ServiceError(ErrorCode.FORBIDDEN, "Another administrator has to do this for you.")


def _check_last_administrator(others: Sequence[UserId], settings: dict[UserId, UserSetting], at: datetime) -> None:
    if any(user_id not in settings or not settings[user_id].is_exempt(at) for user_id in others):
        return
    raise ServiceError(
        ErrorCode.CONFLICT, "The clinic needs an administrator who is not exempt. Please name another one first."
    )


def _event(before: UserSetting, after: UserSetting, actor: Actor, at: datetime) -> AuditEvent:
    changes = {
        name: [_plain(was), _plain(now)]
        for name, was, now in zip(_NAMED, _demands(before), _demands(after), strict=True)
        if was != now
    }
    if "phone_reason" in changes and (before.lift is None or after.lift is None):
        changes["is_phone_lifted"] = [before.lift is not None, after.lift is not None]
    return AuditEvent(
        kind="requirement.changed",
        at=at,
        clinic_id=after.clinic_id,
        actor_kind=actor.kind,
        actor_id=actor.id,
        subject_id=after.user_id,
        address=actor.address,
        detail={"changes": changes},
    )


def _plain(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
