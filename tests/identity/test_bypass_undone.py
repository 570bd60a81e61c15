"""An undone bypass leaves nothing of whoever used it: the number on file is again the one of before, and the owner goes
on from there (A46)."""

from datetime import timedelta

import httpx
import psycopg
import pytest

from services.common.errors import unavailable
from services.identity.peers.otp import OtpPeer
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


async def prove(person: Person, phone: str) -> None:
    started = await person.call("POST", "/v1/me/phone", {"phone": phone})
    assert started.status_code == 202, started.text
    code = person.stack.notifier.code_to(phone)
    assert (await person.call("POST", "/v1/me/phone/confirm", {"code": code})).status_code < 300
    person.stack.clock.advance(timedelta(minutes=1))


async def revoke(admin: Person, person: Person) -> int:
    return (await admin.call("DELETE", f"/v1/users/{person.id}/two-factor/bypass")).status_code


async def undo(admin: Person, person: Person) -> None:
    await admin.sign_in_in_full()
    assert await revoke(admin, person) == 204


async def on_file(admin: Person, person: Person) -> tuple[str | None, bool]:
    user: Json = (await admin.call("GET", f"/v1/users/{person.id}")).json()
    proven = person.stack.sql("SELECT phone_proven FROM app_user WHERE id = %s", [person.id])
    return user["phone"], proven[0]["phone_proven"]


async def reset_link(admin: Person, person: Person) -> str:
    made = await admin.call("POST", f"/v1/users/{person.id}/password-reset")
    return str(made.json()["activation"]["token"])


async def use_link(person: Person, link: str) -> httpx.Response:
    return await person.stack.call("POST", f"/v1/activations/{link}", {"password": NEW_PASSWORD})


async def come_back(admin: Person, person: Person) -> Json:
    """By an administrator's link, with a password that only the owner knows."""
    used = await use_link(person, await reset_link(admin, person))
    assert used.status_code == 204, used.text
    return await person.sign_in(password=NEW_PASSWORD)


@pytest.mark.parametrize("enrols", ["noted", "not noted", ""])
async def test_a_used_bypass_is_undone_for_a_day(clinic: SomeClinic, admin: Person, enrols: str) -> None:
    person = await someone_with_a_factor(clinic)
    await let_in(admin, person)
    if enrols:
        await person.enrol_totp()
    if enrols == "not noted":  # the gateway died between otp's word and its own
        person.stack.sql("UPDATE bypass_use SET enrolled_at = NULL WHERE user_id = %s", [person.id])
    thief = person.token
    person.stack.clock.advance(timedelta(hours=2))
    await admin.sign_in_in_full()
    handed_out = await reset_link(admin, person)
    assert await revoke(admin, person) == 204
    assert (await person.stack.call("GET", "/v1/session", token=thief)).status_code == 401
    assert (await person.try_sign_in()).status_code == 401  # there is no password any more
    assert (await use_link(person, handed_out)).status_code == 410  # nor a link of before that gives one
    shown = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    assert [factor["method"] for factor in shown["factors"]] == ([] if enrols else ["totp"])
    assert await revoke(admin, person) == 404
    assert "bypass.undone" in person.stack.events(person.id)
    assert (await come_back(admin, person))["state"] == ("active" if enrols else "second_factor_required")


async def test_a_bypass_used_longer_than_a_day_ago_stays_used(clinic: SomeClinic, admin: Person) -> None:
    person = await someone_with_a_factor(clinic)
    await let_in(admin, person)
    await person.enrol_totp()
    person.stack.clock.advance(timedelta(hours=24))
    await admin.sign_in_in_full()
    assert await revoke(admin, person) == 404
    assert (await person.try_sign_in()).status_code == 201


async def someone_with_a_factor(clinic: SomeClinic) -> Person:
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    return person


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
    await prove(person, STRANGE)
    assert await on_file(admin, person) == (STRANGE, True)
    await undo(admin, person)
    assert await on_file(admin, person) == (PHONE, True)
    await come_back(admin, person)
    await enrol_sms(person, PHONE)
    assert await on_file(admin, person) == (PHONE, True)


async def test_a46_a_number_that_a_bypassed_session_proved_is_free_again(
    clinic: SomeClinic,
    admin: Person,
    identity_databases: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three accounts have it, by thieves, and so a fourth could not (A55); nor is an undoing done while otp is away."""
    await clinic.require_here(phone_required=False)
    thieves = [await clinic.person() for _ in range(3)]
    for thief in thieves:
        await let_in(admin, thief)
        await thief.enrol_totp()
        await prove(thief, STRANGE)
    owner = await clinic.person()
    await owner.sign_in()
    assert (await owner.call("POST", "/v1/me/two-factor/sms", {"phone": STRANGE})).status_code == 409

    async def away(*_: object) -> None:
        raise unavailable("otp")

    await admin.sign_in_in_full()
    with monkeypatch.context() as patched:
        patched.setattr(OtpPeer, "forget_proven_number", away)
        assert await revoke(admin, thieves[0]) == 503
    for thief in thieves:
        assert await revoke(admin, thief) == 204
    name = str(psycopg.conninfo.conninfo_to_dict(identity_databases["otp"][0])["dbname"])
    with owner.stack.postgres.connect(name) as connection:
        assert connection.execute("SELECT FROM number_mark WHERE kind = 'proof'").fetchall() == []
    await enrol_sms(owner, STRANGE)


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
