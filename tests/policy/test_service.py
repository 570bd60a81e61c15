"""The policy contract over mutual TLS, on a real PostgreSQL."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from countersign.policy.v1 import policy_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from tests.conftest import MakeCertificates
from tests.policy.calls import (
    LOOKED_AT,
    SMS,
    TOTP,
    change,
    create,
    decide,
    events_of,
    new_clinic_id,
    subject,
)
from tests.policy.conftest import Service


async def test_a_new_clinic_has_the_documented_rule(policy: Service) -> None:
    rule = await create(policy)
    assert not rule.require_two_factor
    assert not rule.HasField("enforce_from")
    assert not rule.HasField("required_since")
    assert list(rule.methods) == [TOTP, SMS]
    assert (rule.phone_required, rule.remember_device_days, rule.idle_minutes) == (True, 0, 30)
    assert (list(rule.sms_countries), rule.sms_daily_cap) == (["GB"], 300)
    assert (rule.version, rule.epoch) == (1, 1)
    request = policy_pb2.GetRuleRequest(clinic_id=rule.clinic_id)
    assert await policy.peer.call(policy.peer.stub.GetRule, request) == rule


async def test_making_a_clinic_known_again_changes_nothing(policy: Service) -> None:
    rule = await create(policy)
    changed = await change(policy, rule.clinic_id, require_two_factor=True)
    request = policy_pb2.CreateRuleRequest(clinic_id=rule.clinic_id, methods=[TOTP], country="FR")
    again = await asyncio.gather(*(policy.peer.call(policy.peer.stub.CreateRule, request) for _ in range(5)))
    assert all(answer == changed for answer in again)


async def test_the_rule_decides_from_the_next_call_on(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    held = policy_pb2.HeldFactor(method=TOTP)
    subjects = [subject(clinic_id, "usr_1"), subject(clinic_id, "usr_2", held)]
    before = await decide(policy, *subjects)
    assert [decision.user_id for decision in before] == ["usr_1", "usr_2"]
    assert [decision.outcome for decision in before] == [
        policy_pb2.Decision.OUTCOME_ALLOW,
        policy_pb2.Decision.OUTCOME_SECOND_FACTOR,
    ]
    rule = await change(policy, clinic_id, require_two_factor=True)
    assert rule.required_since.ToDatetime().isoformat() == "2026-11-16T09:30:00"
    after = await decide(policy, *subjects)
    assert [decision.outcome for decision in after] == [
        policy_pb2.Decision.OUTCOME_ENROL,
        policy_pb2.Decision.OUTCOME_SECOND_FACTOR,
    ]
    assert [decision.epoch - earlier.epoch for decision, earlier in zip(after, before, strict=True)] == [1, 1]
    assert after[0].reason.sentence == (
        "Harbour Clinic has required a code at sign-in since 16 November, and you have not set up a way to get one yet."
    )
    assert [said.rule for said in after[0].reason.rules] == LOOKED_AT
    assert (list(after[0].methods_allowed), after[0].idle_minutes) == ([TOTP, SMS], 30)
    assert not after[0].HasField("valid_until")


async def test_many_clinics_in_one_call_keep_their_order_and_their_own_rules(policy: Service) -> None:
    first, second = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    await change(policy, second, require_two_factor=True)
    asked = [subject(second, "a"), subject(first, "b"), subject(second, "c"), subject(first, "d")]
    decisions = await decide(policy, *asked)
    assert [decision.user_id for decision in decisions] == ["a", "b", "c", "d"]
    enrol, allow = policy_pb2.Decision.OUTCOME_ENROL, policy_pb2.Decision.OUTCOME_ALLOW
    assert [decision.outcome for decision in decisions] == [enrol, allow, enrol, allow]
    assert await decide(policy) == []


async def test_a34_an_unknown_clinic_is_an_error_never_a_mild_decision(policy: Service) -> None:
    known = (await create(policy)).clinic_id
    with pytest.raises(ServiceError) as refused:
        await decide(policy, subject(known), subject(new_clinic_id()))
    assert refused.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(ServiceError) as refused:
        await policy.peer.call(policy.peer.stub.GetRule, policy_pb2.GetRuleRequest(clinic_id=new_clinic_id()))
    assert refused.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(ServiceError) as refused:
        await change(policy, new_clinic_id(), require_two_factor=True)
    assert refused.value.code is ErrorCode.NOT_FOUND


async def test_a34_a_factor_of_an_unknown_kind_is_asked_for_not_passed_over(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    newer = policy_pb2.HeldFactor(method=77)  # type: ignore[arg-type]
    (decision,) = await decide(policy, subject(clinic_id, "usr_1", newer))
    assert decision.outcome == policy_pb2.Decision.OUTCOME_SECOND_FACTOR


async def test_a_change_counts_version_and_epoch_and_one_that_changes_nothing_counts_nothing(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    on = await change(policy, clinic_id, require_two_factor=True)
    assert (on.version, on.epoch) == (2, 2)
    policy.clock.advance(timedelta(days=1))
    assert await change(policy, clinic_id, require_two_factor=True) == on
    assert await change(policy, clinic_id) == on
    same_methods = policy_pb2.MethodList(methods=[SMS, TOTP, SMS])
    assert await change(policy, clinic_id, methods=same_methods, phone_required=True) == on
    narrowed = await change(policy, clinic_id, methods=policy_pb2.MethodList(methods=[TOTP]))
    assert (narrowed.version, list(narrowed.methods), narrowed.required_since) == (3, [TOTP], on.required_since)
    off = await change(policy, clinic_id, require_two_factor=False, phone_required=False)
    assert (off.version, off.require_two_factor, off.phone_required) == (4, False, False)
    again = await change(policy, clinic_id, require_two_factor=True)
    assert again.required_since.seconds == on.required_since.seconds + 86400


async def test_of_two_administrators_at_once_one_wins_and_the_other_learns_the_current_version(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    outcomes = await asyncio.gather(
        *(
            change(policy, clinic_id, expected_version=1, require_two_factor=number % 2 == 0, phone_required=False)
            for number in range(20)
        ),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, policy_pb2.Rule)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    assert (len(won), len(lost)) == (1, 19)
    assert all(error.code is ErrorCode.CONFLICT and error.members == {"version": 2} for error in lost)
    with pytest.raises(ServiceError) as refused:
        await change(policy, clinic_id, expected_version=1)
    assert refused.value.members == {"version": 2}


async def test_changes_without_an_expected_version_are_all_made_one_after_the_other(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await asyncio.gather(
        change(policy, clinic_id, require_two_factor=True),
        change(policy, clinic_id, phone_required=False),
        change(policy, clinic_id, methods=policy_pb2.MethodList(methods=[SMS])),
    )
    rule = await policy.peer.call(policy.peer.stub.GetRule, policy_pb2.GetRuleRequest(clinic_id=clinic_id))
    assert (rule.require_two_factor, rule.phone_required, list(rule.methods), rule.version) == (True, False, [SMS], 4)


@pytest.mark.parametrize(
    "numbers", [[], [policy_pb2.METHOD_BACKUP_CODE], [TOTP, policy_pb2.METHOD_BACKUP_CODE], [0], [77]]
)
async def test_methods_that_would_leave_nobody_a_way_in_are_refused(policy: Service, numbers: list[int]) -> None:
    rule = await create(policy)
    methods = policy_pb2.MethodList(methods=numbers)  # type: ignore[arg-type]
    with pytest.raises(ServiceError) as refused:
        await change(policy, rule.clinic_id, methods=methods)
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    assert refused.value.members["errors"][0]["field"] == "methods"
    assert await policy.peer.call(policy.peer.stub.GetRule, policy_pb2.GetRuleRequest(clinic_id=rule.clinic_id)) == rule


@pytest.mark.parametrize(("clinic_id", "country"), [("", "GB"), ("cli_x", ""), ("cli_x", "gb"), ("cli_x", "GBR")])
async def test_a_clinic_needs_an_id_and_a_country(policy: Service, clinic_id: str, country: str) -> None:
    request = policy_pb2.CreateRuleRequest(clinic_id=clinic_id, methods=[TOTP], country=country)
    with pytest.raises(ServiceError) as refused:
        await policy.peer.call(policy.peer.stub.CreateRule, request)
    assert refused.value.code is ErrorCode.INVALID_REQUEST


async def test_a_change_names_who_makes_it(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    request = policy_pb2.ChangeRuleRequest(clinic_id=clinic_id, require_two_factor=True)
    with pytest.raises(ServiceError) as refused:
        await policy.peer.call(policy.peer.stub.ChangeRule, request)
    assert refused.value.code is ErrorCode.INVALID_REQUEST


async def test_p18_every_change_of_the_rule_and_nothing_else_leaves_one_audit_event(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, require_two_factor=True)
    await change(policy, clinic_id, require_two_factor=True)
    with pytest.raises(ServiceError):
        await change(policy, clinic_id, expected_version=1, phone_required=False)
    await change(policy, clinic_id, methods=policy_pb2.MethodList(methods=[TOTP]))
    events = events_of(policy, clinic_id)
    by_admin = ("user", "usr_admin", None)
    assert events == [
        (
            "clinic_rule.created",
            "operator",
            None,
            None,
            {"country": "GB", "methods": ["totp", "sms"], "version": 1},
        ),
        (
            "clinic_rule.changed",
            *by_admin,
            {"changes": {"require_two_factor": [False, True]}, "version": 2},
        ),
        (
            "clinic_rule.changed",
            *by_admin,
            {"changes": {"methods": [["totp", "sms"], ["totp"]]}, "version": 3},
        ),
    ]


@pytest.mark.parametrize("caller", ["otp", "notifier", "policy"])
async def test_p21_only_identity_may_call(policy: Service, caller: str) -> None:
    peer = policy.peer_of(caller)
    methods = policy_pb2.DESCRIPTOR.services_by_name["Policy"].methods
    assert len(methods) == 16
    calls = [
        peer.call(getattr(peer.stub, method.name), getattr(policy_pb2, method.input_type.name)()) for method in methods
    ]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, ServiceError)
        assert outcome.code is ErrorCode.FORBIDDEN


async def test_p22_the_application_role_cannot_rewrite_the_trail_or_forget_a_clinic(policy: Service) -> None:
    for statement in (
        "UPDATE audit_event SET kind = 'x'",
        "DELETE FROM audit_event",
        "DELETE FROM clinic_rule",
        "DELETE FROM user_setting",
        "DELETE FROM bypass",
        "CREATE TABLE t (a int)",
        "TRUNCATE clinic_rule",
    ):
        async with policy.database.connection() as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)


async def test_health_says_serving_to_any_certificate_of_ours(policy: Service, certificates: MakeCertificates) -> None:
    peer: Peer[Any] = Peer(health_pb2_grpc.HealthStub, f"127.0.0.1:{policy.server.port}", "policy", certificates("otp"))
    answer = await peer.call(peer.stub.Check, health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await peer.close()
