"""What is set for one person, over the contract: requirement, reason, end, number, and the last administrator."""

import asyncio
from datetime import timedelta

import pytest
from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode, ServiceError
from tests.policy.calls import (
    ADMIN,
    OPERATOR,
    change,
    count_exempt,
    create,
    decide,
    events_of,
    exempt,
    new_clinic_id,
    put_hold,
    refused,
    set_requirement,
    settings,
    stamp,
    subject,
)
from tests.policy.conftest import NOW, Service

DAY = timedelta(days=1)
DEFAULT = policy_pb2.REQUIREMENT_CLINIC_DEFAULT
REQUIRED = policy_pb2.REQUIREMENT_REQUIRED
EXEMPT = policy_pb2.REQUIREMENT_EXEMPT
ALLOW, ENROL = policy_pb2.Decision.OUTCOME_ALLOW, policy_pb2.Decision.OUTCOME_ENROL


async def test_a_person_for_whom_nothing_was_set_is_as_the_clinic_says(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id, "usr_2")
    found = await settings(policy, clinic_id, ["usr_1", "usr_2", "usr_3"])
    assert [setting.user_id for setting in found] == ["usr_1", "usr_2", "usr_3"]
    assert [setting.requirement for setting in found] == [DEFAULT, EXEMPT, DEFAULT]
    assert not found[0].HasField("set_at")
    assert (found[1].reason, found[1].set_by) == ("Works without a telephone", ADMIN)
    with refused(ErrorCode.NOT_FOUND):
        await settings(policy, new_clinic_id())


async def test_required_obliges_one_person_and_an_exemption_lifts_the_duty_until_it_ends(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await set_requirement(policy, clinic_id, "usr_2", requirement=REQUIRED)
    outcomes = [found.outcome for found in await decide(policy, subject(clinic_id), subject(clinic_id, "usr_2"))]
    assert outcomes == [ALLOW, ENROL]
    await change(policy, clinic_id, require_two_factor=True)
    set_ = await exempt(policy, clinic_id, until=NOW + DAY)
    assert (set_.requirement, set_.expires_at) == (EXEMPT, stamp(NOW + DAY))
    (decision,) = await decide(policy, subject(clinic_id))
    assert (decision.outcome, decision.valid_until) == (ALLOW, stamp(NOW + DAY))
    (holder,) = await decide(policy, subject(clinic_id, "usr_1", policy_pb2.HeldFactor(method=policy_pb2.METHOD_TOTP)))
    assert holder.outcome == policy_pb2.Decision.OUTCOME_SECOND_FACTOR
    policy.clock.set(NOW + DAY)
    assert (await decide(policy, subject(clinic_id)))[0].outcome == ENROL


async def test_the_exempt_are_counted_until_their_exemption_ends(policy: Service) -> None:
    clinic_id, other = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    for clinic, user, until in ((clinic_id, "usr_1", None), (clinic_id, "usr_2", NOW + DAY), (other, "usr_3", None)):
        await exempt(policy, clinic, user, until=until)
    await set_requirement(policy, clinic_id, "usr_4", requirement=REQUIRED)
    everyone = ["usr_1", "usr_2", "usr_3", "usr_4", "usr_5"]
    assert await count_exempt(policy, clinic_id, everyone) == 2
    assert await count_exempt(policy, clinic_id, ["usr_2", "usr_5"]) == 1
    policy.clock.set(NOW + DAY)
    assert await count_exempt(policy, clinic_id, everyone) == 1
    assert await count_exempt(policy, new_clinic_id(), everyone) == 0


async def test_what_is_left_out_stays_and_what_belonged_to_the_exemption_ends_with_it(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id, until=NOW + DAY)
    kept = await set_requirement(policy, clinic_id, reason="On leave")
    assert (kept.requirement, kept.reason, kept.expires_at) == (EXEMPT, "On leave", stamp(NOW + DAY))
    endless = await set_requirement(policy, clinic_id, expiry=policy_pb2.ExpiryChange())
    assert (endless.requirement, endless.reason, endless.HasField("expires_at")) == (EXEMPT, "On leave", False)
    back = await set_requirement(policy, clinic_id, requirement=DEFAULT)
    assert (back.requirement, back.reason, back.HasField("expires_at")) == (DEFAULT, "", False)


async def test_the_requirement_and_the_lifted_number_each_have_a_reason_a_time_and_an_author_of_their_own(
    policy: Service,
) -> None:
    clinic_id = (await create(policy)).clinic_id
    colleague = policy_pb2.Actor(kind="user", id="usr_colleague", address="192.0.2.8")
    exempted = await exempt(policy, clinic_id)
    policy.clock.advance(DAY)
    lifted = await set_requirement(policy, clinic_id, actor=colleague, phone_required=False, reason="None on the ward")
    assert (lifted.reason, lifted.set_by, lifted.set_at) == (exempted.reason, ADMIN, stamp(NOW))
    note = (lifted.phone_reason, lifted.phone_set_by, lifted.phone_set_at)
    assert note == ("None on the ward", colleague, stamp(NOW + DAY))

    policy.clock.advance(DAY)
    required = await set_requirement(policy, clinic_id, requirement=REQUIRED, reason="Handles prescriptions")
    assert (required.reason, required.set_at) == ("Handles prescriptions", stamp(NOW + 2 * DAY))
    assert (required.phone_reason, required.phone_set_by, required.phone_set_at) == note
    since = next(
        rule for rule in (await decide(policy, subject(clinic_id)))[0].reason.rules if rule.outcome == "requires"
    )
    with refused(ErrorCode.INVALID_REQUEST, "reason"):
        await set_requirement(policy, clinic_id, reason="For which?")

    policy.clock.advance(DAY)
    both = await exempt(policy, clinic_id, phone_required=False)
    assert both.reason == both.phone_reason == "Works without a telephone"
    assert both.set_at == both.phone_set_at == stamp(NOW + 3 * DAY)
    again = await set_requirement(policy, clinic_id, actor=colleague, phone_required=False)
    assert again == both, "what was lifted already stays as it was lifted"

    policy.clock.advance(DAY)
    asked_for = await set_requirement(policy, clinic_id, phone_required=True)
    assert (asked_for.reason, asked_for.set_at) == (both.reason, both.set_at)
    assert (asked_for.phone_reason, asked_for.HasField("phone_set_by"), asked_for.HasField("phone_set_at")) == (
        *("", False),
        False,
    )
    assert since.detail == "since 2026-11-18T09:30:00Z"
    changes = [detail["changes"] for kind, *_, detail in events_of(policy, clinic_id) if kind == "requirement.changed"]  # type: ignore[index]
    assert changes[1] == {"phone_reason": [None, "None on the ward"], "is_phone_lifted": [False, True]}
    assert changes[-1] == {"phone_reason": ["Works without a telephone", None], "is_phone_lifted": [True, False]}


async def test_a_reason_alone_is_for_the_one_thing_that_is_set(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await set_requirement(policy, clinic_id, phone_required=False, reason="None on the ward")
    corrected = await set_requirement(policy, clinic_id, reason="None in the theatre")
    assert (corrected.phone_reason, corrected.reason) == ("None in the theatre", "")
    with refused(ErrorCode.INVALID_REQUEST, "reason"):
        await set_requirement(policy, clinic_id, reason=" ")


async def test_a_number_is_lifted_for_one_person_also_under_a_hold_until_it_is_asked_for_again(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    without = subject(clinic_id, has_phone=False)
    assert (await decide(policy, without))[0].phone_required
    with refused(ErrorCode.INVALID_REQUEST, "reason"):
        await set_requirement(policy, clinic_id, phone_required=False)
    lifted = await set_requirement(policy, clinic_id, phone_required=False, reason="No mobile telephones on the ward")
    assert (lifted.HasField("phone_required"), lifted.phone_required, lifted.requirement) == (True, False, DEFAULT)
    await put_hold(policy, clinic_id)
    (decision,) = await decide(policy, without)
    assert (decision.outcome, decision.phone_required) == (ENROL, False)
    again = await set_requirement(policy, clinic_id, phone_required=True)
    assert not again.HasField("phone_required")
    assert (await decide(policy, without))[0].phone_required
    await change(policy, clinic_id, phone_required=False)
    (decision,) = await decide(policy, without)
    assert (decision.outcome, decision.phone_required) == (ENROL, False), "a hold demands a factor, not a phone"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"requirement": EXEMPT}, "reason"),
        ({"requirement": EXEMPT, "reason": "  "}, "reason"),
        ({"requirement": EXEMPT, "reason": "x" * 501}, "reason"),
        ({"requirement": EXEMPT, "reason": "a\0b"}, "reason"),
        ({"requirement": 0}, "requirement"),
        ({"requirement": 77}, "requirement"),
        (
            {"requirement": EXEMPT, "reason": "x", "expiry": policy_pb2.ExpiryChange(expires_at=stamp(NOW))},
            "expires_at",
        ),
        ({"requirement": REQUIRED, "expiry": policy_pb2.ExpiryChange(expires_at=stamp(NOW + DAY))}, "expires_at"),
        (
            {
                "requirement": EXEMPT,
                "reason": "x",
                "expiry": policy_pb2.ExpiryChange(expires_at=stamp(NOW + 4000 * DAY)),
            },
            "expires_at",
        ),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    policy: Service, fields: dict[str, object], field: str
) -> None:
    clinic_id = (await create(policy)).clinic_id
    with refused(ErrorCode.INVALID_REQUEST, field):
        await set_requirement(policy, clinic_id, **fields)
    assert [event[0] for event in events_of(policy, clinic_id)] == ["clinic_rule.created"]


async def test_an_exemption_that_has_ended_is_given_anew_only_with_a_new_end(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id, until=NOW + DAY)
    policy.clock.advance(2 * DAY)
    with refused(ErrorCode.INVALID_REQUEST, "expires_at"):
        await set_requirement(policy, clinic_id, requirement=EXEMPT, reason="Still on leave")
    await exempt(policy, clinic_id, until=NOW + 3 * DAY)


async def test_nobody_exempts_themselves_or_lifts_their_own_number(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    for fields in ({"requirement": EXEMPT}, {"phone_required": False}):
        with refused(ErrorCode.FORBIDDEN):
            await set_requirement(policy, clinic_id, ADMIN.id, reason="I may", **fields)
    assert (await set_requirement(policy, clinic_id, ADMIN.id, requirement=REQUIRED)).requirement == REQUIRED


async def test_a47_nobody_prolongs_an_exemption_that_another_gave_them(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    given = await exempt(policy, clinic_id, ADMIN.id, NOW + DAY, actor=OPERATOR)
    for end in (stamp(NOW + 2 * DAY), None):
        for fields in ({}, {"requirement": EXEMPT, "reason": "I may"}):
            with refused(ErrorCode.FORBIDDEN):
                expiry = policy_pb2.ExpiryChange(expires_at=end)
                await set_requirement(policy, clinic_id, ADMIN.id, expiry=expiry, **fields)
    assert await settings(policy, clinic_id, [ADMIN.id]) == [given]


async def test_the_last_administrator_who_is_not_exempt_stays_so(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    everybody = {"is_administrator": True, "actor": OPERATOR}
    with refused(ErrorCode.CONFLICT):
        await exempt(policy, clinic_id, "usr_a", **everybody)
    await exempt(policy, clinic_id, "usr_a", other_administrators=["usr_b"], **everybody)
    with refused(ErrorCode.CONFLICT):
        await exempt(policy, clinic_id, "usr_b", other_administrators=["usr_a"], **everybody)
    with refused(ErrorCode.CONFLICT):
        await exempt(policy, clinic_id, "usr_b", other_administrators=["usr_b"], **everybody)
    # A receptionist may be, whoever else is.
    await exempt(policy, clinic_id, "usr_c", other_administrators=["usr_a"], actor=OPERATOR)
    # Once the other's exemption has ended there is one again.
    await exempt(policy, clinic_id, "usr_a", until=NOW + DAY, other_administrators=["usr_b"], **everybody)
    policy.clock.set(NOW + DAY)
    await exempt(policy, clinic_id, "usr_b", other_administrators=["usr_a"], **everybody)


async def test_two_administrators_who_exempt_each_other_at_once_do_not_both_succeed(
    policy: Service, twin: Service
) -> None:
    for _ in range(10):
        clinic_id = (await create(policy)).clinic_id
        outcomes = await asyncio.gather(
            *(
                exempt(
                    service,
                    clinic_id,
                    whom,
                    actor=policy_pb2.Actor(kind="user", id=who),
                    is_administrator=True,
                    other_administrators=[who],
                )
                for service, who, whom in ((policy, "usr_a", "usr_b"), (twin, "usr_b", "usr_a"))
            ),
            return_exceptions=True,
        )
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
        assert [refusal.code for refusal in refusals] == [ErrorCode.CONFLICT]


async def test_a65_what_is_set_in_one_clinic_is_nothing_to_another(policy: Service) -> None:
    one, other = (await create(policy)).clinic_id, (await create(policy)).clinic_id
    await set_requirement(policy, one, requirement=REQUIRED)
    outcomes = [found.outcome for found in await decide(policy, subject(one), subject(other))]
    assert outcomes == [ENROL, ALLOW]
    assert (await settings(policy, other))[0].requirement == DEFAULT


async def test_p18_a_change_is_one_event_and_the_same_again_is_none(policy: Service) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id, until=NOW + DAY)
    (before,) = await decide(policy, subject(clinic_id))
    policy.clock.advance(timedelta(minutes=1))
    await exempt(policy, clinic_id, until=NOW + DAY)
    assert (await decide(policy, subject(clinic_id)))[0].epoch == before.epoch == 2
    assert events_of(policy, clinic_id)[1:] == [
        (
            "requirement.changed",
            "user",
            "usr_admin",
            "usr_1",
            {
                "changes": {
                    "requirement": ["clinic_default", "exempt"],
                    "reason": ["", "Works without a telephone"],
                    "expires_at": [None, "2026-11-17T09:30:00+00:00"],
                }
            },
        )
    ]


async def test_a_number_that_a_process_of_before_has_lifted_has_the_note_of_the_requirement(policy: Service) -> None:
    """Old and new run side by side while a release goes out; the old one knows one note for both."""
    clinic_id = (await create(policy)).clinic_id
    await set_requirement(policy, clinic_id, requirement=REQUIRED, reason="Handles prescriptions")
    with policy.owner() as connection:
        connection.execute("UPDATE user_setting SET is_phone_lifted = true WHERE clinic_id = %s", [clinic_id])
    (found,) = await settings(policy, clinic_id, ["usr_1"])
    assert (found.HasField("phone_required"), found.phone_required) == (True, False)
    assert (found.phone_reason, found.phone_set_by) == ("Handles prescriptions", ADMIN)
    asked = await set_requirement(policy, clinic_id, phone_required=True)
    assert (asked.HasField("phone_required"), asked.phone_reason) == (False, "")
