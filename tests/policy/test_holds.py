"""Holds over the contract: what they oblige, whose they are, and how they end."""

import asyncio
from datetime import timedelta

import pytest
from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode, ServiceError
from services.policy.holds import MOST_HOLDS
from tests.policy.calls import (
    ADMIN,
    OPERATOR,
    change,
    create,
    decide,
    end_hold,
    events_of,
    exempt,
    new_clinic_id,
    put_hold,
    refused,
    subject,
)
from tests.policy.conftest import NOW, Service

LEDGER = policy_pb2.Actor(kind="app", id="app_ledger")
PAYROLL = policy_pb2.Actor(kind="app", id="app_payroll")
OTHER_ADMIN = policy_pb2.Actor(kind="user", id="usr_other")
ALLOW, ENROL = policy_pb2.Decision.OUTCOME_ALLOW, policy_pb2.Decision.OUTCOME_ENROL


async def living(policy: Service, clinic_id: str) -> list[str]:
    request = policy_pb2.ListHoldsRequest(clinic_id=clinic_id)
    return [hold.name for hold in (await policy.peer.call(policy.peer.stub.ListHolds, request)).holds]


async def test_a_hold_obliges_everyone_at_once_and_no_exemption_passes_it(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id)
    (before,) = await decide(policy, subject(clinic_id))
    hold = await put_hold(policy, clinic_id, hours=72)
    assert (hold.name, hold.requires_two_factor, hold.max_device_trust_hours, hold.set_by) == (
        "ledger",
        True,
        72,
        ADMIN,
    )
    assert hold.set_at.seconds == int(NOW.timestamp())
    (under,) = await decide(policy, subject(clinic_id))
    assert (before.outcome, under.outcome, under.two_factor_required) == (ALLOW, ENROL, True)
    assert (under.epoch, under.version) == (before.epoch + 1, before.version)
    assert under.reason.rules[0].outcome == "requires"
    assert (await end_hold(policy, clinic_id)).holds == []
    (after,) = await decide(policy, subject(clinic_id))
    assert (after.outcome, after.epoch) == (ALLOW, under.epoch + 1)


async def test_the_strictest_hold_caps_remembered_browsers_also_one_that_demands_nothing_else(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, remember_device_days=30)
    minutes = []
    for name, hours in (("a", 100), ("b", 48), ("c", 72), ("d", None)):
        await put_hold(policy, clinic_id, name, requires=False, hours=hours)
        (decision,) = await decide(policy, subject(clinic_id))
        minutes.append(decision.remember_device_minutes)
        assert decision.outcome == ALLOW
    assert minutes == [6000, 2880, 2880, 2880]
    await end_hold(policy, clinic_id, "b")
    assert (await decide(policy, subject(clinic_id)))[0].remember_device_minutes == 72 * 60


async def test_one_set_by_hand_any_administrator_ends_and_no_app_touches(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await put_hold(policy, clinic_id)
    with refused(ErrorCode.FORBIDDEN):
        await end_hold(policy, clinic_id, actor=LEDGER)
    with refused(ErrorCode.FORBIDDEN):
        await put_hold(policy, clinic_id, actor=LEDGER, requires=False)
    assert (await put_hold(policy, clinic_id, actor=OTHER_ADMIN, hours=1)).set_by == OTHER_ADMIN
    assert not (await end_hold(policy, clinic_id, actor=OTHER_ADMIN)).holds


async def test_one_set_by_an_app_only_that_app_or_an_operator_changes_or_ends(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await put_hold(policy, clinic_id, actor=LEDGER)
    for actor in (ADMIN, PAYROLL):
        with refused(ErrorCode.FORBIDDEN):
            await end_hold(policy, clinic_id, actor=actor)
        with refused(ErrorCode.FORBIDDEN):
            await put_hold(policy, clinic_id, actor=actor, requires=False)
    assert (await put_hold(policy, clinic_id, actor=LEDGER, hours=5)).max_device_trust_hours == 5
    assert not (await end_hold(policy, clinic_id, actor=LEDGER)).holds
    await put_hold(policy, clinic_id, actor=LEDGER)
    assert not (await end_hold(policy, clinic_id, actor=OPERATOR)).holds


async def test_setting_the_same_again_changes_nothing(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    first = await put_hold(policy, clinic_id, hours=5)
    policy.clock.advance(timedelta(hours=1))
    (before,) = await decide(policy, subject(clinic_id))
    assert await put_hold(policy, clinic_id, hours=5) == first
    assert (await decide(policy, subject(clinic_id)))[0] == before
    assert [event[0] for event in events_of(policy, clinic_id)] == ["clinic_rule.created", "hold.set"]


@pytest.mark.parametrize("name", ["", "Ledger", "-ledger", ".ledger", "led ger", "l" * 64, "ledger\n", "lédger"])
async def test_a_name_is_plain(policy: Service, name: str) -> None:
    clinic_id = (await create(policy)).clinic_id
    with refused(ErrorCode.INVALID_REQUEST, "name"):
        await put_hold(policy, clinic_id, name)
    assert await living(policy, clinic_id) == []


async def test_names_and_hours_at_their_bounds_are_taken(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    for name, hours in (("l" * 63, 0), ("0a.b_c-d", 2160)):
        assert (await put_hold(policy, clinic_id, name, hours=hours)).max_device_trust_hours == hours
    for hours in (-1, 2161):
        with refused(ErrorCode.INVALID_REQUEST, "max_device_trust_hours"):
            await put_hold(policy, clinic_id, hours=hours)
    assert await living(policy, clinic_id) == ["0a.b_c-d", "l" * 63]


async def test_a_clinic_has_twenty_holds_at_most_also_where_they_come_at_once(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    for number in range(MOST_HOLDS - 2):
        await put_hold(policy, clinic_id, f"hold-{number}")
    outcomes = await asyncio.gather(
        *(put_hold(policy, clinic_id, f"late-{number}") for number in range(7)), return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    assert [error.code for error in lost] == [ErrorCode.CONFLICT] * 5
    assert len(await living(policy, clinic_id)) == MOST_HOLDS


async def test_of_what_is_not_there_nothing_is_ended(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    with refused(ErrorCode.NOT_FOUND):
        await end_hold(policy, clinic_id)
    for call in (put_hold, end_hold):
        with refused(ErrorCode.NOT_FOUND):
            await call(policy, new_clinic_id())
    with refused(ErrorCode.NOT_FOUND):
        await living(policy, new_clinic_id())


async def test_a65_a_hold_of_one_clinic_is_nothing_to_another(policy: Service) -> None:
    one, other = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    await put_hold(policy, one)
    assert await living(policy, other) == []
    with refused(ErrorCode.NOT_FOUND):
        await end_hold(policy, other)
    outcomes = [decision.outcome for decision in await decide(policy, subject(one), subject(other))]
    assert outcomes == [ENROL, ALLOW]


async def test_p18_each_change_of_a_hold_is_one_event(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await put_hold(policy, clinic_id, actor=LEDGER, hours=5)
    await put_hold(policy, clinic_id, actor=LEDGER, requires=False)
    with refused(ErrorCode.FORBIDDEN):
        await end_hold(policy, clinic_id)
    await end_hold(policy, clinic_id, actor=OPERATOR)
    first = {"requires_two_factor": True, "max_device_trust_hours": 5}
    second = {"requires_two_factor": False, "max_device_trust_hours": None}
    assert events_of(policy, clinic_id)[1:] == [
        ("hold.set", "app", "app_ledger", None, {"name": "ledger", **first}),
        ("hold.changed", "app", "app_ledger", None, {"name": "ledger", **second, "before": first}),
        ("hold.ended", "operator", None, None, {"name": "ledger", **second}),
    ]
