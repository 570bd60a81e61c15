"""Decisions on record: the facts and what was decided from them, as JSON and back, so that they can be replayed.

Invariant: facts that were written and read again are equal to the first, so they give the same decision with the same
reasons. Ids, names of clinics and rules only: nothing in a record is secret.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from services.policy.model import (
    Actor,
    Bypass,
    BypassId,
    BypassState,
    ClinicId,
    ClinicRule,
    Decision,
    Facts,
    HeldFactor,
    Hold,
    Method,
    PhoneLift,
    Requirement,
    SessionId,
    Subject,
    UserId,
    UserSetting,
)

Json = dict[str, Any]


def facts_to_json(facts: Facts) -> Json:
    """The facts as JSON values."""
    written: Json = _plain(asdict(facts))
    return written


def decision_to_json(decision: Decision) -> Json:
    """The decision as JSON values, to be compared with one made again."""
    written: Json = _plain(asdict(decision))
    return written


def record_of(facts: Facts, decision: Decision) -> str:
    """A line for `replay`."""
    record = {"facts": facts_to_json(facts), "decision": decision_to_json(decision)}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def facts_from_json(record: Json) -> Facts:
    """The facts of a record. KeyError or ValueError where it is not one of ours."""
    setting, bypass = record["setting"], record["bypass"]
    return Facts(
        rule=_rule(record["rule"]),
        subject=_subject(record["subject"]),
        at=_moment(record["at"]),
        holds=tuple(_hold(hold) for hold in record["holds"]),
        setting=_setting(setting) if setting else None,
        bypass=_bypass(bypass) if bypass else None,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, frozenset):
        return sorted(_plain(inner) for inner in value)
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _rule(record: Json) -> ClinicRule:
    return ClinicRule(
        clinic_id=ClinicId(record["clinic_id"]),
        require_two_factor=record["require_two_factor"],
        required_since=_moment_or_none(record["required_since"]),
        methods=tuple(Method(name) for name in record["methods"]),
        phone_required=record["phone_required"],
        remember_device_days=record["remember_device_days"],
        idle_minutes=record["idle_minutes"],
        sms_countries=tuple(record["sms_countries"]),
        sms_daily_cap=record["sms_daily_cap"],
        version=record["version"],
        epoch=record["epoch"],
        enforce_from=_moment_or_none(record["enforce_from"]),
    )


def _subject(record: Json) -> Subject:
    return Subject(
        clinic_id=ClinicId(record["clinic_id"]),
        clinic_name=record["clinic_name"],
        timezone=record["timezone"],
        user_id=UserId(record["user_id"]),
        factors=tuple(
            HeldFactor(Method(factor["method"]) if factor["method"] else None, factor["suspended"])
            for factor in record["factors"]
        ),
        has_phone=record["has_phone"],
        methods_available=frozenset(Method(name) for name in record["methods_available"]),
    )


def _hold(record: Json) -> Hold:
    return Hold(
        clinic_id=ClinicId(record["clinic_id"]),
        name=record["name"],
        requires_two_factor=record["requires_two_factor"],
        max_device_trust_hours=record["max_device_trust_hours"],
        set_by=_actor(record["set_by"]),
        set_at=_moment(record["set_at"]),
    )


def _setting(record: Json) -> UserSetting:
    lift = record["lift"]
    return UserSetting(
        clinic_id=ClinicId(record["clinic_id"]),
        user_id=UserId(record["user_id"]),
        requirement=Requirement(record["requirement"]),
        reason=record["reason"],
        expires_at=_moment_or_none(record["expires_at"]),
        set_by=_actor(record["set_by"]),
        set_at=_moment(record["set_at"]),
        lift=PhoneLift(lift["reason"], _actor(lift["set_by"]), _moment(lift["set_at"])) if lift else None,
    )


def _bypass(record: Json) -> Bypass:
    session_id = record["used_session_id"]
    return Bypass(
        id=BypassId(record["id"]),
        clinic_id=ClinicId(record["clinic_id"]),
        user_id=UserId(record["user_id"]),
        state=BypassState(record["state"]),
        reason=record["reason"],
        suspend_factors=record["suspend_factors"],
        granted_by=_actor(record["granted_by"]),
        granted_at=_moment(record["granted_at"]),
        expires_at=_moment(record["expires_at"]),
        used_at=_moment_or_none(record["used_at"]),
        used_session_id=SessionId(session_id) if session_id else None,
    )


def _actor(record: Json) -> Actor:
    return Actor(record["kind"], record["id"], record["address"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)
