"""Setting factors up: in force only once confirmed, and ending what they replace."""

import asyncio
import re
from collections import Counter
from datetime import timedelta

import pyotp
import pytest
from countersign.otp.v1 import otp_pb2

from services.common.errors import ErrorCode, ServiceError
from tests.otp.conftest import PHONE, Otp, Person, fresh, result


def _methods(factors: otp_pb2.UserFactors) -> list[str]:
    names = {otp_pb2.METHOD_TOTP: "totp", otp_pb2.METHOD_SMS: "sms"}
    return [names[factor.method] for factor in factors.factors]


async def test_an_authenticator_is_set_up_by_its_first_code(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_totp()
    assert re.fullmatch("[A-Z2-7]{32}", offer.secret)
    assert f"secret={offer.secret}" in offer.otpauth_uri
    assert offer.otpauth_uri.startswith("otpauth://totp/Countersign:Harbour%20Clinic%20-%20anna%40harbour.example?")
    assert offer.expires_at.ToDatetime() - otp.clock.now().replace(tzinfo=None) == timedelta(minutes=10)
    assert _methods(await user.factors()) == []
    user.secret = offer.secret
    assert result((await user.confirm(offer.enrolment_id, user.wrong_code())).verdict) == "wrong"
    assert _methods(await user.factors()) == []
    answer = await user.confirm(offer.enrolment_id, user.code())
    assert result(answer.verdict) == "accepted"
    assert _methods(answer.verdict.factors) == ["totp"]
    assert len(set(answer.backup_codes.codes)) == 10
    assert _methods(await user.factors()) == ["totp"]
    assert otp.events(user.user_id) == [
        "enrolment.started",
        "code.wrong",
        "code.accepted",
        "factor.added",
        "backup_codes.made",
    ]


async def test_a18_the_code_that_confirmed_does_not_sign_in(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_totp()
    user.secret, login = offer.secret, fresh("log")
    code = user.code()
    assert result((await user.confirm(offer.enrolment_id, code, login=login)).verdict) == "accepted"
    assert await user.sees(code) == "already_used"
    assert await user.sees(code, login=login) == "already_used"
    assert await user.sees(user.code(-1)) == "already_used"
    assert await user.sees(user.code(1)) == "accepted"


async def test_a19_a_sign_in_code_does_not_step_up(otp: Otp) -> None:
    """A step-up is a verification under the login that the sign-in made."""
    user = await otp.user().enrol_totp()
    assert await user.sees(user.code(), login="ses_1.1") == "accepted"
    assert await user.sees(user.code(), login="ses_1.2") == "already_used"


async def test_the_same_session_gets_the_same_enrolment_and_another_session_ends_it(otp: Otp) -> None:
    user = otp.user()
    first = await user.start_totp()
    otp.clock.advance(timedelta(minutes=9))
    assert await user.start_totp() == first
    shown = _shown(user, first)
    assert await otp.call("GetTotpEnrolment", shown) == first
    second = await user.start_totp(session_id=fresh("ses"))
    assert second.secret != first.secret
    for gone in (otp.call("GetTotpEnrolment", shown), user.confirm(first.enrolment_id, "123456")):
        with pytest.raises(ServiceError) as refusal:
            await gone
        assert refusal.value.code is ErrorCode.GONE


async def test_a44_an_enrolment_dies_after_ten_minutes_and_the_old_factor_goes_on(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    offer = await user.start_totp()
    otp.clock.advance(timedelta(minutes=10))
    code = pyotp.TOTP(offer.secret).at(otp.clock.now())
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(offer.enrolment_id, code)
    shown = _shown(user, offer)
    with pytest.raises(ServiceError, match="gone"):
        await otp.call("GetTotpEnrolment", shown)
    assert await user.sees(user.code()) == "accepted"
    assert (await user.start_totp()).enrolment_id != offer.enrolment_id
    otp.clock.advance(timedelta(microseconds=-1))
    # The newer one has ended it, though by the clock it would still live.
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(offer.enrolment_id, code)


async def test_a43_a_confirmed_enrolment_shows_its_secret_no_more(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_totp()
    user.secret = offer.secret
    await user.confirm(offer.enrolment_id, user.code())
    shown = _shown(user, offer)
    with pytest.raises(ServiceError, match="gone"):
        await otp.call("GetTotpEnrolment", shown)
    [row] = otp.sql("SELECT secret FROM enrolment WHERE id = %s", [offer.enrolment_id])
    assert row["secret"] is None


async def test_a_foreign_enrolment_is_not_found(otp: Otp) -> None:
    anna, ben = otp.user(), otp.user()
    offer = await anna.start_totp()
    ben.secret = offer.secret
    with pytest.raises(ServiceError, match="not-found"):
        await ben.confirm(offer.enrolment_id, ben.code())
    with pytest.raises(ServiceError, match="not-found"):
        await otp.call("GetTotpEnrolment", _shown(ben, offer))
    anna.session_id = fresh("ses")  # nor is it another session's
    with pytest.raises(ServiceError, match="not-found"):
        await otp.call("GetTotpEnrolment", _shown(anna, offer))
    anna.secret = offer.secret
    with pytest.raises(ServiceError, match="not-found"):
        await anna.confirm(offer.enrolment_id, anna.code())


async def test_a_changed_phone_takes_over_when_confirmed_and_ends_the_old_codes(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    old_secret, old_codes = user.secret, user.backup_codes
    offer = await user.start_totp()
    assert await user.sees(user.code()) == "accepted"
    user.secret = offer.secret
    answer = await user.confirm(offer.enrolment_id, user.code())
    assert result(answer.verdict) == "accepted"
    assert len(answer.backup_codes.codes) == 10
    assert await user.sees(old_codes[0], "backup_code") == "wrong"
    otp.clock.advance(timedelta(minutes=1))
    assert await user.sees(pyotp.TOTP(old_secret).at(otp.clock.now())) == "wrong"
    assert await user.sees(user.code()) == "accepted"
    assert await user.sees(answer.backup_codes.codes[0], "backup_code") == "accepted"
    assert "factor.replaced" in otp.events(user.user_id)


async def test_a_code_of_the_old_phone_accepted_before_opens_nothing_after_the_change(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    old_code, login = user.code(), fresh("log")
    assert await user.sees(old_code, login=login) == "accepted"
    offer = await user.start_totp()
    user.secret = offer.secret
    assert result((await user.confirm(offer.enrolment_id, user.code())).verdict) == "accepted"
    assert await user.sees(old_code, login=login) == "wrong"


async def test_a_second_kind_of_factor_stands_beside_the_first_and_leaves_the_codes(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    offer = await user.start_sms()
    answer = await user.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms")
    assert _methods(answer.verdict.factors) == ["totp", "sms"]
    assert answer.phone == PHONE
    assert not answer.HasField("backup_codes")
    assert await user.sees(user.backup_codes[0], "backup_code") == "accepted"


async def test_what_is_confirmed_ends_the_factors_that_the_clinic_does_not_allow(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    offer = await user.start_totp()
    user.secret = offer.secret
    answer = await user.confirm(offer.enrolment_id, user.code(), allowed=("totp",))
    assert _methods(answer.verdict.factors) == ["totp"]
    with pytest.raises(ServiceError, match="not-found"):
        await user.send_sms(fresh("log"))
    with pytest.raises(ServiceError, match="conflict"):
        await user.confirm((await user.start_totp()).enrolment_id, user.code(), allowed=("sms",))


async def test_after_a_bypass_every_older_factor_and_code_is_replaced(otp: Otp) -> None:
    user = await (await otp.user().enrol_totp()).enrol_sms()
    offer = await user.start_sms("+447700900124")
    answer = await user.confirm(
        offer.enrolment_id, otp.notifier.code_to("+447700900124"), "sms", replace_all=True, allowed=("totp", "sms")
    )
    assert _methods(answer.verdict.factors) == ["sms"]
    assert len(answer.backup_codes.codes) == 10
    assert await user.sees(user.code()) == "no_such_factor"
    assert await user.sees(user.backup_codes[0], "backup_code") == "wrong"


async def test_a_new_number_ends_the_codes_on_their_way_to_the_old_one(otp: Otp) -> None:
    user = await otp.user().enrol_sms()
    login = fresh("log")
    await user.send_sms(login)
    code = otp.notifier.taken[-1].code
    offer = await user.start_sms("+447700900124")
    await user.confirm(offer.enrolment_id, otp.notifier.code_to("+447700900124"), "sms")
    assert await user.sees(code, "sms", login) == "no_such_factor"
    assert (await user.factors()).factors[0].phone_hint == "+44 ••••24"


async def test_proving_a_number_makes_no_factor_of_it(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_sms(purpose="phone_proof")
    with pytest.raises(ServiceError, match="not-found"):  # it is not an enrolment of a factor either
        await user.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms")
    assert result((await user.confirm("", "999999", "sms", purpose="phone_proof")).verdict) == "wrong"
    answer = await user.confirm("", otp.notifier.code_to(PHONE), "sms", purpose="phone_proof")
    assert (result(answer.verdict), answer.phone) == ("accepted", PHONE)
    assert _methods(await user.factors()) == []
    assert not answer.HasField("backup_codes")
    with pytest.raises(ServiceError, match="not-found"):
        await otp.user().confirm("", "123456", "sms", purpose="phone_proof")


async def test_an_enrolments_code_lives_five_minutes_and_a_newer_one_ends_it(otp: Otp) -> None:
    user = otp.user()
    first = await user.start_sms()
    code = otp.notifier.code_to(PHONE)
    otp.clock.advance(timedelta(minutes=5))
    answer = await user.confirm(first.enrolment_id, code, "sms")
    assert (result(answer.verdict), answer.verdict.attempts_left) == ("expired", 5)
    second = await user.start_sms()
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(first.enrolment_id, code, "sms")
    answer = await user.confirm(second.enrolment_id, otp.notifier.code_to(PHONE), "sms")
    assert result(answer.verdict) == "accepted"


async def test_a_factor_is_removed_and_with_the_last_one_the_backup_codes(otp: Otp) -> None:
    user = await (await otp.user().enrol_totp()).enrol_sms()
    left = await user.remove("totp")
    assert (_methods(left), left.backup_codes_remaining) == (["sms"], 10)
    assert await user.sees(user.code()) == "no_such_factor"
    with pytest.raises(ServiceError, match="not-found"):
        await user.remove("totp")
    left = await user.remove("sms")
    assert (_methods(left), left.backup_codes_remaining) == ([], 0)
    assert not left.HasField("backup_codes_generated_at")
    assert await user.sees(user.backup_codes[0], "backup_code") == "no_such_factor"
    assert otp.sql("SELECT 1 FROM backup_code WHERE user_id = %s", [user.user_id]) == []


async def test_twenty_enrolments_an_hour_are_begun_and_no_more(otp: Otp) -> None:
    user = otp.user()
    for _ in range(20):
        await user.start_totp(session_id=fresh("ses"))
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await user.start_totp(session_id=fresh("ses"))
    await otp.user().start_totp()


async def test_p14_of_many_confirmations_at_once_one_shows_the_codes_and_they_live(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_totp()
    user.secret, login = offer.secret, fresh("log")
    code = user.code()

    async def confirm() -> otp_pb2.ConfirmEnrolmentResponse | ErrorCode:
        try:
            return await user.confirm(offer.enrolment_id, code, login=login)
        except ServiceError as error:
            return error.code

    answers = await asyncio.gather(*(confirm() for _ in range(20)))
    confirmed = [answer for answer in answers if not isinstance(answer, ErrorCode)]
    assert len(confirmed) == 1
    assert Counter(answer for answer in answers if isinstance(answer, ErrorCode)) == {ErrorCode.UNAVAILABLE: 19}
    assert await user.sees(confirmed[0].backup_codes.codes[0], "backup_code") == "accepted"


async def _confirmed(user: Person, login: str, attempt: str) -> tuple[str, str, otp_pb2.ConfirmEnrolmentResponse]:
    offer = await user.start_totp()
    user.secret = offer.secret
    code = user.code()
    return offer.enrolment_id, code, await user.confirm(offer.enrolment_id, code, login=login, attempt=attempt)


async def test_a_repeated_confirmation_gives_fresh_codes_in_place_of_the_unseen(otp: Otp) -> None:
    user = otp.user()
    login, attempt = fresh("log"), fresh("att")
    enrolment_id, code, first = await _confirmed(user, login, attempt)
    again = await user.confirm(enrolment_id, code, login=login, attempt=attempt)
    assert result(again.verdict) == "accepted"
    assert len(again.backup_codes.codes) == 10
    assert await user.sees(first.backup_codes.codes[0], "backup_code") == "wrong"
    assert await user.sees(again.backup_codes.codes[0], "backup_code") == "accepted"


async def test_a73_a_login_that_never_heard_of_its_confirmation_may_ask_again(otp: Otp) -> None:
    user = otp.user()
    login = fresh("log")
    enrolment_id, code, _ = await _confirmed(user, login, fresh("att"))
    otp.clock.advance(timedelta(seconds=5))
    again = await user.confirm(enrolment_id, code, login=login)
    assert result(again.verdict) == "accepted"
    assert await user.sees(again.backup_codes.codes[0], "backup_code") == "accepted"
    for other_login, other_code in ((fresh("log"), code), (login, user.wrong_code())):
        with pytest.raises(ServiceError, match="gone"):
            await user.confirm(enrolment_id, other_code, login=other_login)
    otp.clock.advance(timedelta(minutes=10))
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(enrolment_id, code, login=login)


async def test_a_repeated_wrong_confirmation_counts_once(otp: Otp) -> None:
    user = otp.user()
    offer = await user.start_totp()
    user.secret, login, attempt = offer.secret, fresh("log"), fresh("att")
    wrong = user.wrong_code()
    first = await user.confirm(offer.enrolment_id, wrong, login=login, attempt=attempt)
    assert await user.confirm(offer.enrolment_id, wrong, login=login, attempt=attempt) == first
    assert (await user.factors()).attempts_left == 4


@pytest.mark.parametrize(
    "phone",
    [
        "",
        "123",
        "07700900123",
        "+0447700900123",
        "+44 7700 900123",
        "+" + "1" * 16,
        "+\uff11\uff12\uff13\uff14\uff15\uff16\uff17",
    ],
)
async def test_a_number_that_is_not_e164_is_refused(otp: Otp, phone: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        await otp.user().start_sms(phone)
    assert refusal.value.code is ErrorCode.INVALID_REQUEST


def _shown(user: Person, offer: otp_pb2.TotpEnrolment) -> otp_pb2.GetTotpEnrolmentRequest:
    return otp_pb2.GetTotpEnrolmentRequest(
        user_id=user.user_id, session_id=user.session_id, enrolment_id=offer.enrolment_id
    )
