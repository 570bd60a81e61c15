"""The pure rules: RFC vectors, the shape of codes, the guess budget's windows, the otpauth address."""

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.otp import totp
from services.otp.backup_codes import in_groups, new_codes
from services.otp.code_shape import CROCKFORD, canonical
from services.otp.guess_budget import DAY, DEFAULT_LIMITS, GuessBudget, GuessLimits
from services.otp.marks import Marks
from services.otp.model import Method
from services.otp.sending_limits import sms_spends

RFC_KEY = base64.b32encode(b"12345678901234567890").decode()
NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


# RFC 4226, appendix D: counters 0 to 9. A TOTP step is such a counter.
RFC_4226 = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")
# RFC 6238, appendix B, SHA-1: eight digits at these seconds; six digits are the last six of them.
RFC_6238 = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


@pytest.mark.parametrize(("counter", "code"), list(enumerate(RFC_4226)))
def test_p26_rfc_4226_vectors(counter: int, code: str) -> None:
    now = datetime.fromtimestamp(counter * totp.STEP_SECONDS, UTC)
    if counter >= totp.WINDOW_STEPS:
        assert totp.match(RFC_KEY, code, now, counter - 1) == totp.Match(counter, is_spent=False)
    assert pyotp.HOTP(RFC_KEY).at(counter) == code


@pytest.mark.parametrize(("seconds", "code"), list(RFC_6238.items()))
def test_p26_rfc_6238_vectors(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp.match(RFC_KEY, code[-6:], now, 0) == totp.Match(seconds // 30, is_spent=False)
    assert totp.match(RFC_KEY, code[-6:], now, seconds // 30) == totp.Match(seconds // 30, is_spent=True)


def test_of_two_steps_with_one_code_the_newer_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyotp.TOTP, "generate_otp", lambda self, step: "424242")
    assert totp.match(RFC_KEY, "424242", NOW, 0) == totp.Match(totp.step_at(NOW) + 1, is_spent=False)


def test_a_new_secret_is_32_characters_of_base32() -> None:
    secrets = {totp.new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(re.fullmatch("[A-Z2-7]{32}", secret) for secret in secrets)


def test_p26_the_otpauth_address_is_understood_by_a_strict_reader() -> None:
    uri = totp.otpauth_uri("Countersign", "Harbour Clinic & Söhne: anna+x@harbour.example", "A" * 32)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/Countersign:Harbour Clinic & Söhne - anna+x@harbour.example"
    assert "%3A" not in uri
    assert uri.count(":") == 2  # the scheme's and the one between issuer and account
    assert {name: values[0] for name, values in parse_qs(parts.query).items()} == {
        "secret": "A" * 32,
        "issuer": "Countersign",
        "algorithm": "SHA1",
        "digits": "6",
        "period": "30",
    }
    parsed = pyotp.parse_uri(uri)
    assert (parsed.issuer, parsed.secret) == ("Countersign", "A" * 32)


def test_p26_the_golden_otpauth_address() -> None:
    assert totp.otpauth_uri("My Clinic", "Harbour: a@b.example", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP") == (
        "otpauth://totp/My%20Clinic:Harbour%20-%20a%40b.example?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
        "&issuer=My%20Clinic&algorithm=SHA1&digits=6&period=30"
    )


@pytest.mark.parametrize("typed", ["123456", " 123 456 ", "123-456", "12\u200b3456", "\ufeff123456", "123\u2011456\t"])
def test_a17_six_digits_are_read_however_they_are_spaced(typed: str) -> None:
    assert canonical(Method.TOTP, typed) == "123456"
    assert canonical(Method.SMS, typed) == "123456"


@given(st.text(max_size=120))
def test_a13_what_is_read_is_six_ascii_digits_or_nothing(typed: str) -> None:
    code = canonical(Method.TOTP, typed)
    assert code is None or re.fullmatch("[0-9]{6}", code)


@given(st.text(max_size=120))
def test_a13_a_backup_code_is_sixteen_characters_of_its_alphabet_or_nothing(typed: str) -> None:
    code = canonical(Method.BACKUP_CODE, typed)
    assert code is None or re.fullmatch(f"[{CROCKFORD}]{{16}}", code)


@pytest.mark.parametrize("typed", ["U" * 16, "0" * 15, "0" * 17, "\u0131" * 16, "\u017f" * 16, "\uff10" * 16, "!" * 16])
def test_a_backup_code_of_other_characters_is_no_code(typed: str) -> None:
    assert canonical(Method.BACKUP_CODE, typed) is None


def test_letters_that_look_like_digits_are_read_as_them() -> None:
    assert canonical(Method.BACKUP_CODE, "oOiI-lLab cdef ghjk") == "001111ABCDEFGHJK"


def test_ten_backup_codes_have_ten_slots_and_print_in_groups_of_four() -> None:
    codes = new_codes()
    assert [code[0] for code in codes] == list("0123456789")
    assert all(re.fullmatch(f"([{CROCKFORD}]{{4}}-){{3}}[{CROCKFORD}]{{4}}", in_groups(code)) for code in codes)
    assert all(canonical(Method.BACKUP_CODE, in_groups(code)) == code for code in codes)


def _after(*times: datetime, login: str = "log_1") -> GuessBudget:
    budget = GuessBudget()
    for at in times:
        budget = budget.after_wrong(at, login)
    return budget


def test_the_numbers_are_those_of_the_security_design() -> None:
    assert GuessLimits(5, timedelta(minutes=15), 20, 50, timedelta(days=30)) == DEFAULT_LIMITS
    assert timedelta(hours=24) == DAY


def test_p06_five_in_fifteen_minutes_then_none_until_the_first_is_over() -> None:
    budget = _after(*(NOW + timedelta(minutes=minute) for minute in range(5)))
    at_end = NOW + timedelta(minutes=15)
    assert budget.standing(NOW + timedelta(minutes=4)).retry_after == 11 * 60
    assert budget.standing(at_end - MOMENT).is_spent
    assert budget.standing(at_end - MOMENT).retry_after == 1
    assert budget.standing(at_end).attempts_left == 1


def test_p06_twenty_in_a_day_then_none_until_the_first_is_over() -> None:
    budget = _after(*(NOW + timedelta(hours=hour) for hour in range(20)))
    last = NOW + timedelta(hours=19)
    assert budget.standing(last).is_spent
    assert budget.standing(last).retry_after == 5 * 3600
    assert budget.standing(NOW + DAY - MOMENT).is_spent
    assert budget.standing(NOW + DAY).attempts_left == 1


def test_p06_the_fiftieth_in_thirty_days_locks_and_no_waiting_opens() -> None:
    budget = _after(*(NOW + timedelta(hours=12 * n) for n in range(49)))
    moment = NOW + timedelta(hours=12 * 49)
    assert budget.standing(moment).attempts_left == 1
    locked = budget.after_wrong(moment, "log_2")
    assert locked.standing(moment).is_locked
    assert locked.standing(moment + timedelta(days=400)).is_locked


def test_p06_what_is_thirty_days_old_does_not_lock() -> None:
    budget = _after(*(NOW + timedelta(hours=12 * n) for n in range(49)))
    assert (
        not budget.after_wrong(NOW + DEFAULT_LIMITS.lock_window, "log_2")
        .standing(NOW + DEFAULT_LIMITS.lock_window)
        .is_locked
    )
    assert (
        budget.after_wrong(NOW + DEFAULT_LIMITS.lock_window - MOMENT, "log_2")
        .standing(NOW + DEFAULT_LIMITS.lock_window)
        .is_locked
    )


def test_the_typos_of_a_login_that_succeeded_do_not_lock_but_count_in_the_windows() -> None:
    budget = GuessBudget()
    for day in range(60):
        at = NOW + timedelta(hours=12 * day)
        budget = budget.after_wrong(at, f"log_{day}").after_success(f"log_{day}")
    assert not budget.standing(at).is_locked
    assert budget.standing(at).attempts_left == 4
    assert len(budget.guesses) <= 3, "what no window needs is forgotten"


def test_a05_a_success_forgives_its_own_login_alone() -> None:
    budget = _after(*(NOW + timedelta(hours=n * 8) for n in range(49))).after_success("log_other")
    moment = NOW + timedelta(hours=49 * 8)
    assert budget.after_wrong(moment, "log_2").standing(moment).is_locked


@given(st.lists(st.integers(0, 40 * 86400), min_size=1, max_size=120))
def test_p06_no_window_ever_holds_more_than_its_number(offsets: list[int]) -> None:
    """Whoever guesses only while the budget lets them."""
    budget, made = GuessBudget(), []
    for at in sorted(NOW + timedelta(seconds=offset) for offset in offsets):
        if budget.standing(at).is_spent:
            continue
        budget = budget.after_wrong(at, "log_1")
        made.append(at)
    for index, at in enumerate(made):
        assert sum(at - other < DEFAULT_LIMITS.window for other in made[: index + 1]) <= 5
        assert sum(at - other < DAY for other in made[: index + 1]) <= 20
    assert len(made) <= 50 or made[-1] - made[0] >= DEFAULT_LIMITS.lock_window


@given(st.lists(st.integers(0, 3 * 86400), min_size=5, max_size=60))
def test_whoever_waits_as_long_as_told_may_try_again_and_no_second_earlier(offsets: list[int]) -> None:
    budget = GuessBudget()
    for at in sorted(NOW + timedelta(seconds=offset) for offset in offsets):
        if not budget.standing(at).is_spent:
            budget = budget.after_wrong(at, "log_1")
    standing = budget.standing(at)
    if standing.is_spent and not standing.is_locked:
        assert not budget.standing(at + timedelta(seconds=standing.retry_after)).is_spent
        assert budget.standing(at + timedelta(seconds=standing.retry_after - 1)).is_spent


def test_a29_marks_of_different_uses_and_owners_differ() -> None:
    marks = Marks("pepper")
    same_code = {
        marks.attempt("usr_1", "totp", "123456"),
        marks.attempt("usr_1", "sms", "123456"),
        marks.attempt("usr_2", "totp", "123456"),
        marks.challenge("chl_1", "123456"),
        marks.challenge("chl_2", "123456"),
        marks.attempt("usr_1", "totp1", "23456"),
        Marks("other").challenge("chl_1", "123456"),
    }
    assert len(same_code) == 7


def test_limits_for_sending_see_one_customer_network_and_one_number_range() -> None:
    def spent(phone: str, address: str) -> dict[str, str]:
        return {limit.name: whom for limit, whom in sms_spends("log", "usr", phone, address)}

    one, other = spent("+447700900123", "2001:db8::1"), spent("+447700900456", "2001:db8::2")
    assert one["sms-address"] == other["sms-address"]
    assert one["sms-range"] == other["sms-range"]
    assert one["sms-number"] != other["sms-number"]
    assert spent("+447700900123", "::ffff:192.0.2.7")["sms-address"] == "192.0.2.7"
    assert "sms-address" not in spent("+447700900123", "")
