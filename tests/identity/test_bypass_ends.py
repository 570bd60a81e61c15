"""A bypass ends the moment its user gets in another way, in whatever session they do."""

import pytest

from services.otp import backup_codes
from tests.identity.people import Json, Person, SomeClinic
from tests.identity.told import step_up


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def let_in_once(admin: Person, person: Person) -> None:
    body = {"reason": "Lost the phone on the train."}
    granted = await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", body)
    assert granted.status_code == 201, granted.text


async def is_unused(admin: Person, person: Person) -> bool:
    shown: Json = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    return shown.get("bypass", {}).get("state") == "unused"


async def test_a_bypass_is_gone_when_its_user_proves_a_factor_anew_in_a_session_that_had_proven_one(
    clinic: SomeClinic, admin: Person, person: Person
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await let_in_once(admin, person)
    assert await is_unused(admin, person)
    await step_up(person)
    assert not await is_unused(admin, person)
    await let_in_once(admin, person)  # and so does another one, in the same session
    assert await is_unused(admin, person)
    await step_up(person)
    assert not await is_unused(admin, person)


async def test_a_bypass_is_gone_when_its_user_proves_a_factor_in_a_remembered_browser(
    clinic: SomeClinic, admin: Person, person: Person
) -> None:
    await clinic.require_here(require_two_factor=None, remember_device_days=7)
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    proven = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    await let_in_once(admin, person)
    session = await person.sign_in(device_token=proven.json()["device_token"])
    assert (session["state"], session["remembered"]) == ("active", True)
    assert await is_unused(admin, person)
    await step_up(person)
    assert not await is_unused(admin, person)
