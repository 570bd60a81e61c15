"""Invitations and resets: links by which people choose their own password."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

NEW_PASSWORD = "quiet amber ladder seven"


@pytest.fixture
async def admin(clinic: SomeClinic) -> Person:
    admin = await clinic.person("admin")
    await admin.sign_in()
    return admin


async def offered(admin: Person, person: Person) -> str:
    """The token of a reset for someone."""
    response = await admin.call("POST", f"/v1/users/{person.id}/password-reset")
    assert response.status_code == 201, response.text
    return str(response.json()["activation"]["token"])


async def invited(admin: Person, email: str = "nia@harbour.example") -> dict[str, Any]:
    body = {"email": email, "name": "Nia Adeyemi", "role": "receptionist"}
    response = await admin.call("POST", "/v1/users", body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()["activation"]
    return answer


async def use(stack: Stack, token: str, password: str = NEW_PASSWORD, address: str = "192.0.2.7") -> tuple[int, str]:
    response = await stack.call("POST", f"/v1/activations/{token}", {"password": password}, address=address)
    return response.status_code, "" if response.status_code == 204 else slug_of(response)


async def test_a_link_says_for_whom_it_is_and_what_a_password_must_be(admin: Person, clinic: SomeClinic) -> None:
    activation = await invited(admin)
    assert len(activation["token"]) == 43, "256 bits in base64url"
    assert activation["expires_at"] == "2026-11-23T09:30:10.000Z"
    shown = await admin.stack.call("GET", f"/v1/activations/{activation['token']}")
    assert shown.json() == {
        "kind": "invitation",
        "expires_at": activation["expires_at"],
        "clinic": {"slug": clinic.slug, "name": "Harbour Clinic"},
        "user": {"email": "nia@harbour.example", "name": "Nia Adeyemi"},
        "password": {"min_length": 12, "max_length": 128, "hint": shown.json()["password"]["hint"]},
    }
    assert shown.headers["cache-control"] == "no-store"


async def test_only_the_digest_of_a_token_is_kept(admin: Person) -> None:
    token = (await invited(admin))["token"]
    (row,) = admin.stack.sql("SELECT * FROM activation ORDER BY created_at DESC, id LIMIT 1") or [{}]
    assert len(row["token_digest"]) == 32
    assert token not in str(admin.stack.sql("SELECT * FROM activation")) + str(
        admin.stack.sql("SELECT * FROM audit_event")
    )


async def test_a38_a_link_works_once(admin: Person) -> None:
    token = (await invited(admin))["token"]
    assert await use(admin.stack, token, "short") == (422, "invalid-request")
    assert await use(admin.stack, token) == (204, "")
    assert await use(admin.stack, token, "another long one 77") == (410, "gone")
    gone = await admin.stack.call("GET", f"/v1/activations/{token}")
    assert (gone.status_code, slug_of(gone)) == (410, "gone")


async def test_a38_of_many_uses_at_once_one_sets_the_password(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    token = await offered(admin, person)
    passwords = [f"{NEW_PASSWORD} {number}" for number in range(12)]
    answers = await asyncio.gather(*(use(admin.stack, token, password) for password in passwords))
    assert sorted(answers) == [(204, ""), *[(410, "gone")] * 11]
    winner = passwords[answers.index((204, ""))]
    assert (await person.try_sign_in(winner)).status_code == 201
    others = [password for password in passwords if password != winner][:8]  # more wrong ones would be made to wait
    assert {(await person.try_sign_in(password)).status_code for password in others} == {401}


async def test_a38_a_newer_link_kills_the_older_and_nobody_elses(admin: Person, clinic: SomeClinic) -> None:
    person, other = await clinic.person(), await clinic.person()
    older, others = await offered(admin, person), await offered(admin, other)
    newer = await offered(admin, person)
    assert await use(admin.stack, older) == (410, "gone")
    assert await use(admin.stack, newer) == (204, "")
    assert await use(admin.stack, others) == (204, "")
    await other.sign_in(password=NEW_PASSWORD)


@pytest.mark.parametrize(("kind", "life"), [("invitation", timedelta(days=7)), ("reset", timedelta(minutes=60))])
async def test_a_link_expires(admin: Person, clinic: SomeClinic, kind: str, life: timedelta) -> None:
    async def made(number: int) -> str:
        if kind == "reset":
            return await offered(admin, await clinic.person())
        return str((await invited(admin, f"n{number}@harbour.example"))["token"])

    late, in_time = await made(1), await made(2)
    admin.stack.clock.advance(life - timedelta(seconds=1))
    assert await use(admin.stack, in_time) == (204, "")
    admin.stack.clock.advance(timedelta(seconds=1))
    assert await use(admin.stack, late) == (410, "gone")


async def test_a_token_that_was_never_given_out_is_not_known(stack: Stack) -> None:
    for token in ("x", "A" * 43, "%20", "usr_1", "A" * 101):
        assert await use(stack, token) == (404, "not-found"), token


async def test_a36_a_reset_opens_no_session_ends_all_and_leaves_the_second_factor(
    admin: Person, clinic: SomeClinic
) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    proven = person.token
    await person.sign_in()
    waiting = person.token
    token = await offered(admin, person)
    assert (await person.stack.call("GET", "/v1/me", token=proven)).status_code == 200, "an offer changes nothing"
    response = await person.stack.call("POST", f"/v1/activations/{token}", {"password": NEW_PASSWORD})
    assert (response.status_code, response.content) == (204, b"")
    assert "set-cookie" not in response.headers
    for old in (proven, waiting):
        refused = await person.stack.call("GET", "/v1/session", token=old)
        assert (refused.status_code, refused.json()["cause"]) == (401, "password_changed")
    assert slug_of(await person.try_sign_in(PASSWORD)) == "invalid-credentials"
    assert (await person.sign_in(password=NEW_PASSWORD))["state"] == "second_factor_required"
    assert (await person.prove()).status_code == 200


async def test_a37_nobody_makes_a_link_for_themselves_by_any_way_but_an_administrator(
    admin: Person, clinic: SomeClinic
) -> None:
    """Not by the page for a forgotten password either: it says whom to ask, and takes nothing."""
    person = await clinic.person()
    await person.sign_in()
    stack, page = admin.stack, f"/c/{clinic.slug}/forgotten"
    assert (await stack.call("GET", page)).status_code == 200
    for method in ("POST", "PUT", "PATCH"):
        assert (await stack.call(method, page)).status_code == 405
    reset = f"/v1/users/{person.id}/password-reset"
    assert (await person.call("POST", reset)).status_code == 403
    assert (await stack.call("POST", reset)).status_code == 401
    made = await admin.call("GET", f"/v1/audit-events?kind=password.reset_offered&user={person.id}")
    assert (made.status_code, made.json()["events"]) == (200, [])
    await offered(admin, person)
    made = await admin.call("GET", f"/v1/audit-events?kind=password.reset_offered&user={person.id}")
    assert len(made.json()["events"]) == 1


async def test_a_reset_gives_the_guesses_back_once_it_is_used(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    for _ in range(5):
        assert slug_of(await person.prove(person.wrong_code())) == "invalid-code"
    assert slug_of(await person.prove()) == "too-many-attempts"
    token = await offered(admin, person)
    assert slug_of(await person.prove()) == "too-many-attempts", "an offer gives nothing back"
    assert await use(admin.stack, token) == (204, "")
    await person.sign_in(password=NEW_PASSWORD)
    assert (await person.prove()).status_code == 200


async def test_a_reset_while_otp_is_away_is_not_lost(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    token = await offered(admin, person)
    await admin.stack.stop_otp()
    assert await use(admin.stack, token) == (503, "unavailable")
    rows = admin.stack.sql("SELECT used_at FROM activation WHERE user_id = %s", [person.id])
    assert [row["used_at"] for row in rows] == [None], "the same link works when otp is back"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"password": None},
        {"password": ["a long password here"]},
        {"password": "elevenchars"},
        {"password": "x" * 129},
        {"password": "password1234"},
        {"password": "HarbourClinic2026!"},
        {"password": NEW_PASSWORD, "role": "admin"},
        [],
        "password",
    ],
    ids=repr,
)
async def test_a_password_that_will_not_do_is_refused_and_the_link_kept(admin: Person, body: object) -> None:
    token = (await invited(admin))["token"]
    refused = await admin.stack.call("POST", f"/v1/activations/{token}", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert "elevenchars" not in refused.text
    assert await use(admin.stack, token) == (204, "")


async def test_links_are_limited_per_address(stack: Stack) -> None:
    answers = [await use(stack, f"guess{number}", address="198.51.100.9") for number in range(301)]
    assert set(answers[:300]) == {(404, "not-found")}
    assert answers[300] == (429, "too-many-attempts")
    assert await use(stack, "guess", address="198.51.100.10") == (404, "not-found")


async def test_a64_a_poisoned_host_changes_no_link(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    response = await admin.call(
        "POST",
        f"/v1/users/{person.id}/password-reset",
        Host="evil.example",
        **{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    )
    assert response.json()["activation"]["url"].startswith("http://127.0.0.1:8080/activate/")
    fresh = await admin.stack.another_app(public_url="https://app.harbour.example/auth")
    response = await fresh.call("POST", f"/v1/users/{person.id}/password-reset", token=admin.token)
    assert response.json()["activation"]["url"].startswith("https://app.harbour.example/auth/activate/")
