"""A clinic's rule: made known, read, changed, and the decisions under it.

A change is made from the version it was read at or not at all; one that changes nothing writes and counts nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.policy.decision import Facts, decide
from services.policy.model import CHOOSABLE, Actor, ClinicId, ClinicRule, Decision, Method, RuleChange, Subject
from services.policy.store import PolicyStore

IDLE_MINUTES = 30
"""NIST SP 800-63B at AAL2 (revision 3): half an hour without activity ends a session."""
SMS_DAILY_CAP = 300
"""Text messages a clinic and day: three for each of 100 staff, the size that the address limits are made for."""
_TRIES = 5
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)


class Rules:
    def __init__(self, store: PolicyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def decide(self, subjects: Sequence[Subject]) -> list[Decision]:
        """One decision a subject, in their order. A clinic nobody made known is an error, never a mild default."""
        if not subjects:
            return []
        at = self._clock.now()
        rules = await self._store.rules({subject.clinic_id for subject in subjects})
        decisions = []
        for subject in subjects:
            rule = rules.get(subject.clinic_id)
            if rule is None:
                raise _unknown_clinic()
            decisions.append(decide(Facts(rule, subject, at)))
        return decisions

    async def get(self, clinic_id: ClinicId) -> ClinicRule:
        rule = (await self._store.rules([clinic_id])).get(clinic_id)
        if rule is None:
            raise _unknown_clinic()
        return rule

    async def create(self, clinic_id: ClinicId, methods: Sequence[Method], country: str) -> ClinicRule:
        """The rule of a new clinic: nothing required yet. Again for a known clinic: its rule as it is."""
        if not clinic_id:
            raise _invalid("clinic_id", "is missing")
        if not _COUNTRY.fullmatch(country):
            raise _invalid("country", "must be two capital letters (ISO 3166-1 alpha-2)")
        rule = ClinicRule(
            clinic_id=clinic_id,
            require_two_factor=False,
            required_since=None,
            methods=_chosen(methods),
            phone_required=True,
            remember_device_days=0,
            idle_minutes=IDLE_MINUTES,
            sms_countries=(country,),
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
        return rule if await self._store.add(rule, event) else await self.get(clinic_id)

    async def change(
        self, clinic_id: ClinicId, actor: Actor, change: RuleChange, expected_version: int | None
    ) -> ClinicRule:
        """The rule after the change. CONFLICT, with the current version, where `expected_version` is not it."""
        if not actor.kind:
            raise _invalid("actor", "is missing")
        if change.methods is not None:
            change = replace(change, methods=_chosen(change.methods))
        for _ in range(_TRIES):
            current = await self.get(clinic_id)
            if expected_version is not None and expected_version != current.version:
                raise _conflict(current)
            changed = self._apply(current, change)
            if changed == current:
                return current
            saved = await self._store.replace(changed, self._event(actor, current, changed))
            if saved:
                return saved
            # Someone else was first. Without an expected version the fields set here are simply set after theirs.
        raise _conflict(await self.get(clinic_id))

    def _apply(self, current: ClinicRule, change: RuleChange) -> ClinicRule:
        changed = replace(current, **change.fields())
        if changed.require_two_factor and not current.require_two_factor:
            return replace(changed, required_since=self._clock.now())
        return changed

    def _event(self, actor: Actor, before: ClinicRule, after: ClinicRule) -> AuditEvent:
        changes = {
            name: [_plain(getattr(before, name)), _plain(getattr(after, name))]
            for name in ("require_two_factor", "methods", "phone_required")
            if getattr(before, name) != getattr(after, name)
        }
        return AuditEvent(
            kind="clinic_rule.changed",
            at=self._clock.now(),
            clinic_id=before.clinic_id,
            actor_kind=actor.kind,
            actor_id=actor.id,
            subject_id=None,
            address=actor.address,
            detail={"changes": changes, "version": before.version + 1},
        )


def _chosen(methods: Sequence[Method]) -> tuple[Method, ...]:
    """The methods once each, best first. None at all would leave nobody a way in; backup codes are not a choice."""
    if not methods or any(method not in CHOOSABLE for method in methods):
        raise _invalid("methods", f"must be one or more of {', '.join(CHOOSABLE)}")
    return tuple(method for method in CHOOSABLE if method in methods)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _conflict(current: ClinicRule) -> ServiceError:
    detail = "Someone else has changed this in the meantime. Please look at it again."
    return ServiceError(ErrorCode.CONFLICT, detail, version=current.version)


def _unknown_clinic() -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, "There is no such clinic.")


def _invalid(field: str, message: str) -> ServiceError:
    errors = [{"field": field, "message": message}]
    return ServiceError(ErrorCode.INVALID_REQUEST, "The request is not valid.", errors=errors)
