"""Issue of a bypass, its use, and what is set up by it: told at once to whoever it is for, at the number as it was
before, to whoever granted it, and of the operator's to the clinic's administrators."""

from datetime import timedelta

import pytest

from services.identity.bypasses import Grant
from services.otp import backup_codes
from tests.identity.people import PHONE, Person, SomeClinic, Stack
from tests.identity.told import FIREFOX, enrol_sms, kinds, prove_number, shown, texts, told

OWN = "+447700900124"
STRANGE = "+447700900199"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.fixture
async def granter(clinic: SomeClinic) -> Person:
    admin = await clinic.person("admin", phone=OWN)
    prove_number(admin)
    await admin.sign_in()
    await admin.enrol_totp()
    return admin


@pytest.fixture
async def person(clinic: SomeClinic) -> Person:
    """With a factor, and a number on file that was never proven."""
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    return person


async def grant(admin: Person, person: Person, *, suspend: bool = False) -> None:
    body = {"reason": "Lost the phone on the train.", "suspend_factors": suspend}
    granted = await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", body)
    assert granted.status_code == 201, granted.text


async def sign_in_by_bypass(person: Person, address: str = "198.51.100.9") -> None:
    body = {"clinic": person.clinic.slug, "email": person.email, "password": "tidal harbour gravel moon"}
    opened = await person.stack.call("POST", "/v1/sessions", body, address=address, **{"User-Agent": FIREFOX})
    assert opened.json()["state"] == "enrolment_required", opened.text
    person.token = opened.json()["token"]


async def test_a_bypass_is_told_when_granted_used_and_enrolled_with(
    stack: Stack, granter: Person, person: Person
) -> None:
    await grant(granter, person)
    assert await texts(stack, person) == [("bypass_granted", PHONE)]
    await sign_in_by_bypass(person)
    assert await texts(stack, person) == [("bypass_granted", PHONE), ("bypass_used", PHONE)]
    used = (await told(stack, person))[-1]
    assert (used.address, used.browser) == ("198.51.100.9", "Firefox on Windows")
    assert used.happened_at.ToDatetime() == stack.clock.now().replace(tzinfo=None)
    own = ("factor_added", OWN)
    assert await texts(stack, granter) == [own, ("granted_bypass_used", OWN)]
    await person.enrol_totp()
    assert (await texts(stack, person))[2:] == [("bypass_enrolled", PHONE)]
    assert (await texts(stack, granter))[2:] == [("granted_bypass_enrolled", OWN)]
    assert await kinds(person) == ["factor_added", "bypass_granted", "bypass_used", "bypass_enrolled"]
    assert await kinds(granter) == ["factor_added", "granted_bypass_used", "granted_bypass_enrolled"]
    enrolled, used_by = (await shown(granter))[:2]
    assert used_by["sentence"] == (
        "Mina Okafor signed in on 16 November at 09:32 (Europe/London), from 198.51.100.9, Firefox on Windows, as you"
        " had allowed once without a code. If that was not Mina Okafor, undo it within 24 hours."
    )
    assert (enrolled["detail"]["user_id"], enrolled["detail"]["method"]) == (person.id, "totp")


async def test_r23_what_a_bypassed_session_changes_is_told_to_the_number_as_it_was_before(
    stack: Stack, granter: Person, person: Person
) -> None:
    """Whoever stole the password sets their own number up; the owner's still hears of all of it."""
    await grant(granter, person)
    await sign_in_by_bypass(person)
    assert (await person.call("PATCH", "/v1/me", {"phone": STRANGE})).status_code == 200
    stack.clock.advance(timedelta(minutes=1))
    await enrol_sms(person, STRANGE)
    assert await texts(stack, person) == [
        ("bypass_granted", PHONE),
        ("bypass_used", PHONE),
        ("phone_changed", PHONE),
        ("bypass_enrolled", PHONE),
    ]


async def test_suspending_is_said_with_the_grant(stack: Stack, granter: Person, person: Person) -> None:
    await grant(granter, person, suspend=True)
    await sign_in_by_bypass(person)
    await person.enrol_totp()
    sentence = (await shown(person))[2]["sentence"]
    assert sentence == (
        "Mina Okafor let you sign in once without a code, to set up a second factor, on 16 November at 09:32"
        " (Europe/London). What you had set up for codes is suspended. If you did not ask for that, tell your"
        " administrator."
    )


async def test_the_operators_bypass_is_told_to_every_administrator_who_can_sign_in(
    stack: Stack, clinic: SomeClinic, granter: Person, person: Person
) -> None:
    disabled, invited = await clinic.person("admin", phone=PHONE), await clinic.person("admin", password=None)
    prove_number(disabled)
    stack.sql("UPDATE app_user SET disabled_at = now() WHERE id = %s", [disabled.id])
    another = await clinic.person("admin")
    elsewhere = await (await stack.make_clinic()).person("admin")
    granted = await stack.gateway.operator_bypass.grant(clinic.slug, person.email, Grant("Nobody is left."))
    assert granted.granted_by.kind == "operator"
    assert await texts(stack, person) == [("bypass_granted", PHONE)]
    assert await texts(stack, granter) == [("factor_added", OWN), ("operator_bypass_granted", OWN)]
    await another.sign_in()
    assert await kinds(another) == ["operator_bypass_granted"]
    assert "let Mina Okafor sign in once without a code" in (await shown(another))[0]["sentence"]
    for nobody in (disabled, invited, elsewhere):
        assert stack.sql("SELECT 1 FROM notice WHERE user_id = %s", [nobody.id]) == []
    # Of its use there is no administrator to tell who granted it.
    await sign_in_by_bypass(person)
    await person.enrol_totp()
    assert await kinds(granter) == ["factor_added", "operator_bypass_granted"]
    assert await kinds(person) == ["factor_added", "bypass_granted", "bypass_used", "bypass_enrolled"]
    assert "The operator of this service let you" in (await shown(person))[2]["sentence"]
