"""A clinic's rule: made known, read, changed.

A change is made from the version it was read at or not at all; one that changes nothing writes and counts nothing.
"""

from collections.abc import Sequence

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid
from services.policy.model import Actor, ClinicId, ClinicRule, Method, RuleChange
from services.policy.refusals import check_actor
from services.policy.rule_changes import changed_rule, chosen_countries, chosen_methods, differences
from services.policy.schedule import as_it_stands
from services.policy.store.clinics import Clinics

IDLE_MINUTES = 30
"""NIST SP 800-63B at AAL2 (revision 3): half an hour without activity ends a session."""
SMS_DAILY_CAP = 300
"""Text messages a clinic and day: three for each of 100 staff, the size that the address limits are made for."""


class Rules:
    def __init__(self, clinics: Clinics, clock: Clock) -> None:
        self._clinics = clinics
        self._clock = clock

    async def get(self, clinic_id: ClinicId) -> ClinicRule:
        """The rule as it stands: `require_two_factor` says whether it is in force now."""
        return as_it_stands(await self._clinics.rule(clinic_id), self._clock.now())

    async def create(self, clinic_id: ClinicId, methods: Sequence[Method], country: str) -> ClinicRule:
        """The rule of a new clinic: nothing required yet. Again for a known clinic: its rule as it is."""
        if not clinic_id:
            raise invalid("clinic_id", "This field is needed.")
        rule = ClinicRule(
            clinic_id=clinic_id,
            require_two_factor=False,
            required_since=None,
            methods=chosen_methods(methods),
            phone_required=True,
            remember_device_days=0,
            idle_minutes=IDLE_MINUTES,
            sms_countries=chosen_countries([country]),
            sms_daily_cap=SMS_DAILY_CAP,
        )
        event = AuditEvent(
            kind="clinic_rule.created",
            at=self._clock.now(),
            clinic_id=clinic_id,
            actor_kind="operator",
            actor_id=None,
            subject_id=None,
            detail={"methods": list(rule.methods), "country": country, "version": rule.version},
        )
        return rule if await self._clinics.add(rule, event) else await self.get(clinic_id)

    async def change(
        self, clinic_id: ClinicId, actor: Actor, change: RuleChange, expected_version: int | None
    ) -> ClinicRule:
        """The rule after the change. CONFLICT, with the current version, where `expected_version` is not it."""
        check_actor(actor)
        async with self._clinics.lock(clinic_id) as clinic:
            now, current = self._clock.now(), clinic.rule
            if expected_version is not None and expected_version != current.version:
                raise _conflict(current)
            changed = changed_rule(current, change, await clinic.holds.all(), now)
            if changed != current:
                event = AuditEvent(
                    kind="clinic_rule.changed",
                    at=now,
                    clinic_id=clinic_id,
                    actor_kind=actor.kind,
                    actor_id=actor.id,
                    subject_id=None,
                    address=actor.address,
                    detail={"changes": differences(current, changed), "version": current.version + 1},
                )
                changed = await clinic.save_rule(changed, event)
        return as_it_stands(changed, now)


def _conflict(current: ClinicRule) -> ServiceError:
    detail = "Someone else has changed this in the meantime. Please look at it again."
    return ServiceError(ErrorCode.CONFLICT, detail, version=current.version)
