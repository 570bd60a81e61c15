"""Of what was opened before a bypass is used, or between its steps, nothing lives on."""

from typing import Any

import pytest

from services.otp import backup_codes
from tests.identity.people import PHONE, Person, SomeClinic
from tests.identity.test_bypass import granted, revoke


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.fixture
async def person(clinic: SomeClinic) -> Person:
    return await clinic.person(phone=PHONE)


async def status_of(person: Person, token: str) -> int:
    return (await person.stack.call("GET", "/v1/session", token=token)).status_code


async def test_a46_a_bypass_that_is_used_while_it_is_revoked_is_undone(
    clinic: SomeClinic, admin: Person, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await granted(admin, person)
    settings = clinic.stack.gateway.bypasses._settings
    look = settings.user_settings

    async def looked_at_too_early(*asked: Any) -> object:
        monkeypatch.setattr(settings, "user_settings", look)
        found = await look(*asked)
        assert (await person.sign_in())["state"] == "enrolment_required"
        await person.enrol_totp()
        return found

    monkeypatch.setattr(settings, "user_settings", looked_at_too_early)
    assert await revoke(admin, person) == 204
    assert await status_of(person, person.token) == 401
    assert (await person.try_sign_in()).status_code == 401, "there is no password any more"
    shown = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    assert (shown["factors"], "bypass" in shown) == ([], False)
    assert "bypass.undone" in clinic.stack.events(person.id)


async def test_a_session_that_is_proven_while_the_factors_are_being_suspended_ends_with_the_others(
    clinic: SomeClinic, admin: Person, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    otp = clinic.stack.gateway.otp
    suspend = otp.suspend_factors

    async def suspended_too_late(*asked: Any) -> None:
        await person.sign_in_in_full()
        assert await status_of(person, person.token) == 200
        await suspend(*asked)

    monkeypatch.setattr(otp, "suspend_factors", suspended_too_late)
    await granted(admin, person, suspend_factors=True)
    assert await status_of(person, person.token) == 401


async def test_a46_a_first_factor_set_up_by_a_bypass_ends_the_sessions_of_before(
    clinic: SomeClinic, admin: Person, person: Person
) -> None:
    await person.sign_in()
    live = person.token
    await granted(admin, person)
    assert (await person.sign_in())["state"] == "enrolment_required"
    assert await status_of(person, live) == 200
    await person.enrol_totp()
    ended = await person.stack.call("GET", "/v1/session", token=live)
    assert (ended.status_code, ended.json()["cause"]) == (401, "ended")
