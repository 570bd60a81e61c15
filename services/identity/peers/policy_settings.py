"""Calls to the policy service by which administrators and apps set things: holds, requirements, what is set for each
user, and previews of all that."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from countersign.policy.v1 import policy_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import ServiceError, unavailable
from services.common.rpc_client import Peer
from services.common.rpc_errors import is_unknown_method
from services.identity.model import (
    BypassId,
    Clinic,
    ClinicId,
    Method,
    UserId,
)
from services.identity.peers.policy import TO_WIRE, decision_from, rule_change, time_of
from services.identity.policy_words import (
    Actor,
    Bypass,
    BypassState,
    Foreseen,
    Hold,
    HoldTerms,
    Requirement,
    RequirementChange,
    RuleChange,
    UserSettings,
    Weighed,
)

if TYPE_CHECKING:
    from countersign.policy.v1.policy_pb2_grpc import PolicyAsyncStub

_SECONDS = 1.5

_REQUIREMENTS = {
    policy_pb2.REQUIREMENT_CLINIC_DEFAULT: Requirement.CLINIC_DEFAULT,
    policy_pb2.REQUIREMENT_REQUIRED: Requirement.REQUIRED,
    policy_pb2.REQUIREMENT_EXEMPT: Requirement.EXEMPT,
}
_WIRE_REQUIREMENTS = {requirement: number for number, requirement in _REQUIREMENTS.items()}
_BYPASS_STATES = {
    policy_pb2.Bypass.STATE_UNUSED: BypassState.UNUSED,
    policy_pb2.Bypass.STATE_USED: BypassState.USED,
    policy_pb2.Bypass.STATE_REVOKED: BypassState.REVOKED,
    policy_pb2.Bypass.STATE_EXPIRED: BypassState.EXPIRED,
    policy_pb2.Bypass.STATE_ENDED: BypassState.ENDED,
    policy_pb2.Bypass.STATE_UNDONE: BypassState.UNDONE,
}


_Kind = tuple[bool, tuple[tuple[Method, bool], ...]]
"""What is known of a user beside who they are: a number on file, and the factors, each suspended or not."""


class PolicySettingsPeer:
    """On the connection of a `PolicyPeer`, which closes it."""

    def __init__(self, peer: "Peer[PolicyAsyncStub]") -> None:
        self._peer = peer

    async def holds(self, clinic_id: ClinicId) -> list[Hold]:
        """The clinic's living holds, by name."""
        request = policy_pb2.ListHoldsRequest(clinic_id=clinic_id)
        response = await self._peer.call(self._peer.stub.ListHolds, request, _SECONDS, repeatable=True)
        return [_hold(found) for found in response.holds]

    async def put_hold(self, clinic_id: ClinicId, terms: HoldTerms, actor: Actor) -> Hold:
        request = _put_hold(clinic_id, terms)
        request.actor.CopyFrom(wire_actor(actor))
        return _hold(await self._peer.call(self._peer.stub.PutHold, request, _SECONDS))

    async def end_hold(self, clinic_id: ClinicId, name: str, actor: Actor) -> None:
        request = policy_pb2.EndHoldRequest(clinic_id=clinic_id, name=name, actor=wire_actor(actor))
        await self._peer.call(self._peer.stub.EndHold, request, _SECONDS)

    async def user_settings(self, clinic_id: ClinicId, user_ids: Sequence[UserId]) -> list[UserSettings]:
        """What is set for each, in the order asked for."""
        if not user_ids:
            return []
        request = policy_pb2.GetUserSettingsRequest(clinic_id=clinic_id, user_ids=user_ids)
        response = await self._peer.call(self._peer.stub.GetUserSettings, request, _SECONDS, repeatable=True)
        if [found.user_id for found in response.users] != list(user_ids):
            raise unavailable("policy")
        return [_user_settings(found) for found in response.users]

    async def count_exempt(self, clinic_id: ClinicId, user_ids: Sequence[UserId], at: datetime) -> int:
        """How many of them are exempt now, which is `at`."""
        request = policy_pb2.CountExemptRequest(clinic_id=clinic_id, user_ids=user_ids)
        try:
            response = await self._peer.call(self._peer.stub.CountExempt, request, _SECONDS, repeatable=True)
        except ServiceError as error:
            if is_unknown_method(error):  # a policy of before this question
                return sum(one.is_exempt(at) for one in await self.user_settings(clinic_id, user_ids))
            raise
        return response.count

    async def set_requirement(
        self,
        clinic_id: ClinicId,
        user_id: UserId,
        change: RequirementChange,
        actor: Actor,
        *,
        is_administrator: bool,
        other_administrators: Sequence[UserId],
    ) -> UserSettings:
        """Raises `conflict` where it would leave the clinic without an administrator who is not exempt."""
        request = policy_pb2.SetRequirementRequest(
            clinic_id=clinic_id,
            user_id=user_id,
            actor=wire_actor(actor),
            requirement=None if change.requirement is None else _WIRE_REQUIREMENTS[change.requirement],
            reason=change.reason,
            expiry=policy_pb2.ExpiryChange(expires_at=wire_time(change.expires_at)) if change.sets_expiry else None,
            phone_required=change.phone_required,
            other_administrators=other_administrators,
            is_administrator=is_administrator,
        )
        return _user_settings(await self._peer.call(self._peer.stub.SetRequirement, request, _SECONDS))

    async def end_bypass(self, clinic_id: ClinicId, user_id: UserId, cause: str) -> None:
        """Ends whatever unused bypass the user has."""
        request = policy_pb2.EndBypassRequest(clinic_id=clinic_id, user_id=user_id, cause=cause)
        await self._peer.call(self._peer.stub.EndBypass, request, _SECONDS, repeatable=True)

    async def preview(
        self,
        clinic: Clinic,
        users: Sequence[Weighed],
        methods_available: Sequence[Method],
        would_be: RuleChange | HoldTerms,
    ) -> dict[UserId, Foreseen]:
        """What each would be asked, beside what they are asked now. Whoever stands alike shares what is said."""
        available = [TO_WIRE[method] for method in methods_available]
        alike: dict[_Kind, list[UserId]] = defaultdict(list)
        for user in users:
            held = tuple([(factor.method, factor.is_suspended) for factor in user.factors.factors])
            alike[user.has_phone, held].append(user.user_id)
        request = policy_pb2.PreviewRequest(
            people=[
                policy_pb2.Alike(subject=_subject_of(clinic, kind, available), user_ids=user_ids)
                for kind, user_ids in alike.items()
            ],
            change=rule_change(clinic.id, would_be) if isinstance(would_be, RuleChange) else None,
            hold=_put_hold(clinic.id, would_be) if isinstance(would_be, HoldTerms) else None,
        )
        response = await self._peer.call(self._peer.stub.Preview, request, _SECONDS, repeatable=True)
        asked = [user_id for user_ids in alike.values() for user_id in user_ids]
        found = list(zip(response.now, response.then, response.exempt, strict=False))
        places = {place for now, then, _ in found for place in (now, then)}
        if len(found) != len(asked) or not places <= set(range(len(response.decisions))):
            raise unavailable("policy")
        decisions = [decision_from(one) for one in response.decisions]
        said = {one: Foreseen(decisions[one[0]], decisions[one[1]], one[2]) for one in set(found)}
        return {user_id: said[one] for user_id, one in zip(asked, found, strict=True)}


def _subject_of(clinic: Clinic, kind: _Kind, available: Sequence[policy_pb2.Method.ValueType]) -> policy_pb2.Subject:
    has_phone, held = kind
    return policy_pb2.Subject(
        clinic_id=clinic.id,
        clinic_name=clinic.name,
        timezone=clinic.timezone,
        factors=[policy_pb2.HeldFactor(method=TO_WIRE[method], suspended=suspended) for method, suspended in held],
        has_phone=has_phone,
        methods_available=available,
    )


def wire_actor(actor: Actor) -> policy_pb2.Actor:
    return policy_pb2.Actor(kind=actor.kind, id=actor.id or "", address=actor.address)


def actor_from(found: policy_pb2.Actor) -> Actor:
    return Actor(found.kind, found.id or None, found.address)


def wire_time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def bypass_from(found: policy_pb2.Bypass) -> Bypass:
    # A state that this version does not know opens nothing.
    return Bypass(
        id=BypassId(found.id),
        user_id=UserId(found.user_id),
        state=_BYPASS_STATES.get(found.state, BypassState.ENDED),
        reason=found.reason,
        granted_by=actor_from(found.granted_by),
        granted_at=time_of(found.granted_at),
        expires_at=time_of(found.expires_at),
        used_at=time_of(found.used_at) if found.HasField("used_at") else None,
        used_session_id=found.used_session_id or None,
        suspend_factors=found.suspend_factors,
    )


def _put_hold(clinic_id: ClinicId, terms: HoldTerms) -> policy_pb2.PutHoldRequest:
    return policy_pb2.PutHoldRequest(
        clinic_id=clinic_id,
        name=terms.name,
        requires_two_factor=terms.requires_two_factor,
        max_device_trust_hours=terms.max_device_trust_hours,
    )


def _hold(found: policy_pb2.Hold) -> Hold:
    return Hold(
        name=found.name,
        requires_two_factor=found.requires_two_factor,
        max_device_trust_hours=found.max_device_trust_hours if found.HasField("max_device_trust_hours") else None,
        set_by=actor_from(found.set_by),
        set_at=time_of(found.set_at),
    )


def _user_settings(found: policy_pb2.UserSettings) -> UserSettings:
    # A requirement that this version does not know lifts nothing.
    return UserSettings(
        user_id=UserId(found.user_id),
        requirement=_REQUIREMENTS.get(found.requirement, Requirement.CLINIC_DEFAULT),
        reason=found.reason,
        expires_at=time_of(found.expires_at) if found.HasField("expires_at") else None,
        is_phone_lifted=found.HasField("phone_required") and not found.phone_required,
        set_by=actor_from(found.set_by) if found.HasField("set_by") else None,
        set_at=time_of(found.set_at) if found.HasField("set_at") else None,
        bypass=bypass_from(found.bypass) if found.HasField("bypass") else None,
        phone_reason=found.phone_reason or None,
        phone_set_by=actor_from(found.phone_set_by) if found.HasField("phone_set_by") else None,
        phone_set_at=time_of(found.phone_set_at) if found.HasField("phone_set_at") else None,
    )
