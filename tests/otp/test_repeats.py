"""Confirming again what was confirmed but never heard of: for the login that did it, and for nobody else (A31, A73)."""

from datetime import timedelta

import pytest

from services.common.errors import ServiceError
from services.otp import totp
from tests.otp.conftest import Otp, Person, fresh, result


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
