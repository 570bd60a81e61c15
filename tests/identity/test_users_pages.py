"""The list of a clinic's people, and adding somebody: as an administrator meets them in a browser."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from tests.identity.people import PASSWORD, PHONE, Person, SomeClinic, Stack
from tests.identity.test_forms import Visitor

NEW = {"name": "Nia <b>Adeyemi</b>", "email": "nia@harbour.example", "role": "receptionist", "phone": ""}


class Desk(Visitor):
    """An administrator's browser."""

    def __init__(self, person: Person) -> None:
        super().__init__(person.stack)
        self.http.cookies.set(person.stack.gateway.cookies.name, person.token)

    async def text(self, path: str) -> str:
        page = await self.http.get(path)
        assert page.status_code == 200, page.text[:2000]
        return page.text

    async def send(self, path: str, **fields: str) -> httpx.Response:
        return await self.http.post(path, data={"csrf": await self.token_in("/users"), **fields})


@pytest.fixture
def desk(admin: Person) -> Desk:
    return Desk(admin)


def rows(page: str) -> dict[str, str]:
    """Each line of the list as it is read, by e-mail."""
    found = {}
    for row in re.findall(r'<tr role="row">\s*<td.*?</tr>', page, re.DOTALL):
        text = " ".join(re.sub(r"<[^>]+>", " ", row).split())
        (email,) = re.findall(r"\S+@\S+", text)
        found[email] = text
    return found


async def test_the_list_says_in_words_how_each_person_stands(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    enrolled, missing, exempt, required, disabled, stolen, invited = [await clinic.person() for _ in range(6)] + [
        await clinic.person(password=None)
    ]
    for one in (enrolled, stolen):
        await one.sign_in()
        await one.enrol_totp()
    term = {"requirement": "exempt", "reason": "Away.", "expires_at": "2026-11-30T17:00:00Z"}
    for one, body in ((exempt, term), (required, {"requirement": "required"}), (enrolled, term)):
        assert (await admin.call("PUT", f"/v1/users/{one.id}/two-factor/requirement", body)).status_code == 200
    assert (await admin.call("PATCH", f"/v1/users/{disabled.id}", {"disabled": True})).status_code == 200
    grant = {"reason": "Stolen.", "suspend_factors": True}
    assert (await admin.call("POST", f"/v1/users/{stolen.id}/two-factor/bypass", grant)).status_code == 201

    listed = rows(await desk.text("/users"))
    assert listed[enrolled.email].endswith("On Authenticator app. Exempt until 30 November 2026, 17:00")
    assert listed[missing.email].endswith("Not set up")
    assert listed[exempt.email].endswith("Not set up Exempt until 30 November 2026, 17:00")
    assert listed[required.email].endswith("Not set up Required of this person")
    assert listed[disabled.email].endswith("Account disabled Cannot sign in.")
    assert listed[stolen.email].endswith("Suspended Authenticator app")
    assert listed[invited.email].endswith("Has not chosen a password yet.")
    assert "(you)" in listed[admin.email]
    assert "Administrator" in listed[admin.email]

    async def shown(query: str) -> set[str]:
        return set(rows(await desk.text(f"/users?{query}")))

    assert await shown("show=missing") == {one.email for one in (missing, exempt, required, invited)}
    assert await shown("show=enrolled") == {one.email for one in (admin, enrolled, stolen)}
    assert await shown("show=exempt") == {one.email for one in (enrolled, exempt)}
    assert await shown(f"q={missing.email.upper()}&show=missing") == {missing.email}
    assert await shown("show=nonsense") == set(listed)
    nobody = await desk.text("/users?q=nobody-of-this-name")
    assert "Nobody matches." in nobody
    assert 'value="nobody-of-this-name"' in nobody
    csv = await desk.http.get("/users/export?show=exempt")
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text == (await admin.call("GET", "/v1/users?two_factor=exempt&format=csv")).text
    assert len(csv.text.splitlines()) == 3


async def test_a_long_list_is_leafed_through_page_by_page(clinic: SomeClinic, desk: Desk) -> None:
    people = {(await clinic.person(password=None)).email for _ in range(55)}
    first = await desk.text("/users?q=harbour")
    (following,) = re.findall(r'href="([^"]+)">Next page', first)
    second = await desk.text(following.replace("&amp;", "&"))
    seen = [*rows(first), *rows(second)]
    assert len(rows(first)) == 50
    assert people <= set(seen)
    assert len(seen) == len(set(seen)) == 56
    assert "Next page" not in second
    assert 'value="harbour"' in second
    assert 'href="/users?q=harbour">Back to the first page' in second
    lost = await desk.http.get("/users?q=harbour&cursor=made-up")
    assert (lost.status_code, lost.headers["location"]) == (303, "/users?q=harbour")


async def test_p08_a65_only_administrators_and_only_of_their_own_clinic(stack: Stack, clinic: SomeClinic) -> None:
    staff, elsewhere = await clinic.person(), await (await stack.make_clinic()).person("admin")
    for one in (staff, elsewhere):
        await one.sign_in()
    pages = ["", "/requirement", "/bypass"]
    for path in ("/users", "/users/export", "/users/new", *(f"/users/{staff.id}{part}" for part in pages)):
        assert (await Desk(staff).http.get(path)).status_code == 403, path
        assert (await Visitor(stack).http.get(path)).status_code == 303, path
    assert staff.email not in await Desk(elsewhere).text("/users")
    assert (await Desk(elsewhere).http.get(f"/users/{staff.id}")).status_code == 404
    changes = ("details", "disable", "enable", "reset", "sign-out", "forget", "requirement", "phone", "bypass")
    foreign, own = Desk(elsewhere), Desk(staff)
    csrf = await own.token_in("/me")
    for part in (*changes, "take-back"):
        sent = {"name": "Eve", "email": "eve@harbour.example", "role": "admin", "requirement": "required"}
        sent |= {"bypass_reason": "x", "minutes": "60", "sure": "yes"}
        assert (await foreign.send(f"/users/{staff.id}/{part}", **sent)).status_code == 404, part
        refused = await own.http.post(f"/users/{staff.id}/{part}", data={"csrf": csrf, **sent})
        assert refused.status_code == 403, part
        assert (await foreign.http.post(f"/users/{staff.id}/{part}", data=sent)).status_code == 403, "no token"
    assert stack.events(staff.id) == ["session.opened"]


async def test_somebody_is_added_and_the_link_is_shown_once_and_in_no_address(
    stack: Stack, clinic: SomeClinic, desk: Desk
) -> None:
    answer = await desk.send("/users/new", **NEW, sure="yes")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    (link,) = re.findall(r'id="address"[^>]*>([^<]+)<', answer.text)
    assert link.startswith(f"{stack.settings.public_url}/activate/")
    token = link.rpartition("/")[2]
    assert "location" not in answer.headers
    assert not re.search(rf'(href|action|src)="[^"]*{re.escape(token)}', answer.text)
    assert "It works once, until 23 November 2026, 09:" in answer.text
    assert "Nia &lt;b&gt;Adeyemi&lt;/b&gt; is added" in answer.text
    (person,) = stack.sql(
        "SELECT id, role, clinic_id FROM app_user WHERE email = %s AND clinic_id = %s", [NEW["email"], clinic.id]
    )
    assert person["role"] == "receptionist"
    for path in ("/users", f"/users/{person['id']}", "/users/new"):
        assert token not in await desk.text(path)
    nia = Visitor(stack)
    path = urlsplit(link).path
    form = {"csrf": await nia.token_in(path), "password": PASSWORD}
    assert (await nia.http.post(path, data=form)).headers["location"].endswith("done=password-saved")


async def test_who_cannot_be_added_so_is_refused_beside_the_field_with_what_was_typed(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    for name, typed, words in (
        ("name", "  ", "Type a name"),
        ("email", "nia.harbour.example", "Type a whole e-mail address"),
        ("role", "owner", "Choose one of the roles"),
        ("phone", "12", "not a telephone number"),
        ("email", admin.email, "has this e-mail address already"),
    ):
        fields = {**NEW, "phone": PHONE, name: typed}
        answer = await desk.send("/users/new", **fields)
        assert answer.status_code == (409 if typed == admin.email else 422)
        assert words in answer.text
        assert f'value="{fields["email"]}"' in answer.text
        assert f'value="{fields["phone"]}"' in answer.text
        if answer.status_code == 422:
            assert re.search(rf'id="{name}"[^>]*aria-describedby="[^"]*{name}-wrong"', answer.text)
    assert clinic.stack.sql("SELECT 1 FROM app_user WHERE clinic_id = %s AND id <> %s", [clinic.id, admin.id]) == []


async def test_with_a_proof_six_minutes_old_a_code_comes_first_and_nothing_typed_is_lost(
    admin: Person, desk: Desk
) -> None:
    admin.stack.clock.advance(timedelta(minutes=6))
    asked = await desk.send("/users/new", **NEW)
    assert (asked.status_code, asked.headers["location"]) == (307, "/code/before?then=/users/new")
    shown = await desk.http.post(asked.headers["location"], data={"csrf": await desk.token_in("/users"), **NEW})
    form = shown.text.partition('action="/code"')[2].partition("</form>")[0]
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    assert hidden["email"] == NEW["email"]
    proven = await desk.http.post("/code", data={**hidden, **NEW, "code": admin.code()})
    assert (proven.status_code, proven.headers["location"]) == (307, "/users/new")
    again = await desk.http.post("/users/new", data={**hidden, **NEW, "code": admin.code()})
    assert "is added" in again.text
