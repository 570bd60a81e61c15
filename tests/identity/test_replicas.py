"""Two replicas on one database: what ends a session on one ends it at the next request to the other (P14); and proofs
that are none, wherever they are tried (A29, A32)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest

from services.otp import backup_codes
from tests.identity.people import PASSWORD, PHONE, Person, Stack, slug_of

NEW_PASSWORD = "seven quiet lanterns drift"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people enrol in most tests here; what their codes cost to hash is no matter."""
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@dataclass
class Scene:
    """Someone with a factor, their browser on the other replica, and an administrator."""

    person: Person
    admin: Person
    elsewhere: Stack
    token: str
    session_id: str

    async def there(self) -> httpx.Response:
        return await self.elsewhere.call("GET", "/v1/me", token=self.token)


async def sign_out(scene: Scene) -> None:
    assert (await scene.person.stack.call("DELETE", "/v1/session", token=scene.token)).status_code == 204


async def end_from_another_session(scene: Scene) -> None:
    ended = await scene.person.call("DELETE", f"/v1/me/sessions/{scene.session_id}")
    assert ended.status_code == 204


async def change_password(scene: Scene) -> None:
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await scene.person.call("PUT", "/v1/me/password", body)).status_code == 200


async def replace_factor(scene: Scene) -> None:
    await scene.person.enrol_totp()


async def remove_factor(scene: Scene) -> None:
    assert (await scene.person.call("DELETE", "/v1/me/two-factor/totp")).status_code == 204


async def disable(scene: Scene) -> None:
    disabled = await scene.admin.call("PATCH", f"/v1/users/{scene.person.id}", {"disabled": True})
    assert disabled.status_code == 200, disabled.text


async def reset_password(scene: Scene) -> None:
    reset = await scene.admin.call("POST", f"/v1/users/{scene.person.id}/password-reset")
    used = await scene.person.stack.call(
        "POST", f"/v1/activations/{reset.json()['activation']['token']}", {"password": NEW_PASSWORD}
    )
    assert used.status_code == 204, used.text


@pytest.mark.parametrize(
    "end",
    [sign_out, end_from_another_session, change_password, replace_factor, remove_factor, disable, reset_password],
)
async def test_p14_what_ends_a_session_on_one_replica_ends_it_at_the_next_request_to_the_other(
    stack: Stack, end: Callable[[Scene], Awaitable[None]]
) -> None:
    clinic = await stack.make_clinic()
    person, admin = await clinic.person(), await clinic.person("admin")
    await person.sign_in()
    await person.enrol_totp()
    there = await person.sign_in_in_full()
    elsewhere = await stack.another_app()
    scene = Scene(person, admin, elsewhere, person.token, there["id"])
    await person.sign_in_in_full()
    await admin.sign_in()
    await admin.enrol_totp()
    assert (await scene.there()).status_code == 200
    await end(scene)
    over = await scene.there()  # no time has passed
    assert (over.status_code, slug_of(over)) == (401, "unauthenticated")
    asked = await elsewhere.call("GET", "/v1/forward-auth", token=scene.token)
    assert asked.status_code == 401


async def test_p14_a_token_that_one_replica_replaced_is_dead_on_the_other(person: Person) -> None:
    elsewhere = await person.stack.another_app()
    await person.sign_in()
    before = [person.token]
    await person.enrol_totp()
    before.append(person.token)
    person.token = (await person.prove()).json()["token"]
    for token in before:
        refused = await elsewhere.call("GET", "/v1/session", token=token)
        assert (refused.status_code, refused.json()["cause"]) == (401, "replaced")
    assert (await elsewhere.call("GET", "/v1/session", token=person.token)).status_code == 200


async def test_a32_no_channel_stands_for_both_factors(stack: Stack) -> None:
    clinic = await stack.make_clinic()
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    proof = (await person.call("POST", "/v1/me/phone", {"phone": PHONE})).status_code
    assert proof == 202
    sent = stack.notifier.code_to(PHONE)

    # A code in place of the password opens nothing, whichever it is.
    for code in (person.code(), person.backup_codes[0], sent):
        refused = await person.try_sign_in(password=code)
        assert (refused.status_code, slug_of(refused)) == (401, "invalid-credentials")
    # The password in place of a code proves nothing, nor does a text that was sent to prove a number.
    opened = await person.sign_in()
    assert opened["state"] == "second_factor_required"
    for method, code in (("totp", PASSWORD), ("backup_code", PASSWORD), ("sms", sent), ("totp", sent)):
        refused = await person.prove(code, method)
        assert refused.status_code in (409, 422), (method, refused.text)
    confirming = await person.call("POST", "/v1/me/phone/confirm", {"code": sent})
    assert (confirming.status_code, slug_of(confirming)) == (403, "second-factor-required")
    assert await person.state() == "second_factor_required"


async def test_a32_a_proven_number_is_no_second_factor(stack: Stack) -> None:
    person = await (await stack.make_clinic()).person(phone=PHONE)
    await person.sign_in()
    assert (await person.call("POST", "/v1/me/phone", {"phone": PHONE})).status_code == 202
    confirmed = await person.call("POST", "/v1/me/phone/confirm", {"code": stack.notifier.code_to(PHONE)})
    assert confirmed.status_code == 204, confirmed.text
    session = (await person.call("GET", "/v1/session")).json()
    assert (session["amr"], session["acr"], session["verified_at"]) == (["pwd"], "aal1", None)
    await person.clinic.require_here()
    assert await person.state() == "enrolment_required"


async def test_a29_anothers_code_proves_nothing(stack: Stack) -> None:
    clinic = await stack.make_clinic()
    one, other = await clinic.person(), await clinic.person()
    for person in (one, other):
        await person.sign_in()
        await person.enrol_totp()
    await one.sign_in()
    for method, code in (("totp", other.code()), ("backup_code", other.backup_codes[0])):
        refused = await one.prove(code, method)
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-code")
    assert await one.state() == "second_factor_required"
    await other.sign_in()
    assert (await other.prove()).status_code == 200
