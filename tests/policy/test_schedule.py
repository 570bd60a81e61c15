"""A clinic's rule over the contract: its date, its other fields, and what a hold does not let through."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode
from tests.policy.calls import (
    ADMIN,
    change,
    create,
    decide,
    end_hold,
    events_of,
    get,
    on_from,
    put_hold,
    refused,
    stamp,
    subject,
)
from tests.policy.conftest import NOW, Service

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALLOW, ENROL = policy_pb2.Decision.OUTCOME_ALLOW, policy_pb2.Decision.OUTCOME_ENROL


async def outcome(policy: Service, clinic_id: str) -> policy_pb2.Decision.Outcome.ValueType:
    return (await decide(policy, subject(clinic_id)))[0].outcome


async def test_a_date_turns_the_rule_on_when_it_comes_and_not_a_second_before(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    begins = NOW + DAY
    rule = await change(policy, clinic_id, schedule=on_from(begins))
    assert (rule.require_two_factor, rule.enforce_from, rule.version) == (False, stamp(begins), 2)
    (decision,) = await decide(policy, subject(clinic_id))
    assert (decision.outcome, decision.valid_until) == (ALLOW, stamp(begins))
    assert decision.upcoming.enforce_from == stamp(begins)
    assert decision.upcoming.sentence.startswith(
        "Harbour Clinic will require a code at sign-in from 17 November, 09:30 (Europe/London)"
    )
    policy.clock.set(begins - timedelta(seconds=1))
    assert await outcome(policy, clinic_id) == ALLOW
    policy.clock.set(begins)
    (decision,) = await decide(policy, subject(clinic_id))
    assert (decision.outcome, decision.HasField("valid_until"), decision.HasField("upcoming")) == (ENROL, False, False)
    shown = await get(policy, clinic_id)
    assert (shown.require_two_factor, shown.required_since, shown.version) == (True, stamp(begins), 2)


async def test_a_date_is_taken_back_and_nobody_is_stopped(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    for named in ({}, {"require_two_factor": True}):
        await change(policy, clinic_id, schedule=on_from(policy.clock.now() + DAY), **named)
        rule = await change(policy, clinic_id, schedule=on_from(None))
        assert (rule.require_two_factor, rule.HasField("enforce_from")) == (False, False)
        policy.clock.advance(2 * DAY)
        assert await outcome(policy, clinic_id) == ALLOW


async def test_on_or_off_alone_clears_the_date(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, schedule=on_from(NOW + DAY))
    on = await change(policy, clinic_id, require_two_factor=True)
    assert (on.require_two_factor, on.HasField("enforce_from"), on.required_since) == (True, False, stamp(NOW))
    await change(policy, clinic_id, schedule=on_from(NOW + DAY))
    off = await change(policy, clinic_id, require_two_factor=False)
    assert (off.require_two_factor, off.HasField("enforce_from")) == (False, False)
    policy.clock.advance(2 * DAY)
    assert await outcome(policy, clinic_id) == ALLOW


async def test_a_rule_put_off_is_off_until_its_date_and_back_where_that_is_taken_back(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, require_two_factor=True)
    put_off = await change(policy, clinic_id, schedule=on_from(NOW + DAY))
    assert (put_off.require_two_factor, await outcome(policy, clinic_id)) == (False, ALLOW)
    policy.clock.advance(HOUR)
    back = await change(policy, clinic_id, schedule=on_from(None))
    assert (back.require_two_factor, back.required_since) == (True, stamp(NOW + HOUR))
    assert await outcome(policy, clinic_id) == ENROL


async def test_a_date_that_has_come_is_kept_sent_back_and_cleared_without_turning_the_rule_off(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    scheduled = await change(policy, clinic_id, schedule=on_from(NOW + DAY))
    policy.clock.advance(2 * DAY)
    same = on_from(NOW + DAY)
    assert (await change(policy, clinic_id, schedule=same, require_two_factor=True)).version == scheduled.version
    with refused(ErrorCode.INVALID_REQUEST, "enforce_from"):
        await change(policy, clinic_id, schedule=same, require_two_factor=False)
    cleared = await change(policy, clinic_id, schedule=on_from(None))
    assert (cleared.require_two_factor, cleared.required_since) == (True, stamp(NOW + DAY))
    again = await change(policy, clinic_id, schedule=on_from(None), require_two_factor=True)
    assert (again.version, again.required_since) == (cleared.version, cleared.required_since)


@pytest.mark.parametrize(
    "moment", [NOW, NOW - DAY, NOW + timedelta(days=4000), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]
)
async def test_a_date_is_to_come_and_within_ten_years(policy: Service, moment: datetime) -> None:
    rule = await create(policy)
    with refused(ErrorCode.INVALID_REQUEST, "enforce_from"):
        await change(policy, rule.clinic_id, schedule=on_from(moment))
    assert await get(policy, rule.clinic_id) == rule


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("remember_device_days", (0, 90), (-1, 91)),
        ("idle_minutes", (5, 60), (4, 61)),
        ("sms_daily_cap", (0, 100_000), (-1, 100_001)),
    ],
)
async def test_numbers_have_their_bounds(
    policy: Service, field: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    clinic_id = (await create(policy)).clinic_id
    for number in good:
        assert getattr(await change(policy, clinic_id, **{field: number}), field) == number
    for number in bad:
        with refused(ErrorCode.INVALID_REQUEST, field):
            await change(policy, clinic_id, **{field: number})


async def test_countries_are_two_letters_once_each_and_at_least_one(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    rule = await change(policy, clinic_id, sms_countries=policy_pb2.CountryList(countries=["GB", "IE", "GB"]))
    assert list(rule.sms_countries) == ["GB", "IE"]
    for countries in ([], ["gb"], ["GB", "GBR"], [""]):
        with refused(ErrorCode.INVALID_REQUEST, "sms_countries"):
            await change(policy, clinic_id, sms_countries=policy_pb2.CountryList(countries=countries))


async def test_idle_minutes_and_days_reach_every_decision(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await change(policy, clinic_id, idle_minutes=12, remember_device_days=2)
    (decision,) = await decide(policy, subject(clinic_id))
    assert (decision.idle_minutes, decision.remember_device_minutes) == (12, 2 * 24 * 60)


async def test_under_a_hold_the_rule_is_neither_turned_off_nor_put_off_and_the_refusal_names_the_holders(
    policy: Service,
) -> None:
    clinic_id = (await create(policy)).clinic_id
    on = await change(policy, clinic_id, require_two_factor=True)
    await put_hold(policy, clinic_id, "payroll")
    await put_hold(policy, clinic_id, "ledger")
    await put_hold(policy, clinic_id, "archive", requires=False)
    for loosening in (
        {"require_two_factor": False},
        {"schedule": on_from(NOW + DAY)},
        {"require_two_factor": True, "schedule": on_from(NOW + DAY)},
        {"require_two_factor": False, "idle_minutes": 20},
    ):
        with refused(ErrorCode.REQUIRED_BY_POLICY) as refusal:
            await change(policy, clinic_id, **loosening)
        assert refusal.value.members["holders"] == ["ledger", "payroll"]
        reason = refusal.value.members["reason"]
        assert reason["sentence"].endswith("while an integration requires two-factor authentication: ledger, payroll.")
        assert reason["rules"][0] == {
            "rule": "hold",
            "outcome": "requires",
            "detail": "ledger since 2026-11-16T09:30:00Z",
        }
    assert (await get(policy, clinic_id)).version == on.version
    await end_hold(policy, clinic_id, "payroll")
    with refused(ErrorCode.REQUIRED_BY_POLICY):
        await change(policy, clinic_id, require_two_factor=False)
    await end_hold(policy, clinic_id, "ledger")
    assert not (await change(policy, clinic_id, require_two_factor=False)).require_two_factor


async def test_under_a_hold_a_date_may_come_sooner_but_not_later_and_other_fields_change(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await put_hold(policy, clinic_id)
    await change(policy, clinic_id, schedule=on_from(NOW + 2 * DAY), require_two_factor=False, idle_minutes=20)
    await change(policy, clinic_id, schedule=on_from(NOW + DAY))
    for later in (on_from(NOW + 3 * DAY), on_from(None)):
        with refused(ErrorCode.REQUIRED_BY_POLICY):
            await change(policy, clinic_id, schedule=later)
    assert (await change(policy, clinic_id, idle_minutes=25)).idle_minutes == 25


async def test_off_already_is_still_refused_under_a_hold_where_it_is_all_that_is_asked(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await put_hold(policy, clinic_id)
    with refused(ErrorCode.REQUIRED_BY_POLICY):
        await change(policy, clinic_id, require_two_factor=False)
    assert (await change(policy, clinic_id, require_two_factor=False, idle_minutes=20)).idle_minutes == 20


async def test_a_hold_and_turning_off_at_once_never_leave_the_rule_off_with_a_refusal_that_came_too_late(
    policy: Service, twin: Service
) -> None:
    for _ in range(10):
        clinic_id = (await create(policy)).clinic_id
        await change(policy, clinic_id, require_two_factor=True)
        put, turned_off = await asyncio.gather(
            put_hold(policy, clinic_id), change(twin, clinic_id, require_two_factor=False), return_exceptions=True
        )
        assert isinstance(put, policy_pb2.Hold)
        kinds = [event[0] for event in events_of(policy, clinic_id)]
        was_first = isinstance(turned_off, policy_pb2.Rule)
        expected = ["clinic_rule.changed", "hold.set"] if was_first else ["hold.set"]
        assert kinds == ["clinic_rule.created", "clinic_rule.changed", *expected]
        assert await outcome(policy, clinic_id) == ENROL


async def test_p18_a_change_of_many_fields_is_one_event_that_names_each(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    countries = policy_pb2.CountryList(countries=["IE"])
    await change(policy, clinic_id, schedule=on_from(NOW + DAY), sms_countries=countries, sms_daily_cap=5)
    assert events_of(policy, clinic_id)[1:] == [
        (
            "clinic_rule.changed",
            "user",
            ADMIN.id,
            None,
            {
                "changes": {
                    "enforce_from": [None, "2026-11-17T09:30:00+00:00"],
                    "sms_countries": [["GB"], ["IE"]],
                    "sms_daily_cap": [300, 5],
                },
                "version": 2,
            },
        )
    ]
