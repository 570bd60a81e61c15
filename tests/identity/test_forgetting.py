"""A browser that the clinic's days or the strictest hold allow no more is forgotten for good: neither, loosened again,
brings it back to life (R10)."""

from datetime import timedelta
from typing import Any

import pytest

from services.otp import backup_codes
from tests.identity.people import Json, Person, SomeClinic

DAY = timedelta(days=1)
HOLD = "/v1/clinic/integrations/accounts"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def remembered(person: Person) -> str:
    """Enrols and proves a code in a browser that is remembered from then on."""
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    proven = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    assert proven.status_code == 200, proven.text
    return str(proven.json()["device_token"])


async def change(admin: Person, days: int) -> None:
    changed = await admin.call("PATCH", "/v1/clinic/security", {"remember_device_days": days})
    assert changed.status_code == 200, changed.text


async def state_with(person: Person, device_token: str) -> Any:
    return (await person.sign_in(device_token=device_token))["state"]


def endings(clinic: SomeClinic) -> list[tuple[str, str | None, Json]]:
    rows = clinic.stack.sql(
        "SELECT kind, actor_id, detail FROM audit_event WHERE clinic_id = %s AND kind LIKE 'device%%' ORDER BY seq",
        [clinic.id],
    )
    return [(row["kind"], row["actor_id"], row["detail"]) for row in rows]


async def test_a_browser_is_forgotten_for_good_when_the_clinics_days_leave_it_out(
    clinic: SomeClinic, admin: Person
) -> None:
    await clinic.require_here(require_two_factor=None, remember_device_days=30)
    person = await clinic.person()
    token = await remembered(person)
    session = await person.sign_in(device_token=token)
    assert session["state"] == "active"
    live, token = person.token, session["device_token"]
    await change(admin, 0)
    await change(admin, 30)
    assert endings(clinic) == [("devices.ended", admin.id, {"cause": "clinic_rule", "count": 1})]
    assert (await person.stack.call("GET", "/v1/session", token=live)).json()["state"] == "second_factor_required"
    assert await state_with(person, token) == "second_factor_required"
    # So is one that had come to its end by itself before the days were made more.
    person.stack.clock.advance(timedelta(seconds=30))
    token = await remembered_again(person)
    person.stack.clock.advance(40 * DAY)
    await admin.sign_in_in_full()
    await change(admin, 90)
    assert await state_with(person, token) == "second_factor_required"
    token = await remembered_again(person)
    assert await state_with(person, token) == "active"


async def remembered_again(person: Person) -> str:
    await person.sign_in()
    proven = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    return str(proven.json()["device_token"])


async def test_a_browser_is_forgotten_for_good_when_a_hold_leaves_it_out(clinic: SomeClinic, admin: Person) -> None:
    await clinic.require_here(require_two_factor=None, remember_device_days=30)
    person, other = await clinic.person(), await clinic.person()
    token = await remembered(person)
    person.stack.clock.advance(2 * DAY)
    young = await remembered(other)
    await admin.sign_in_in_full()
    hold = {"requires_two_factor": False, "max_device_trust_hours": 24}
    assert (await admin.call("PUT", HOLD, hold)).status_code == 200
    assert (await admin.call("DELETE", HOLD)).status_code == 204
    assert endings(clinic) == [("devices.ended", admin.id, {"cause": "clinic_rule", "count": 1})]
    assert await state_with(person, token) == "second_factor_required"
    assert await state_with(other, young) == "active"


@pytest.mark.parametrize("is_presented", [True, False])
async def test_a_gateway_that_died_between_the_rule_and_its_browsers_leaves_none_alive(
    clinic: SomeClinic, admin: Person, is_presented: bool
) -> None:
    await clinic.require_here(require_two_factor=None, remember_device_days=30)
    person = await clinic.person()
    token = await remembered(person)
    await clinic.require_here(require_two_factor=None, remember_device_days=0)
    if is_presented:
        assert await state_with(person, token) == "second_factor_required"
        assert [(kind, detail["cause"]) for kind, _, detail in endings(clinic)] == [("device.ended", "clinic_rule")]
        await clinic.require_here(require_two_factor=None, remember_device_days=30)
    else:
        await change(admin, 30)
    assert await state_with(person, token) == "second_factor_required"
