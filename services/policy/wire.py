"""Messages of the policy contract as values of the model, and back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from countersign.policy.v1 import policy_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import invalid
from services.policy.model import (
    Actor,
    Bypass,
    BypassState,
    ClinicId,
    ClinicRule,
    Decision,
    HeldFactor,
    Hold,
    Method,
    Outcome,
    Requirement,
    RuleChange,
    Schedule,
    Subject,
    UserId,
)
from services.policy.preview import Alike, PreviewOfUser, WouldBeHold
from services.policy.requirements import Expiry, SettingChange, SettingWithBypass

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
_REQUIREMENTS = {
    policy_pb2.REQUIREMENT_CLINIC_DEFAULT: Requirement.CLINIC_DEFAULT,
    policy_pb2.REQUIREMENT_REQUIRED: Requirement.REQUIRED,
    policy_pb2.REQUIREMENT_EXEMPT: Requirement.EXEMPT,
}
_WIRE_REQUIREMENTS = {requirement: number for number, requirement in _REQUIREMENTS.items()}
_WIRE_STATES = {
    BypassState.UNUSED: policy_pb2.Bypass.STATE_UNUSED,
    BypassState.USED: policy_pb2.Bypass.STATE_USED,
    BypassState.REVOKED: policy_pb2.Bypass.STATE_REVOKED,
    BypassState.ENDED: policy_pb2.Bypass.STATE_ENDED,
    BypassState.UNDONE: policy_pb2.Bypass.STATE_UNDONE,
}


def subject(message: policy_pb2.Subject) -> Subject:
    return Subject(
        clinic_id=ClinicId(message.clinic_id),
        clinic_name=message.clinic_name,
        timezone=message.timezone,
        user_id=UserId(message.user_id),
        # A kind of factor from a newer identity is still a factor: its owner is asked, not let through.
        factors=tuple(HeldFactor(_METHODS.get(factor.method), factor.suspended) for factor in message.factors),
        has_phone=message.has_phone,
        methods_available=frozenset(_METHODS[number] for number in message.methods_available if number in _METHODS),
    )


def methods(numbers: Iterable[policy_pb2.Method.ValueType]) -> tuple[Method, ...]:
    """A choice, unlike a factor, must be understood to be kept."""
    try:
        return tuple(_METHODS[number] for number in numbers)
    except KeyError:
        raise invalid("methods", "holds one that is not known") from None


def actor(message: policy_pb2.Actor) -> Actor:
    return Actor(message.kind, message.id or None, message.address or None)


def rule_change(message: policy_pb2.ChangeRuleRequest) -> RuleChange:
    return RuleChange(
        require_two_factor=message.require_two_factor if message.HasField("require_two_factor") else None,
        schedule=Schedule(_moment(message.schedule, "enforce_from")) if message.HasField("schedule") else None,
        methods=methods(message.methods.methods) if message.HasField("methods") else None,
        phone_required=message.phone_required if message.HasField("phone_required") else None,
        remember_device_days=message.remember_device_days if message.HasField("remember_device_days") else None,
        idle_minutes=message.idle_minutes if message.HasField("idle_minutes") else None,
        sms_countries=tuple(message.sms_countries.countries) if message.HasField("sms_countries") else None,
        sms_daily_cap=message.sms_daily_cap if message.HasField("sms_daily_cap") else None,
    )


def would_be_hold(message: policy_pb2.PutHoldRequest) -> WouldBeHold:
    hours = message.max_device_trust_hours if message.HasField("max_device_trust_hours") else None
    return WouldBeHold(message.name, message.requires_two_factor, hours)


def setting_change(message: policy_pb2.SetRequirementRequest) -> SettingChange:
    requirement = None
    if message.HasField("requirement"):
        requirement = _REQUIREMENTS.get(message.requirement)
        if requirement is None:
            raise invalid("requirement", f"must be one of {', '.join(Requirement)}")
    return SettingChange(
        requirement=requirement,
        reason=message.reason if message.HasField("reason") else None,
        expiry=Expiry(_moment(message.expiry, "expires_at")) if message.HasField("expiry") else None,
        is_phone_lifted=not message.phone_required if message.HasField("phone_required") else None,
    )


def people(messages: Iterable[policy_pb2.Alike]) -> list[Alike]:
    return [
        Alike(subject(message.subject), tuple(UserId(user_id) for user_id in message.user_ids)) for message in messages
    ]


def wire_previews(previews: Sequence[PreviewOfUser]) -> policy_pb2.PreviewResponse:
    """Each decision once: of the users, only which is theirs."""
    response, places = policy_pb2.PreviewResponse(), dict[int, int]()

    def place(decision: Decision) -> int:
        known = places.get(id(decision))
        if known is None:
            known = places[id(decision)] = len(places)
            response.decisions.append(_wire_decision(decision))
        return known

    response.now.extend([place(preview.now) for preview in previews])
    response.then.extend([place(preview.then) for preview in previews])
    response.exempt.extend([preview.exempt for preview in previews])
    return response


def wire_decisions(user_ids: Sequence[UserId], decisions: Sequence[Decision]) -> list[policy_pb2.Decision]:
    """A message for each. What was decided once for many is written once."""
    written: dict[int, policy_pb2.Decision] = {}
    messages = []
    for user_id, decision in zip(user_ids, decisions, strict=True):
        if (known := written.get(id(decision))) is None:
            known = written[id(decision)] = _wire_decision(decision)
        message = policy_pb2.Decision()
        message.CopyFrom(known)
        message.user_id = user_id
        messages.append(message)
    return messages


def _wire_decision(decision: Decision) -> policy_pb2.Decision:
    bypass, upcoming = decision.bypass, decision.upcoming
    return policy_pb2.Decision(
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
        bypass_id=bypass.id if bypass else "",
        bypass_granted_at=_timestamp(bypass.granted_at if bypass else None),
        upcoming=policy_pb2.Upcoming(enforce_from=_timestamp(upcoming.enforce_from), sentence=upcoming.sentence)
        if upcoming
        else None,
        remember_device_minutes=decision.remember_device_minutes,
    )


def wire_rule(rule: ClinicRule) -> policy_pb2.Rule:
    return policy_pb2.Rule(
        clinic_id=rule.clinic_id,
        require_two_factor=rule.require_two_factor,
        enforce_from=_timestamp(rule.enforce_from),
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


def wire_hold(hold: Hold) -> policy_pb2.Hold:
    return policy_pb2.Hold(
        clinic_id=hold.clinic_id,
        name=hold.name,
        requires_two_factor=hold.requires_two_factor,
        max_device_trust_hours=hold.max_device_trust_hours,
        set_by=_wire_actor(hold.set_by),
        set_at=_timestamp(hold.set_at),
    )


def wire_bypass(bypass: Bypass, at: datetime) -> policy_pb2.Bypass:
    is_expired = bypass.state is BypassState.UNUSED and not bypass.is_usable(at)
    return policy_pb2.Bypass(
        id=bypass.id,
        clinic_id=bypass.clinic_id,
        user_id=bypass.user_id,
        state=policy_pb2.Bypass.STATE_EXPIRED if is_expired else _WIRE_STATES[bypass.state],
        reason=bypass.reason,
        granted_by=_wire_actor(bypass.granted_by),
        granted_at=_timestamp(bypass.granted_at),
        expires_at=_timestamp(bypass.expires_at),
        used_at=_timestamp(bypass.used_at),
        used_session_id=bypass.used_session_id or "",
        suspend_factors=bypass.suspend_factors,
    )


def wire_settings(
    clinic_id: ClinicId, user_id: UserId, found: SettingWithBypass, at: datetime
) -> policy_pb2.UserSettings:
    """A person for whom nothing was ever set is as the clinic says."""
    bypass = wire_bypass(found.bypass, at) if found.bypass else None
    setting = found.setting
    if setting is None:
        return policy_pb2.UserSettings(
            clinic_id=clinic_id,
            user_id=user_id,
            requirement=policy_pb2.REQUIREMENT_CLINIC_DEFAULT,
            bypass=bypass,
        )
    lift = setting.lift
    return policy_pb2.UserSettings(
        clinic_id=clinic_id,
        user_id=user_id,
        requirement=_WIRE_REQUIREMENTS[setting.requirement],
        reason=setting.reason,
        expires_at=_timestamp(setting.expires_at),
        phone_required=False if lift else None,
        set_by=_wire_actor(setting.set_by),
        set_at=_timestamp(setting.set_at),
        bypass=bypass,
        phone_reason=lift.reason if lift else "",
        phone_set_by=_wire_actor(lift.set_by) if lift else None,
        phone_set_at=_timestamp(lift.set_at) if lift else None,
    )


def _wire_actor(actor: Actor) -> policy_pb2.Actor:
    return policy_pb2.Actor(kind=actor.kind, id=actor.id or "", address=actor.address or "")


def _moment(message: policy_pb2.ScheduleChange | policy_pb2.ExpiryChange, field: str) -> datetime | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # the stubs name each message's own field
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid(field, "is not a time") from None


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
