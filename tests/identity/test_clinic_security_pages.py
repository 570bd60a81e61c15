"""General settings, Security, in pages: the rule with its preview, what integrations demand, and a shared computer."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.identity.people import PHONE, Person, SomeClinic, Stack
from tests.identity.test_forms import Visitor

PAGE = "/clinic/security"
NAMES = ("require_two_factor", "enforce_from", "which", "method_totp", "method_sms", "phone_required")
NUMBERS = ("remember_device_days", "idle_minutes", "sms_countries", "sms_daily_cap")


def inputs(text: str, form_of: str) -> dict[str, str]:
    """What a browser would send with the first form of this page that goes there."""
    found = re.search(rf'<form method="post" action="{re.escape(form_of)}"[^>]*>(.*?)</form>', text, re.DOTALL)
    assert found, text
    sent = {}
    for tag in re.findall(r"<input [^>]+>", found[1]):
        attributes = dict(re.findall(r'([a-z_-]+)="([^"]*)"', tag))
        kind = attributes.get("type")
        if " disabled" in tag or (kind in ("checkbox", "radio") and " checked" not in tag):
            continue
        sent[attributes["name"]] = html.unescape(attributes.get("value", ""))
    return sent


def plain(text: str) -> str:
    """The words of a page."""
    main = text.partition("<main")[2].partition(">")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def wrong(answer: httpx.Response, name: str) -> str:
    """What is said beside a field."""
    found = re.search(rf'id="{name}-wrong">([^<]+)<', answer.text)
    return html.unescape(found[1]) if found else ""


class Administrator(Visitor):
    """An administrator's browser, at this page."""

    def __init__(self, web: Stack, person: Person, **headers: str) -> None:
        super().__init__(web, **headers)
        self.person = person

    async def enter(self) -> "Administrator":
        answer = await self.sign_in(self.person)
        if answer.headers["location"].endswith("/code"):
            await self.give_code()
        return self

    async def give_code(self, path: str = "/code") -> httpx.Response:
        form = {"csrf": await self.token_in(path), "method": "totp", "code": self.person.code()}
        answer = await self.http.post("/code", data=form)
        assert answer.status_code == 303, plain(answer.text)
        self.person.stack.clock.advance(timedelta(seconds=30))
        return answer

    async def form(self, **typed: Any) -> dict[str, str]:
        """The rule's form as it is shown, with this typed; None takes a tick away."""
        sent = inputs((await self.http.get(PAGE)).text, f"{PAGE}/preview")
        sent |= {name: value for name, value in typed.items() if value is not None}
        return {name: value for name, value in sent.items() if typed.get(name, value) is not None}

    async def send(self, path: str, form: dict[str, str]) -> httpx.Response:
        """Follows what sends the form on, as browsers do (RFC 9110, 15.4.8)."""
        answer = await self.http.post(path, data=form)
        while answer.status_code == 307:
            answer = await self.http.post(answer.headers["location"], data=form)
        return answer

    async def save(self, **typed: Any) -> httpx.Response:
        return await self.send(f"{PAGE}/preview", await self.form(**typed))

    async def save_from(self, preview: httpx.Response, to: str = PAGE) -> httpx.Response:
        assert preview.status_code == 200
        assert "What this will do" in preview.text, plain(preview.text)
        return await self.send(to, inputs(preview.text, to))


@pytest.fixture
async def at_desk(stack: Stack, admin: Person) -> Administrator:
    return await Administrator(stack, admin).enter()


async def rule_of(admin: Person) -> dict[str, Any]:
    found: dict[str, Any] = (await admin.call("GET", "/v1/clinic/security")).json()
    return found


async def test_r17_a_change_that_stops_somebody_is_saved_only_after_its_preview(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    admin = at_desk.person
    people = {name: await clinic.person() for name in ("working", "away", "exempt", "proven")}
    with_number = await clinic.person(phone=PHONE)
    for name in ("working", "exempt", "proven"):
        await people[name].sign_in()
    await people["proven"].enrol_totp()
    admin.stack.clock.advance(timedelta(seconds=-30))
    exempt = {"requirement": "exempt", "reason": "On leave."}
    path = f"/v1/users/{people['exempt'].id}/two-factor/requirement"
    assert (await admin.call("PUT", path, exempt)).status_code == 200

    preview = await at_desk.save(require_two_factor="yes")
    words = plain(preview.text)
    assert (await rule_of(admin))["require_two_factor"] is False, "looking saves nothing"
    for group, someone in (
        ("Stopped at once: 1", people["working"]),
        ("Asked at their next sign-in: 2", people["away"]),
        ("Asked at their next sign-in: 2", with_number),
        ("Nothing set up: 4", people["working"]),
        ("No mobile number: 5", people["proven"]),
        ("Exempt: 1", people["exempt"]),
        ("Not affected: 3", people["proven"]),
    ):
        after = words.partition(f"{group} ")[2]
        assert (
            someone.email in re.split(r"(Stopped|Asked|Nothing set|No mobile|Exempt|Not affected)\b[^.]*: \d", after)[0]
        ), group
    assert "Two-factor authentication: require it of everyone No Yes" in words
    saved = await at_desk.save_from(preview)
    assert saved.headers["location"] == f"{PAGE}?done=rule-on"
    assert (await rule_of(admin))["require_two_factor"] is True
    assert await people["working"].state() == "enrolment_required"
    assert "Required of everyone since" in (await at_desk.http.get(PAGE)).text


async def test_what_stops_nobody_is_saved_at_once(at_desk: Administrator) -> None:
    answer = await at_desk.save(
        idle_minutes="15",
        remember_device_days="30",
        sms_countries="Ireland, de",
        sms_daily_cap="50",
        phone_required=None,
    )
    assert answer.headers["location"] == f"{PAGE}?done=saved"
    rule = await rule_of(at_desk.person)
    assert (
        rule.items()
        >= {
            **{"idle_minutes": 15, "remember_device_days": 30, "sms_countries": ["IE", "DE"], "sms_daily_cap": 50},
            "phone_required": False,
        }.items()
    )
    shown = await at_desk.form()
    assert (shown["sms_countries"], shown["idle_minutes"]) == ("Ireland, Germany", "15")
    version = rule["version"]
    assert (await at_desk.save()).headers["location"] == f"{PAGE}?done=saved"
    assert (await rule_of(at_desk.person))["version"] == version, "what was not touched is no change"


async def test_another_change_than_the_one_looked_at_is_looked_at_again(at_desk: Administrator, person: Person) -> None:
    preview = await at_desk.save(require_two_factor="yes")
    sent = inputs(preview.text, PAGE)
    sent["method_sms"] = ""
    again = await at_desk.send(PAGE, sent)
    assert (again.status_code, "What this will do" in again.text) == (200, True)
    sent["seen"] = ""
    assert "What this will do" in (await at_desk.send(PAGE, sent)).text
    assert (await rule_of(at_desk.person))["require_two_factor"] is False


async def test_back_from_the_preview_everything_that_was_typed_is_there(at_desk: Administrator, person: Person) -> None:
    typed = {"require_two_factor": "yes", "idle_minutes": "12", "sms_countries": "Ireland", "method_sms": None}
    preview = await at_desk.save(**typed)
    back = await at_desk.http.post(f"{PAGE}/preview", data=inputs(preview.text, f"{PAGE}/preview"))
    shown = inputs(back.text, f"{PAGE}/preview")
    assert {name: shown.get(name) for name in typed} == typed
    assert shown["version"] == (await at_desk.form())["version"]
    assert (await at_desk.http.get(f"{PAGE}/preview")).headers["location"] == PAGE


async def test_p11_saving_needs_a_fresh_code_and_carries_what_was_looked_at(
    at_desk: Administrator, person: Person
) -> None:
    at_desk.person.stack.clock.advance(timedelta(minutes=6))
    preview = await at_desk.save(require_two_factor="yes")
    assert "What this will do" in preview.text, "looking needs none"
    asked = await at_desk.save_from(preview)
    assert "One more code, please" in asked.text
    sent = inputs(asked.text, "/code") | {"code": at_desk.person.code()}
    answer = await at_desk.http.post("/code", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (307, PAGE)
    assert (await at_desk.http.post(PAGE, data=sent)).headers["location"] == f"{PAGE}?done=rule-on"
    assert (await at_desk.save(idle_minutes="10")).headers["location"] == f"{PAGE}?done=saved"


async def test_what_both_have_changed_is_said_with_who_and_what_stands(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    admin, other = at_desk.person, await clinic.person("admin")
    admin.stack.sql("UPDATE app_user SET name = 'Ada Admin' WHERE id = %s", [other.id])
    form = await at_desk.form(idle_minutes="20", require_two_factor="yes")
    await other.sign_in()
    await other.call("PATCH", "/v1/clinic/security", {"idle_minutes": 10, "sms_daily_cap": 77})
    for path in (PAGE, f"{PAGE}/preview"):
        stale = await at_desk.send(path, form)
        assert stale.status_code == 409
        words = plain(stale.text)
        assert "Ada Admin has changed this in the meantime (16 November 2026, 09:3" in words
        assert "Minutes without activity 10 20 The form" in words, "only what both have changed"
        shown = inputs(stale.text, f"{PAGE}/preview")
        assert (shown["idle_minutes"], shown["require_two_factor"], shown["sms_daily_cap"]) == ("20", "yes", "77")
    assert (await rule_of(admin))["idle_minutes"] == 10
    assert (await at_desk.send(f"{PAGE}/preview", {**shown, "require_two_factor": ""})).status_code == 303
    rule = await rule_of(admin)
    assert (rule["idle_minutes"], rule["sms_daily_cap"]) == (20, 77), "saved from what stands now"


async def test_what_two_administrators_change_apart_from_each_other_comes_together(at_desk: Administrator) -> None:
    admin = at_desk.person
    form = await at_desk.form(idle_minutes="20", sms_daily_cap="50")
    await admin.call("PATCH", "/v1/clinic/security", {"remember_device_days": 7, "sms_daily_cap": 50})
    saved = await at_desk.send(f"{PAGE}/preview", form)
    assert saved.headers["location"] == f"{PAGE}?done=saved-with-theirs"
    rule = await rule_of(admin)
    assert (rule["idle_minutes"], rule["remember_device_days"], rule["sms_daily_cap"]) == (20, 7, 50)
    form = await at_desk.form(method_totp=None)
    await admin.call("PATCH", "/v1/clinic/security", {"methods": ["totp"]})
    words = plain((await at_desk.send(f"{PAGE}/preview", form)).text)
    assert "Authenticator app Yes No" in words, "else no method would be left"
    unsaid = await at_desk.form(idle_minutes="30")
    await admin.call("PATCH", "/v1/clinic/security", {"remember_device_days": 8})
    for was in ("", "[]", '{"idle_minutes": 3}', '{"made_up": "x"}'):
        assert (await at_desk.send(f"{PAGE}/preview", {**unsaid, "was": was})).status_code == 409
    assert (await rule_of(admin))["remember_device_days"] == 8


async def test_what_was_looked_at_is_looked_at_again_after_a_change_made_since(
    at_desk: Administrator, person: Person
) -> None:
    preview = await at_desk.save(require_two_factor="yes")
    await at_desk.person.call("PATCH", "/v1/clinic/security", {"idle_minutes": 10})
    again = await at_desk.save_from(preview)
    assert "What this will do" in plain(again.text)
    assert (await rule_of(at_desk.person))["require_two_factor"] is False
    assert (await at_desk.save_from(again)).headers["location"] == f"{PAGE}?done=rule-on"
    rule = await rule_of(at_desk.person)
    assert (rule["require_two_factor"], rule["idle_minutes"]) == (True, 10)


async def test_without_a_second_factor_of_their_own_nobody_turns_it_on_and_the_page_says_how(
    stack: Stack, clinic: SomeClinic
) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    desk = await Administrator(stack, admin).enter()
    assert 'href="/set-up' in (await desk.http.get(PAGE)).text
    refused = await desk.save(require_two_factor="yes", idle_minutes="7")
    assert refused.status_code == 409
    assert "for yourself first" in plain(refused.text)
    assert 'href="/set-up' in refused.text
    assert inputs(refused.text, f"{PAGE}/preview")["idle_minutes"] == "7"
    assert (await desk.save(idle_minutes="7")).status_code == 303, "everything else is theirs to change"


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("idle_minutes", "4", "This must be 5 or more."),
        ("idle_minutes", "61", "This must be 60 or less."),
        ("idle_minutes", "", "Write a whole number."),
        ("remember_device_days", "91", "This must be 90 or less."),
        ("remember_device_days", "-1", "Write a whole number."),
        ("sms_daily_cap", "100001", "This must be 100000 or less."),
        ("sms_daily_cap", "1e3", "Write a whole number."),
        ("sms_countries", "GB, Atlantis", "“Atlantis” is not a country we know. Its two letters will do, such as GB."),
        ("sms_countries", " , ", "Name at least one country."),
        ("enforce_from", "soon", "This is not a day and time. Write it as 2027-03-01 06:00."),
        ("enforce_from", "2026-11-16T09:00", "This time is over. Choose one that is still to come."),
        ("enforce_from", "9999-12-31T23:59", "Choose a time within the next ten years."),
        ("enforce_from", "2027-03-28T01:30", "Clocks go forward that night"),
        ("enforce_from", "2027-10-31T01:30", "Clocks go back that night, and this time comes twice."),
    ],
)
async def test_what_is_wrong_stands_beside_its_field(at_desk: Administrator, name: str, typed: str, words: str) -> None:
    refused = await at_desk.save(**{"require_two_factor": "yes", name: typed})
    assert refused.status_code == 422
    assert wrong(refused, name).startswith(words)
    assert re.search(rf'id="{name}"[^>]* aria-describedby="[^"]*{name}-wrong"', refused.text)
    assert inputs(refused.text, f"{PAGE}/preview")[name] == typed.strip()
    assert words in plain(refused.text).split("General settings")[0], "and on top, where it is announced"


async def test_no_method_and_a_date_without_the_tick_are_refused(at_desk: Administrator) -> None:
    refused = await at_desk.save(method_totp=None, method_sms=None, enforce_from="2027-03-01T06:00")
    assert refused.status_code == 422
    assert wrong(refused, "methods").startswith("Choose at least one")
    assert wrong(refused, "enforce_from").startswith("Tick the box above as well")


async def test_a_date_is_of_the_clinics_clock_and_is_looked_at_as_if_it_had_come(
    at_desk: Administrator, person: Person
) -> None:
    await at_desk.person.call("PATCH", "/v1/clinic", {"timezone": "America/New_York"})
    page = plain((await at_desk.http.get(PAGE)).text)
    assert "Clinic time: America/New_York (now UTC-05:00)." in page
    preview = await at_desk.save(require_two_factor="yes", enforce_from="2027-07-01T06:00")
    words = plain(preview.text)
    assert "on 1 July 2027, 06:00 (America/New_York)" in words
    assert "Asked at their next sign-in: 1" in words
    saved = await at_desk.save_from(preview)
    assert saved.headers["location"] == f"{PAGE}?done=rule-scheduled"
    rule = await rule_of(at_desk.person)
    assert (rule["require_two_factor"], rule["enforce_from"]) == (False, "2027-07-01T10:00:00.000Z")
    page = await at_desk.http.get(PAGE)
    assert "It will be required of everyone from 1 July 2027, 06:00" in plain(page.text)
    assert (await at_desk.form())["enforce_from"] == "2027-07-01T06:00"
    assert (await at_desk.save(idle_minutes="9")).headers["location"] == f"{PAGE}?done=saved", "the date is not touched"
    assert (await rule_of(at_desk.person))["enforce_from"] == rule["enforce_from"]
    assert (await at_desk.save(require_two_factor=None)).headers["location"] == f"{PAGE}?done=rule-off"
    assert (await rule_of(at_desk.person))["enforce_from"] is None


async def test_a_time_that_comes_twice_is_asked_back_and_either_can_be_meant(
    at_desk: Administrator, person: Person
) -> None:
    asked = await at_desk.save(require_two_factor="yes", enforce_from="2027-10-31T01:30")
    assert "(UTC+01:00)" in asked.text
    assert "(UTC+00:00)" in asked.text
    for which, moment in (("first", "2027-10-31T00:30:00.000Z"), ("second", "2027-10-31T01:30:00.000Z")):
        form = inputs(asked.text, f"{PAGE}/preview") | {
            "which": which,
            "version": (await at_desk.form())["version"],
        }
        saved = await at_desk.save_from(await at_desk.send(f"{PAGE}/preview", form))
        assert saved.status_code == 303
        assert (await rule_of(at_desk.person))["enforce_from"] == moment
        assert (await at_desk.form())["which"] == which
        assert (await at_desk.save(idle_minutes="9")).status_code == 303
        assert (await rule_of(at_desk.person))["enforce_from"] == moment


async def test_a_date_that_comes_while_the_form_is_open_is_no_change(at_desk: Administrator) -> None:
    admin = at_desk.person
    soon = datetime(2026, 11, 16, 9, 40, tzinfo=UTC)
    await admin.call("PATCH", "/v1/clinic/security", {"require_two_factor": True, "enforce_from": soon.isoformat()})
    form = await at_desk.form(idle_minutes="29")
    assert form["enforce_from"] == "2026-11-16T09:40"
    admin.stack.clock.set(soon + timedelta(minutes=2))
    await at_desk.give_code("/code?then=/me")
    assert (await at_desk.send(f"{PAGE}/preview", form)).headers["location"] == f"{PAGE}?done=saved"
    rule = await rule_of(admin)
    assert (rule["require_two_factor"], rule["idle_minutes"]) == (True, 29)


async def test_only_administrators_get_in(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    token = await visitor.token_in("/me")
    for path in (PAGE, f"{PAGE}/holds", "/audit", "/audit/export"):
        assert (await visitor.http.get(path)).status_code == 403
    paths = ("", "/preview", "/shared-computer", "/holds", "/holds/preview", "/holds/end")
    for path in paths:
        refused = await visitor.http.post(f"{PAGE}{path}", data={"csrf": token})
        assert (refused.status_code, "Only an administrator" in refused.text) == (403, True), path
