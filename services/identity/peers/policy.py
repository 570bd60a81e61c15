"""Calls to the policy service: decisions and the clinic's rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import PolicyStub
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import ServiceError, unavailable
from services.common.rpc_client import Peer
from services.common.rpc_errors import is_unknown_method
from services.identity.model import (
    BypassId,
    Clinic,
    ClinicId,
    Decision,
    Leave,
    Method,
    Outcome,
    Reason,
    RuleOutcome,
    Upcoming,
    User,
    UserFactors,
    UserId,
    in_order,
)
from services.identity.policy_words import (
    RuleChange,
    SecurityRule,
)

if TYPE_CHECKING:
    from countersign.policy.v1.policy_pb2_grpc import PolicyAsyncStub

_SECONDS = 1.5
_LEAST_IDLE_MINUTES, _MOST_IDLE_MINUTES = 5, 60

TO_WIRE = {
    Method.TOTP: policy_pb2.METHOD_TOTP,
    Method.SMS: policy_pb2.METHOD_SMS,
    Method.BACKUP_CODE: policy_pb2.METHOD_BACKUP_CODE,
}
_FROM_WIRE: dict[int, Method] = {number: method for method, number in TO_WIRE.items()}
_OUTCOMES: dict[int, Outcome] = {
    policy_pb2.Decision.OUTCOME_ALLOW: Outcome.ALLOW,
    policy_pb2.Decision.OUTCOME_SECOND_FACTOR: Outcome.SECOND_FACTOR,
    policy_pb2.Decision.OUTCOME_ENROL: Outcome.ENROL,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A user as the decision needs to know them."""

    user: User
    clinic: Clinic
    factors: UserFactors


class PolicyPeer:
    def __init__(self, target: str, tls_dir: Path) -> None:
        self._peer: Peer[PolicyAsyncStub] = Peer(lambda channel: PolicyStub(channel), target, "policy", tls_dir)

    @property
    def connection(self) -> "Peer[PolicyAsyncStub]":
        """For the calls that are kept in files of their own."""
        return self._peer

    async def close(self) -> None:
        await self._peer.close()

    async def decide(self, subjects: Sequence[Subject], methods_available: Sequence[Method]) -> list[Decision]:
        """The decision for each, in the order asked for."""
        available = [TO_WIRE[method] for method in methods_available]
        request = policy_pb2.DecideRequest(subjects=[_subject(subject, available) for subject in subjects])
        response = await self._peer.call(self._peer.stub.Decide, request, _SECONDS, repeatable=True)
        if [found.user_id for found in response.decisions] != [subject.user.id for subject in subjects]:
            raise unavailable("policy")
        return [decision_from(found) for found in response.decisions]

    async def recorded(self, subject: Subject, methods_available: Sequence[Method]) -> tuple[Decision, str]:
        """The decision, and a record of it that policy can replay."""
        available = [TO_WIRE[method] for method in methods_available]
        request = policy_pb2.DecideRequest(subjects=[_subject(subject, available)], record=True)
        response = await self._peer.call(self._peer.stub.Decide, request, _SECONDS, repeatable=True)
        if len(response.decisions) != 1 or len(response.records) != 1:
            raise unavailable("policy")
        return decision_from(response.decisions[0]), response.records[0]

    async def epoch(self, clinic_id: ClinicId) -> int | None:
        """What counts everything that could change a decision in the clinic; None where policy is too old to say."""
        request = policy_pb2.GetEpochRequest(clinic_id=clinic_id)
        try:
            response = await self._peer.call(self._peer.stub.GetEpoch, request, _SECONDS, repeatable=True)
        except ServiceError as error:
            if is_unknown_method(error):
                return None
            raise
        return response.epoch

    async def rule(self, clinic_id: ClinicId) -> SecurityRule:
        request = policy_pb2.GetRuleRequest(clinic_id=clinic_id)
        return _rule(await self._peer.call(self._peer.stub.GetRule, request, _SECONDS, repeatable=True))

    async def create_rule(self, clinic_id: ClinicId, methods: Sequence[Method], country: str) -> SecurityRule:
        """Makes a new clinic known with the default rule."""
        request = policy_pb2.CreateRuleRequest(
            clinic_id=clinic_id, methods=[TO_WIRE[method] for method in methods], country=country
        )
        return _rule(await self._peer.call(self._peer.stub.CreateRule, request, _SECONDS, repeatable=True))

    async def change_rule(
        self, clinic_id: ClinicId, change: RuleChange, *, actor_kind: str, actor_id: UserId | None, address: str
    ) -> SecurityRule:
        request = rule_change(clinic_id, change)
        request.actor.CopyFrom(policy_pb2.Actor(kind=actor_kind, id=actor_id or "", address=address))
        return _rule(await self._peer.call(self._peer.stub.ChangeRule, request, _SECONDS))

    async def ping(self) -> None:
        """Raises `unavailable` unless policy says that it serves."""
        await self._peer.ping()


def rule_change(clinic_id: ClinicId, change: RuleChange) -> policy_pb2.ChangeRuleRequest:
    """What an administrator wants changed, as yet by nobody."""
    request = policy_pb2.ChangeRuleRequest(
        clinic_id=clinic_id,
        expected_version=change.expected_version,
        require_two_factor=change.require_two_factor,
        phone_required=change.phone_required,
        remember_device_days=change.remember_device_days,
        idle_minutes=change.idle_minutes,
        sms_daily_cap=change.sms_daily_cap,
    )
    if change.methods is not None:
        request.methods.CopyFrom(policy_pb2.MethodList(methods=[TO_WIRE[method] for method in change.methods]))
    if change.sms_countries is not None:
        request.sms_countries.CopyFrom(policy_pb2.CountryList(countries=change.sms_countries))
    if change.schedule is not None:
        request.schedule.SetInParent()
        if change.schedule.enforce_from is not None:
            request.schedule.enforce_from.FromDatetime(change.schedule.enforce_from)
    return request


def time_of(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _subject(subject: Subject, available: Sequence[policy_pb2.Method.ValueType]) -> policy_pb2.Subject:
    return policy_pb2.Subject(
        clinic_id=subject.clinic.id,
        clinic_name=subject.clinic.name,
        timezone=subject.clinic.timezone,
        user_id=subject.user.id,
        factors=[
            policy_pb2.HeldFactor(method=TO_WIRE[factor.method], suspended=factor.is_suspended)
            for factor in subject.factors.factors
        ],
        has_phone=subject.user.phone is not None,
        methods_available=available,
    )


def decision_from(found: policy_pb2.Decision) -> Decision:
    # An outcome this version does not know: must prove a factor, and nobody is led to enrolment by it.
    outcome = _OUTCOMES.get(found.outcome)
    rules = tuple(RuleOutcome(rule.rule, rule.outcome, rule.detail) for rule in found.reason.rules)
    return Decision(
        outcome=outcome or Outcome.SECOND_FACTOR,
        is_two_factor_required=found.two_factor_required or outcome is None,
        must_enrol_after_proof=found.enrol_after_proof,
        methods_allowed=in_order(_FROM_WIRE[number] for number in found.methods_allowed if number in _FROM_WIRE),
        is_phone_required=found.phone_required,
        reason=Reason(found.reason.sentence, rules),
        version=found.version,
        epoch=found.epoch,
        valid_until=time_of(found.valid_until) if found.HasField("valid_until") else None,
        idle_minutes=min(max(found.idle_minutes or 30, _LEAST_IDLE_MINUTES), _MOST_IDLE_MINUTES),
        # Without the time it was granted there is no telling whether its user has got in since.
        bypass=Leave(BypassId(found.bypass_id), time_of(found.bypass_granted_at))
        if found.bypass_id and found.HasField("bypass_granted_at")
        else None,
        upcoming=Upcoming(time_of(found.upcoming.enforce_from), found.upcoming.sentence)
        if found.HasField("upcoming")
        else None,
        remember_device_minutes=max(0, found.remember_device_minutes),
    )


def _rule(found: policy_pb2.Rule) -> SecurityRule:
    return SecurityRule(
        clinic_id=ClinicId(found.clinic_id),
        require_two_factor=found.require_two_factor,
        enforce_from=time_of(found.enforce_from) if found.HasField("enforce_from") else None,
        methods=in_order(_FROM_WIRE[number] for number in found.methods if number in _FROM_WIRE),
        phone_required=found.phone_required,
        remember_device_days=found.remember_device_days,
        idle_minutes=found.idle_minutes,
        sms_countries=tuple(found.sms_countries),
        sms_daily_cap=found.sms_daily_cap,
        version=found.version,
        epoch=found.epoch,
        required_since=time_of(found.required_since) if found.HasField("required_since") else None,
    )
