"""Requiring a second factor in mid-work: whom it stops, how they continue, and whom it leaves alone."""

import time

from tests.end_to_end.client import Client, Person, new_number, ok, problem, told
from tests.end_to_end.clinics import Clinic

AT_ONCE = 2.0
"""Seconds within which a change of the rule meets every session at its next request."""


def stopped(client: Client, slug: str, seconds: float = AT_ONCE) -> dict[str, object]:
    """The problem a session meets, once it is stopped; fails where that takes longer than the promise."""
    ends_at = time.monotonic() + seconds
    while True:
        answer = client.get("/v1/me/sessions")
        if answer.status_code == 403 or time.monotonic() > ends_at:
            return problem(answer, 403, slug)
        time.sleep(0.05)


def goes_on(client: Client, seconds: float = AT_ONCE) -> None:
    ends_at = time.monotonic() + seconds
    while (answer := client.get("/v1/me/sessions")).status_code != 200:
        assert time.monotonic() < ends_at, told(answer)
        time.sleep(0.05)


def test_p09_a_session_is_stopped_in_mid_work_and_continues_with_the_same_id(clinic: Clinic) -> None:
    person, client = clinic.member()
    proven_person, proven = clinic.enrolled()
    session = ok(client.get("/v1/session"))
    assert session["state"] == "active"
    changed = clinic.require(require_two_factor=True, phone_required=False)
    assert changed["require_two_factor"] is True

    body = stopped(client, "enrolment-required")
    assert set(body["methods"]) <= {"totp", "sms"}  # type: ignore[call-overload]
    assert body["methods"]
    assert body["phone_required"] is False
    reason = body["reason"]
    assert isinstance(reason, dict)
    assert reason["sentence"]
    assert {"rule", "outcome", "detail"} <= set(reason["rules"][0])

    waiting = ok(client.get("/v1/session"))
    assert (waiting["id"], waiting["state"]) == (session["id"], "enrolment_required")
    assert waiting["enrolment"] == {"methods": body["methods"], "phone_required": False}
    assert waiting["reason"]["sentence"]

    # Proven sessions notice nothing, the administrator's own included.
    assert ok(proven.get("/v1/session"))["state"] == "active"
    ok(proven.get("/v1/me/sessions"))
    ok(clinic.desk.get("/v1/clinic/security"))

    answer = client.enrol_totp(person)
    assert (answer["session"]["id"], answer["session"]["state"]) == (session["id"], "active")
    assert len(answer["backup_codes"]) == 10
    ok(client.get("/v1/me/sessions"))
    assert proven_person.authenticator is not None


def test_what_a_session_waiting_for_enrolment_reaches_and_what_not(clinic: Clinic) -> None:
    person, client = clinic.member()
    clinic.require(require_two_factor=True)
    body = stopped(client, "enrolment-required")
    assert body["phone_required"] is True, "a number is asked for by default"
    ok(client.get("/v1/session"))
    ok(client.get("/v1/me"))
    ok(client.get("/v1/me/two-factor"))
    for method, path in [
        ("GET", "/v1/me/sessions"),
        ("PUT", "/v1/me/password"),
        ("GET", "/v1/clinic"),
        ("GET", "/v1/clinic/security"),
        ("GET", "/v1/users"),
        ("POST", "/v1/me/two-factor/backup-codes"),
        ("DELETE", "/v1/me/two-factor/totp"),
    ]:
        problem(client.call(method, path, {} if method != "GET" else ...), 403, "enrolment-required")
    problem(client.factor("totp", "123456"), 403, "enrolment-required")
    problem(client.patch("/v1/me", {"name": "Somebody Else"}), 403, "enrolment-required")

    refused = problem(client.post("/v1/me/two-factor/totp"), 403, "enrolment-required")
    assert refused["phone_required"] is True
    person.phone = new_number()
    ok(client.patch("/v1/me", {"phone": person.phone}))
    assert ok(client.get("/v1/session"))["enrolment"]["phone_required"] is False
    assert client.enrol_totp(person)["session"]["state"] == "active"
    assert ok(client.get("/v1/me"))["phone"] == person.phone


def test_who_signs_in_without_a_factor_can_only_set_one_up(clinic: Clinic) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True, phone_required=False)
    client = clinic.client()
    session = client.sign_in(person)
    assert session["state"] == "enrolment_required"
    assert (session["amr"], session["acr"]) == (["pwd"], "aal1")
    problem(client.get("/v1/me/sessions"), 403, "enrolment-required")
    # A30: a set-up begun and abandoned changes nothing, in this session or the next.
    client.start_totp()
    again = clinic.client()
    assert again.sign_in(person)["state"] == "enrolment_required"
    assert again.enrol_totp(person)["session"]["state"] == "active"


def test_switched_off_again_the_stopped_are_active_with_the_same_id(clinic: Clinic) -> None:
    _, client = clinic.member()
    session = ok(client.get("/v1/session"))
    clinic.require(require_two_factor=True)
    stopped(client, "enrolment-required")
    clinic.require(require_two_factor=False)
    goes_on(client)
    after = ok(client.get("/v1/session"))
    assert (after["id"], after["state"], after["acr"]) == (session["id"], "active", "aal1")


def test_who_has_a_factor_is_asked_whatever_the_rule(clinic: Clinic) -> None:
    person, _ = clinic.enrolled()
    client = clinic.client()
    assert client.sign_in(person)["state"] == "second_factor_required"
    clinic.require(require_two_factor=True)
    clinic.require(require_two_factor=False)
    assert client.state() == "second_factor_required"


def test_narrowed_methods_let_the_proven_go_on_and_lead_the_next_sign_in_to_an_allowed_one(clinic: Clinic) -> None:
    person, client = clinic.enrolled_by_sms()
    clinic.require(require_two_factor=True, methods=["totp"])
    goes_on(client)
    security = ok(clinic.desk.get("/v1/clinic/security"))
    assert security["methods"] == ["totp"]
    me = ok(client.get("/v1/me/two-factor"))
    assert me["methods_allowed"] == ["totp"]

    newcomer = clinic.client()
    waiting = newcomer.sign_in(person)
    assert waiting["state"] == "second_factor_required", "who has a confirmed factor proves it first"
    proven = newcomer.prove(person, "backup_code")
    assert proven["state"] == "enrolment_required"
    assert proven["enrolment"]["methods"] == ["totp"]
    problem(newcomer.post("/v1/me/two-factor/sms", {"phone": new_number()}), 409, "conflict")
    answer = newcomer.enrol_totp(person)
    assert answer["session"]["state"] == "active"
    assert [factor["method"] for factor in answer["two_factor"]["factors"]] == ["totp"]


def test_the_last_factor_stays_where_the_rule_requires_one(clinic: Clinic) -> None:
    _, client = clinic.enrolled()
    clinic.require(require_two_factor=True)
    time.sleep(AT_ONCE)
    body = problem(client.delete("/v1/me/two-factor/totp"), 409, "required-by-policy")
    assert body["reason"]["sentence"]
    assert client.state() == "active"


def test_an_administrator_without_a_factor_cannot_require_one(clinic: Clinic) -> None:
    refused = clinic.desk.patch("/v1/clinic/security", {"require_two_factor": True})
    problem(refused, 409, "conflict")
    security = ok(clinic.desk.get("/v1/clinic/security"))
    assert security["require_two_factor"] is False


def test_a_new_clinic_has_the_documented_rule_and_its_etag_guards_a_change(clinic: Clinic) -> None:
    answer = clinic.desk.get("/v1/clinic/security")
    security = ok(answer)
    version = security.pop("version")
    assert (
        security.items()
        >= {
            "require_two_factor": False,
            "enforce_from": None,
            "phone_required": True,
            "remember_device_days": 0,
            "idle_minutes": 30,
            "sms_countries": ["US"],
            "holds": [],
        }.items()
    )
    assert set(security["methods"]) == {"totp", "sms"}
    etag = answer.headers["etag"]
    clinic.desk.enrol_totp(clinic.admin)
    changed = clinic.desk.patch("/v1/clinic/security", {"phone_required": False}, headers={"If-Match": etag})
    assert ok(changed)["version"] > version
    assert changed.headers.get("etag", "") != etag
    stale = clinic.desk.patch("/v1/clinic/security", {"phone_required": True}, headers={"If-Match": etag})
    problem(stale, 409, "conflict")
    assert ok(clinic.desk.get("/v1/clinic/security"))["phone_required"] is False


def test_only_administrators_read_or_change_the_rule(clinic: Clinic) -> None:
    for role in ("practitioner", "receptionist"):
        _, client = clinic.member(role)
        problem(client.get("/v1/clinic/security"), 403, "forbidden")
        problem(client.patch("/v1/clinic/security", {"require_two_factor": True}), 403, "forbidden")


def test_a_rule_that_makes_no_sense_is_refused_and_changes_nothing(clinic: Clinic) -> None:
    clinic.desk.enrol_totp(clinic.admin)
    before = ok(clinic.desk.get("/v1/clinic/security"))
    for change in (
        {"methods": []},
        {"methods": ["carrier_pigeon"]},
        {"methods": "totp"},
        {"require_two_factor": "yes"},
        {"require_two_factor": None},
        {"require_two_facter": True},
        {"version": 7},
        {"holds": []},
        [],
    ):
        problem(clinic.desk.patch("/v1/clinic/security", change), 422, "invalid-request")
    assert ok(clinic.desk.get("/v1/clinic/security")) == before


def test_p09_thirty_sessions_are_stopped_within_two_seconds(clinic: Clinic) -> None:
    people: list[tuple[Person, Client]] = [clinic.member() for _ in range(6)]
    clients = [client for _, client in people]
    for person, _ in people:
        for _ in range(4):
            client = clinic.client()
            client.sign_in(person)
            clients.append(client)
    clinic.require(require_two_factor=True)
    began = time.monotonic()
    for client in clients:
        stopped(client, "enrolment-required", AT_ONCE - (time.monotonic() - began))
    assert time.monotonic() - began < AT_ONCE
