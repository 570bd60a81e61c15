"""Calls of the policy contract as identity makes them, and what the tests make of them."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import pytest
from countersign.policy.v1 import policy_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import ErrorCode, ServiceError
from tests.policy.conftest import Service

TOTP, SMS, BACKUP_CODE = policy_pb2.METHOD_TOTP, policy_pb2.METHOD_SMS, policy_pb2.METHOD_BACKUP_CODE
ADMIN = policy_pb2.Actor(kind="user", id="usr_admin", address="192.0.2.7")
OPERATOR = policy_pb2.Actor(kind="operator")
LOOKED_AT = [
    "hold",
    "user_requirement",
    "clinic_rule",
    "own_factor",
    "methods",
    "phone",
    "bypass",
    "remembered_browsers",
]


def new_clinic_id() -> str:
    return f"cli_{uuid.uuid4().hex}"


def stamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def subject(
    clinic_id: str, user_id: str = "usr_1", *factors: policy_pb2.HeldFactor, has_phone: bool = True
) -> policy_pb2.Subject:
    return policy_pb2.Subject(
        clinic_id=clinic_id,
        clinic_name="Harbour Clinic",
        timezone="Europe/London",
        user_id=user_id,
        factors=factors,
        has_phone=has_phone,
        methods_available=[TOTP, SMS],
    )


async def create(policy: Service, clinic_id: str | None = None) -> policy_pb2.Rule:
    request = policy_pb2.CreateRuleRequest(clinic_id=clinic_id or new_clinic_id(), methods=[SMS, TOTP], country="GB")
    return await policy.peer.call(policy.peer.stub.CreateRule, request)


async def change(policy: Service, clinic_id: str, **fields: object) -> policy_pb2.Rule:
    request = policy_pb2.ChangeRuleRequest(clinic_id=clinic_id, actor=ADMIN, **fields)  # type: ignore[arg-type]
    return await policy.peer.call(policy.peer.stub.ChangeRule, request)


async def get(policy: Service, clinic_id: str) -> policy_pb2.Rule:
    return await policy.peer.call(policy.peer.stub.GetRule, policy_pb2.GetRuleRequest(clinic_id=clinic_id))


async def decide(policy: Service, *subjects: policy_pb2.Subject) -> list[policy_pb2.Decision]:
    request = policy_pb2.DecideRequest(subjects=subjects)
    return list((await policy.peer.call(policy.peer.stub.Decide, request, repeatable=True)).decisions)


def on_from(moment: datetime | None) -> policy_pb2.ScheduleChange:
    return policy_pb2.ScheduleChange(enforce_from=stamp(moment) if moment else None)


async def count_exempt(policy: Service, clinic_id: str, user_ids: Sequence[str] = ("usr_1",)) -> int:
    request = policy_pb2.CountExemptRequest(clinic_id=clinic_id, user_ids=user_ids)
    return (await policy.peer.call(policy.peer.stub.CountExempt, request)).count


async def put_hold(
    policy: Service,
    clinic_id: str,
    name: str = "ledger",
    actor: policy_pb2.Actor = ADMIN,
    requires: bool = True,
    hours: int | None = None,
) -> policy_pb2.Hold:
    request = policy_pb2.PutHoldRequest(
        clinic_id=clinic_id, name=name, actor=actor, requires_two_factor=requires, max_device_trust_hours=hours
    )
    return await policy.peer.call(policy.peer.stub.PutHold, request)


async def end_hold(
    policy: Service, clinic_id: str, name: str = "ledger", actor: policy_pb2.Actor = ADMIN
) -> policy_pb2.HoldList:
    request = policy_pb2.EndHoldRequest(clinic_id=clinic_id, name=name, actor=actor)
    return await policy.peer.call(policy.peer.stub.EndHold, request)


async def set_requirement(
    policy: Service, clinic_id: str, user_id: str = "usr_1", actor: policy_pb2.Actor = ADMIN, **fields: object
) -> policy_pb2.UserSettings:
    request = policy_pb2.SetRequirementRequest(clinic_id=clinic_id, user_id=user_id, actor=actor, **fields)  # type: ignore[arg-type]
    return await policy.peer.call(policy.peer.stub.SetRequirement, request)


async def exempt(
    policy: Service,
    clinic_id: str,
    user_id: str = "usr_1",
    until: datetime | None = None,
    actor: policy_pb2.Actor = ADMIN,
    **fields: object,
) -> policy_pb2.UserSettings:
    return await set_requirement(
        policy,
        clinic_id,
        user_id,
        actor,
        requirement=policy_pb2.REQUIREMENT_EXEMPT,
        reason="Works without a telephone",
        expiry=policy_pb2.ExpiryChange(expires_at=stamp(until) if until else None),
        **fields,
    )


async def settings(
    policy: Service, clinic_id: str, user_ids: Sequence[str] = ("usr_1",)
) -> list[policy_pb2.UserSettings]:
    request = policy_pb2.GetUserSettingsRequest(clinic_id=clinic_id, user_ids=user_ids)
    return list((await policy.peer.call(policy.peer.stub.GetUserSettings, request)).users)


async def grant(
    policy: Service, clinic_id: str, user_id: str = "usr_1", minutes: int = 60, actor: policy_pb2.Actor = ADMIN
) -> policy_pb2.Bypass:
    request = policy_pb2.GrantBypassRequest(
        clinic_id=clinic_id, user_id=user_id, actor=actor, reason="Lost phone", expires_in_minutes=minutes
    )
    return await policy.peer.call(policy.peer.stub.GrantBypass, request)


async def use(
    policy: Service,
    bypass: policy_pb2.Bypass,
    session_id: str = "ses_1",
    user_id: str | None = None,
    seconds: float = 5.0,
) -> policy_pb2.Bypass:
    request = policy_pb2.UseBypassRequest(
        clinic_id=bypass.clinic_id,
        user_id=user_id or bypass.user_id,
        bypass_id=bypass.id,
        session_id=session_id,
        address="192.0.2.9",
    )
    return await policy.peer.call(policy.peer.stub.UseBypass, request, seconds)


async def revoke(policy: Service, clinic_id: str, user_id: str = "usr_1") -> policy_pb2.Bypass:
    request = policy_pb2.RevokeBypassRequest(clinic_id=clinic_id, user_id=user_id, actor=ADMIN)
    return await policy.peer.call(policy.peer.stub.RevokeBypass, request)


async def end_bypass(policy: Service, clinic_id: str, user_id: str = "usr_1", cause: str = "got_in") -> None:
    request = policy_pb2.EndBypassRequest(clinic_id=clinic_id, user_id=user_id, cause=cause)
    await policy.peer.call(policy.peer.stub.EndBypass, request)


class refused:  # noqa: N801 (reads as a word: `with refused(...)`)
    """The block is refused with this code; the refusal is what `with` names."""

    def __init__(self, code: ErrorCode, field: str | None = None) -> None:
        self._code = code
        self._field = field
        self._raises = pytest.raises(ServiceError)

    def __enter__(self) -> "pytest.ExceptionInfo[ServiceError]":
        return self._raises.__enter__()

    def __exit__(self, *raised: object) -> bool:
        was_raised: bool = self._raises.__exit__(*raised)  # type: ignore[arg-type]
        if was_raised:
            error = self._raises.excinfo.value  # type: ignore[union-attr]
            assert error.code is self._code, error
            if self._field:
                assert [found["field"] for found in error.members["errors"]] == [self._field]
        return was_raised


def events_of(policy: Service, clinic_id: str, *, without: Sequence[str] = ()) -> list[tuple[object, ...]]:
    """The clinic's trail: kind, actor, subject and detail of each event, oldest first."""
    with policy.owner() as connection:
        found = connection.execute(
            "SELECT kind, actor_kind, actor_id, subject_id, detail FROM audit_event WHERE clinic_id = %s ORDER BY seq",
            [clinic_id],
        ).fetchall()
    return [event for event in found if event[0] not in without]
