"""TOTP at the service: a step is accepted once, and none passes after a later one."""

from datetime import timedelta

import pytest

from tests.otp.conftest import Otp, fresh, result


async def test_a_right_code_is_accepted_and_says_what_the_user_has(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    verdict = await user.verify(user.code())
    assert result(verdict) == "accepted"
    assert [factor.method for factor in verdict.factors.factors] == [1]
    assert verdict.factors.backup_codes_remaining == 10
    assert verdict.attempts_left == 5


async def test_p01_a_code_is_accepted_once(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(user.code()) == "accepted"
    verdict = await user.verify(user.code())
    assert result(verdict) == "already_used"
    assert verdict.retry_after_seconds == 20
    assert verdict.attempts_left == 5


async def test_a14_an_accepted_code_is_refused_in_a_new_session_as_long_as_its_window_lasts(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.code()
    assert await user.sees(code) == "accepted"
    for _ in range(5):
        otp.clock.advance(timedelta(seconds=15))
        assert await user.sees(code) == "already_used"


async def test_a15_the_trailing_step_is_refused_after_it_was_accepted(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.code()
    assert await user.sees(code) == "accepted"
    otp.clock.advance(timedelta(seconds=30))
    verdict = await user.verify(code)
    assert result(verdict) == "already_used"
    assert verdict.retry_after_seconds == 1  # the phone shows the next code by now


async def test_a16_p02_an_older_step_never_passes_after_a_newer_one(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    earlier, now = user.code(-1), user.code()
    assert await user.sees(earlier) == "accepted"
    assert await user.sees(now) == "accepted"
    assert await user.sees(earlier) == "already_used"


async def test_p02_an_earlier_code_that_was_never_sent_is_refused_without_costing_a_guess(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    earlier = user.code(-1)
    assert await user.sees(user.code()) == "accepted"
    verdict = await user.verify(earlier)
    assert result(verdict) == "already_used"
    assert verdict.attempts_left == 5


@pytest.mark.parametrize(("seconds", "steps"), [(-29, -2), (-29, -1)])
async def test_p02_a_clock_set_back_revives_no_code(otp: Otp, seconds: int, steps: int) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(user.code()) == "accepted"
    otp.clock.advance(timedelta(seconds=seconds))
    assert await user.sees(user.code(steps)) != "accepted"


async def test_a23_a_clock_two_minutes_slow_accepts_nothing_up_to_the_last_step(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(user.code()) == "accepted"
    otp.clock.advance(timedelta(minutes=-2))
    for steps in (-1, 0, 1):
        assert await user.sees(user.code(steps)) == "already_used"


async def test_the_window_is_one_step_either_way_and_no_more(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    otp.clock.advance(timedelta(minutes=5))
    assert await user.sees(user.code(-2)) == "wrong"
    assert await user.sees(user.code(2)) == "wrong"
    assert await user.sees(user.code(-1)) == "accepted"
    assert await user.sees(user.code(1)) == "accepted"


async def test_the_window_ends_at_the_second(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    otp.clock.advance(timedelta(minutes=5))
    step_begins = otp.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    otp.clock.set(step_begins)
    code = user.code()
    otp.clock.set(step_begins + timedelta(seconds=60))
    assert await user.sees(code) == "wrong"
    otp.clock.set(step_begins + timedelta(seconds=59, microseconds=999999))
    assert await user.sees(code) == "accepted"
    otp.clock.set(step_begins + timedelta(minutes=10))
    code = user.code()
    otp.clock.set(step_begins + timedelta(minutes=10, seconds=-30, microseconds=-1))
    assert await user.sees(code) == "wrong"
    otp.clock.set(step_begins + timedelta(minutes=10, seconds=-30))
    assert await user.sees(code) == "accepted"


async def test_a17_a_code_in_another_dress_is_the_same_code(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.code()
    assert await user.sees(f" {code[:3]} {code[3:]} ") == "accepted"
    for dressed in (f"{code[:3]}-{code[3:]}", f"\u200b{code}", f"{code}\ufeff", f"{code[:3]}\u00a0{code[3:]}"):
        assert await user.sees(dressed) == "already_used"


@pytest.mark.parametrize(
    "code",
    [
        "",
        " ",
        "1",
        "12345",
        "1234567",
        "+12345",
        "-1",
        "12345a",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "\u0660\u0661\u0662\u0663\u0664\u0665",
        "0x1234",
        "1" * 10_000,
        "12\x00456",
    ],
)
async def test_a13_a_code_of_the_wrong_shape_is_never_compared_and_costs_nothing(otp: Otp, code: str) -> None:
    user = await otp.user().enrol_totp()
    assert await user.sees(code) == "malformed"
    assert (await user.factors()).attempts_left == 5


async def test_a29_anothers_code_is_wrong(otp: Otp) -> None:
    anna, ben = await otp.user().enrol_totp(), await otp.user().enrol_totp()
    assert await anna.sees(ben.code()) == "wrong"
    assert await ben.sees(ben.code()) == "accepted"


async def test_a73_the_login_that_spent_a_code_may_finish_and_no_other(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code, login = user.code(), fresh("log")
    assert await user.sees(code, login=login) == "accepted"
    assert await user.sees(code, login=login) == "accepted"
    assert await user.sees(code) == "already_used"
    otp.clock.advance(timedelta(minutes=10))
    assert await user.sees(code, login=login) == "accepted"
    otp.clock.advance(timedelta(microseconds=1))
    assert await user.sees(code, login=login) == "wrong"


async def test_a73_it_may_finish_though_another_login_has_spent_a_later_code(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code, login = user.code(), fresh("log")
    assert await user.sees(code, login=login) == "accepted"
    otp.clock.advance(timedelta(seconds=90))
    assert await user.sees(user.code()) == "accepted"
    assert await user.sees(code, login=login) == "accepted"


async def test_someone_without_a_factor_is_told_so_and_nothing_is_counted(otp: Otp) -> None:
    user = otp.user()
    assert await user.sees("123456") == "no_such_factor"
    assert (await user.factors()).attempts_left == 5
