"""Asking again for what was never heard of. A confirmation: for the login that did it, and for nobody else (A31, A73).
A set-up by text message: for the session that began it, and without a second text."""

from datetime import timedelta

import pytest

from services.common.errors import ServiceError
from services.otp import totp
from tests.otp.conftest import PHONE, Otp, Person, fresh, result


async def _started(user: Person) -> str:
    offer = await user.start_totp()
    user.secret = offer.secret
    return str(offer.enrolment_id)


async def test_a31_what_may_only_repeat_confirms_nothing_compares_nothing_and_counts_nothing(otp: Otp) -> None:
    user = otp.user()
    enrolment_id = await _started(user)
    for code in (user.code(), user.wrong_code()):
        with pytest.raises(ServiceError, match="gone"):
            await user.confirm(enrolment_id, code, only_repeat=True)
    factors = await user.factors()
    assert (list(factors.factors), factors.attempts_left) == ([], 5)
    login, attempt = fresh("log"), fresh("att")
    wrong = await user.confirm(enrolment_id, user.wrong_code(), login=login, attempt=attempt)
    assert result(wrong.verdict) == "wrong"
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(enrolment_id, user.wrong_code(), login=login, attempt=attempt, only_repeat=True)
    assert result((await user.confirm(enrolment_id, user.code())).verdict) == "accepted"


async def test_a73_only_the_login_that_confirmed_with_this_code_hears_it_again_for_ten_minutes(otp: Otp) -> None:
    user = otp.user()
    login, code = fresh("log"), ""
    enrolment_id = await _started(user)
    code = user.code()
    first = await user.confirm(enrolment_id, code, login=login)
    otp.clock.advance(timedelta(seconds=5))
    for other_login, other_code in ((fresh("log"), code), (login, user.wrong_code())):
        with pytest.raises(ServiceError, match="gone"):
            await user.confirm(enrolment_id, other_code, login=other_login, only_repeat=True)
    again = await user.confirm(enrolment_id, code, login=login, only_repeat=True)
    assert result(again.verdict) == "accepted"
    assert len(again.backup_codes.codes) == 10
    assert await user.sees(first.backup_codes.codes[0], "backup_code") == "wrong"
    assert await user.sees(again.backup_codes.codes[0], "backup_code") == "accepted"
    otp.clock.advance(timedelta(minutes=10))
    with pytest.raises(ServiceError, match="gone"):
        await user.confirm(enrolment_id, code, login=login, only_repeat=True)


async def test_one_attempt_is_for_one_set_up(otp: Otp) -> None:
    user = otp.user()
    login, attempt = fresh("log"), fresh("att")
    enrolment_id = await _started(user)
    code = user.code()
    await user.confirm(enrolment_id, code, login=login, attempt=attempt)
    other = await _started(user)
    with pytest.raises(ServiceError, match="conflict"):
        await user.confirm(other, code, login=login, attempt=attempt)


async def test_p06_under_an_id_that_was_told_no_other_code_is_even_compared(
    otp: Otp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one id would be a way to guess that costs nothing: what is rolled back was compared all the same."""
    user = await otp.user().enrol_totp()
    login, attempt = fresh("log"), fresh("att")
    assert result(await user.verify("123456", "sms", login, attempt)) == "no_such_factor"
    compared: list[str] = []

    def match(secret: str, code: str, *others: object) -> None:
        compared.append(code)

    monkeypatch.setattr(totp, "match", match)
    for code in ("000000", "000001", user.code()):
        with pytest.raises(ServiceError, match="conflict"):
            await user.sees(code, login=login, attempt=attempt)
    assert compared == []
    assert await user.sees("000000", login=login) == "wrong"
    assert compared == ["000000"]


@pytest.mark.parametrize("purpose", ["enrolment", "phone_proof"])
async def test_p16_a_set_up_by_text_begun_again_within_the_pause_is_the_same_and_sends_nothing(
    otp: Otp, purpose: str
) -> None:
    user, sent = otp.user(), len(otp.notifier.taken)
    first = await user.start_sms(purpose=purpose)
    otp.clock.advance(timedelta(seconds=29))
    again = await user.start_sms(purpose=purpose)
    assert (again.enrolment_id, again.expires_at, again.phone_hint) == (
        first.enrolment_id,
        first.expires_at,
        first.phone_hint,
    )
    assert again.resend_after == first.resend_after
    assert len(otp.notifier.taken) == sent + 1
    otp.clock.advance(timedelta(seconds=2))
    later = await user.start_sms(purpose=purpose)
    assert later.enrolment_id != first.enrolment_id
    assert [message.to for message in otp.notifier.taken[sent:]] == [PHONE, PHONE]
    answer = await user.confirm(later.enrolment_id, otp.notifier.code_to(PHONE), "sms", purpose=purpose)
    assert result(answer.verdict) == "accepted"
    assert otp.events(user.user_id).count("enrolment.started") == 2


async def test_p16_within_the_pause_another_number_waits_and_another_session_begins_its_own(otp: Otp) -> None:
    user = otp.user()
    first = await user.start_sms()
    with pytest.raises(ServiceError, match="too-many-attempts"):
        await user.start_sms("+447700900124")
    with pytest.raises(ServiceError, match="too-many-attempts"):  # a set-up is no proof of a number alone
        await user.start_sms(purpose="phone_proof")
    assert (await user.start_sms()).enrolment_id == first.enrolment_id
    elsewhere = Person(otp, user.user_id)
    other = await elsewhere.start_sms()
    assert other.enrolment_id != first.enrolment_id
    with pytest.raises(ServiceError, match="too-many-attempts"):  # its own is over
        await user.start_sms()
    assert (
        result((await elsewhere.confirm(other.enrolment_id, otp.notifier.code_to(PHONE), "sms")).verdict) == "accepted"
    )


async def test_p16_a_set_up_whose_text_was_not_handed_over_is_begun_again_at_once_with_one_text(otp: Otp) -> None:
    user, sent = otp.user(), len(otp.notifier.taken)
    otp.notifier.is_away = True
    with pytest.raises(ServiceError, match="unavailable"):
        await user.start_sms()
    otp.notifier.is_away = False
    offer = await user.start_sms()
    assert (await user.start_sms()).enrolment_id == offer.enrolment_id
    assert len(otp.notifier.taken) == sent + 1
    assert result((await user.confirm(offer.enrolment_id, otp.notifier.code_to(PHONE), "sms")).verdict) == "accepted"
