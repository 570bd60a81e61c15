"""What a person is told of a code that was not accepted (R9, A34)."""

import pytest

from services.common.errors import ErrorCode
from services.identity.model import Method
from services.identity.otp_words import (
    Verdict,
    VerdictResult,
)
from services.identity.verdicts import refusal_for


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (60, "60 seconds fast"),
        (300, "5 minutes fast"),
        (-300, "5 minutes slow"),
        (1170, "20 minutes fast"),
        (3600, "1 hour fast"),
        (-7230, "2 hours slow"),
        (14 * 3600 + 90, "14 hours fast"),
    ],
)
def test_r9_a_phone_whose_clock_is_wrong_is_told_by_how_much_and_which_way(skew: int, words: str) -> None:
    refusal = refusal_for(Verdict(VerdictResult.WRONG, attempts_left=3, clock_skew_seconds=skew), Method.TOTP)
    assert refusal.code is ErrorCode.INVALID_CODE
    assert refusal.members["clock_skew_seconds"] == skew
    assert refusal.members["attempts_left"] == 3
    assert words in refusal.detail
    assert "Settings > General > Date & Time > Set Automatically" in refusal.members["hint"]  # iPhone
    assert "Settings > System > Date & time > Set automatically" in refusal.members["hint"]  # Android


@pytest.mark.parametrize("method", Method)
def test_a_wrong_code_comes_with_what_would_help(method: Method) -> None:
    refusal = refusal_for(Verdict(VerdictResult.WRONG, attempts_left=0), method)
    assert refusal.members["hint"]
    assert refusal.members["attempts_left"] == 0
    assert refusal.members["clock_skew_seconds"] is None  # left out of the answer


@pytest.mark.parametrize(
    ("seconds", "locked", "said"),
    [
        (840, False, "You can try again in 14 minutes."),
        (59, False, "You can try again in 1 minute."),
        (50_000, False, "You can try again in 14 hours."),
        (0, True, "Ask an administrator of your clinic for a new password, or to let you in once."),
    ],
)
@pytest.mark.parametrize("method", Method)
def test_the_last_wrong_code_says_when_codes_are_taken_again(
    method: Method, seconds: int, locked: bool, said: str
) -> None:
    spent = Verdict(VerdictResult.WRONG, attempts_left=0, retry_after_seconds=seconds, is_locked=locked)
    hint = refusal_for(spent, method).members["hint"]
    assert hint.startswith("That was the last try")
    assert hint.endswith(said)
    assert "Take" not in hint


def test_an_older_code_of_an_app_is_not_said_to_have_been_used() -> None:
    detail = refusal_for(Verdict(VerdictResult.ALREADY_USED, retry_after_seconds=20), Method.TOTP).detail
    assert detail == "This code, or a newer one, has been used already. Wait for the next one."


@pytest.mark.parametrize("result", VerdictResult)
def test_a34_no_verdict_that_is_asked_for_its_refusal_is_a_yes(result: VerdictResult) -> None:
    refusal = refusal_for(Verdict(result, retry_after_seconds=7, is_locked=True), Method.TOTP)
    expected = {
        VerdictResult.WRONG: ErrorCode.INVALID_CODE,
        VerdictResult.ALREADY_USED: ErrorCode.CODE_ALREADY_USED,
        VerdictResult.EXPIRED: ErrorCode.CODE_EXPIRED,
        VerdictResult.TOO_MANY_ATTEMPTS: ErrorCode.TOO_MANY_ATTEMPTS,
        VerdictResult.MALFORMED: ErrorCode.INVALID_REQUEST,
    }
    assert refusal.code is expected.get(result, ErrorCode.UNAVAILABLE)
    if result is VerdictResult.TOO_MANY_ATTEMPTS:
        assert (refusal.members["retry_after"], refusal.members["locked"]) == (7, True)
