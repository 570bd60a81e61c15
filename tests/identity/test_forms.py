"""What keeps the pages' forms and cookies safe: requests as a browser sends them, and as none does."""

import re
from typing import Any

import httpx
import pytest

from services.identity.model import UserId
from services.identity.store.sessions import SessionStore
from tests.identity.people import PASSWORD, Person, SomeClinic, Stack

FOREIGN = "https://evil.example"


class Visitor:
    """A browser without a screen."""

    def __init__(self, web: Stack, **headers: str) -> None:
        self.web = web
        transport = httpx.ASGITransport(app=web.app, raise_app_exceptions=False, client=("192.0.2.7", 40000))
        self.http = httpx.AsyncClient(transport=transport, base_url=web.settings.public_origin, headers=headers)

    async def token_in(self, path: str) -> str:
        page = await self.http.get(path)
        found = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert found, page.text[:500]
        return found[1]

    async def sign_in(self, person: Person) -> httpx.Response:
        path = f"/c/{person.clinic.slug}"
        form = {"csrf": await self.token_in(path), "email": person.email, "password": PASSWORD}
        return await self.http.post(path, data=form)


async def test_p25_cookies_are_the_browsers_alone(stack: Stack, person: Person) -> None:
    safe = await stack.another_app(public_url="https://app.harbour.example/auth")
    for web, name in ((safe, "__Host-countersign"), (stack, "countersign")):
        answer = await Visitor(web).sign_in(person)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{web.settings.path_prefix}/me"
        (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert attributes >= {"httponly", "path=/", "samesite=lax"}
        assert ("secure" in attributes) is web.settings.is_https
        assert not any(part.startswith(("domain", "expires", "max-age")) for part in attributes)
        assert len(cookie.split(";")[0].partition("=")[2]) == 43


async def test_p25_a_form_from_elsewhere_is_refused(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    token = await visitor.token_in("/me")
    own = {"Origin": stack.settings.public_origin}
    for path in ("/sign-out", "/me/backup-codes", "/set-up/totp", "/clinic/security", "/code"):
        for form, headers in (
            ({"csrf": token}, {"Origin": FOREIGN}),
            ({"csrf": token}, {"Origin": "null"}),
            ({"csrf": token}, {"Sec-Fetch-Site": "cross-site"}),
            ({"csrf": "x" * 64}, own),
            ({}, own),
        ):
            refused = await visitor.http.post(path, data=form, headers=headers)
            assert refused.status_code == 403, (path, form, headers)
            assert refused.headers["content-type"].startswith("text/html")
    assert (await visitor.http.get("/sign-out")).status_code == 405
    assert (await visitor.http.get("/me", headers={"Origin": FOREIGN})).status_code == 303
    assert (await visitor.http.get("/me")).status_code == 200, "still signed in"
    assert (await visitor.http.post("/sign-out", data={"csrf": token}, headers=own)).status_code == 303
    assert (await visitor.http.get("/me")).headers["location"] == f"/c/{person.clinic.slug}"


async def test_a41_nobody_is_signed_in_by_another_sites_form(stack: Stack, person: Person) -> None:
    path, form = f"/c/{person.clinic.slug}", {"email": person.email, "password": PASSWORD}
    stranger, visitor = Visitor(stack), Visitor(stack)
    elsewhere = await stranger.token_in(path)
    await visitor.http.get(path)
    for csrf, headers in (("", {}), (elsewhere, {}), (await visitor.token_in(path), {"Origin": FOREIGN})):
        refused = await visitor.http.post(path, data={**form, "csrf": csrf}, headers=headers)
        assert refused.status_code == 403
        assert stack.gateway.cookies.name not in visitor.http.cookies


async def test_a63_the_cookie_before_is_replaced_and_its_session_over(stack: Stack, clinic: SomeClinic) -> None:
    one, two = await clinic.person(), await clinic.person()
    visitor = Visitor(stack)
    await visitor.sign_in(one)
    older = visitor.http.cookies["countersign"]
    await visitor.sign_in(two)
    assert visitor.http.cookies["countersign"] != older
    assert two.email in (await visitor.http.get("/me")).text
    refused = await stack.call("GET", "/v1/session", token=older)
    assert (refused.status_code, refused.json()["cause"]) == (401, "ended")


async def test_a_browser_is_remembered_by_a_tick_and_never_a_shared_computer(stack: Stack, clinic: SomeClinic) -> None:
    await clinic.require(require_two_factor=None, remember_device_days=30)
    person, admin = await clinic.person(), await clinic.person("admin")
    for one in (person, admin):
        await one.sign_in()
        await one.enrol_totp()
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    assert "for 30 days" in (await visitor.http.get("/code")).text
    assert "for 30 days" not in (await visitor.http.get("/code?method=backup_code")).text
    form = {"csrf": await visitor.token_in("/code"), "method": "totp", "code": person.code(), "remember": "yes"}
    proven = await visitor.http.post("/code", data=form)
    assert proven.headers["location"].endswith("/me")
    assert (await visitor.sign_in(admin)).headers["location"].endswith("/code")  # another person at the same browser
    again = await visitor.sign_in(person)
    assert again.headers["location"].endswith("/me")
    (kept,) = [line for line in again.headers.get_list("set-cookie") if "-device-" in line]
    assert "HttpOnly" in kept
    await admin.sign_in_in_full()
    await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", {"reason": "Lost the phone."})
    assert (await visitor.sign_in(person)).headers["location"].endswith("/set-up")  # what it was given for
    assert (await visitor.sign_in(person)).headers["location"].endswith("/me")
    marked = await admin.call("PUT", "/v1/device/shared")
    name, _, mark = marked.headers["set-cookie"].partition(";")[0].partition("=")
    visitor.http.cookies.set(name, mark)
    assert (await visitor.sign_in(person)).headers["location"].endswith("/code")
    assert "for 30 days" not in (await visitor.http.get("/code")).text
    form = {"csrf": await visitor.token_in("/code"), "method": "totp", "code": person.code(), "remember": "yes"}
    proven = await visitor.http.post("/code", data=form)
    assert proven.status_code == 303
    assert not any("-device-" in line for line in proven.headers.get_list("set-cookie"))


def _without_nonce(text: str) -> str:
    """Without what is new at every request: the nonce, and the number to quote."""
    return re.sub(r'nonce="[^"]+"|<code class="long">[0-9a-f]{32}</code>', "", text)


async def test_a57_an_unknown_clinics_page_is_like_any_other(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    known = await visitor.http.get(f"/c/{person.clinic.slug}")
    unknown = await visitor.http.get("/c/no-such-clinic")
    assert (known.status_code, unknown.status_code) == (200, 200)
    assert _without_nonce(known.text).replace(person.clinic.slug, "no-such-clinic") == _without_nonce(unknown.text)
    assert 'autocomplete="current-password"' in unknown.text
    assert "&lt;script&gt;" in (await visitor.http.get("/c/%3Cscript%3E")).text
    form = {"csrf": await visitor.token_in("/c/no-such-clinic"), "email": person.email, "password": "x" * 20}
    answers = [await visitor.http.post(path, data=form) for path in (f"/c/{person.clinic.slug}", "/c/no-such-clinic")]
    assert [answer.status_code for answer in answers] == [401, 401]
    texts = [_without_nonce(answer.text) for answer in answers]
    assert texts[0].replace(person.clinic.slug, "no-such-clinic") == texts[1]


async def test_a64_no_address_leads_a_browser_away(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack, Host="evil.example")
    await visitor.sign_in(person)
    await person.sign_in()
    await person.enrol_totp()
    await visitor.sign_in(person)
    for then in ("//evil.example", "https://evil.example", "/\\evil.example", "/me/../x", "javascript:1"):
        token = await visitor.token_in(f"/code?then={then}")
        assert "evil" not in (await visitor.http.get(f"/code?then={then}")).text
        sent = {"csrf": token, "method": "totp", "code": person.wrong_code(), "then": then}
        assert "evil" not in str((await visitor.http.post("/code", data=sent)).headers)
    stack.clock.set(stack.clock.now().replace(hour=11))
    await visitor.sign_in(person)
    sent = {"csrf": await visitor.token_in("/code"), "method": "totp", "code": person.code(), "then": "//evil.example"}
    assert (await visitor.http.post("/code", data=sent)).headers["location"] == "/me"


async def test_pages_say_what_browsers_must_keep_to(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    page = await visitor.http.get(f"/c/{person.clinic.slug}")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers.get_list("referrer-policy") == ["strict-origin"], "no-referrer would blank our forms' Origin"
    assert page.headers["cache-control"] == "no-store"
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert re.findall(r"<script.*?</script>", page.text) == re.findall(
        rf'<script src="[^"]+" nonce="{nonce}" defer></script>', page.text
    )
    assert not re.search(r"style=|\son\w+=", page.text)
    assert (await visitor.http.get("/static/countersign.css")).headers["content-type"].startswith("text/css")
    for name in ("", "nothing.css", "..%2Fapp.py", "../app.py"):
        assert (await visitor.http.get(f"/static/{name}")).status_code == 404


@pytest.mark.parametrize("value", ["%00", "a%00b", "%ED%A0%80", "x" * 3000])
async def test_a_form_that_no_browser_sends_harms_nothing(stack: Stack, person: Person, value: str) -> None:
    visitor = Visitor(stack)
    csrf = await visitor.token_in(f"/c/{person.clinic.slug}")
    answer = await visitor.http.post(
        f"/c/{person.clinic.slug}",
        content=f"csrf={csrf}&email={value}&password={value}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code in (401, 422)


async def test_a_double_click_or_a_reload_costs_nobody_a_code(stack: Stack, person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    shown = (await visitor.http.get("/code")).text
    (key,) = re.findall(r'name="key" value="([^"]{22,})"', shown)
    form = {"csrf": await visitor.token_in("/code"), "method": "totp", "key": key}
    for _ in range(2):
        wrong = await visitor.http.post("/code", data={**form, "code": person.wrong_code()})
        assert 'name="key"' in wrong.text
        assert key not in wrong.text
    assert (await stack.gateway.otp.factors_of(UserId(person.id))).attempts_left == 4
    name = stack.gateway.cookies.name
    before = visitor.http.cookies[name]
    form["code"] = person.code()  # another code in the same form, as after going back
    assert (await visitor.http.post("/code", data=form)).status_code == 303
    visitor.http.cookies.set(name, before)
    again = await visitor.http.post("/code", data=form, headers={"Cookie": f"{name}={before}"})
    assert (again.status_code, again.headers["location"].endswith("/me")) == (303, True)
    token = again.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert (await stack.call("GET", "/v1/session", token=token)).json()["state"] == "active"


async def test_a_click_that_another_overtakes_is_answered_by_a_form_that_gets_in(stack: Stack, person: Person) -> None:
    """Browsers show the answer to the second click, whichever is first: here it is the one that comes too late."""
    await person.sign_in()
    await person.enrol_totp()
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    form = {"csrf": await visitor.token_in("/code"), "method": "totp", "key": "k" * 32, "code": person.code()}
    cookie = {"Cookie": f"{(name := stack.gateway.cookies.name)}={visitor.http.cookies[name]}"}
    visitor.http.cookies.clear()
    really = SessionStore.rotate

    async def too_late(*given: Any, **more: Any) -> Any:
        patched.undo()
        assert (await Visitor(stack).http.post("/code", data=form, headers=cookie)).status_code == 303
        return await really(*given, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SessionStore, "rotate", too_late)
        shown = await visitor.http.post("/code", data=form, headers=cookie)
    assert (shown.status_code, f'name="key" value="{form["key"]}"' in shown.text) == (503, True)
    assert (await visitor.http.post("/code", data=form, headers=cookie)).headers["location"].endswith("/me")
    assert (await visitor.http.get("/me")).status_code == 200
