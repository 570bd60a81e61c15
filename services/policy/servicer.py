"""The policy contract on gRPC: translates, decides nothing. Only identity may call it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from countersign.policy.v1 import policy_pb2, policy_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_server import Allowed
from services.policy.model import (
    Actor,
    ClinicId,
    ClinicRule,
    Decision,
    HeldFactor,
    Method,
    Outcome,
    RuleChange,
    Subject,
    UserId,
)
from services.policy.rules import Rules

ALLOWED: Allowed = {
    f"/countersign.policy.v1.Policy/{method}": frozenset({"identity"})
    for method in policy_pb2.DESCRIPTOR.services_by_name["Policy"].methods_by_name
}

_METHODS = {
    policy_pb2.METHOD_TOTP: Method.TOTP,
    policy_pb2.METHOD_SMS: Method.SMS,
    policy_pb2.METHOD_BACKUP_CODE: Method.BACKUP_CODE,
}
_WIRE_METHODS = {method: number for number, method in _METHODS.items()}
_WIRE_OUTCOMES = {
    Outcome.ALLOW: policy_pb2.Decision.OUTCOME_ALLOW,
    Outcome.SECOND_FACTOR: policy_pb2.Decision.OUTCOME_SECOND_FACTOR,
    Outcome.ENROL: policy_pb2.Decision.OUTCOME_ENROL,
}


class PolicyServicer(policy_pb2_grpc.PolicyServicer):
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def Decide(self, request: policy_pb2.DecideRequest, context: Any) -> policy_pb2.DecideResponse:  # noqa: N802
        subjects = [_subject(subject) for subject in request.subjects]
        decisions = await self._rules.decide(subjects)
        return policy_pb2.DecideResponse(
            decisions=[_wire_decision(subject, decision) for subject, decision in zip(subjects, decisions, strict=True)]
        )

    async def GetRule(self, request: policy_pb2.GetRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        return _wire_rule(await self._rules.get(ClinicId(request.clinic_id)))

    async def CreateRule(self, request: policy_pb2.CreateRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        rule = await self._rules.create(ClinicId(request.clinic_id), _methods(request.methods), request.country)
        return _wire_rule(rule)

    async def ChangeRule(self, request: policy_pb2.ChangeRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        change = RuleChange(
            require_two_factor=request.require_two_factor if request.HasField("require_two_factor") else None,
            methods=_methods(request.methods.methods) if request.HasField("methods") else None,
            phone_required=request.phone_required if request.HasField("phone_required") else None,
        )
        actor = Actor(request.actor.kind, request.actor.id or None, request.actor.address or None)
        expected = request.expected_version if request.HasField("expected_version") else None
        return _wire_rule(await self._rules.change(ClinicId(request.clinic_id), actor, change, expected))


def _subject(subject: policy_pb2.Subject) -> Subject:
    return Subject(
        clinic_id=ClinicId(subject.clinic_id),
        clinic_name=subject.clinic_name,
        timezone=subject.timezone,
        user_id=UserId(subject.user_id),
        # A kind of factor from a newer identity is still a factor: its owner is asked, not let through.
        factors=tuple(HeldFactor(_METHODS.get(factor.method), factor.suspended) for factor in subject.factors),
        has_phone=subject.has_phone,
        methods_available=frozenset(_METHODS[number] for number in subject.methods_available if number in _METHODS),
    )


def _methods(numbers: Iterable[policy_pb2.Method.ValueType]) -> tuple[Method, ...]:
    """A choice, unlike a factor, must be understood to be kept."""
    try:
        return tuple(_METHODS[number] for number in numbers)
    except KeyError:
        errors = [{"field": "methods", "message": "holds one that is not known"}]
        raise ServiceError(ErrorCode.INVALID_REQUEST, "The request is not valid.", errors=errors) from None


def _wire_decision(subject: Subject, decision: Decision) -> policy_pb2.Decision:
    return policy_pb2.Decision(
        user_id=subject.user_id,
        outcome=_WIRE_OUTCOMES[decision.outcome],
        two_factor_required=decision.two_factor_required,
        enrol_after_proof=decision.enrol_after_proof,
        methods_allowed=[_WIRE_METHODS[method] for method in decision.methods_allowed],
        phone_required=decision.phone_required,
        reason=policy_pb2.Reason(
            sentence=decision.reason.sentence,
            rules=[
                policy_pb2.RuleOutcome(rule=said.rule, outcome=said.outcome, detail=said.detail)
                for said in decision.reason.rules
            ],
        ),
        version=decision.version,
        epoch=decision.epoch,
        valid_until=_timestamp(decision.valid_until),
        idle_minutes=decision.idle_minutes,
    )


def _wire_rule(rule: ClinicRule) -> policy_pb2.Rule:
    return policy_pb2.Rule(
        clinic_id=rule.clinic_id,
        require_two_factor=rule.require_two_factor,
        methods=[_WIRE_METHODS[method] for method in rule.methods],
        phone_required=rule.phone_required,
        remember_device_days=rule.remember_device_days,
        idle_minutes=rule.idle_minutes,
        sms_countries=rule.sms_countries,
        sms_daily_cap=rule.sms_daily_cap,
        version=rule.version,
        epoch=rule.epoch,
        required_since=_timestamp(rule.required_since),
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
