"""Signing in with a password, and with a second factor after it."""

from tests.identity.conftest import Person, slug_of


async def test_a_password_alone_is_enough_where_nothing_asks_for_more(person: Person) -> None:
    body = await person.sign_in()
    assert body["state"] == "active"
    assert body["amr"] == ["pwd"]
    assert body["acr"] == "aal1"
    assert body["verified_at"] is None
    assert (await person.call("GET", "/v1/me")).json()["email"] == person.email


async def test_whoever_has_a_factor_is_asked_for_it_and_gets_a_new_token(person: Person) -> None:
    await person.sign_in()
    enrolled = await person.enrol_totp()
    assert len(enrolled["backup_codes"]) == 10
    assert enrolled["session"]["acr"] == "aal2"
    body = await person.sign_in()
    assert body["state"] == "second_factor_required"
    assert body["methods"] == ["totp", "backup_code"]
    waiting = person.token
    refused = await person.call("GET", "/v1/me")
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    assert refused.json()["methods"] == ["totp", "backup_code"]
    proven = (await person.prove()).json()
    assert proven["state"] == "active"
    assert proven["amr"] == ["pwd", "otp", "mfa"]
    assert proven["id"] == body["id"]
    person.token = proven["token"]
    assert (await person.call("GET", "/v1/me")).status_code == 200
    old = await person.stack.call("GET", "/v1/me", token=waiting)
    assert (old.status_code, slug_of(old), old.json()["cause"]) == (401, "unauthenticated", "replaced")
