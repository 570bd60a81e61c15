"""Suspended factors: they answer no code, they still count, and only a confirmation that replaces all ends them."""

from datetime import timedelta
from typing import Any

import pytest
from countersign.otp.v1 import otp_pb2

from services.common.errors import ErrorCode, ServiceError
from tests.otp.conftest import PHONE, Otp, Person, result


async def suspend(person: Person) -> Any:
    request = otp_pb2.SuspendFactorsRequest(caller=person.caller(session_id="ses_admin"), cause="bypass")
    return await person.otp.call("SuspendFactors", request)


async def remove_all(person: Person) -> Any:
    request = otp_pb2.RemoveAllFactorsRequest(caller=person.caller(session_id="ses_admin"), cause="bypass_undone")
    return await person.otp.call("RemoveAllFactors", request)


async def count_enrolled(otp: Otp, *user_ids: str) -> int:
    answer: otp_pb2.CountEnrolledResponse = await otp.call(
        "CountEnrolled", otp_pb2.CountEnrolledRequest(user_ids=user_ids)
    )
    return answer.count


def error(caught: pytest.ExceptionInfo[ServiceError]) -> ErrorCode:
    return caught.value.code


async def test_a_suspended_factor_answers_no_code_and_still_counts(otp: Otp) -> None:
    person = await (await otp.user().enrol_totp()).enrol_sms()
    codes = person.backup_codes
    await person.send_sms("log_waiting")
    sms_code = otp.notifier.code_to(PHONE)
    left = (await person.factors()).attempts_left
    answer = await suspend(person)
    assert {(factor.method, factor.suspended) for factor in answer.factors} == {
        (otp_pb2.METHOD_TOTP, True),
        (otp_pb2.METHOD_SMS, True),
    }
    for code in (person.code(), person.wrong_code()):
        assert await person.sees(code) == "no_such_factor"
    assert await person.sees(codes[0], "backup_code") == "no_such_factor"
    assert await person.sees(sms_code, "sms", login="log_waiting") == "no_such_factor"
    assert (await person.factors()).attempts_left == left  # the owner's guesses are not the thief's to spend
    with pytest.raises(ServiceError) as caught:
        await person.send_sms("log_new")
    assert error(caught) is ErrorCode.NOT_FOUND
    for forbidden in (person.regenerate(), person.remove("totp")):
        with pytest.raises(ServiceError) as caught:
            await forbidden
        assert error(caught) is ErrorCode.CONFLICT
    assert [factor.suspended for factor in (await person.factors()).factors] == [True, True]


async def test_whoever_has_a_factor_is_counted_and_a_suspended_one_too(otp: Otp) -> None:
    by_app, by_text = await otp.user().enrol_totp(), await otp.user().enrol_sms()
    without = otp.user()
    await without.start_totp()
    ids = [by_app.user_id, by_text.user_id, without.user_id, "usr_nobody"]
    assert await count_enrolled(otp, *ids) == 2
    await suspend(by_app)
    assert await count_enrolled(otp, *ids) == 2
    await remove_all(by_app)
    assert await count_enrolled(otp, *ids) == 1
    assert await count_enrolled(otp) == 0
    with pytest.raises(ServiceError) as caught:
        await count_enrolled(otp, *(f"usr_{n}" for n in range(1001)))
    assert error(caught) is ErrorCode.INVALID_REQUEST


async def test_a_code_accepted_before_is_not_accepted_again_once_factors_are_suspended(otp: Otp) -> None:
    person = await otp.user().enrol_totp()
    code = person.code()
    assert await person.sees(code, login="log_1", attempt="att_1") == "accepted"
    assert await person.sees(code, login="log_1", attempt="att_2") == "accepted"
    await suspend(person)
    assert await person.sees(code, login="log_1", attempt="att_1") == "no_such_factor"
    assert await person.sees(code, login="log_1", attempt="att_3") == "no_such_factor"


async def test_what_was_being_set_up_is_dead_and_nothing_is_added_beside_suspended_factors(otp: Otp) -> None:
    person = await otp.user().enrol_totp()
    offer, other = await person.start_totp(), await person.start_sms(PHONE)
    old_secret, person.secret = person.secret, offer.secret
    await suspend(person)
    for enrolment_id, code, method in (
        (offer.enrolment_id, person.code(), "totp"),
        (other.enrolment_id, otp.notifier.code_to(PHONE), "sms"),
    ):
        for replace_all in (False, True):
            with pytest.raises(ServiceError) as caught:
                await person.confirm(enrolment_id, code, method, replace_all=replace_all)
            assert error(caught) is ErrorCode.GONE
    later = await person.start_totp()
    person.secret = later.secret
    with pytest.raises(ServiceError) as caught:
        await person.confirm(later.enrolment_id, person.code())
    assert error(caught) is ErrorCode.GONE
    person.secret = old_secret
    assert await person.sees(person.code()) == "no_such_factor"


@pytest.mark.parametrize("suspended", [True, False])
async def test_a_confirmation_that_replaces_all_leaves_nothing_of_the_old(otp: Otp, suspended: bool) -> None:
    person = await (await otp.user().enrol_totp()).enrol_sms()
    old_codes, old_secret = person.backup_codes, person.secret
    if suspended:
        await suspend(person)
    offer = await person.start_totp()
    person.secret = offer.secret
    login = "log_bypass"
    answer = await person.confirm(offer.enrolment_id, person.code(), login=login, replace_all=True)
    assert result(answer.verdict) == "accepted"
    assert [(factor.method, factor.suspended) for factor in answer.verdict.factors.factors] == [
        (otp_pb2.METHOD_TOTP, False)
    ]
    assert len(answer.backup_codes.codes) == 10
    otp.clock.advance(timedelta(minutes=1))
    assert await person.sees(person.code()) == "accepted"
    assert await person.sees(answer.backup_codes.codes[3], "backup_code") == "accepted"
    assert await person.sees(old_codes[4], "backup_code") == "wrong"
    new_secret, person.secret = person.secret, old_secret
    otp.clock.advance(timedelta(minutes=1))
    assert await person.sees(person.code()) == "wrong"
    person.secret = new_secret
    with pytest.raises(ServiceError) as caught:
        await person.send_sms("log_sms")
    assert error(caught) is ErrorCode.NOT_FOUND


async def test_remove_all_takes_every_factor_and_code_and_nothing_of_it_comes_back(otp: Otp) -> None:
    person = otp.user()
    offer = await person.start_totp()
    person.secret = offer.secret
    code = person.code()
    answer = await person.confirm(offer.enrolment_id, code, login="log_bypass", replace_all=True)
    assert result(answer.verdict) == "accepted"
    assert not (await remove_all(person)).factors
    factors = await person.factors()
    assert (list(factors.factors), factors.backup_codes_remaining) == ([], 0)
    otp.clock.advance(timedelta(seconds=10))
    with pytest.raises(ServiceError) as caught:
        await person.confirm(offer.enrolment_id, code, login="log_bypass", replace_all=True)
    assert error(caught) is ErrorCode.GONE
    assert not (await person.factors()).factors
    assert await person.sees(answer.backup_codes.codes[0], "backup_code") == "no_such_factor"


async def test_suspending_and_removing_are_on_record_once_and_harmless_for_who_has_nothing(otp: Otp) -> None:
    stranger = otp.user()
    assert not (await suspend(stranger)).factors
    assert not (await remove_all(stranger)).factors
    person = await otp.user().enrol_totp()
    for _ in range(2):
        await suspend(person)
    for _ in range(2):
        await remove_all(person)
    rows = otp.sql(
        "SELECT kind, actor_kind, actor_id, detail FROM audit_event WHERE subject_id = %s AND kind LIKE 'factors.%%'"
        " ORDER BY seq",
        [person.user_id],
    )
    assert [(row["kind"], row["actor_kind"], row["actor_id"]) for row in rows] == [
        ("factors.suspended", "system", None),
        ("factors.removed", "system", None),
    ]
    assert [(row["detail"]["cause"], row["detail"]["methods"]) for row in rows] == [
        ("bypass", ["totp"]),
        ("bypass_undone", ["totp"]),
    ]


async def test_a46_removing_only_what_is_new_ends_what_is_being_set_up_and_leaves_what_is_older(otp: Otp) -> None:
    """A confirmation that is on its way while a bypass is undone is either seen or finds nothing to confirm."""
    person = await otp.user().enrol_totp()
    otp.clock.advance(timedelta(minutes=1))
    request = otp_pb2.RemoveAllFactorsRequest(caller=person.caller(), cause="bypass_undone")
    request.only_if_new_since.FromDatetime(otp.clock.now())
    offer = await person.start_sms(PHONE)
    left = await otp.call("RemoveAllFactors", request)
    assert [factor.method for factor in left.factors] == [otp_pb2.METHOD_TOTP]
    with pytest.raises(ServiceError, match="gone"):
        await person.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms", replace_all=True)
    otp.clock.advance(timedelta(minutes=1))
    assert await person.sees(person.code()) == "accepted"

    offer = await person.start_sms(PHONE)
    code = otp.notifier.code_to(PHONE)
    assert result((await person.confirm(offer.enrolment_id, code, "sms", replace_all=True)).verdict) == "accepted"
    assert not (await otp.call("RemoveAllFactors", request)).factors
