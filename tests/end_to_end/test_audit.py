"""The audit trail of the running stack: four services in one list for the clinic's administrators, sealed as it grows,
and sound after all that the other tests have done to the stack."""

import json
import re

from tests.end_to_end.client import Person, ok, problem
from tests.end_to_end.clinics import Clinic

SERVICES = ("identity", "otp", "policy", "notifier")


def test_what_four_services_did_is_one_list_that_only_administrators_read(clinic: Clinic) -> None:
    person, client = clinic.enrolled_by_sms()
    clinic.desk.enrol_totp(clinic.admin)
    clinic.require(require_two_factor=True)
    answer = ok(clinic.desk.get("/v1/audit-events", params={"limit": 500}))
    assert {event["service"] for event in answer["events"]} == set(SERVICES)
    kinds = {event["kind"] for event in answer["events"]}
    assert kinds >= {"clinic.created", "session.opened", "factor.added", "clinic_rule.changed", "delivery.sent"}
    theirs = ok(clinic.desk.get("/v1/audit-events", params={"user": person.id, "limit": 500}))["events"]
    assert theirs
    assert all(person.id in (event["actor"]["id"], event["subject_id"]) for event in theirs)
    problem(client.get("/v1/audit-events"), 403, "forbidden")
    problem(clinic.client().get("/v1/audit-events"), 401, "unauthenticated")


def test_an_export_is_the_list(clinic: Clinic) -> None:
    clinic.invite()
    pages: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        page = ok(clinic.desk.get("/v1/audit-events", params={"limit": 2, **cursor}))
        pages += page["events"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    lines = clinic.desk.get("/v1/audit-events", params={"format": "jsonl"})
    assert [json.loads(line) for line in lines.text.splitlines()] == pages
    table = clinic.desk.get("/v1/audit-events", params={"format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.count("\r\n") == len(pages) + 1


def test_p18_every_trail_of_the_stack_is_sealed_and_sound(clinic: Clinic) -> None:
    person: Person = clinic.enrolled_by_sms()[0]
    assert person.phone
    for service in SERVICES:
        told = clinic.stack.command(service, "verify-audit")
        found = re.fullmatch(rf"{service}: (\d+) events sealed; nothing is wrong; head (\1:[0-9a-f]{{64}})\n", told)
        assert found, told
        assert int(found[1]) > 0, service
        clinic.desk.sign_in(clinic.admin)  # the trail goes on
        assert "nothing is wrong" in clinic.stack.command(service, "verify-audit", "--head", found[2])
