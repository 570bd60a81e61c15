"""A clinic's particulars and its rule of two-factor authentication, as its administrators read and change them.

Who turns the rule on or off has a second factor of their own, and so has who loosens one that is on or has a date:
nobody locks a clinic, or themselves, into what they have not tried, and nobody without a factor weakens the others.
Until a clinic requires anything, its first administrator may set it up as they like.
"""

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid
from services.identity.model import (
    Client,
    Clinic,
    Method,
    SignedIn,
)
from services.identity.own_factor import check_own_factor
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.policy_words import Actor, RuleChange, SecurityRule
from services.identity.remembering import Forgetting
from services.identity.standing import Standings
from services.identity.store.clinics import ClinicStore


@dataclass(frozen=True, slots=True)
class ClinicChange:
    """What to change; None leaves it as it is."""

    name: str | None = None
    timezone: str | None = None
    country: str | None = None
    locale: str | None = None


class ClinicOperations:
    def __init__(
        self,
        store: ClinicStore,
        policy: PolicyPeer,
        otp: OtpPeer,
        notifier: NotifierPeer,
        standings: Standings,
        forgetting: Forgetting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._policy = policy
        self._otp = otp
        self._notifier = notifier
        self._standings = standings
        self._forgetting = forgetting
        self._clock = clock

    async def change(self, by: SignedIn, client: Client, change: ClinicChange) -> Clinic:
        """Sets the clinic's particulars."""
        changed = {name: value for name, value in _given(change).items() if value != getattr(by.clinic, name)}
        if not changed:
            return by.clinic
        event = AuditEvent(
            kind="clinic.changed",
            at=self._clock.now(),
            clinic_id=by.clinic.id,
            actor_kind="user",
            actor_id=by.user.id,
            subject_id=None,
            address=client.address,
            detail={name: [getattr(by.clinic, name), value] for name, value in changed.items()},
        )
        return await self._store.change(by.clinic.id, event, **changed)

    async def security(self, by: SignedIn) -> SecurityRule:
        return await self._policy.rule(by.clinic.id)

    async def change_security(
        self, by: SignedIn, client: Client, change: RuleChange, versions: Collection[int] | None = None
    ) -> SecurityRule:
        """Changes the rule; it holds for every session of the clinic from its next request on.

        `versions` (the request's If-Match): only if the rule is still one of these.
        """
        rule = await self._policy.rule(by.clinic.id)
        if versions is not None:
            if rule.version not in versions:
                raise _changed_meanwhile(rule)
            change = replace(change, expected_version=rule.version)
        await self.check(change)
        if _turns(change, rule) or (_asks(rule) and _loosens(change, rule)):
            await check_own_factor(self._otp, by.user.id, "change the rule for everyone")
        async with AsyncExitStack() as around:
            if change.remember_device_days is not None:
                await around.enter_async_context(self._forgetting.around(by.clinic.id, Actor.user(by, client)))
            changed = await self._policy.change_rule(
                by.clinic.id, change, actor_kind="user", actor_id=by.user.id, address=client.address
            )
            self._standings.forget_clinic(by.clinic.id)
        if change.idle_minutes is not None:
            # Also where the rule said so before: then this may be the repetition of a change that ended half-way.
            await self._store.set_idle_minutes(by.clinic.id, changed.idle_minutes)
        return changed

    async def check(self, change: RuleChange) -> None:
        """Refuses what this installation cannot do; everything else is policy's to say."""
        if change.methods is not None:
            await self._check_methods(change.methods)

    async def _check_methods(self, methods: Collection[Method]) -> None:
        if not methods:
            raise invalid("methods", "Choose at least one: totp, sms.")
        if Method.BACKUP_CODE in methods:
            raise invalid("methods", "Backup codes come with the others and are not chosen.")
        available = await self._notifier.methods_available()
        for method in methods:
            if method not in available:
                raise invalid("methods", f"This installation cannot do {method}.")


def _given(change: ClinicChange) -> dict[str, str]:
    values = {"name": change.name, "timezone": change.timezone, "country": change.country, "locale": change.locale}
    return {name: value for name, value in values.items() if value is not None}


def _turns(change: RuleChange, rule: SecurityRule) -> bool:
    """Whether the change turns the rule on or off, or moves its date; not where it names what is so already."""
    date = change.schedule.enforce_from if change.schedule else None
    if change.require_two_factor is None and change.schedule is None:
        return False
    return change.require_two_factor not in (None, rule.require_two_factor) or date != rule.enforce_from


def _asks(rule: SecurityRule) -> bool:
    """Whether the rule requires something of people, now or from a date. Under a hold nobody is here without one."""
    return rule.require_two_factor or rule.enforce_from is not None


def _loosens(change: RuleChange, rule: SecurityRule) -> bool:
    """Whether something of the rule is weaker afterwards, or may cost the clinic more. Texts are the weaker way."""
    methods = change.methods or rule.methods
    countries = change.sms_countries or rule.sms_countries
    return (
        (Method.SMS in methods and set(methods) != set(rule.methods))
        or (rule.phone_required and change.phone_required is False)
        or (change.remember_device_days or 0) > rule.remember_device_days
        or (change.idle_minutes or 0) > rule.idle_minutes
        or not set(countries) <= set(rule.sms_countries)
        or (change.sms_daily_cap or 0) > rule.sms_daily_cap
    )


def _changed_meanwhile(rule: SecurityRule) -> ServiceError:
    detail = "Someone else has changed this in the meantime. Please look at it again."
    return ServiceError(ErrorCode.CONFLICT, detail, version=rule.version)
