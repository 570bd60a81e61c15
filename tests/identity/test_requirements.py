"""What is required of single users (R14), and the administrator whom a clinic keeps (A47, A65)."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.identity.model import ClinicId, UserId
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor
from tests.identity.people import Person, SomeClinic, Stack, slug_of
from tests.identity.test_commands import answer_of, run

RULE = "/v1/clinic/security"


def path_of(person: Person) -> str:
    return f"/v1/users/{person.id}/two-factor/requirement"


async def test_a_user_is_required_exempt_and_as_the_clinic_says_again(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    path = path_of(person)
    required = await admin.call("PUT", path, {"requirement": "required"})
    assert (required.status_code, required.json()["requirement"]) == (200, "required"), required.text
    assert required.json()["requirement_set_by"] == {"kind": "user", "id": admin.id}
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required"), "though the clinic's rule is off"
    assert (await admin.call("PATCH", RULE, {"require_two_factor": True})).status_code == 200
    end = (admin.stack.clock.now() + timedelta(minutes=2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    exempt = await admin.call("PUT", path, {"requirement": "exempt", "reason": "Away until spring.", "expires_at": end})
    found = exempt.json()
    assert (exempt.status_code, found["requirement"], found["requirement_note"], found["requirement_expires_at"]) == (
        200,
        "exempt",
        "Away until spring.",
        end,
    )
    assert found["reason"]["sentence"]
    assert (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json() == found
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    admin.stack.clock.advance(timedelta(minutes=2))
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required"), "the exemption is over"
    back = await admin.call("PUT", path, {"requirement": "clinic_default"})
    assert (back.json()["requirement"], back.json()["requirement_expires_at"]) == ("clinic_default", None)


async def test_what_is_left_out_stays_and_a_lifted_number_is_not_asked_for(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    path = path_of(person)
    assert (await admin.call("PATCH", RULE, {"require_two_factor": True})).status_code == 200
    assert (await person.sign_in())["enrolment"]["phone_required"] is True
    assert (await admin.call("PUT", path, {"requirement": "required"})).status_code == 200
    lifted = await admin.call("PUT", path, {"phone_required": False, "reason": "Carries no phone on the ward."})
    assert (lifted.json()["requirement"], lifted.json()["phone_lifted"]) == ("required", True)
    assert (lifted.json()["requirement_note"], lifted.json()["phone_reason"]) == ("", "Carries no phone on the ward.")
    assert lifted.json()["phone_set_by"] == {"kind": "user", "id": admin.id}
    assert (await person.call("GET", "/v1/session")).json()["enrolment"]["phone_required"] is False
    again = await admin.call("PUT", path, {"phone_required": True})
    assert (again.json()["requirement"], again.json()["phone_lifted"]) == ("required", False)
    assert again.json()["phone_reason"] is again.json()["phone_set_by"] is again.json()["phone_set_at"] is None
    assert (await person.call("GET", "/v1/session")).json()["enrolment"]["phone_required"] is True


async def test_no_exemption_passes_a_hold(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    assert (await admin.call("PUT", "/v1/clinic/integrations/ledger", {"requires_two_factor": True})).status_code == 200
    assert (await admin.call("PUT", path_of(person), {"requirement": "exempt", "reason": "No."})).status_code == 200
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"requirement": "exempt"},
        {"requirement": "exempt", "reason": ""},
        {"requirement": "exempt", "reason": "two\nlines"},
        {"requirement": "exempt", "reason": {"sentence": "So."}},
        {"requirement": "exempt", "reason": "So.", "expires_at": "2020-01-01T00:00:00Z"},
        {"requirement": "required", "expires_at": "2030-01-01T00:00:00Z"},
        {"requirement": "forbidden"},
        {"requirement": None},
        {"phone_required": False},
        {"phone_required": None},
        {"bypass": True},
    ],
    ids=repr,
)
async def test_a_requirement_that_makes_no_sense_is_refused(
    admin: Person, clinic: SomeClinic, body: dict[str, Any]
) -> None:
    person = await clinic.person()
    before = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    refused = await admin.call("PUT", path_of(person), body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request"), refused.text
    assert (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json() == before


async def test_a47_nobody_lifts_anything_for_themselves_from_elsewhere_or_without_a_fresh_proof(
    admin: Person, clinic: SomeClinic, stack: Stack
) -> None:
    exempt = {"requirement": "exempt", "reason": "So."}
    await clinic.person("admin")
    for change in (exempt, {"phone_required": False, "reason": "So."}):
        refused = await admin.call("PUT", path_of(admin), change)
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden")
    elsewhere = await (await stack.make_clinic()).person()
    for user_id in (elsewhere.id, "usr_nobody", "%00", "..%2Fme"):
        refused = await admin.call("PUT", f"/v1/users/{user_id}/two-factor/requirement", exempt)
        assert (refused.status_code, slug_of(refused)) == (404, "not-found"), user_id
    person = await clinic.person()
    bare = await clinic.person("admin")
    await bare.sign_in()
    for change in (exempt, {"phone_required": False, "reason": "So."}):
        refused = await bare.call("PUT", path_of(person), change)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), "without a factor of their own"
    assert (await bare.call("PUT", path_of(person), {"requirement": "required"})).status_code == 200
    refused = await bare.call("PUT", path_of(person), {"requirement": "clinic_default"})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert (await admin.call("PUT", path_of(person), exempt)).status_code == 200
    for end in ((stack.clock.now() + timedelta(days=1)).isoformat(), None):
        refused = await bare.call("PUT", path_of(person), {"expires_at": end})
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), "nor an exemption prolonged"
    stack.clock.advance(timedelta(minutes=6))
    refused = await admin.call("PUT", path_of(person), exempt)
    assert (refused.status_code, slug_of(refused)) == (401, "step-up-required")


async def test_a47_nobody_prolongs_the_exemption_that_another_administrator_gave_them(
    admin: Person, clinic: SomeClinic
) -> None:
    lucky = await clinic.person("admin")
    await lucky.sign_in()
    await lucky.enrol_totp()
    tomorrow, later = ((admin.stack.clock.now() + timedelta(days=days)).isoformat() for days in (1, 2))
    given = {"requirement": "exempt", "reason": "So.", "expires_at": tomorrow}
    before = await admin.call("PUT", path_of(lucky), given)
    assert before.status_code == 200, before.text
    for end in (later, None):
        refused = await lucky.call("PUT", path_of(lucky), {"expires_at": end})
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden")
    assert (await admin.call("GET", f"/v1/users/{lucky.id}/two-factor")).json() == before.json()


async def test_the_last_administrator_is_neither_exempted_nor_left_with_exempt_ones_only(
    admin: Person, clinic: SomeClinic
) -> None:
    other = await clinic.person("admin")
    await other.sign_in()
    await other.enrol_totp()
    admin.token = (await admin.prove()).json()["token"]
    exempt = {"requirement": "exempt", "reason": "So."}
    assert (await admin.call("PUT", path_of(other), exempt)).status_code == 200
    refused = await other.call("PUT", path_of(admin), exempt)
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    for change in ({"role": "practitioner"}, {"disabled": True}):
        refused = await other.call("PATCH", f"/v1/users/{admin.id}", change)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), change
    assert (await admin.call("PATCH", f"/v1/users/{other.id}", {"role": "practitioner"})).status_code == 200


async def test_of_administrators_who_exempt_disable_and_demote_each_other_one_is_left(clinic: SomeClinic) -> None:
    stack = clinic.stack
    one, two = await clinic.person("admin"), await clinic.person("admin")
    for person in (one, two):
        await person.sign_in()
        await person.enrol_totp()
    exempt = {"requirement": "exempt", "reason": "So."}
    for against_one, against_two in (
        (("PUT", path_of(one), exempt), ("PUT", path_of(two), exempt)),
        (("PUT", path_of(one), exempt), ("PATCH", f"/v1/users/{two.id}", {"role": "practitioner"})),
        (("PATCH", f"/v1/users/{one.id}", {"disabled": True}), ("PUT", path_of(two), exempt)),
    ):
        for person in (one, two):
            await person.sign_in_in_full()
        stack.clock.advance(timedelta(seconds=-60))
        answers = await asyncio.gather(two.call(*against_one), one.call(*against_two))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses in ([200, 409], [200, 403], [200, 401]), [answer.text for answer in answers]
        left = stack.sql(
            "SELECT id FROM app_user WHERE clinic_id = %s AND role = 'admin' AND disabled_at IS NULL", [clinic.id]
        )
        settings = PolicySettingsPeer(stack.gateway.policy.connection)
        found = await settings.user_settings(ClinicId(clinic.id), [UserId(row["id"]) for row in left])
        assert any(not setting.is_exempt(stack.clock.now()) for setting in found)
        stack.sql("UPDATE app_user SET role = 'admin', disabled_at = NULL WHERE clinic_id = %s", [clinic.id])
        for person in (one, two):
            done = await stack.call("GET", "/v1/session", token=person.token)
            assert done.status_code in (200, 401)
        await forget_exemptions(clinic, one, two)
        stack.clock.advance(timedelta(minutes=2))


async def forget_exemptions(clinic: SomeClinic, *people: Person) -> None:
    from services.identity.policy_words import Requirement, RequirementChange

    settings = PolicySettingsPeer(clinic.stack.gateway.policy.connection)
    for person in people:
        await settings.set_requirement(
            ClinicId(clinic.id),
            UserId(person.id),
            RequirementChange(requirement=Requirement.CLINIC_DEFAULT),
            Actor("operator"),
            is_administrator=True,
            other_administrators=[],
        )
        clinic.stack.gateway.standings.forget_user(UserId(person.id))


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "practitioner"}], ids=repr)
async def test_who_ceases_to_administer_leaves_no_link_and_no_bypass(
    admin: Person, clinic: SomeClinic, change: dict[str, Any]
) -> None:
    stack, leaving, helped = clinic.stack, await clinic.person("admin"), await clinic.person()
    await leaving.sign_in()
    made = await leaving.call(
        "POST", "/v1/users", {"email": "puppet@harbour.example", "name": "Puppet", "role": "admin"}
    )
    own = await admin.call("POST", f"/v1/users/{leaving.id}/password-reset")
    bypasses = PolicyBypassPeer(stack.gateway.policy.connection)
    for person, granter in ((leaving, admin), (helped, leaving)):
        await bypasses.grant(
            ClinicId(clinic.id),
            UserId(person.id),
            Actor("user", granter.id),
            "lost",
            expires_in_minutes=60,
            suspend_factors=False,
        )
        held = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
        assert (held["bypass"]["state"], held["bypass"]["granted_by"]["id"]) == ("unused", granter.id)
    assert (await admin.call("PATCH", f"/v1/users/{leaving.id}", change)).status_code == 200
    for person in (leaving, helped):
        assert "bypass" not in (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    for link in (own.json()["activation"], made.json()["activation"]):
        dead = await stack.call("GET", f"/v1/activations/{link['token']}")
        assert (dead.status_code, slug_of(dead)) == (410, "gone")


async def test_disabling_someone_does_not_wait_for_policy_but_enabling_does(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    await clinic.stack.stop_policy()
    off = await admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": True})
    assert (off.status_code, off.json()["disabled"]) == (200, True)
    assert (await person.call("GET", "/v1/session")).status_code == 401
    on = await admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": False})
    assert (on.status_code, slug_of(on)) == (503, "unavailable")


async def test_the_operator_makes_lists_and_revokes_apps(clinic: SomeClinic) -> None:
    stack = clinic.stack
    options = ("--clinic", clinic.slug, "--name", "Payroll", "--scopes", "users.write, sessions.read")
    made = answer_of(await run(stack, "create-app", *options))
    assert made["scopes"] == ["sessions.read", "users.write"]
    assert (await stack.call("GET", "/v1/users", token=made["token"])).status_code == 200
    again = await run(stack, "create-app", *options)
    assert (again.returncode, again.stdout) == (1, "")
    assert "already" in again.stderr
    unknown = await run(stack, "create-app", "--clinic", clinic.slug, "--name", "X", "--scopes", "everything")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    listed = answer_of(await run(stack, "list-apps", "--clinic", clinic.slug))["apps"]
    assert [(app["name"], app["revoked_at"]) for app in listed] == [("Payroll", None)]
    assert made["token"] not in str(listed)
    answer_of(await run(stack, "revoke-app", "--clinic", clinic.slug, "--name", "Payroll"))
    assert (await stack.call("GET", "/v1/users", token=made["token"])).status_code == 401
    assert (await run(stack, "revoke-app", "--clinic", clinic.slug, "--name", "Payroll")).returncode == 1
    rows = stack.sql("SELECT kind, actor_kind FROM audit_event WHERE subject_id = %s ORDER BY seq", [made["app_id"]])
    assert [(row["kind"], row["actor_kind"]) for row in rows] == [
        ("app.created", "operator"),
        ("app.revoked", "operator"),
    ]


async def test_explain_says_why_and_no_secret(clinic: SomeClinic, admin: Person, tmp_path: Path) -> None:
    stack = clinic.stack
    person = await clinic.person(phone="+447700900123")
    await person.sign_in()
    await person.enrol_totp()
    await person.prove(person.wrong_code())
    said = await stack.gateway.explaining.explain(clinic.slug, person.email.upper())
    assert (said["next_sign_in"], said["away"]) == ("second_factor_required", [])
    assert [session["state"] for session in said["sessions"]] == ["active"]
    assert said["decision"]["reason"]["sentence"]
    assert (said["factors"]["held"][0]["method"], said["factors"]["attempts_left"]) == ("totp", 4)
    kinds = {(event["service"], event["kind"]) for event in said["recent"]}
    assert ("identity", "session.opened") in kinds
    assert any(service == "otp" for service, _ in kinds)
    given = {"requirement": "exempt", "reason": "Signs in at a locked desk."}
    assert (await admin.call("PUT", f"/v1/users/{person.id}/two-factor/requirement", given)).status_code == 200
    of_admin = (await stack.gateway.explaining.explain(clinic.slug, admin.email))["recent"]
    [done] = [event for event in of_admin if event["kind"] == "requirement.changed"]
    assert (done["actor_id"], done["subject_id"]) == (admin.id, person.id), "what they did to another is not their own"
    text = str(said)
    for secret in (person.secret, person.token, *person.backup_codes, "+447700900123"):
        assert secret not in text
    assert stack.events(person.id)[-1] == "user.explained"
    asked = ("explain", "--clinic", clinic.slug, "--email", person.email)
    assert answer_of(await run(stack, *asked))["away"] == []
    file = tmp_path / "decisions.jsonl"
    answered = answer_of(await run(stack, *asked, "--record", str(file)))
    record = json.loads(file.read_text())
    assert record["facts"]["subject"]["user_id"] == person.id
    assert record["decision"]["reason"] == answered["decision"]["reason"]
    await stack.stop_policy()
    without = answer_of(await run(stack, "explain", "--clinic", clinic.slug, "--email", person.email))
    assert ("policy" in without["away"], without["decision"], without["next_sign_in"]) == (True, None, "not known")
