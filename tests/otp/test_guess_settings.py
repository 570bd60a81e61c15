"""The guess budget's numbers: the documented table, the settings, and what is enforced are one."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Le
from pydantic import ValidationError

from deploy.credentials import Layout
from deploy.embedded import EmbeddedPostgres
from deploy.topology import ROOT, Topology
from services.otp import app as otp_app
from services.otp.app import OtpService, guess_limits
from services.otp.guess_budget import DAY, DEFAULT_LIMITS, GuessBudget, GuessLimits
from services.otp.settings import OtpSettings
from tests.otp.conftest import NOW, Otp, Person

README = Path(otp_app.__file__).with_name("README.md")
_ROW = re.compile(r"^\| `(OTP_GUESSES_\w+)` \| (\d+) \| (\d+) \| (\d+) \|", re.MULTILINE)
TABLE = {name: (int(default), int(least), int(most)) for name, default, least, most in _ROW.findall(README.read_text())}
MOMENT = timedelta(microseconds=1)


def bounds(name: str) -> tuple[int, int, int]:
    field = OtpSettings.model_fields[name]
    [least] = [one.ge for one in field.metadata if isinstance(one, Ge)]
    [most] = [one.le for one in field.metadata if isinstance(one, Le)]
    return field.default, least, most  # type: ignore[return-value]


def test_both_stacks_take_each_setting_by_its_name(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["otp"]["environment"]
    told = dict(re.findall(r"^#(OTP_GUESSES_\w+)=(\d+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert told == {name: str(numbers[0]) for name, numbers in TABLE.items()}
    assert {name: compose.get(name) for name in TABLE} == {name: f"${{{name}:-}}" for name in TABLE}
    given = {name: str(numbers[2]) for name, numbers in TABLE.items()}
    layout, postgres = Layout(tmp_path, tmp_path / "authority"), EmbeddedPostgres(tmp_path / "postgres", "")
    local = Topology.on_free_ports(tmp_path, layout, 8080, postgres, given).environments()["otp"]
    assert local.items() >= given.items()


def test_an_empty_setting_means_the_default(otp: Otp, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TABLE:
        monkeypatch.setenv(name, "")
    required = {name: value for name, value in otp.settings.model_dump().items() if not name.startswith("guesses_")}
    assert guess_limits(OtpSettings(**required)) == DEFAULT_LIMITS


def test_the_documented_table_is_the_settings() -> None:
    fields = [name for name in OtpSettings.model_fields if name.startswith("guesses_")]
    assert {f"OTP_{name.upper()}": bounds(name) for name in fields} == TABLE
    assert len(TABLE) == 5


def test_the_settings_defaults_are_the_rules(otp: Otp) -> None:
    assert guess_limits(otp.settings) == DEFAULT_LIMITS


def test_no_setting_goes_beyond_the_ceiling_of_nist() -> None:
    assert TABLE["OTP_GUESSES_LOCK"][2] <= 100
    for name in ("OTP_GUESSES_WINDOW", "OTP_GUESSES_DAY"):
        assert TABLE[name][2] <= TABLE["OTP_GUESSES_LOCK"][2]


@pytest.mark.parametrize("name", sorted(TABLE))
def test_what_is_beyond_the_bounds_does_not_start(otp: Otp, name: str) -> None:
    _, least, most = TABLE[name]
    field = name.removeprefix("OTP_").lower()
    given = otp.settings.model_dump()
    for number in (least, most):
        OtpSettings(**{**given, field: number})
    for number in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=field):
            OtpSettings(**{**given, field: number})


@pytest.mark.parametrize("column", ["default", "strictest", "mildest"])
def test_what_the_table_says_is_what_is_counted(column: str) -> None:
    number = {name: row[("default", "strictest", "mildest").index(column)] for name, row in TABLE.items()}
    limits = GuessLimits(
        number["OTP_GUESSES_WINDOW"],
        timedelta(minutes=number["OTP_GUESSES_WINDOW_MINUTES"]),
        number["OTP_GUESSES_DAY"],
        number["OTP_GUESSES_LOCK"],
        timedelta(days=number["OTP_GUESSES_LOCK_DAYS"]),
    )
    budget, at, in_day, made = GuessBudget(limits=limits), NOW, 0, 0
    begun = at
    while not budget.standing(at).is_locked:
        for _ in range(limits.most_in_window):
            if budget.standing(at).is_spent:
                break
            budget, in_day, made = budget.after_wrong(at, "log"), in_day + 1, made + 1
        standing = budget.standing(at)
        assert standing.is_spent
        if standing.is_locked:
            break
        assert in_day <= limits.most_in_day
        assert budget.standing(at + timedelta(seconds=standing.retry_after) - MOMENT).is_spent
        at += timedelta(seconds=standing.retry_after)
        if at >= begun + DAY:
            begun, in_day = at, 0
    assert made == limits.locked_at_count
    assert budget.standing(at + timedelta(days=1000)).is_locked
    assert budget.reset().standing(at).attempts_left == limits.most_in_window


async def test_the_service_enforces_what_is_set(otp: Otp) -> None:
    stricter = otp.settings.model_copy(update={"guesses_window": 3, "guesses_window_minutes": 20})
    service = OtpService(stricter, otp.clock)
    try:
        otp.peer = otp.peer_of("identity", await service.start())
        user: Person = await otp.user().enrol_totp()
        assert [(await user.verify(user.wrong_code())).attempts_left for _ in range(3)] == [2, 1, 0]
        spent: Any = await user.verify(user.code())
        assert (spent.result, spent.retry_after_seconds) == (5, 20 * 60)
        otp.clock.advance(timedelta(minutes=20))
        assert await user.sees(user.code()) == "accepted"
        assert (await otp.user().factors()).attempts_left == 3, "who has no account is told the same numbers"
    finally:
        await service.server.stop(0)
        await service.close()


def test_numbers_made_stricter_close_an_account_without_locking_it() -> None:
    """Guesses that were made under milder numbers count at once, and are over when they are over."""
    budget = GuessBudget(limits=GuessLimits(locked_at_count=100))
    for number in range(60):
        budget = budget.after_wrong(NOW + timedelta(hours=8 * number), "log")
    now = NOW + timedelta(hours=8 * 60)
    standing = GuessBudget(budget.guesses, None, DEFAULT_LIMITS).standing(now)
    assert (standing.attempts_left, standing.is_locked) == (0, False)
    opens = now + timedelta(seconds=standing.retry_after)
    stricter = GuessBudget(budget.guesses, None, DEFAULT_LIMITS)
    assert stricter.standing(opens - timedelta(seconds=1)).is_spent
    assert stricter.standing(opens).attempts_left == 1
