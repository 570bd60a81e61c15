"""Administrators and their people: invitations, lists, resets, disabling, and the wall between clinics."""

import pytest

from tests.end_to_end.client import Person, new_number, ok, problem
from tests.end_to_end.clinics import Clinic, ClinicMaker


def listed(answer: dict[str, object]) -> list[dict[str, object]]:
    users = answer["users"]
    assert isinstance(users, list)
    return users


def test_an_invitation_works_once(shared: Clinic) -> None:
    person, activation = shared.invite("receptionist")
    client = shared.client()
    assert activation["token"] in activation["url"]
    path = f"/v1/activations/{activation['token']}"
    problem(client.post(path, {"password": "short"}), 422, "invalid-request")
    ok(client.post(path, {"password": person.password}), 204)
    problem(client.post(path, {"password": "Another-tall-tale-71"}), 410, "gone")
    problem(client.get(path), 410, "gone")
    assert client.sign_in(person)["user"]["role"] == "receptionist"


def test_a_created_user_can_be_read_and_listed(shared: Clinic) -> None:
    phone = new_number()
    person, _ = shared.invite(phone=phone)
    user = ok(shared.desk.get(f"/v1/users/{person.id}"))
    assert (user["email"], user["name"], user["role"]) == (person.email, person.name, "practitioner")
    found: list[dict[str, object]] = []
    cursor = None
    while True:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = ok(shared.desk.get("/v1/users", params=query))
        assert len(listed(page)) <= 3
        found += listed(page)
        cursor = page.get("next_cursor")
        if not cursor:
            break
    ids = [user["id"] for user in found]
    assert ids.count(person.id) == 1
    assert len(ids) == len(set(ids))
    by_name = listed(ok(shared.desk.get("/v1/users", params={"q": person.email})))
    assert [user["id"] for user in by_name] == [person.id]


def test_who_lacks_a_factor_can_be_listed(clinic: Clinic) -> None:
    enrolled, _ = clinic.enrolled()
    missing = clinic.person()
    ids = {user["id"] for user in listed(ok(clinic.desk.get("/v1/users", params={"two_factor": "missing"})))}
    assert missing.id in ids
    assert enrolled.id not in ids
    ids = {user["id"] for user in listed(ok(clinic.desk.get("/v1/users", params={"two_factor": "enrolled"})))}
    assert ids == {enrolled.id}
    problem(clinic.desk.get("/v1/users", params={"two_factor": "sometimes"}), 422, "invalid-request")


def test_the_same_address_twice_in_one_clinic_is_a_conflict(shared: Clinic) -> None:
    person = shared.person()
    again = {"email": person.email.upper(), "name": "Twin", "role": "practitioner"}
    problem(shared.desk.post("/v1/users", again), 409, "conflict")


@pytest.mark.parametrize(
    "change",
    [
        {"email": "not-an-address"},
        {"email": ""},
        {"name": ""},
        {"role": "owner"},
        {"phone": "12"},
        {"phone": "+449098790123"},
        {"password": "an-administrator-chose-this"},
        {"email": None},
        {"name": ["Ada"]},
    ],
    ids=repr,
)
def test_a_user_that_makes_no_sense_is_refused(shared: Clinic, change: dict[str, object]) -> None:
    user = {"email": "someone.new@harbour.example", "name": "Someone New", "role": "practitioner", **change}
    problem(shared.desk.post("/v1/users", user), 422, "invalid-request")


def test_a48_a_disabled_user_is_out_at_once_and_back_when_enabled(shared: Clinic) -> None:
    person, client = shared.member()
    waiting_person, _ = shared.enrolled()
    waiting = shared.client()
    waiting.sign_in(waiting_person)
    for someone, session in ((person, client), (waiting_person, waiting)):
        ok(shared.desk.patch(f"/v1/users/{someone.id}", {"disabled": True}))
        problem(session.get("/v1/session"), 401, "unauthenticated")
        problem(session.password(someone), 401, "invalid-credentials")
        ok(shared.desk.patch(f"/v1/users/{someone.id}", {"disabled": False}))
        problem(session.get("/v1/session"), 401, "unauthenticated")
        session.sign_in(someone)


def test_a36_a_reset_asks_for_a_new_password_and_still_for_the_code(shared: Clinic) -> None:
    person, client = shared.enrolled()
    activation = ok(shared.desk.post(f"/v1/users/{person.id}/password-reset"), 201)["activation"]
    newer = ok(shared.desk.post(f"/v1/users/{person.id}/password-reset"), 201)["activation"]
    visitor = shared.client()
    # A38: a superseded one is dead.
    problem(visitor.post(f"/v1/activations/{activation['token']}", {"password": "Tall-tale-one-49"}), 410, "gone")
    old = person.password
    person.password = "Tall-tale-two-94"
    ok(visitor.post(f"/v1/activations/{newer['token']}", {"password": person.password}), 204)
    problem(client.get("/v1/session"), 401, "unauthenticated", cause="password_changed")
    problem(visitor.password(Person(person.clinic, person.email, password=old)), 401, "invalid-credentials")
    assert visitor.sign_in(person)["state"] == "second_factor_required"


def test_a_reset_by_an_administrator_gives_the_guesses_back(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    for _ in range(5):
        problem(client.factor("totp", person.app.wrong_code()), 422, "invalid-code")
    problem(client.factor("totp", person.app.wrong_code()), 429, "too-many-attempts")
    activation = ok(shared.desk.post(f"/v1/users/{person.id}/password-reset"), 201)["activation"]
    ok(client.post(f"/v1/activations/{activation['token']}", {"password": person.password + "!"}, token=None), 204)
    person.password += "!"
    assert client.sign_in_fully(person)["state"] == "active"


def test_a65_everything_of_another_clinic_is_not_found(shared: Clinic, clinics: ClinicMaker) -> None:
    elsewhere = clinics.take()
    person, client = elsewhere.member()
    session = ok(client.get("/v1/session"))
    enrolment = client.start_totp()["enrolment_id"]
    desk = shared.desk
    for method, path, body in [
        ("GET", f"/v1/users/{person.id}", ...),
        ("PATCH", f"/v1/users/{person.id}", {"disabled": True}),
        ("POST", f"/v1/users/{person.id}/password-reset", ...),
        ("DELETE", f"/v1/users/{person.id}/sessions", ...),
        ("GET", f"/v1/users/{person.id}/two-factor", ...),
        ("DELETE", f"/v1/me/sessions/{session['id']}", ...),
        ("GET", f"/v1/me/two-factor/totp/{enrolment}/qr.png", ...),
        ("POST", f"/v1/me/two-factor/totp/{enrolment}/confirm", {"code": "123456"}),
    ]:
        problem(desk.call(method, path, body), 404, "not-found")
    assert client.state() == "active"
    assert person.id not in [user["id"] for user in listed(ok(desk.get("/v1/users", params={"limit": "200"})))]


def test_only_administrators_see_or_make_users(shared: Clinic) -> None:
    person, client = shared.member("receptionist")
    new = {"email": "x@harbour.example", "name": "X", "role": "admin"}
    problem(client.get("/v1/users"), 403, "forbidden")
    problem(client.get(f"/v1/users/{person.id}"), 403, "forbidden")
    problem(client.post("/v1/users", new), 403, "forbidden")
    problem(client.patch(f"/v1/users/{person.id}", {"role": "admin"}), 403, "forbidden")
    problem(client.post(f"/v1/users/{shared.admin.id}/password-reset"), 403, "forbidden")


def test_a_user_edits_their_own_name_and_number_and_nothing_else(shared: Clinic) -> None:
    _, client = shared.member()
    phone = new_number()
    me = ok(client.patch("/v1/me", {"name": "Grace H.", "phone": phone}))
    assert (me["name"], me["phone"], me["phone_proven"]) == ("Grace H.", phone, False)
    for change in ({"role": "admin"}, {"email": "new@harbour.example"}, {"amr": ["mfa"]}, {"phone": "0"}):
        problem(client.patch("/v1/me", change), 422, "invalid-request")


def test_the_operator_resets_a_password_and_changes_a_role_by_command(clinic: Clinic) -> None:
    person = clinic.person()
    told = clinic.stack.command("identity", "reset-password", "--clinic", clinic.slug, "--email", person.email)
    token = next(word for word in told.replace('"', " ").replace("/", " ").split() if len(word) >= 40)
    client = clinic.client()
    person.password = "Tall-tale-three-27"
    ok(client.post(f"/v1/activations/{token}", {"password": person.password}), 204)
    assert client.sign_in(person)["user"]["role"] == "practitioner"
    clinic.stack.command(
        "identity", "set-role", "--clinic", clinic.slug, "--email", person.email, "--role", "receptionist"
    )
    assert client.sign_in(person)["user"]["role"] == "receptionist"
