"""People, as their clinic's administrators handle them."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of


@pytest.fixture
async def admin(clinic: SomeClinic) -> Person:
    """An administrator without a factor, signed in."""
    admin = await clinic.person("admin")
    await admin.sign_in()
    return admin


async def invite(admin: Person, **change: Any) -> dict[str, Any]:
    body = {"email": "new.person@harbour.example", "name": "New Person", "role": "practitioner", **change}
    response = await admin.call("POST", "/v1/users", body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_someone_invited_chooses_a_password_and_signs_in(admin: Person) -> None:
    answer = await invite(admin, phone="07700 900123")
    user, activation = answer["user"], answer["activation"]
    assert (user["activated"], user["disabled"], user["phone"]) == (False, False, "+447700900123")
    assert activation["url"] == f"http://127.0.0.1:8080/activate/{activation['token']}"
    newcomer = Person(admin.clinic, user["id"], user["email"])
    assert slug_of(await newcomer.try_sign_in()) == "invalid-credentials"
    used = await admin.stack.call("POST", f"/v1/activations/{activation['token']}", {"password": PASSWORD})
    assert used.status_code == 204
    assert (await newcomer.sign_in())["user"]["name"] == "New Person"
    read = (await admin.call("GET", f"/v1/users/{user['id']}")).json()
    assert read == {**user, "activated": True}
    assert admin.stack.events(user["id"])[:2] == ["user.added", "user.activated"]


async def test_a03_one_address_is_one_person_of_a_clinic_and_may_be_of_another(admin: Person, stack: Stack) -> None:
    await invite(admin, email="Nia@harbour.example")
    again = {"email": "nIA@HARBOUR.example", "name": "Nia Again", "role": "admin"}
    refused = await admin.call("POST", "/v1/users", again)
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    elsewhere = await (await stack.make_clinic()).person("admin")
    await elsewhere.sign_in()
    assert (await elsewhere.call("POST", "/v1/users", again)).status_code == 201
    other = (await invite(admin))["user"]
    refused = await admin.call("PATCH", f"/v1/users/{other['id']}", {"email": "NIA@harbour.example"})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")


@pytest.mark.parametrize(
    "change",
    [
        {"email": "no address"},
        {"email": "a@b"},
        {"email": "two@harbour.example\n"},
        {"email": "e" * 255 + "@harbour.example"},
        {"email": None},
        {"name": ""},
        {"name": "\x1b[31mred"},
        {"name": ["Ada"]},
        {"name": "\ud800"},
        {"role": "owner"},
        {"role": None},
        {"phone": "12"},
        {"phone": "+449098790123"},
        {"phone": None},
        {"password": PASSWORD},
        {"clinic_id": "cli_other"},
    ],
    ids=ascii,
)
async def test_someone_who_makes_no_sense_is_not_invited(admin: Person, change: dict[str, Any]) -> None:
    body = {"email": "new.person@harbour.example", "name": "New Person", "role": "practitioner", **change}
    sent = json.dumps(body)  # as a client would that writes lone surrogates: escaped
    async with admin.stack.client(Authorization=f"Bearer {admin.token}") as client:
        refused = await client.post("/v1/users", content=sent, headers={"Content-Type": "application/json"})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert refused.json()["errors"][0]["field"] == next(iter(change))
    assert len((await admin.call("GET", "/v1/users")).json()["users"]) == 1


async def test_the_list_goes_page_by_page_and_finds_by_name_or_address(admin: Person) -> None:
    for number in range(7):
        admin.stack.clock.advance(timedelta(seconds=1))
        await invite(admin, email=f"p{number}@harbour.example", name=f"Person 100%_{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await admin.call("GET", f"/v1/users?limit=3{cursor and f'&cursor={cursor}'}")).json()
        assert len(page["users"]) <= 3
        seen += [user["email"] for user in page["users"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [admin.email, *(f"p{number}@harbour.example" for number in range(7))]
    for query, expected in (("q=P3%40", 1), ("q=%25_4", 1), ("q=person+100", 7), ("q=nobody", 0), ("q=%25", 7)):
        found = (await admin.call("GET", f"/v1/users?{query}")).json()
        assert len(found["users"]) == expected, query


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=!", "cursor=abcd", "two_factor=maybe", "q=", "sort=name"]
)
async def test_a_list_that_makes_no_sense_is_refused(admin: Person, query: str) -> None:
    refused = await admin.call("GET", f"/v1/users?{query}")
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert refused.json()["errors"][0]["field"] == query.partition("=")[0]


async def test_who_lacks_a_factor_is_found_across_pages(admin: Person, clinic: SomeClinic) -> None:
    people = [await clinic.person() for _ in range(5)]
    for person in people[:2]:
        await person.sign_in()
        await person.enrol_totp()
    missing: list[str] = []
    cursor = ""
    while True:
        page = (await admin.call("GET", f"/v1/users?two_factor=missing&limit=2{cursor and f'&cursor={cursor}'}")).json()
        missing += [user["id"] for user in page["users"]]
        if not page["next_cursor"]:
            break
        cursor = page["next_cursor"]
    assert sorted(missing) == sorted([admin.id, *(person.id for person in people[2:])])
    enrolled = (await admin.call("GET", "/v1/users?two_factor=enrolled")).json()["users"]
    assert sorted(user["id"] for user in enrolled) == sorted(person.id for person in people[:2])
    assert (await admin.call("GET", "/v1/users?two_factor=exempt")).json() == {"users": [], "next_cursor": None}
    held = (await admin.call("GET", f"/v1/users/{people[0].id}/two-factor")).json()
    assert (held["enabled"], held["factors"][0]["method"], held["requirement"]) == (True, "totp", "clinic_default")


async def test_a48_a_disabled_user_is_out_at_the_next_request(admin: Person, clinic: SomeClinic) -> None:
    active, waiting = await clinic.person(), await clinic.person()
    await active.sign_in()
    await waiting.sign_in()
    await waiting.enrol_totp()
    await waiting.sign_in()
    assert await waiting.state() == "second_factor_required"
    for person in (active, waiting):
        offered = (await admin.call("POST", f"/v1/users/{person.id}/password-reset")).json()["activation"]
        changed = await admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": True})
        assert changed.json()["disabled"] is True
        refused = await person.call("GET", "/v1/session")
        assert (refused.status_code, slug_of(refused), refused.json()["cause"]) == (401, "unauthenticated", "ended")
        assert slug_of(await person.try_sign_in()) == "invalid-credentials"
        dead = await person.stack.call("POST", f"/v1/activations/{offered['token']}", {"password": PASSWORD})
        assert (dead.status_code, slug_of(dead)) == (410, "gone")
        reset = await admin.call("POST", f"/v1/users/{person.id}/password-reset")
        assert (reset.status_code, slug_of(reset)) == (409, "conflict")
        await admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": False})
        assert (await person.call("GET", "/v1/session")).status_code == 401, "what ended stays ended"
        await person.sign_in()


async def test_a65_another_clinics_people_are_not_found(admin: Person, stack: Stack) -> None:
    elsewhere = await (await stack.make_clinic()).person()
    await elsewhere.sign_in()
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"disabled": True}),
        ("DELETE", "/sessions", None),
        ("POST", "/password-reset", None),
        ("GET", "/two-factor", None),
    ):
        for user_id in (elsewhere.id, "usr_nobody", "%F0%9F%A6%8A", "..%2Fme"):
            refused = await admin.call(method, f"/v1/users/{user_id}{path}", body)
            assert (refused.status_code, slug_of(refused)) == (404, "not-found"), (method, path, user_id)
    assert await elsewhere.state() == "active"


async def test_the_last_administrator_who_can_sign_in_stays_one(admin: Person, clinic: SomeClinic) -> None:
    for change in ({"role": "practitioner"}, {"disabled": True}):
        refused = await admin.call("PATCH", f"/v1/users/{admin.id}", change)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    # An invitation that nobody has taken up is no administrator yet.
    await invite(admin, role="admin")
    assert (await admin.call("PATCH", f"/v1/users/{admin.id}", {"role": "receptionist"})).status_code == 409
    second = await clinic.person("admin")
    await second.sign_in()
    assert (await second.call("PATCH", f"/v1/users/{admin.id}", {"role": "receptionist"})).status_code == 200
    assert slug_of(await admin.call("GET", "/v1/users")) == "forbidden", "the role counts from the next request on"


async def test_two_administrators_who_demote_each_other_do_not_both_succeed(clinic: SomeClinic) -> None:
    for _ in range(5):
        one, two = await clinic.person("admin"), await clinic.person("admin")
        for other in clinic.stack.sql(
            "UPDATE app_user SET role = 'practitioner' WHERE clinic_id = %s AND id NOT IN (%s, %s) RETURNING id",
            [clinic.id, one.id, two.id],
        ):
            assert other["id"]
        await one.sign_in()
        await two.sign_in()
        answers = await asyncio.gather(
            one.call("PATCH", f"/v1/users/{two.id}", {"role": "practitioner"}),
            two.call("PATCH", f"/v1/users/{one.id}", {"disabled": True}),
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 403], [200, 401])
        left = clinic.stack.sql(
            "SELECT id FROM app_user WHERE clinic_id = %s AND role = 'admin' AND disabled_at IS NULL", [clinic.id]
        )
        assert len(left) == 1


async def test_nobody_disables_themselves(admin: Person, clinic: SomeClinic) -> None:
    await clinic.person("admin")
    refused = await admin.call("PATCH", f"/v1/users/{admin.id}", {"disabled": True})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert await admin.state() == "active"


async def test_signing_someone_out_ends_all_their_sessions(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    first = person.token
    await person.sign_in()
    assert (await admin.call("DELETE", f"/v1/users/{person.id}/sessions")).status_code == 204
    for token in (first, person.token):
        refused = await person.stack.call("GET", "/v1/session", token=token)
        assert (refused.status_code, refused.json()["cause"]) == (401, "ended")


async def test_a_number_that_an_administrator_changes_is_not_proven(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person(phone="+447700900123")
    clinic.stack.sql("UPDATE app_user SET phone_proven = true WHERE id = %s", [person.id])
    same = await admin.call("PATCH", f"/v1/users/{person.id}", {"phone": "07700 900123", "name": "Mina O."})
    assert (same.json()["phone_proven"], same.json()["name"]) == (True, "Mina O.")
    other = await admin.call("PATCH", f"/v1/users/{person.id}", {"phone": "+447700900456"})
    assert (other.json()["phone"], other.json()["phone_proven"]) == ("+447700900456", False)
    (row,) = clinic.stack.sql(
        "SELECT detail FROM audit_event WHERE subject_id = %s ORDER BY seq DESC LIMIT 1", [person.id]
    )
    assert row["detail"] == {"fields": ["phone"]}, "the trail names the field, not the number"


async def test_without_a_factor_nobody_resets_an_administrators_password(admin: Person, clinic: SomeClinic) -> None:
    other = await clinic.person("admin")
    refused = await admin.call("POST", f"/v1/users/{other.id}/password-reset")
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    await admin.enrol_totp()
    assert (await admin.call("POST", f"/v1/users/{other.id}/password-reset")).status_code == 201


@pytest.mark.parametrize("body", [{"password": "chosen for somebody else"}, []])
async def test_a_reset_takes_no_password_of_the_administrators_choice(
    admin: Person, clinic: SomeClinic, body: Any
) -> None:
    person = await clinic.person()
    refused = await admin.call("POST", f"/v1/users/{person.id}/password-reset", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")


async def test_resets_are_limited_per_user(admin: Person, clinic: SomeClinic) -> None:
    person, other = await clinic.person(), await clinic.person()
    for _ in range(5):
        assert (await admin.call("POST", f"/v1/users/{person.id}/password-reset")).status_code == 201
    refused = await admin.call("POST", f"/v1/users/{person.id}/password-reset")
    assert (refused.status_code, slug_of(refused)) == (429, "too-many-attempts")
    assert int(refused.headers["retry-after"]) == refused.json()["retry_after"] > 0
    assert (await admin.call("POST", f"/v1/users/{other.id}/password-reset")).status_code == 201
    admin.stack.clock.advance(timedelta(minutes=13))
    assert (await admin.call("POST", f"/v1/users/{person.id}/password-reset")).status_code == 201
