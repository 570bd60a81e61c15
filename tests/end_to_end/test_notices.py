"""R23 from the outside: what happens to an account reaches its owner's phone and their app, once, also when the
processes between are killed."""

import re

import pytest

from tests.end_to_end.client import Client, Person, new_number, new_password, ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import LocalStack, Stack


def kinds(client: Client) -> list[str]:
    return [notice["kind"] for notice in ok(client.get("/v1/me/notices"))["notices"]][::-1]


def change_password(client: Client, person: Person) -> None:
    body = {"current_password": person.password, "new_password": new_password()}
    client.token = ok(client.put("/v1/me/password", body))["token"]
    person.password = body["new_password"]


def test_r23_changes_reach_the_proven_number_and_the_app(stack: Stack, shared: Clinic) -> None:
    person, client = shared.enrolled_by_sms()
    change_password(client, person)
    told = stack.notices(person.phone, 1)
    assert "password was changed" in told[0], told
    assert kinds(client) == ["factor_added", "password_changed"]
    for text in told:
        assert not re.search(r"://|\d{6}|@", text), text  # A56
        assert person.name not in text
    newest = ok(client.get("/v1/me/notices"))["notices"][0]
    ok(client.delete(f"/v1/me/notices/{newest['id']}"), 204)
    assert kinds(client) == ["factor_added"]
    assert len(stack.notices(person.phone, 1)) == 1, "once"


def test_r23_a_bypass_is_told_to_the_number_on_file_and_to_whoever_granted_it(stack: Stack, clinic: Clinic) -> None:
    number = new_number()
    person, _ = clinic.enrolled(phone=number)
    clinic.desk.enrol_totp(clinic.admin)
    ok(clinic.desk.post(f"/v1/users/{person.id}/two-factor/bypass", {"reason": "Lost on the ferry."}), 201)
    elsewhere = clinic.client()
    assert elsewhere.sign_in(person)["state"] == "enrolment_required"
    ok(elsewhere.patch("/v1/me", {"phone": new_number()}))
    elsewhere.enrol_totp(person)
    told = stack.notices(number, 4)
    assert len(told) == 4, told
    assert kinds(elsewhere) == ["factor_added", "bypass_granted", "bypass_used", "phone_changed", "bypass_enrolled"]
    assert kinds(clinic.desk) == ["factor_added", "granted_bypass_used", "granted_bypass_enrolled"]
    sentence = ok(clinic.desk.get("/v1/me/notices"))["notices"][0]["sentence"]
    assert sentence.startswith(person.name)


@pytest.mark.local_only("kills processes")
def test_f09_what_was_not_told_when_the_notifier_and_the_gateway_died_is_told_when_they_are_back(
    local: LocalStack, clinic: Clinic
) -> None:
    person, client = clinic.enrolled_by_sms()
    local.kill("notifier")
    try:
        change_password(client, person)  # nobody waits for the notifier
        local.kill("identity")
        local.restart("identity")
    finally:
        local.restart("notifier")
    local.ready(60)
    told = local.notices(person.phone, 1, seconds=45)
    assert ["password was changed" in text for text in told] == [True]
