"""The epoch: whatever could change a decision in the clinic counts it up in the very transaction; looking never does.
Over every call of the contract: a new one has to say which it is."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode
from tests.policy.calls import (
    change,
    count_exempt,
    create,
    decide,
    end_bypass,
    end_hold,
    exempt,
    get,
    grant,
    new_clinic_id,
    on_from,
    put_hold,
    refused,
    revoke,
    set_requirement,
    settings,
    subject,
    use,
)
from tests.policy.conftest import NOW, Service

Step = Callable[[Service, str], Awaitable[object]]


async def list_holds(policy: Service, clinic_id: str) -> object:
    return await policy.peer.call(policy.peer.stub.ListHolds, policy_pb2.ListHoldsRequest(clinic_id=clinic_id))


async def preview(policy: Service, clinic_id: str) -> object:
    would_be = policy_pb2.ChangeRuleRequest(clinic_id=clinic_id, require_two_factor=True)
    alike = policy_pb2.Alike(subject=subject(clinic_id), user_ids=["usr_1"])
    request = policy_pb2.PreviewRequest(people=[alike], change=would_be)
    return await policy.peer.call(policy.peer.stub.Preview, request)


async def use_one(policy: Service, clinic_id: str) -> None:
    bypass = await grant(policy, clinic_id)
    before = facts(policy, clinic_id)
    await use(policy, bypass)
    assert counted(before, facts(policy, clinic_id)) == 1


async def undo_one(policy: Service, clinic_id: str) -> None:
    await use_one(policy, clinic_id)
    before = facts(policy, clinic_id)
    await revoke(policy, clinic_id)
    assert counted(before, facts(policy, clinic_id)) == 1


async def nothing(policy: Service, clinic_id: str) -> None:
    pass


async def epoch_of(policy: Service, clinic_id: str) -> int:
    request = policy_pb2.GetEpochRequest(clinic_id=clinic_id)
    return (await policy.peer.call(policy.peer.stub.GetEpoch, request)).epoch


READS: dict[str, Step] = {
    "Decide": lambda policy, clinic_id: decide(policy, subject(clinic_id)),
    "GetEpoch": epoch_of,
    "GetRule": get,
    "Preview": preview,
    "ListHolds": list_holds,
    "GetUserSettings": settings,
    "CountExempt": count_exempt,
}
# Call → (what must stand before it, the call), each in as many ways as it has.
CHANGES: dict[str, list[tuple[Step, Step]]] = {
    "CreateRule": [],  # makes the epoch: a test of its own
    "ChangeRule": [
        (nothing, lambda policy, clinic_id, field=field, value=value: change(policy, clinic_id, **{field: value}))  # type: ignore[misc]
        for field, value in {
            "require_two_factor": True,
            "schedule": on_from(NOW + timedelta(days=1)),
            "methods": policy_pb2.MethodList(methods=[policy_pb2.METHOD_TOTP]),
            "phone_required": False,
            "remember_device_days": 3,
            "idle_minutes": 7,
            "sms_countries": policy_pb2.CountryList(countries=["FR"]),
            "sms_daily_cap": 9,
        }.items()
    ],
    "PutHold": [
        (nothing, put_hold),
        (put_hold, lambda policy, clinic_id: put_hold(policy, clinic_id, hours=4)),
        (put_hold, lambda policy, clinic_id: put_hold(policy, clinic_id, requires=False)),
    ],
    "EndHold": [(put_hold, end_hold)],
    "SetRequirement": [
        (nothing, exempt),
        (nothing, lambda policy, clinic_id: exempt(policy, clinic_id, until=NOW + timedelta(hours=1))),
        (
            exempt,
            lambda policy, clinic_id: set_requirement(
                policy, clinic_id, requirement=policy_pb2.REQUIREMENT_CLINIC_DEFAULT
            ),
        ),
        (
            nothing,
            lambda policy, clinic_id: set_requirement(policy, clinic_id, requirement=policy_pb2.REQUIREMENT_REQUIRED),
        ),
        (
            nothing,
            lambda policy, clinic_id: set_requirement(policy, clinic_id, phone_required=False, reason="No mobile"),
        ),
    ],
    "GrantBypass": [(nothing, grant), (grant, grant)],
    "UseBypass": [(nothing, use_one)],
    "RevokeBypass": [(grant, revoke), (nothing, undo_one)],
    "EndBypass": [(grant, end_bypass)],
}


def facts(policy: Service, clinic_id: str) -> tuple[int, dict[str, list[Any]]]:
    """The clinic's epoch, and every row of it that a decision may look at, whatever tables there are."""
    with policy.owner() as connection:
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND column_name = 'clinic_id' AND table_name <> 'audit_event'"
            )
        ]
        rows = {
            table: sorted(
                str({name: value for name, value in row[0].items() if name != "epoch"})
                for row in connection.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE clinic_id = %s", [clinic_id])  # type: ignore[arg-type]
            )
            for table in tables
        }
        row = connection.execute("SELECT epoch FROM clinic_rule WHERE clinic_id = %s", [clinic_id]).fetchone()
    return (row[0] if row else 0), rows


def counted(before: tuple[int, object], after: tuple[int, object]) -> int:
    assert before[1] != after[1], "the step changes what is on record"
    return after[0] - before[0]


def test_every_call_of_the_contract_says_whether_it_changes_a_decision() -> None:
    methods = set(policy_pb2.DESCRIPTOR.services_by_name["Policy"].methods_by_name)
    assert READS.keys() | CHANGES.keys() == methods
    assert not READS.keys() & CHANGES.keys()


@pytest.mark.parametrize(
    ("before", "step"),
    [pytest.param(*way, id=f"{name}-{n}") for name, ways in CHANGES.items() for n, way in enumerate(ways)],
)
async def test_p09_what_changes_a_decision_counts_the_epoch(policy: Service, before: Step, step: Step) -> None:
    clinic_id = (await create(policy)).clinic_id
    await before(policy, clinic_id)
    was = facts(policy, clinic_id)
    await step(policy, clinic_id)
    assert counted(was, facts(policy, clinic_id)) >= 1
    assert await epoch_of(policy, clinic_id) == facts(policy, clinic_id)[0]
    assert (await decide(policy, subject(clinic_id)))[0].epoch == await epoch_of(policy, clinic_id)


@pytest.mark.parametrize("name", READS)
async def test_what_only_looks_counts_nothing(policy: Service, name: str) -> None:
    clinic_id = (await create(policy)).clinic_id
    was = facts(policy, clinic_id)
    await READS[name](policy, clinic_id)
    assert facts(policy, clinic_id) == was


async def test_a_clinic_has_an_epoch_from_the_moment_that_it_is_known(policy: Service) -> None:
    clinic_id = new_clinic_id()
    with refused(ErrorCode.NOT_FOUND):
        await epoch_of(policy, clinic_id)
    await create(policy, clinic_id)
    assert await epoch_of(policy, clinic_id) == 1
    await create(policy, clinic_id)
    assert await epoch_of(policy, clinic_id) == 1


async def test_an_epoch_is_of_one_clinic_alone(policy: Service) -> None:
    one, other = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    await change(policy, one, require_two_factor=True)
    assert (await epoch_of(policy, one), await epoch_of(policy, other)) == (2, 1)


async def test_p09_a_decision_is_never_of_before_the_epoch_that_it_carries(policy: Service) -> None:
    """Deciding and reading the epoch while the rule is switched to and fro: equal epochs, equal decisions."""
    clinic_id = (await create(policy)).clinic_id
    seen: dict[int, set[bool]] = {}
    is_over = False

    async def watch() -> None:
        while not is_over:
            (decision,) = await decide(policy, subject(clinic_id))
            seen.setdefault(decision.epoch, set()).add(decision.two_factor_required)

    watching = [asyncio.create_task(watch()) for _ in range(4)]
    for number in range(25):
        await change(policy, clinic_id, require_two_factor=number % 2 == 0)
    is_over = True
    await asyncio.gather(*watching)
    assert len(seen) > 3
    # Epoch 1 is of the rule as it was made (off), 2 of the first switch (on), and so on.
    assert seen == {epoch: {epoch % 2 == 0} for epoch in seen}
