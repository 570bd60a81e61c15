"""Rows of the database as values of the model. Times may be text: some rows come as JSON within another."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.policy.model import (
    Actor,
    Bypass,
    BypassState,
    ClinicRule,
    Hold,
    Method,
    PhoneLift,
    Requirement,
    UserSetting,
)

RULE_COLUMNS = (
    "clinic_id, require_two_factor, required_since, methods, phone_required, remember_device_days, idle_minutes,"
    " sms_countries, sms_daily_cap, version, epoch, enforce_from"
)

Row = Mapping[str, Any]


def rule(row: Row) -> ClinicRule:
    return ClinicRule(
        clinic_id=row["clinic_id"],
        require_two_factor=row["require_two_factor"],
        required_since=row["required_since"],
        methods=tuple(Method(name) for name in row["methods"]),
        phone_required=row["phone_required"],
        remember_device_days=row["remember_device_days"],
        idle_minutes=row["idle_minutes"],
        sms_countries=tuple(row["sms_countries"]),
        sms_daily_cap=row["sms_daily_cap"],
        version=row["version"],
        epoch=row["epoch"],
        enforce_from=row["enforce_from"],
    )


def rule_values(rule: ClinicRule) -> dict[str, Any]:
    return {
        "clinic_id": rule.clinic_id,
        "require_two_factor": rule.require_two_factor,
        "required_since": rule.required_since,
        "methods": [method.value for method in rule.methods],
        "phone_required": rule.phone_required,
        "remember_device_days": rule.remember_device_days,
        "idle_minutes": rule.idle_minutes,
        "sms_countries": list(rule.sms_countries),
        "sms_daily_cap": rule.sms_daily_cap,
        "version": rule.version,
        "epoch": rule.epoch,
        "enforce_from": rule.enforce_from,
    }


def hold(row: Row) -> Hold:
    return Hold(
        clinic_id=row["clinic_id"],
        name=row["name"],
        requires_two_factor=row["requires_two_factor"],
        max_device_trust_hours=row["max_device_trust_hours"],
        set_by=_actor(row, "set_by"),
        set_at=_moment(row["set_at"]),
    )


def setting(row: Row) -> UserSetting:
    return UserSetting(
        clinic_id=row["clinic_id"],
        user_id=row["user_id"],
        requirement=Requirement(row["requirement"]),
        reason=row["reason"],
        expires_at=_moment_or_none(row["expires_at"]),
        set_by=_actor(row, "set_by"),
        set_at=_moment(row["set_at"]),
        lift=_lift(row) if row["is_phone_lifted"] else None,
    )


def _lift(row: Row) -> PhoneLift:
    if row["phone_set_at"]:
        return PhoneLift(row["phone_reason"], _actor(row, "phone_set_by"), _moment(row["phone_set_at"]))
    # Lifted by a process that knows one note for both.
    return PhoneLift(row["reason"], _actor(row, "set_by"), _moment(row["set_at"]))


def bypass(row: Row) -> Bypass:
    return Bypass(
        id=row["id"],
        clinic_id=row["clinic_id"],
        user_id=row["user_id"],
        state=BypassState(row["state"]),
        reason=row["reason"],
        suspend_factors=row["suspend_factors"],
        granted_by=_actor(row, "granted_by"),
        granted_at=_moment(row["granted_at"]),
        expires_at=_moment(row["expires_at"]),
        used_at=_moment_or_none(row["used_at"]),
        used_session_id=row["used_session_id"],
    )


def _actor(row: Row, role: str) -> Actor:
    return Actor(row[f"{role}_kind"], row[f"{role}_id"], row[f"{role}_address"])


def _moment(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _moment_or_none(value: datetime | str | None) -> datetime | None:
    return None if value is None else _moment(value)
