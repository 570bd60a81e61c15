"""An undone bypass leaves nothing of whoever used it: the number on file is again the one of before, and the owner goes
on from there (A46)."""

import pytest

from services.otp import backup_codes
from tests.identity.people import PHONE, Json, Person, SomeClinic
from tests.identity.told import enrol_sms, prove_number

STRANGE = "+447700900199"
GIVEN = "+447700900124"
NEW_PASSWORD = "quiet amber ladder seven"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def let_in(admin: Person, person: Person) -> None:
    """Whoever has the password comes in by a bypass."""
    body = {"reason": "Lost the phone on the train."}
    granted = await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", body)
    assert granted.status_code == 201, granted.text
    assert (await person.sign_in())["state"] == "enrolment_required"


async def give(person: Person, phone: str) -> None:
    given = await person.call("PATCH", "/v1/me", {"phone": phone})
    assert given.status_code == 200, given.text


async def undo(admin: Person, person: Person) -> None:
    await admin.sign_in_in_full()
    undone = await admin.call("DELETE", f"/v1/users/{person.id}/two-factor/bypass")
    assert undone.status_code == 204, undone.text


async def on_file(admin: Person, person: Person) -> tuple[str | None, bool]:
    user: Json = (await admin.call("GET", f"/v1/users/{person.id}")).json()
    proven = person.stack.sql("SELECT phone_proven FROM app_user WHERE id = %s", [person.id])
    return user["phone"], proven[0]["phone_proven"]


async def come_back(admin: Person, person: Person) -> Json:
    """By an administrator's link, with a password that only the owner knows."""
    link = (await admin.call("POST", f"/v1/users/{person.id}/password-reset")).json()["activation"]["token"]
    used = await person.stack.call("POST", f"/v1/activations/{link}", {"password": NEW_PASSWORD})
    assert used.status_code == 204, used.text
    return await person.sign_in(password=NEW_PASSWORD)


async def test_a46_an_undoing_takes_away_the_number_that_a_bypassed_session_gave(
    clinic: SomeClinic, admin: Person, person: Person
) -> None:
    await clinic.require_here()
    await let_in(admin, person)
    await give(person, STRANGE)
    await enrol_sms(person, STRANGE)
    assert await on_file(admin, person) == (STRANGE, True)
    await undo(admin, person)
    assert await on_file(admin, person) == (None, False)
    assert (await come_back(admin, person))["state"] == "enrolment_required"
    await give(person, PHONE)
    await enrol_sms(person, PHONE)
    assert await on_file(admin, person) == (PHONE, True)


async def test_a46_a_proven_number_comes_back_proven(clinic: SomeClinic, admin: Person) -> None:
    await clinic.require_here()
    person = await clinic.person(phone=PHONE)
    prove_number(person)
    await let_in(admin, person)
    assert (await person.call("PATCH", "/v1/me", {"phone": STRANGE})).status_code == 403
    await person.enrol_totp()
    started = await person.call("POST", "/v1/me/phone", {"phone": STRANGE})
    assert started.status_code == 202, started.text
    code = person.stack.notifier.code_to(STRANGE)
    assert (await person.call("POST", "/v1/me/phone/confirm", {"code": code})).status_code < 300
    assert await on_file(admin, person) == (STRANGE, True)
    await undo(admin, person)
    assert await on_file(admin, person) == (PHONE, True)
    await come_back(admin, person)
    await enrol_sms(person, PHONE)
    assert await on_file(admin, person) == (PHONE, True)


async def test_a46_an_undoing_puts_a_number_back_where_nothing_was_set_up(clinic: SomeClinic, admin: Person) -> None:
    person = await clinic.person(phone=PHONE)
    await clinic.require_here()
    await let_in(admin, person)
    await give(person, STRANGE)
    await undo(admin, person)
    assert await on_file(admin, person) == (PHONE, False)


async def test_an_administrators_number_outlasts_the_undoing_unproven(clinic: SomeClinic, admin: Person) -> None:
    await clinic.require_here()
    person = await clinic.person(phone=PHONE)
    prove_number(person)
    await let_in(admin, person)
    await person.enrol_totp()
    given = await admin.call("PATCH", f"/v1/users/{person.id}", {"phone": GIVEN})
    assert given.status_code == 200, given.text
    await give(person, STRANGE)
    # Naming what is on file, as a form does that was opened late, gives no number.
    again = await admin.call("PATCH", f"/v1/users/{person.id}", {"phone": STRANGE, "name": "Mina Okafor-Lind"})
    assert again.status_code == 200, again.text
    await undo(admin, person)
    assert await on_file(admin, person) == (GIVEN, False)
