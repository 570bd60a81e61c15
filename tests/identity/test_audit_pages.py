"""The audit trail in pages: told in plain words, narrowed, paged and taken along."""

import csv
import io
import json
import re

import pytest

from deploy.databases import SERVICES
from services.identity.pages.clinic.audit_words import KINDS, kinds_to_choose
from services.identity.pages.speech.languages import Languages
from tests.common.test_audit_kinds import kinds_in_table
from tests.identity.people import Person, SomeClinic, Stack
from tests.identity.test_clinic_security_pages import Administrator, plain


@pytest.fixture
async def at_desk(stack: Stack, admin: Person) -> Administrator:
    return await Administrator(stack, admin).enter()


def rows(text: str) -> list[str]:
    """The events of a page, each as its words."""
    body = text.partition("<tbody")[2].partition("</tbody>")[0]
    body = re.sub(r"<details>.*?</details>", " ", body, flags=re.DOTALL)
    return [plain(f"<main>{row}</main>") for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)]


def link_named(text: str, name: str) -> str:
    found = re.search(rf'<a [^>]*href="([^"]+)">{name}</a>', text)
    assert found, name
    return found[1].replace("&amp;", "&")


@pytest.mark.parametrize("service", SERVICES)
def test_every_kind_of_the_table_has_its_words(service: str) -> None:
    assert list(KINDS[service]) == kinds_in_table(service)
    for words in KINDS[service].values():
        assert words[0].isupper()
        assert not words.endswith(".")


def test_every_kind_can_be_chosen_once() -> None:
    groups = kinds_to_choose(Languages().asked_for("en"))
    chosen = [kind for _, kinds in groups for kind, _ in kinds]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == {kind for kinds in KINDS.values() for kind in kinds}
    assert all(kinds for _, kinds in groups)


async def test_events_are_told_in_words_with_names_and_the_clinics_time(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    admin, person = at_desk.person, await clinic.person()
    admin.stack.sql("UPDATE app_user SET name = 'Nia <b>Adeyemi</b>' WHERE id = %s", [person.id])
    await person.sign_in()
    await admin.call("PATCH", "/v1/clinic", {"timezone": "Asia/Tokyo"})
    await admin.call("DELETE", f"/v1/users/{person.id}/sessions")
    text = (await at_desk.http.get("/audit")).text
    first, second = rows(text)[:2]
    assert first.startswith("16 November 2026, 18:31"), first
    assert "Signed out everywhere by an administrator Mina Okafor → Nia <b>Adeyemi</b> 192.0.2.7" in first
    assert "The clinic's name, time zone, country or language was changed Mina Okafor 192.0.2.7" in second
    assert "<b>Adeyemi" not in text
    assert "request_id" in plain(text)
    assert '["Europe/London", "Asia/Tokyo"]' in plain(text), "details tell before and after"
    assert 'role="region" tabindex="0" aria-label="Events"' in text


async def test_it_is_narrowed_to_a_person_by_name_or_address_and_to_a_kind(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    admin = at_desk.person
    nia, mo = await clinic.person(), await clinic.person()
    admin.stack.sql("UPDATE app_user SET name = 'Nia Adeyemi' WHERE id = %s", [nia.id])
    for person in (nia, mo):
        await person.sign_in()
    by_name = await at_desk.http.get("/audit", params={"person": "adeyemi"})
    assert [row.partition("Signed in")[2] for row in rows(by_name.text)] == [
        " with the right password Nia Adeyemi 192.0.2.7"
    ]
    assert "Only what Nia Adeyemi did, or what was done to them." in plain(by_name.text)
    by_address = await at_desk.http.get("/audit", params={"person": mo.email.upper()})
    assert len(rows(by_address.text)) == 1
    unclear = await at_desk.http.get("/audit", params={"person": "harbour.example", "kind": "session.opened"})
    assert "Who do you mean?" in plain(unclear.text)
    assert rows(unclear.text) == []
    chosen = await at_desk.http.get(link_named(unclear.text, "Nia Adeyemi"))
    assert len(rows(chosen.text)) == 1
    assert '<option value="session.opened" selected>' in chosen.text
    nobody = await at_desk.http.get("/audit", params={"person": "zebedee"})
    assert "Nobody here has this name or e-mail address." in plain(nobody.text)
    of_kind = await at_desk.http.get("/audit", params={"kind": "session.opened"})
    assert len(rows(of_kind.text)) == 4
    assert "Nothing found." in plain((await at_desk.http.get("/audit?kind=app.revoked")).text)
    assert len(rows((await at_desk.http.get("/audit?kind=nonsense")).text)) > 4, "what is no kind narrows nothing"


async def test_another_clinics_people_and_events_are_not_here(at_desk: Administrator, stack: Stack) -> None:
    stranger = await (await stack.make_clinic()).person()
    await stranger.sign_in()
    assert rows((await at_desk.http.get("/audit", params={"user": stranger.id})).text) == []
    assert "Nobody here" in (await at_desk.http.get("/audit", params={"person": stranger.email})).text


async def test_pages_go_on_and_back_and_miss_and_repeat_nothing(at_desk: Administrator) -> None:
    admin = at_desk.person
    for number in range(60):
        assert (await admin.call("PATCH", "/v1/clinic", {"name": f"Clinic {number}"})).status_code == 200
    path, seen, pages = "/audit?kind=clinic.changed", [], []
    for step in range(3):
        text = (await at_desk.http.get(path)).text
        pages.append(rows(text))
        seen += re.findall(r'"(Clinic \d+)"\]', text.replace("&#34;", '"'))
        assert ("Newer" in text, ">The newest<" in text) == (step > 0, step > 1)
        if step < 2:
            path = link_named(text, "Older")
    assert seen == [f"Clinic {number}" for number in reversed(range(60))]
    assert ">Older<" not in text
    for step in (1, 0):
        text = (await at_desk.http.get(link_named(text, "Newer"))).text
        assert rows(text) == pages[step]
    assert (await at_desk.http.get("/audit?cursor=nonsense&kind=clinic.changed")).headers["location"] == (
        "/audit?kind=clinic.changed"
    )


async def test_it_is_taken_along_as_csv_and_as_json_lines_just_as_it_is_narrowed(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    person = await clinic.person()
    await person.sign_in()
    text = (await at_desk.http.get("/audit", params={"user": person.id, "kind": "session.opened"})).text
    table = await at_desk.http.get(link_named(text, r"For a spreadsheet \(CSV\)"))
    assert table.headers["content-disposition"] == f'attachment; filename="{clinic.slug}-audit-events.csv"'
    assert [row["kind"] for row in csv.DictReader(io.StringIO(table.text))] == ["session.opened"]
    lines = await at_desk.http.get(link_named(text, r"For a program \(JSON Lines\)"))
    assert [json.loads(line)["subject_id"] for line in lines.text.splitlines()] == [person.id]
    everything = await at_desk.http.get("/audit/export")
    assert len(everything.text.splitlines()) > 3
