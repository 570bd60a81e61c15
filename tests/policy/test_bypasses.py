"""Leave to sign in once without a code, over the contract: spent once, in time, and for nothing else."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode, ServiceError
from services.policy.model import BypassId, ClinicId, SessionId
from services.policy.store.bypasses import LockedBypasses
from tests.policy.calls import (
    ADMIN,
    OPERATOR,
    change,
    create,
    decide,
    end_bypass,
    events_of,
    exempt,
    get,
    grant,
    new_clinic_id,
    put_hold,
    refused,
    revoke,
    settings,
    stamp,
    subject,
    use,
)
from tests.policy.conftest import NOW, Service

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
State = policy_pb2.Bypass
HELD = policy_pb2.HeldFactor(method=policy_pb2.METHOD_TOTP)


async def test_one_is_named_by_the_decision_until_its_time_is_over(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    assert (await decide(policy, subject(clinic_id)))[0].bypass_id == ""
    bypass = await grant(policy, clinic_id, minutes=60)
    assert (bypass.state, bypass.granted_by, bypass.reason) == (State.STATE_UNUSED, ADMIN, "Lost phone")
    assert (bypass.granted_at, bypass.expires_at) == (stamp(NOW), stamp(NOW + HOUR))
    (decision, other) = await decide(policy, subject(clinic_id, "usr_1", HELD), subject(clinic_id, "usr_2", HELD))
    assert (decision.bypass_id, decision.bypass_granted_at) == (bypass.id, stamp(NOW))
    assert (decision.valid_until, other.bypass_id) == (stamp(NOW + HOUR), "")
    assert decision.outcome == policy_pb2.Decision.OUTCOME_SECOND_FACTOR
    policy.clock.set(NOW + HOUR)
    assert (await decide(policy, subject(clinic_id)))[0].bypass_id == ""
    assert not (await settings(policy, clinic_id))[0].HasField("bypass")
    with refused(ErrorCode.GONE):
        await use(policy, bypass)
    with refused(ErrorCode.NOT_FOUND):
        await revoke(policy, clinic_id)


@pytest.mark.parametrize("tries", [100, pytest.param(1000, marks=pytest.mark.full)])
async def test_p05_of_all_sessions_that_use_one_at_two_instances_exactly_one_gets_it(
    policy: Service, twin: Service, tries: int
) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, require_two_factor=True)
    await exempt(policy, clinic_id, "usr_2")
    bypass = await grant(policy, clinic_id)
    rule, (setting, other) = await get(policy, clinic_id), await settings(policy, clinic_id, ["usr_1", "usr_2"])

    turns = asyncio.Semaphore(100)  # as many at once as identity's instances would hold open

    async def tried(number: int) -> str:
        async with turns:
            try:
                return (await use((policy, twin)[number % 2], bypass, f"ses_{number}", seconds=20.0)).used_session_id
            except ServiceError as error:
                return error.code.value

    outcomes = Counter(await asyncio.gather(*(tried(number) for number in range(tries))))
    won = [outcome for outcome in outcomes if outcome.startswith("ses_")]
    assert (len(won), outcomes[won[0]], outcomes["gone"]) == (1, 1, tries - 1)
    # The same session again, as after a lost answer, gets the same; and counts nothing.
    again = await asyncio.gather(*(use(service, bypass, won[0]) for service in (policy, twin) * 3))
    assert {(found.state, found.used_session_id, found.used_at.seconds) for found in again} == {
        (State.STATE_USED, won[0], int(NOW.timestamp()))
    }
    assert [event[0] for event in events_of(policy, clinic_id)][-2:] == ["bypass.granted", "bypass.used"]
    # P5: the rule and what is set for people are byte for byte what they were.
    after = await get(policy, clinic_id)
    assert after.epoch == rule.epoch + 1
    after.epoch = rule.epoch
    assert after.SerializeToString() == rule.SerializeToString()
    now, unmoved = await settings(policy, clinic_id, ["usr_1", "usr_2"])
    for found in (now, setting):
        found.ClearField("bypass")
    assert (now.SerializeToString(), unmoved.SerializeToString()) == (
        setting.SerializeToString(),
        other.SerializeToString(),
    )


async def test_p05_the_row_itself_lets_one_through_where_the_lock_would_fail(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    bypass = await grant(policy, clinic_id)

    async def spend(number: int) -> bool:
        async with policy.database.connection() as connection:
            rows = LockedBypasses(connection, ClinicId(clinic_id))
            return await rows.use(BypassId(bypass.id), SessionId(f"ses_{number}"), NOW) is not None

    assert sorted(await asyncio.gather(*(spend(number) for number in range(20)))) == [False] * 19 + [True]


async def test_a46_the_row_itself_is_not_spent_once_its_time_is_over(policy: Service) -> None:
    """Whoever looked in time may have waited for the lock until it was over."""
    clinic_id = (await create(policy)).clinic_id
    bypass = await grant(policy, clinic_id, minutes=1)
    async with policy.database.connection() as connection:
        rows = LockedBypasses(connection, ClinicId(clinic_id))
        for late in (timedelta(minutes=2), MINUTE):
            assert await rows.use(BypassId(bypass.id), SessionId("ses_1"), NOW + late) is None
        used = await rows.use(BypassId(bypass.id), SessionId("ses_1"), NOW + MINUTE - timedelta(microseconds=1))
    assert used is not None


async def test_a46_used_expired_revoked_ended_or_another_user_s_is_refused(policy: Service) -> None:
    clinic_id, other_clinic = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    bypass = await grant(policy, clinic_id)
    with refused(ErrorCode.NOT_FOUND):
        await use(policy, bypass, user_id="usr_2")
    elsewhere = policy_pb2.Bypass(id=bypass.id, clinic_id=other_clinic, user_id="usr_1")
    with refused(ErrorCode.NOT_FOUND):
        await use(policy, elsewhere)
    with refused(ErrorCode.NOT_FOUND):
        await use(policy, policy_pb2.Bypass(id="byp_none", clinic_id=clinic_id, user_id="usr_1"))
    with refused(ErrorCode.INVALID_REQUEST, "session_id"):
        await use(policy, bypass, "")
    await use(policy, bypass)
    with refused(ErrorCode.GONE):
        await use(policy, bypass, "ses_2")
    revoked = await grant(policy, clinic_id, "usr_3")
    assert (await revoke(policy, clinic_id, "usr_3")).state == State.STATE_REVOKED
    ended = await grant(policy, clinic_id, "usr_4")
    await end_bypass(policy, clinic_id, "usr_4")
    for gone in (revoked, ended):
        with refused(ErrorCode.GONE):
            await use(policy, gone)


async def test_a_new_one_kills_the_unused_one_before_it(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    first, second = await grant(policy, clinic_id), await grant(policy, clinic_id, minutes=5)
    with refused(ErrorCode.GONE):
        await use(policy, first)
    assert (await decide(policy, subject(clinic_id)))[0].bypass_id == second.id
    policy.clock.advance(HOUR)
    third = await grant(policy, clinic_id)
    assert (await use(policy, third)).state == State.STATE_USED
    ended = [event[4] for event in events_of(policy, clinic_id) if event[0] == "bypass.ended"]
    assert ended == [
        {"bypass_id": first.id, "cause": "superseded"},
        {"bypass_id": second.id, "cause": "expired"},
    ]


async def test_many_grants_at_once_leave_one_that_can_be_used(policy: Service, twin: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    granted = await asyncio.gather(*(grant((policy, twin)[number % 2], clinic_id) for number in range(10)))
    alive = (await decide(policy, subject(clinic_id)))[0].bypass_id
    outcomes = await asyncio.gather(*(use(policy, bypass) for bypass in granted), return_exceptions=True)
    assert [found.id for found in outcomes if isinstance(found, policy_pb2.Bypass)] == [alive]


async def test_a_used_one_is_undone_for_24_hours_and_no_longer(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    bypass = await grant(policy, clinic_id)
    await use(policy, bypass, "ses_7")
    policy.clock.advance(DAY - MINUTE)
    assert (await settings(policy, clinic_id))[0].bypass.state == State.STATE_USED
    undone = await revoke(policy, clinic_id)
    assert (undone.state, undone.used_session_id, undone.id) == (State.STATE_UNDONE, "ses_7", bypass.id)
    with refused(ErrorCode.NOT_FOUND):
        await revoke(policy, clinic_id)
    with refused(ErrorCode.GONE):
        await use(policy, bypass, "ses_7")
    assert not (await settings(policy, clinic_id))[0].HasField("bypass")
    late = await grant(policy, clinic_id)
    await use(policy, late)
    policy.clock.advance(DAY)
    with refused(ErrorCode.NOT_FOUND):
        await revoke(policy, clinic_id)
    assert not (await settings(policy, clinic_id))[0].HasField("bypass")


async def test_where_there_are_both_the_unused_one_is_revoked_first(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    used = await grant(policy, clinic_id)
    await use(policy, used)
    unused = await grant(policy, clinic_id)
    assert (await settings(policy, clinic_id))[0].bypass.id == unused.id
    first, second = await revoke(policy, clinic_id), await revoke(policy, clinic_id)
    assert [(first.id, first.state), (second.id, second.state)] == [
        (unused.id, State.STATE_REVOKED),
        (used.id, State.STATE_UNDONE),
    ]


async def test_one_that_is_used_and_revoked_at_once_is_one_of_both(policy: Service, twin: Service) -> None:
    for _ in range(10):
        clinic_id = (await create(policy)).clinic_id
        bypass = await grant(policy, clinic_id)
        used, revoked = await asyncio.gather(use(policy, bypass), revoke(twin, clinic_id), return_exceptions=True)
        assert isinstance(revoked, policy_pb2.Bypass)
        if isinstance(used, policy_pb2.Bypass):
            assert (revoked.state, revoked.used_session_id) == (State.STATE_UNDONE, "ses_1")
        else:
            assert isinstance(used, ServiceError)
            assert (used.code, revoked.state) == (ErrorCode.GONE, State.STATE_REVOKED)


async def test_ending_what_is_not_there_changes_nothing(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await end_bypass(policy, clinic_id)
    bypass = await grant(policy, clinic_id)
    await end_bypass(policy, clinic_id, cause="disabled")
    await end_bypass(policy, clinic_id, cause="disabled")
    used = await grant(policy, clinic_id)
    await use(policy, used)
    await end_bypass(policy, clinic_id)
    assert (await settings(policy, clinic_id))[0].bypass.state == State.STATE_USED
    ended = [event for event in events_of(policy, clinic_id) if event[0] == "bypass.ended"]
    assert ended == [("bypass.ended", "system", None, "usr_1", {"bypass_id": bypass.id, "cause": "disabled"})]


@pytest.mark.parametrize("minutes", [0, -1, 1441])
async def test_it_lasts_a_minute_to_a_day(policy: Service, minutes: int) -> None:
    clinic_id = (await create(policy)).clinic_id
    with refused(ErrorCode.INVALID_REQUEST, "expires_in_minutes"):
        await grant(policy, clinic_id, minutes=minutes)
    assert (await grant(policy, clinic_id, minutes=1440)).expires_at == stamp(NOW + DAY)


async def test_a47_no_administrator_grants_one_to_themselves_and_each_has_a_reason(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    with refused(ErrorCode.FORBIDDEN):
        await grant(policy, clinic_id, ADMIN.id)
    assert (await grant(policy, clinic_id, ADMIN.id, actor=OPERATOR)).granted_by == OPERATOR
    request = policy_pb2.GrantBypassRequest(clinic_id=clinic_id, user_id="usr_1", actor=ADMIN, expires_in_minutes=60)
    for reason in ("", " ", "x" * 501):
        request.reason = reason
        with refused(ErrorCode.INVALID_REQUEST, "reason"):
            await policy.peer.call(policy.peer.stub.GrantBypass, request)
    with refused(ErrorCode.NOT_FOUND):
        await grant(policy, new_clinic_id())


async def test_it_works_under_a_hold_and_every_step_moves_the_epoch(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    epochs = [(await put_hold(policy, clinic_id)) and (await get(policy, clinic_id)).epoch]
    bypass = await grant(policy, clinic_id)
    epochs.append((await get(policy, clinic_id)).epoch)
    (decision,) = await decide(policy, subject(clinic_id))
    assert (decision.outcome, decision.bypass_id) == (policy_pb2.Decision.OUTCOME_ENROL, bypass.id)
    await use(policy, bypass)
    epochs.append((await get(policy, clinic_id)).epoch)
    await revoke(policy, clinic_id)
    epochs.append((await get(policy, clinic_id)).epoch)
    assert epochs == [2, 3, 4, 5]
    assert (await get(policy, clinic_id)).version == 1


async def test_p18_the_trail_tells_who_let_whom_in_and_where_it_was_used(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    bypass = await grant(policy, clinic_id)
    await use(policy, bypass, "ses_9")
    await revoke(policy, clinic_id)
    granted = {"reason": "Lost phone", "expires_at": "2026-11-16T10:30:00+00:00", "suspend_factors": False}
    assert events_of(policy, clinic_id)[1:] == [
        ("bypass.granted", "user", "usr_admin", "usr_1", {"bypass_id": bypass.id, **granted}),
        ("bypass.used", "user", "usr_1", "usr_1", {"bypass_id": bypass.id, "session_id": "ses_9"}),
        ("bypass.undone", "user", "usr_admin", "usr_1", {"bypass_id": bypass.id, "session_id": "ses_9"}),
    ]
