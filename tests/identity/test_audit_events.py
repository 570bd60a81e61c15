"""The clinic's audit trail: four services in one list, page by page and whole, for its administrators alone."""

import base64
import csv
import io
import itertools
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from services.common.audit_servicer import AUDIT_ALLOWED
from services.common.errors import ErrorCode, ServiceError
from services.identity import audit_events
from services.identity.peers.audit import AuditPeer
from tests.conftest import MakeCertificates
from tests.identity.people import NOW, Json, Person, SomeClinic, Stack, slug_of

SERVICES = ("identity", "otp", "policy", "notifier")

Write = Callable[..., None]


@pytest.fixture
async def admin(clinic: SomeClinic) -> Person:
    person = await clinic.person("admin")
    await person.sign_in()
    return person


@pytest.fixture
def write(stack: Stack, identity_databases: dict[str, tuple[str, str]]) -> Write:
    """Puts an event into a service's trail, `seconds` after the beginning."""

    def put(service: str, clinic_id: str, seconds: float = 0.0, **given: Any) -> None:
        name = psycopg.conninfo.conninfo_to_dict(identity_databases[service][0])["dbname"]
        event = {
            "id": uuid.uuid4(),
            "at": NOW + timedelta(seconds=seconds),
            "clinic_id": clinic_id,
            "actor_kind": "user",
            "kind": "x.done",
            "detail": Jsonb(given.pop("detail", {})),
            **given,
        }
        with stack.postgres.connect(str(name)) as connection:
            connection.execute(
                f"INSERT INTO audit_event ({', '.join(event)}) VALUES ({', '.join(['%s'] * len(event))})",  # type: ignore[arg-type]
                list(event.values()),
            )

    return put


async def events(admin: Person, query: str = "") -> list[Json]:
    response = await admin.call("GET", f"/v1/audit-events{query}")
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["events"]
    return found


async def walk(admin: Person, query: str, limit: int) -> list[Json]:
    """Every page to the end."""
    found: list[Json] = []
    cursor = ""
    for _ in itertools.count():
        response = await admin.call("GET", f"/v1/audit-events?limit={limit}{query}{cursor}")
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["events"]) <= limit
        found += page["events"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError


async def test_what_happens_in_the_services_is_read_in_one_list_newest_first(stack: Stack, admin: Person) -> None:
    await admin.enrol_totp()
    changed = await admin.call("PATCH", "/v1/clinic/security", {"require_two_factor": True})
    assert changed.status_code == 200, changed.text
    found = await events(admin)
    assert [event["at"] for event in found] == sorted((event["at"] for event in found), reverse=True)
    assert {event["service"] for event in found} == {"identity", "otp", "policy"}
    newest = found[0]
    assert (newest["service"], newest["kind"]) == ("policy", "clinic_rule.changed")
    assert newest["actor"] == {"kind": "user", "id": admin.id}
    assert newest["request_id"] == changed.headers["x-request-id"]
    assert newest["address"] == "192.0.2.7"
    assert newest.keys() == {
        *("id", "at", "service", "kind", "actor", "subject_id", "address", "request_id", "detail"),
    }
    signed_in = [event for event in found if event["kind"] == "session.opened"]
    assert signed_in
    assert signed_in[0]["subject_id"] == admin.id


async def test_pages_put_together_are_the_whole_each_event_once(
    admin: Person, clinic: SomeClinic, write: Write
) -> None:
    """Many events at one and the same time, in every service, and some alone."""
    for number in range(28):
        write(SERVICES[number % 4], clinic.id, seconds=3600 + number // 12, detail={"number": number})
    whole = await walk(admin, "&kind=x.done", 500)
    assert len(whole) == 28
    for limit in (1, 3, 7):
        paged = await walk(admin, "&kind=x.done", limit)
        assert [event["id"] for event in paged] == [event["id"] for event in whole]
        assert len({event["id"] for event in paged}) == 28


async def test_what_happens_between_two_pages_moves_nothing(admin: Person, clinic: SomeClinic, write: Write) -> None:
    for number in range(8):
        write(SERVICES[number % 4], clinic.id, seconds=3600, detail={"number": number})
    first = (await admin.call("GET", "/v1/audit-events?limit=4&kind=x.done")).json()
    for service in SERVICES:
        write(service, clinic.id, seconds=3601)
    cursor = first["next_cursor"]
    second = (await admin.call("GET", f"/v1/audit-events?limit=4&kind=x.done&cursor={cursor}")).json()
    numbers = [event["detail"]["number"] for event in first["events"] + second["events"]]
    assert sorted(numbers) == list(range(8))


async def test_filters_by_kind_and_by_whoever_acted_or_was_acted_upon(
    admin: Person, clinic: SomeClinic, write: Write
) -> None:
    write("otp", clinic.id, 1, actor_id="usr_a", subject_id="usr_a", kind="one.done")
    write("identity", clinic.id, 2, actor_id="usr_b", subject_id="usr_a", kind="two.done")
    write("policy", clinic.id, 3, actor_id="usr_a", subject_id=None, kind="two.done")
    write("notifier", clinic.id, 4, actor_kind="system", actor_id=None, subject_id="usr_b", kind="one.done")

    async def kinds(query: str) -> list[tuple[str, str]]:
        return [(event["service"], event["kind"]) for event in await events(admin, query)]

    assert await kinds("?user=usr_a") == [("policy", "two.done"), ("identity", "two.done"), ("otp", "one.done")]
    assert await kinds("?user=usr_b") == [("notifier", "one.done"), ("identity", "two.done")]
    assert await kinds("?kind=one.done") == [("notifier", "one.done"), ("otp", "one.done")]
    assert await kinds("?kind=two.done&user=usr_b") == [("identity", "two.done")]
    assert await kinds("?user=usr_c") == []


async def test_a65_another_clinic_s_events_never_appear(
    stack: Stack, admin: Person, clinic: SomeClinic, write: Write
) -> None:
    other = await stack.make_clinic()
    for number, service in enumerate(SERVICES):
        write(service, other.id, 3600 + number, actor_id=admin.id, subject_id=admin.id, kind="theirs.done")
        write(service, None, 3600 + number, actor_id=admin.id, kind="nobodys.done")  # type: ignore[arg-type]
    theirs = await other.person("admin")
    await theirs.sign_in()
    cursor = (await theirs.call("GET", "/v1/audit-events?limit=1")).json()["next_cursor"]
    seen = [await walk(admin, query, 2) for query in ("", f"&user={admin.id}", "&kind=theirs.done")]
    seen.append(await events(admin, f"?cursor={cursor}"))
    for export in ("jsonl", "csv"):
        response = await admin.call("GET", f"/v1/audit-events?format={export}")
        assert "theirs.done" not in response.text
        assert "nobodys.done" not in response.text
    for found in seen:
        assert not {"theirs.done", "nobodys.done"} & {event["kind"] for event in found}
    assert len([event for event in await events(theirs) if event["kind"] == "theirs.done"]) == 4


async def test_an_answer_for_another_clinic_is_taken_as_none(
    stack: Stack, certificates: MakeCertificates, monkeypatch: pytest.MonkeyPatch, clinic: SomeClinic, write: Write
) -> None:
    """A service that mixed clinics up must not be believed."""
    write("otp", "cli_other")
    peer = AuditPeer("otp", stack.settings.otp_target, certificates("identity"))
    assert len(await peer.page("cli_other", 10)) == 1
    call = peer._peer.call

    async def mixed_up(method: Any, request: Any, *more: Any, **named: Any) -> Any:
        request.clinic_id = "cli_other"
        return await call(method, request, *more, **named)

    monkeypatch.setattr(peer._peer, "call", mixed_up)
    with pytest.raises(ServiceError) as refused:
        await peer.page(clinic.id, 10)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    await peer.close()


async def test_only_administrators_with_an_active_session_read_it(clinic: SomeClinic, admin: Person) -> None:
    assert slug_of(await clinic.stack.call("GET", "/v1/audit-events")) == "unauthenticated"
    for role in ("practitioner", "receptionist"):
        person = await clinic.person(role)
        await person.sign_in()
        assert slug_of(await person.call("GET", "/v1/audit-events")) == "forbidden"
    await admin.enrol_totp()
    await admin.sign_in()
    assert slug_of(await admin.call("GET", "/v1/audit-events")) == "second-factor-required"


async def test_p21_the_trail_of_a_service_is_for_identity_alone(
    stack: Stack, certificates: MakeCertificates, clinic: SomeClinic
) -> None:
    assert {"/countersign.audit.v1.Audit/List": {"identity"}} == AUDIT_ALLOWED
    for service, target in (("otp", stack.settings.otp_target), ("policy", stack.settings.policy_target)):
        for caller in ("otp", "policy", "notifier"):
            peer = AuditPeer(service, target, certificates(caller))
            with pytest.raises(ServiceError) as refused:
                await peer.page(clinic.id, 10)
            assert refused.value.code is ErrorCode.FORBIDDEN
            await peer.close()
    peer = AuditPeer("otp", stack.settings.otp_target, certificates("identity"))
    for clinic_id, limit in (("", 10), (clinic.id, 0), (clinic.id, 501)):
        with pytest.raises(ServiceError) as refused:
            await peer.page(clinic_id, limit)
        assert refused.value.code is ErrorCode.INVALID_REQUEST
    await peer.close()


async def test_a_cursor_that_no_page_named_is_refused(admin: Person) -> None:
    places = ("", "1", "1.1", "1.9.1", "999999999999999999.1.1", "1.1.9999999999999999999", "1.1.-1", "1.x.1")
    made = [base64.urlsafe_b64encode(place.encode()).decode().rstrip("=") for place in places if place]
    for cursor in ("x", "AAAA", "____", *made):
        for query in ("", "&format=csv"):
            response = await admin.call("GET", f"/v1/audit-events?cursor={cursor}{query}")
            assert slug_of(response) == "invalid-request", cursor
            assert response.json()["errors"][0]["field"] == "cursor"


async def test_a_question_of_another_shape_is_refused(admin: Person) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "format=xml", "who=me", "cursor=", "cursor=%20", "kind=", "user="):
        assert slug_of(await admin.call("GET", f"/v1/audit-events?{query}")) == "invalid-request", query


async def test_with_a_service_away_there_is_no_list_rather_than_a_thinner_one(stack: Stack, admin: Person) -> None:
    page = await admin.call("GET", "/v1/audit-events")
    assert page.status_code == 200
    await stack.stop_otp()
    for query in ("", "?format=csv", "?format=jsonl", "?kind=session.opened"):
        response = await admin.call("GET", f"/v1/audit-events{query}")
        assert slug_of(response) == "unavailable", query
        assert response.json()["retry_after"] > 0


async def test_an_export_holds_every_page_as_json_lines_or_csv(
    admin: Person, clinic: SomeClinic, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_events, "MOST_EVENTS", 4)
    for number in range(20):
        write(
            SERVICES[number % 4], clinic.id, seconds=3600 + number // 6, detail={"number": number, "name": 'Zoë, "Z"'}
        )
    whole = await walk(admin, "", 100)
    lines = await admin.call("GET", "/v1/audit-events?format=jsonl&limit=1")
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert lines.headers["content-disposition"] == f'attachment; filename="{clinic.slug}-audit-events.jsonl"'
    assert lines.text.endswith("\n")
    assert [json.loads(line) for line in lines.text.splitlines()] == whole
    table = await admin.call("GET", "/v1/audit-events?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [row["id"] for row in rows] == [event["id"] for event in whole]
    for row, event in zip(rows, whole, strict=True):
        assert json.loads(row["detail"]) == event["detail"]
        assert (row["at"], row["service"], row["kind"]) == (event["at"], event["service"], event["kind"])
        assert (row["actor_kind"], row["actor_id"]) == (event["actor"]["kind"], event["actor"]["id"] or "")
    filtered = await admin.call("GET", "/v1/audit-events?format=csv&kind=nothing.such")
    assert filtered.text.count("\r\n") == 1, "only the header"


async def test_no_cell_of_the_csv_begins_a_formula(admin: Person, clinic: SomeClinic, write: Write) -> None:
    for number, begin in enumerate("=+-@\t\r"):
        formula = f"{begin}HYPERLINK({number})"
        texts = dict.fromkeys(("actor_id", "subject_id", "address", "request_id", "kind"), formula)
        write("otp", clinic.id, **texts, detail={"x": formula})
    table = await admin.call("GET", "/v1/audit-events?format=csv")
    for cells in csv.reader(io.StringIO(table.text, newline="")):
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
    assert table.text.count("HYPERLINK(5)") == 6


async def test_an_export_that_meets_an_outage_breaks_off_instead_of_ending(
    stack: Stack, admin: Person, clinic: SomeClinic, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed without the end of the answer, so that nobody takes the file for the whole."""
    monkeypatch.setattr(audit_events, "MOST_EVENTS", 2)
    for number in range(8):
        write("otp", clinic.id, seconds=3600 + number)
    trail = stack.gateway.audit_events._trails[1]
    page, calls = trail.page, itertools.count(1)

    async def away_later(*asked: Any, **named: Any) -> Any:
        if next(calls) == 3:
            raise ServiceError(ErrorCode.UNAVAILABLE, "away", retry_after=2)
        return await page(*asked, **named)

    monkeypatch.setattr(trail, "page", away_later)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET"},
        **{
            "path": "/v1/audit-events",
            "raw_path": b"/v1/audit-events",
            "query_string": b"format=jsonl",
            "scheme": "http",
        },
        **{
            "headers": [(b"authorization", f"Bearer {admin.token}".encode())],
            "client": ("192.0.2.7", 1),
            "root_path": "",
        },
        "server": ("127.0.0.1", 8080),
    }
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await stack.app(scope, receive, send)
    assert not isinstance(raised.value, AssertionError)
    assert sent[0]["status"] == 200
    assert not [message for message in sent if message["type"] == "http.response.body" and not message.get("more_body")]
