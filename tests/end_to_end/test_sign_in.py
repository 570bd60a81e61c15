"""Signing in with a password and a second factor: the first path through everything, and what the answers say."""

import re

import httpx
import pytest

from tests.end_to_end.client import Authenticator, Person, ok, problem
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import Stack


def test_the_first_path_from_an_invitation_to_a_second_sign_in_with_a_code(shared: Clinic) -> None:
    person, activation = shared.invite()
    client = shared.client()

    told = ok(client.get(f"/v1/activations/{activation['token']}"))
    assert person.email in str(told), "an activation says for whom it is"
    ok(client.post(f"/v1/activations/{activation['token']}", {"password": person.password}), 204)

    session = client.sign_in(person)
    assert (session["state"], session["amr"], session["acr"]) == ("active", ["pwd"], "aal1")
    assert session["verified_at"] is None
    assert session["clinic"] == {"id": shared.id, "slug": shared.slug, "name": shared.name}
    assert session["user"] == {"id": person.id, "email": person.email, "name": person.name, "role": "practitioner"}

    enrolment = client.start_totp()
    assert re.fullmatch(r"[A-Z2-7]{32}", enrolment["secret"])
    assert client.start_totp()["secret"] == enrolment["secret"], "the same session gets the same set-up"
    assert not ok(client.get("/v1/me/two-factor"))["enabled"], "nothing is on before a code was right"

    answer = client.enrol_totp(person)
    assert answer["two_factor"]["enabled"] is True
    assert [factor["method"] for factor in answer["two_factor"]["factors"]] == ["totp"]
    assert len(answer["backup_codes"]) == len(set(answer["backup_codes"])) == 10
    proven = answer["session"]
    assert (proven["id"], proven["state"], proven["acr"]) == (session["id"], "active", "aal2")
    assert sorted(proven["amr"]) == ["mfa", "otp", "pwd"]
    assert proven["token"] != session["token"]
    problem(client.get("/v1/session", token=session["token"]), 401, "unauthenticated", cause="replaced")

    ok(client.delete("/v1/session"), 204)
    problem(client.get("/v1/session"), 401, "unauthenticated", cause="ended")

    waiting = client.sign_in(person)
    assert waiting["state"] == "second_factor_required"
    assert waiting["methods"][0] == "totp"
    assert "backup_code" in waiting["methods"]
    problem(client.get("/v1/me"), 403, "second-factor-required", methods=waiting["methods"])

    active = ok(client.factor("totp", person.app.code()))
    assert (active["id"], active["state"], active["acr"]) == (waiting["id"], "active", "aal2")
    assert active["verified_at"] is not None
    problem(client.get("/v1/me"), 401, "unauthenticated", cause="replaced")
    client.token = active["token"]
    me = ok(client.get("/v1/me"))
    assert me["email"] == person.email
    assert "token" not in ok(client.get("/v1/session"))


def test_each_factor_signs_in_and_is_named_in_amr(shared: Clinic) -> None:
    person, client = shared.enrolled_by_sms()
    seen = len(shared.stack.inbox(person.phone))
    enrolment = client.enrol_totp(person)
    assert "backup_codes" not in enrolment or not enrolment["backup_codes"], "living backup codes stay as they are"
    ok(client.delete("/v1/session"), 204)

    client.sign_in(person)
    by_app = ok(client.factor("totp", person.app.code()))
    assert sorted(by_app["amr"]) == ["mfa", "otp", "pwd"]

    waiting = client.sign_in(person)
    assert set(waiting["methods"]) == {
        "totp",
        "sms",
        "backup_code",
    }
    sent = client.post("/v1/session/second-factor/sms")
    if sent.status_code == 429:
        # The enrolment's text is less than 30 seconds old; the limit is the number's, so the user waits.
        assert 0 < problem(sent, 429, "too-many-attempts")["retry_after"] <= 30
    else:
        ok(sent, 202)
        by_sms = ok(client.factor("sms", shared.texted(person.phone, seen)))
        assert sorted(by_sms["amr"]) == ["mfa", "pwd", "sms"]

    waiting = client.sign_in(person)
    by_backup = ok(client.factor("backup_code", person.backup_codes[0]))
    assert sorted(by_backup["amr"]) == ["mfa", "pwd"]
    assert by_backup["acr"] == "aal2"


def test_a14_an_accepted_code_opens_no_second_session_and_costs_no_guess(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    first, second = shared.client(), shared.client()
    first.sign_in(person)
    first.prove(person)
    second.sign_in(person)
    used = problem(second.factor("totp", person.app.last_code()), 422, "code-already-used")
    assert 0 < used["retry_after"] <= 60
    assert isinstance(used["retry_after"], int)
    assert second.state() == "second_factor_required"
    wrong = problem(second.factor("totp", person.app.wrong_code()), 422, "invalid-code")
    assert wrong["attempts_left"] == 4, "the used code before it cost nothing"


def test_a18_the_code_that_confirmed_the_set_up_does_not_sign_in(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    problem(client.factor("totp", person.app.last_code()), 422, "code-already-used")


def test_a19_a_sign_in_code_is_no_step_up_but_the_next_one_is(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    before = client.prove(person)
    problem(client.factor("totp", person.app.last_code()), 422, "code-already-used")
    after = ok(client.factor("totp", person.app.code()))
    assert after["id"] == before["id"]
    assert after["token"] != before["token"]
    assert after["verified_at"] > before["verified_at"]
    problem(client.get("/v1/session"), 401, "unauthenticated", cause="replaced")


def test_a_wrong_code_leaves_the_session_waiting_and_says_how_many_are_left(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    left = [problem(client.factor("totp", person.app.wrong_code()), 422, "invalid-code") for _ in range(2)]
    assert [answer["attempts_left"] for answer in left] == [4, 3]
    assert client.state() == "second_factor_required"
    assert client.prove(person)["state"] == "active"


def test_p06_five_wrong_codes_close_the_account_for_every_session_and_factor(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    guesser, owner = shared.client(), shared.client()
    guesser.sign_in(person)
    for _ in range(5):
        problem(guesser.factor("totp", person.app.wrong_code()), 422, "invalid-code")
    refused = guesser.factor("totp", person.app.code())
    body = problem(refused, 429, "too-many-attempts", locked=False)
    assert 0 < body["retry_after"] <= 15 * 60
    assert int(refused.headers["retry-after"]) == body["retry_after"]
    assert "someone knows your password" in body["detail"]

    owner.sign_in(person)
    problem(owner.factor("backup_code", person.backup_codes[0]), 429, "too-many-attempts")
    problem(owner.factor("totp", person.app.code()), 429, "too-many-attempts")
    assert owner.state() == "second_factor_required"


@pytest.mark.parametrize(
    "code",
    [
        "",
        " ",
        None,
        [],
        {},
        True,
        123456,
        "12345",
        "1234567",
        "+12345",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "12345a",
        "1" * 5000,
    ],
    ids=repr,
)
def test_a13_a_code_of_the_wrong_shape_is_refused_without_costing_a_guess(
    waiting: tuple[Person, str], shared: Clinic, code: object
) -> None:
    _, token = waiting
    client = shared.client()
    client.token = token
    problem(client.factor("totp", code), 422, "invalid-request")
    assert client.state() == "second_factor_required"


def test_a13_after_all_of_them_the_whole_budget_is_there(waiting: tuple[Person, str], shared: Clinic) -> None:
    person, token = waiting
    client = shared.client()
    client.token = token
    problem(client.factor("totp", person.app.wrong_code()), 422, "invalid-code", attempts_left=4)
    # A17: spaces, hyphens and zero-width characters are dropped before anything is compared.
    code = person.app.code()
    client.token = ok(client.factor("totp", f" {code[:3]}-{code[3:]}\u200b "))["token"]
    problem(client.factor("totp", f"{code[:3]} {code[3:]}"), 422, "code-already-used")


@pytest.fixture(scope="module")
def waiting(shared: Clinic) -> tuple[Person, str]:
    """Someone whose session waits for a code, and its token."""
    person, _ = shared.enrolled()
    client = shared.client()
    return person, client.sign_in(person)["token"]


def test_a57_every_wrong_credential_gets_the_same_answer(shared: Clinic) -> None:
    person = shared.person()
    disabled = shared.person()
    ok(shared.desk.patch(f"/v1/users/{disabled.id}", {"disabled": True}))
    invited, _ = shared.invite()
    client = shared.client()
    nobody = Person(shared.slug, f"nobody@{shared.slug}.example")
    elsewhere = Person("no-such-clinic", person.email)
    answers = [
        client.password(Person(person.clinic, person.email)),
        client.password(nobody),
        client.password(elsewhere),
        client.password(disabled),
        client.password(invited),
    ]
    bodies = [problem(answer, 401, "invalid-credentials") for answer in answers]
    for body in bodies:
        body.pop("request_id")
    assert bodies.count(bodies[0]) == len(bodies)


def test_a03_an_e_mail_address_is_one_whatever_its_case(shared: Clinic) -> None:
    person = shared.person()
    client = shared.client()
    ok(client.password(Person(person.clinic, person.email.upper(), password=person.password)), 201)


def test_a_token_that_never_was_has_no_cause(stack: Stack) -> None:
    client = stack.client()
    assert "cause" not in problem(client.get("/v1/session"), 401, "unauthenticated")
    for token in ("x", "A" * 43, "A" * 500):
        assert "cause" not in problem(client.get("/v1/session", token=token), 401, "unauthenticated")
    basic = httpx.BasicAuth("ada@harbour.example", "some password")
    problem(client.get("/v1/session", auth=basic), 401, "unauthenticated")


def test_a66_an_eleventh_active_session_ends_the_oldest(shared: Clinic) -> None:
    person, oldest = shared.member()
    others = [shared.client() for _ in range(10)]
    for client in others:
        client.sign_in(person)
    problem(oldest.get("/v1/session"), 401, "unauthenticated", cause="too_many")
    assert all(client.state() == "active" for client in others)


def test_a_new_password_ends_every_other_session_and_renews_this_one(shared: Clinic) -> None:
    person, here = shared.member()
    there = shared.client()
    there.sign_in(person)
    change = {"current_password": person.password, "new_password": "Another-tall-tale-71"}
    session = ok(here.put("/v1/me/password", change))
    problem(here.get("/v1/session"), 401, "unauthenticated", cause="replaced")
    problem(there.get("/v1/session"), 401, "unauthenticated", cause="password_changed")
    here.token = session["token"]
    assert here.state() == "active"
    problem(there.password(person), 401, "invalid-credentials")
    person.password = change["new_password"]
    assert there.sign_in(person)["state"] == "active"


def test_a_weak_or_wrong_password_changes_nothing(shared: Clinic) -> None:
    person, client = shared.member()
    refused = [
        {"current_password": person.password, "new_password": "short"},
        {"current_password": person.password, "new_password": "password1234"},
        {"current_password": person.password, "new_password": "x" * 129},
        {"current_password": person.password},
    ]
    for change in refused:
        problem(client.put("/v1/me/password", change), 422, "invalid-request")
    wrong = client.put(
        "/v1/me/password", {"current_password": "Not-this-one-48", "new_password": "Another-tall-tale-71"}
    )
    assert wrong.status_code in (401, 403, 422), wrong.text
    assert client.state() == "active"


def test_someone_lists_their_sessions_and_ends_another(shared: Clinic) -> None:
    person, here = shared.member()
    there = shared.client()
    other = there.sign_in(person)
    listed = ok(here.get("/v1/me/sessions"))
    sessions = listed["sessions"] if isinstance(listed, dict) else listed
    assert other["id"] in [session["id"] for session in sessions]
    assert len(sessions) == 2
    ok(here.delete(f"/v1/me/sessions/{other['id']}"), 204)
    problem(there.get("/v1/session"), 401, "unauthenticated", cause="ended")
    assert here.state() == "active"


def test_a_code_without_any_factor_is_a_conflict(shared: Clinic) -> None:
    _, client = shared.member()
    problem(client.factor("totp", "123456"), 409, "conflict")


def test_a_factor_added_makes_the_other_sessions_wait_for_a_code(shared: Clinic) -> None:
    person, here = shared.member()
    there = shared.client()
    other = there.sign_in(person)
    here.enrol_totp(person)
    problem(there.get("/v1/me"), 403, "second-factor-required")
    assert ok(there.factor("totp", person.app.code()))["id"] == other["id"]


def test_two_factor_can_be_turned_off_where_nothing_requires_it(shared: Clinic) -> None:
    person, here = shared.enrolled()
    there = shared.client()
    there.sign_in(person)
    ok(here.delete("/v1/me/two-factor/totp"), 204)
    problem(there.get("/v1/session"), 401, "unauthenticated")
    two_factor = ok(here.get("/v1/me/two-factor"))
    assert (two_factor["enabled"], two_factor["factors"], two_factor["backup_codes"]["remaining"]) == (False, [], 0)
    assert there.sign_in(person)["state"] == "active"


def test_changing_phones_replaces_the_old_app_and_ends_other_sessions(shared: Clinic) -> None:
    person, here = shared.enrolled()
    there = shared.client()
    there.sign_in(person)
    old = person.app
    codes = list(person.backup_codes)
    answer = here.enrol_totp(person)
    assert person.app.secret != old.secret
    # R2: whoever holds the old phone may hold what was printed beside it.
    assert len(answer["backup_codes"]) == 10
    assert not set(answer["backup_codes"]) & set(codes)
    problem(there.get("/v1/session"), 401, "unauthenticated")
    there.sign_in(person)
    problem(there.factor("totp", Authenticator(old.secret, old.last_step).code()), 422, "invalid-code")
    problem(there.factor("backup_code", codes[0]), 422, "invalid-code")
    assert ok(there.factor("backup_code", person.backup_codes[0]))["state"] == "active"
