"""The adoption board: who has a second factor, who lacks one, who is exempt, page by page, counted and exported."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from services.identity.api import csv_lines
from tests.identity.people import NOW, Person, SomeClinic, Stack, slug_of
from tests.identity.test_marks import as_of_an_older_version
from tests.identity.test_preview import otp_database

__all__ = ["otp_database"]


async def people_in(admin: Person, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        response = await admin.call("GET", f"/v1/users?{query}{cursor and f'&cursor={cursor}'}")
        assert response.status_code == 200, response.text
        found += response.json()["users"]
        cursor = response.json()["next_cursor"]
        if not cursor:
            return found


async def test_everybodys_state_is_listed_filtered_and_counted(admin: Person, clinic: SomeClinic) -> None:
    enrolled, exempt, brief, off = [await clinic.person() for _ in range(4)]
    missing = await clinic.person(phone="+447700900123")
    await enrolled.sign_in()
    await enrolled.enrol_totp()
    admin.token = (await admin.prove()).json()["token"]
    end = (admin.stack.clock.now() + timedelta(minutes=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for person, more in ((exempt, {}), (enrolled, {}), (brief, {"expires_at": end})):
        change = {"requirement": "exempt", "reason": "So.", **more}
        path = f"/v1/users/{person.id}/two-factor/requirement"
        assert (await admin.call("PUT", path, change)).status_code == 200
    assert (await admin.call("PATCH", f"/v1/users/{off.id}", {"disabled": True})).status_code == 200

    async def ids(wanted: str) -> set[str]:
        return {user["id"] for user in await people_in(admin, f"two_factor={wanted}&limit=2")}

    assert await ids("enrolled") == {admin.id, enrolled.id}
    assert await ids("missing") == {exempt.id, brief.id, missing.id}, "who is disabled is in no list but the whole one"
    assert await ids("exempt") == {exempt.id, enrolled.id, brief.id}
    listed = {user["id"]: user["two_factor"] for user in await people_in(admin, "limit=4")}
    assert len(listed) == 6
    assert listed[enrolled.id].items() >= {"enabled": True, "methods": ["totp"], "exempt": True}.items()
    assert (listed[brief.id]["exempt"], listed[brief.id]["exempt_until"]) == (True, end)
    counted = (await admin.call("GET", "/v1/users?counts=true&limit=1")).json()["counts"]
    assert counted == {"total": 5, "enrolled": 2, "missing": 3, "exempt": 3, "without_phone": 4}
    assert "counts" not in (await admin.call("GET", "/v1/users")).json()
    for service, method in (("otp", "CountEnrolled"), ("policy", "CountExempt")):
        as_of_an_older_version(admin.stack, service, method)
        assert (await admin.call("GET", "/v1/users?counts=true&limit=1")).json()["counts"] == counted, "while upgrading"
    admin.stack.clock.advance(timedelta(minutes=3))
    assert await ids("exempt") == {exempt.id, enrolled.id}, "an exemption that is over is none"
    assert (await admin.call("GET", "/v1/users?counts=true")).json()["counts"]["exempt"] == 2


async def test_an_export_holds_everybody_and_runs_nothing(admin: Person, clinic: SomeClinic) -> None:
    evil = ('=HYPERLINK("http://evil.example")', "+1", "-1", "@SUM(A1)", "\uff1d1", 'Quote " and, comma')
    for number, name in enumerate(evil):
        clinic.stack.sql(
            "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, created_at)"
            " VALUES (%s, %s, %s, %s, %s, 'receptionist', %s)",
            [f"{clinic.id}_{number}", clinic.id, f"=p{number}@h.example", f"=p{number}@h.example", name, NOW],
        )
    response = await admin.call("GET", "/v1/users?format=csv&limit=1")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{clinic.slug}-people.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert len(rows) == 1 + len(evil)
    assert {row["name"].removeprefix("'") for row in rows} >= set(evil)
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\uff1d")) for cell in row.values()), row
    (own,) = [row for row in rows if row["id"] == admin.id]
    assert (own["two_factor"], own["methods"], own["requirement"]) == ("enrolled", "totp", "clinic_default")
    missing = list(
        csv.DictReader(io.StringIO((await admin.call("GET", "/v1/users?format=csv&two_factor=missing")).text))
    )
    assert len(missing) == len(evil)
    refused = await admin.call("GET", "/v1/users?format=xlsx")
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n=1", "\uff0b1", "\uff201"])
def test_no_cell_begins_a_formula(cell: str) -> None:
    ((read,),) = csv.reader(io.StringIO(csv_lines.line([cell]), newline=""))
    assert read == f"'{cell}"


def test_a_harmless_cell_stays_as_it_is() -> None:
    assert csv_lines.line(["Mina", 'a "b", c', ""]) == '"Mina","a ""b"", c",""\r\n'


async def test_two_thousand_people_are_previewed_counted_and_exported(
    stack: Stack, admin: Person, clinic: SomeClinic, otp_database: Any
) -> None:
    """More than fit in one call to a peer (500 here, 1,000 there)."""
    clinic.stack.sql(
        "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, created_at)"
        " SELECT %(c)s || '_' || n, %(c)s, n || '@h.example', n || '@h.example', 'P ' || n, 'receptionist', %(at)s"
        " FROM generate_series(1, 2000) AS n",
        {"c": clinic.id, "at": NOW},
    )
    otp_database.execute(
        "INSERT INTO account (user_id, clinic_id, totp_id, totp_secret, totp_enrolled_at)"
        " SELECT %(c)s || '_' || n, %(c)s, 't', 's', %(at)s FROM generate_series(1, 700) AS n",
        {"c": clinic.id, "at": NOW},
    )
    previewed = (await admin.call("POST", "/v1/clinic/security/preview", {"require_two_factor": True})).json()
    assert len(previewed["users"]) == 2001
    assert previewed["totals"].items() >= {"no_factor": 1300, "no_phone": 2001, "stopped_now": 0}.items()
    assert previewed["totals"]["stopped_at_sign_in"] == 1300
    counted = (await admin.call("GET", "/v1/users?counts=true&limit=1")).json()["counts"]
    assert counted == {"total": 2001, "enrolled": 701, "missing": 1300, "exempt": 0, "without_phone": 2001}
    exported = (await admin.call("GET", "/v1/users?format=csv&two_factor=enrolled")).text
    assert exported.count("\r\n") == 702


async def test_a65_every_route_with_an_id_answers_not_found_for_another_clinics(stack: Stack, admin: Person) -> None:
    other = await stack.make_clinic()
    theirs, person = await other.person("admin"), await other.person()
    await theirs.sign_in()
    await person.sign_in()
    before = (await theirs.call("GET", "/v1/users?counts=true")).json()
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "", None),
        ("PATCH", "", {"disabled": True}),
        ("PATCH", "", {"email": "other@harbour.example"}),
        ("DELETE", "/sessions", None),
        ("DELETE", "/devices", None),
        ("POST", "/password-reset", None),
        ("GET", "/two-factor", None),
        ("PUT", "/two-factor/requirement", {"requirement": "required"}),
        ("POST", "/two-factor/bypass", {"reason": "lost"}),
        ("DELETE", "/two-factor/bypass", None),
    ]
    for method, path, body in calls:
        for user_id in (person.id, theirs.id, "usr_nobody", "%F0%9F%A6%8A", "..%2Fme"):
            refused = await admin.call(method, f"/v1/users/{user_id}{path}", body)
            assert (refused.status_code, slug_of(refused)) == (404, "not-found"), (method, path, user_id)
    assert (await theirs.call("GET", "/v1/users?counts=true")).json() == before
    assert await person.state() == "active"
