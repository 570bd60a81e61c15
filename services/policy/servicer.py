"""The policy contract on gRPC: translates, decides nothing. Only identity may call it."""

from typing import Any

from countersign.policy.v1 import policy_pb2, policy_pb2_grpc

from services.common.clock import Clock
from services.common.errors import invalid
from services.common.rpc_server import Allowed
from services.policy import wire
from services.policy.bypasses import Bypasses
from services.policy.decisions import Decisions
from services.policy.holds import Holds
from services.policy.model import BypassId, ClinicId, RuleChange, SessionId, UserId
from services.policy.preview import Previews, WouldBeHold
from services.policy.records import record_of
from services.policy.requirements import Administrators, Requirements
from services.policy.rules import Rules

ALLOWED: Allowed = {
    f"/countersign.policy.v1.Policy/{method}": frozenset({"identity"})
    for method in policy_pb2.DESCRIPTOR.services_by_name["Policy"].methods_by_name
}


class PolicyServicer(policy_pb2_grpc.PolicyServicer):
    def __init__(
        self,
        decisions: Decisions,
        rules: Rules,
        previews: Previews,
        holds: Holds,
        requirements: Requirements,
        bypasses: Bypasses,
        clock: Clock,
    ) -> None:
        self._decisions = decisions
        self._rules = rules
        self._previews = previews
        self._holds = holds
        self._requirements = requirements
        self._bypasses = bypasses
        self._clock = clock

    async def Decide(self, request: policy_pb2.DecideRequest, context: Any) -> policy_pb2.DecideResponse:  # noqa: N802
        subjects = [wire.subject(subject) for subject in request.subjects]
        recorded = await self._decisions.recorded(subjects) if request.record else []
        decided = [decision for _, decision in recorded] or await self._decisions.decide(subjects)
        user_ids = [subject.user_id for subject in subjects]
        response = policy_pb2.DecideResponse(decisions=wire.wire_decisions(user_ids, decided))
        if request.record:
            response.records.extend(record_of(facts, decision) for facts, decision in recorded)
        return response

    async def GetEpoch(self, request: policy_pb2.GetEpochRequest, context: Any) -> policy_pb2.GetEpochResponse:  # noqa: N802
        return policy_pb2.GetEpochResponse(epoch=await self._decisions.epoch(ClinicId(request.clinic_id)))

    async def GetRule(self, request: policy_pb2.GetRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        return wire.wire_rule(await self._rules.get(ClinicId(request.clinic_id)))

    async def CreateRule(self, request: policy_pb2.CreateRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        rule = await self._rules.create(ClinicId(request.clinic_id), wire.methods(request.methods), request.country)
        return wire.wire_rule(rule)

    async def ChangeRule(self, request: policy_pb2.ChangeRuleRequest, context: Any) -> policy_pb2.Rule:  # noqa: N802
        expected = request.expected_version if request.HasField("expected_version") else None
        rule = await self._rules.change(
            ClinicId(request.clinic_id), wire.actor(request.actor), wire.rule_change(request), expected
        )
        return wire.wire_rule(rule)

    async def Preview(self, request: policy_pb2.PreviewRequest, context: Any) -> policy_pb2.PreviewResponse:  # noqa: N802
        would_be: RuleChange | WouldBeHold
        if request.HasField("change"):
            clinic_id, would_be = ClinicId(request.change.clinic_id), wire.rule_change(request.change)
        elif request.HasField("hold"):
            clinic_id, would_be = ClinicId(request.hold.clinic_id), wire.would_be_hold(request.hold)
        else:
            raise invalid("would_be", "This field is needed.")
        return wire.wire_previews(await self._previews.preview(clinic_id, wire.people(request.people), would_be))

    async def ListHolds(self, request: policy_pb2.ListHoldsRequest, context: Any) -> policy_pb2.HoldList:  # noqa: N802
        holds = await self._holds.living(ClinicId(request.clinic_id))
        return policy_pb2.HoldList(holds=[wire.wire_hold(hold) for hold in holds])

    async def PutHold(self, request: policy_pb2.PutHoldRequest, context: Any) -> policy_pb2.Hold:  # noqa: N802
        hold = await self._holds.put(
            ClinicId(request.clinic_id),
            request.name,
            wire.actor(request.actor),
            request.requires_two_factor,
            request.max_device_trust_hours if request.HasField("max_device_trust_hours") else None,
        )
        return wire.wire_hold(hold)

    async def EndHold(self, request: policy_pb2.EndHoldRequest, context: Any) -> policy_pb2.HoldList:  # noqa: N802
        left = await self._holds.end(ClinicId(request.clinic_id), request.name, wire.actor(request.actor))
        return policy_pb2.HoldList(holds=[wire.wire_hold(hold) for hold in left])

    async def GetUserSettings(  # noqa: N802
        self, request: policy_pb2.GetUserSettingsRequest, context: Any
    ) -> policy_pb2.GetUserSettingsResponse:
        clinic_id, user_ids = ClinicId(request.clinic_id), [UserId(user_id) for user_id in request.user_ids]
        found = await self._requirements.of(clinic_id, user_ids)
        now = self._clock.now()
        return policy_pb2.GetUserSettingsResponse(
            users=[
                wire.wire_settings(clinic_id, user_id, settings, now)
                for user_id, settings in zip(user_ids, found, strict=True)
            ]
        )

    async def CountExempt(  # noqa: N802
        self, request: policy_pb2.CountExemptRequest, context: Any
    ) -> policy_pb2.CountExemptResponse:
        clinic_id, user_ids = ClinicId(request.clinic_id), [UserId(user_id) for user_id in request.user_ids]
        return policy_pb2.CountExemptResponse(count=await self._requirements.count_exempt(clinic_id, user_ids))

    async def SetRequirement(  # noqa: N802
        self, request: policy_pb2.SetRequirementRequest, context: Any
    ) -> policy_pb2.UserSettings:
        clinic_id, user_id = ClinicId(request.clinic_id), UserId(request.user_id)
        others = tuple(UserId(other) for other in request.other_administrators if other != user_id)
        found = await self._requirements.change(
            clinic_id,
            user_id,
            wire.actor(request.actor),
            wire.setting_change(request),
            Administrators(request.is_administrator, others),
        )
        return wire.wire_settings(clinic_id, user_id, found, self._clock.now())

    async def GrantBypass(self, request: policy_pb2.GrantBypassRequest, context: Any) -> policy_pb2.Bypass:  # noqa: N802
        bypass = await self._bypasses.grant(
            ClinicId(request.clinic_id),
            UserId(request.user_id),
            wire.actor(request.actor),
            request.reason,
            request.expires_in_minutes,
            suspend_factors=request.suspend_factors,
        )
        return wire.wire_bypass(bypass, self._clock.now())

    async def UseBypass(self, request: policy_pb2.UseBypassRequest, context: Any) -> policy_pb2.Bypass:  # noqa: N802
        bypass = await self._bypasses.use(
            ClinicId(request.clinic_id),
            UserId(request.user_id),
            BypassId(request.bypass_id),
            SessionId(request.session_id),
            request.address or None,
        )
        return wire.wire_bypass(bypass, self._clock.now())

    async def RevokeBypass(self, request: policy_pb2.RevokeBypassRequest, context: Any) -> policy_pb2.Bypass:  # noqa: N802
        bypass = await self._bypasses.revoke(
            ClinicId(request.clinic_id), UserId(request.user_id), wire.actor(request.actor)
        )
        return wire.wire_bypass(bypass, self._clock.now())

    async def EndBypass(self, request: policy_pb2.EndBypassRequest, context: Any) -> policy_pb2.EndBypassResponse:  # noqa: N802
        await self._bypasses.end(ClinicId(request.clinic_id), UserId(request.user_id), request.cause)
        return policy_pb2.EndBypassResponse()
