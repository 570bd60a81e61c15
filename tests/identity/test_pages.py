"""The pages: a real browser through the whole story, and what keeps their forms and cookies safe."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pyotp
import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect

from deploy.embedded import free_port
from tests.identity.conftest import PASSWORD, PHONE, Person, SomeClinic, Stack

_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync"
FOREIGN = "https://evil.example"


@pytest.fixture
async def web(stack: Stack) -> AsyncIterator[Stack]:
    """The gateway on a port of its own."""
    port = free_port()
    served = await stack.another_app(public_url=f"http://127.0.0.1:{port}")
    config = uvicorn.Config(served.app, port=port, log_config=None, lifespan="off", proxy_headers=False, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    yield served
    server.should_exit = True
    await serving


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=_QUIET.split())
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A phone. Fails the test that used it where a page broke its own policy (P25)."""
    context = await browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(10_000)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert not [text for text in complaints if "Failed to load resource" not in text]


async def sign_in(page: Page, web: Stack, person: Person, password: str = PASSWORD) -> None:
    await page.goto(f"{web.settings.public_url}/c/{person.clinic.slug}")
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_p25_the_whole_story_in_a_browser(web: Stack, page: Page, tmp_path: Path) -> None:
    clinic = await web.make_clinic()
    person = await clinic.person()
    await clinic.require()

    await page.goto(web.settings.public_url)
    await page.get_by_label("Clinic's short name").fill(clinic.slug.upper())
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password").fill("not this one, sorry")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("did not match")
    await expect(page.get_by_label("E-mail")).to_have_value(person.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()

    await expect(page.get_by_role("heading", name="One thing before you go on")).to_be_visible()
    await expect(page.get_by_text("Harbour Clinic")).to_be_visible()
    await page.goto(f"{web.settings.public_url}/me")
    await page.get_by_label("Mobile number").fill("12")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Mobile number").fill("07700 900123")
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("button", name="Use an app").click()

    key = await page.locator(".key").inner_text()
    assert re.fullmatch(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", key)
    person.secret = key.replace(" ", "")
    await page.screenshot(path=tmp_path / "screen.png", full_page=True)
    seen = await asyncio.create_subprocess_exec(
        *("zbarimg", "--quiet", "--raw", "--nodbus", str(tmp_path / "screen.png")), stdout=asyncio.subprocess.PIPE
    )
    scanned = (await seen.communicate())[0].decode()
    assert f"secret={person.secret}&" in scanned, "a camera sees the same key"
    await page.get_by_label("six digits").fill(person.wrong_code())
    await page.get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await page.locator(".key").inner_text() == key, "the same key after a typing error"
    await page.get_by_label("six digits").fill(pyotp.TOTP(person.secret).at(web.clock.now()))
    await page.get_by_role("button", name="Turn it on").click()

    codes = await page.get_by_role("list", name="Backup codes").get_by_role("listitem").all_inner_texts()
    assert len(set(codes)) == 10
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Save as a text file").click()
    saved = tmp_path / "codes.txt"
    await (await download.value).save_as(saved)
    assert all(code in saved.read_text() for code in codes)
    await page.get_by_role("link", name="go on").click()
    await expect(page.get_by_text("10 left")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("You are signed out.")
    await page.goto(f"{web.settings.public_url}/me")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    await sign_in(page, web, person)
    await page.get_by_role("link", name="Use a backup code").click()
    await page.get_by_label("Backup code").fill(codes[3].lower().replace("-", " "))
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_text("9 left")).to_be_visible()
    await page.get_by_role("button", name="Make new ones").click()
    await expect(page.get_by_role("heading", name="Your new backup codes")).to_be_visible()


async def test_a_text_message_by_page(web: Stack, page: Page) -> None:
    person = await (await web.make_clinic()).person()
    await sign_in(page, web, person)
    await page.get_by_role("link", name="Set it up").click()
    await page.get_by_label("Mobile number").fill(PHONE)
    await page.get_by_role("button", name="Text me a code").click()
    await expect(page.get_by_text("Six digits are on their way")).to_be_visible()
    await page.get_by_label("Six digits").fill(web.notifier.code_to(PHONE))
    await page.get_by_role("button", name="Turn it on").click()
    await page.get_by_role("link", name="go on").click()
    web.clock.set(web.clock.now().replace(minute=40))

    await sign_in(page, web, person)
    await page.get_by_role("button", name="Text me a code").click()
    await expect(page.get_by_text("We sent six digits to")).to_be_visible()
    await page.get_by_label("Six digits").fill(web.notifier.code_to(PHONE))
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="Mina Okafor")).to_be_visible()


async def test_an_administrator_requires_it_of_everyone_after_a_fresh_code(web: Stack, page: Page) -> None:
    clinic = await web.make_clinic()
    admin, other = await clinic.person("admin"), await clinic.person()
    await other.sign_in()
    await sign_in(page, web, admin)
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("yourself first")
    await admin.sign_in()
    await admin.enrol_totp()

    await sign_in(page, web, admin)
    await page.get_by_label("Six digits").fill(admin.code())
    await page.get_by_role("button", name="Go on").click()
    web.clock.set(web.clock.now().replace(minute=45))
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="One fresh code, please")).to_be_visible()
    await page.get_by_label("Six digits").fill(admin.code())
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("status")).to_contain_text("five minutes")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("checkbox")).to_be_checked()
    assert (await other.call("GET", "/v1/me/sessions")).status_code in (403, 401)


async def test_an_invitation_is_taken_up_by_page(web: Stack, page: Page) -> None:
    admin = await (await web.make_clinic()).person("admin")
    await admin.sign_in()
    body = {"email": "nia@harbour.example", "name": "Nia <b>Adeyemi</b>", "role": "receptionist"}
    made = (await admin.call("POST", "/v1/users", body)).json()
    url = made["activation"]["url"]
    await page.goto(url)
    await expect(page.get_by_role("heading", name="Welcome, Nia <b>Adeyemi</b>")).to_be_visible()
    box = page.get_by_label("New password")
    assert await box.get_attribute("autocomplete") == "new-password"
    await box.fill("password1234")
    await page.get_by_role("button", name="Save the password").click()
    await expect(page.get_by_role("alert")).to_contain_text("too easy to guess")
    await box.fill(PASSWORD)
    await page.get_by_role("button", name="Save the password").click()
    await expect(page.get_by_role("status")).to_contain_text("password is saved")
    await page.goto(url)
    await expect(page.get_by_role("heading", name="This link is over")).to_be_visible()


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
    for path in ("/sign-out", "/me/backup-codes", "/set-up/totp", "/clinic/two-factor", "/code"):
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


async def test_a57_an_unknown_clinics_page_is_like_any_other(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    known = await visitor.http.get(f"/c/{person.clinic.slug}")
    unknown = await visitor.http.get("/c/no-such-clinic")
    assert (known.status_code, unknown.status_code) == (200, 200)
    assert known.text.replace(person.clinic.slug, "no-such-clinic") == unknown.text
    assert 'autocomplete="current-password"' in unknown.text
    assert "&lt;script&gt;" in (await visitor.http.get("/c/%3Cscript%3E")).text
    form = {"csrf": await visitor.token_in("/c/no-such-clinic"), "email": person.email, "password": "x" * 20}
    answers = [await visitor.http.post(path, data=form) for path in (f"/c/{person.clinic.slug}", "/c/no-such-clinic")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].text.replace(person.clinic.slug, "no-such-clinic") == answers[1].text


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
    assert not re.search(r"<script|style=|\son\w+=", page.text)
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


async def test_a64_after_the_sign_in_the_browser_goes_back_to_where_it_came_from_and_only_there(
    web: Stack, page: Page
) -> None:
    clinic = await web.make_clinic()
    person = await clinic.person()
    app = f"{web.settings.public_origin}/healthz?from=the-app"  # any address of this host will do for an app

    async def come_from(back: str) -> None:
        await page.goto(f"{web.settings.public_url}/c/{clinic.slug}?return_to={quote(back, safe='')}")
        await page.get_by_label("E-mail").fill(person.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()

    for evil in ("https://evil.example/", "//evil.example/", "/\\evil.example/"):
        await come_from(evil)
        await expect(page).to_have_url(f"{web.settings.public_url}/me")
    await come_from(app)
    await expect(page).to_have_url(app)
    await page.goto(f"{web.settings.public_url}/me")
    await expect(page).to_have_url(f"{web.settings.public_url}/me")

    await clinic.require_here(phone_required=False)
    await come_from("/healthz?from=the-app")
    await page.get_by_role("button", name="Use an app").click()
    person.secret = (await page.locator(".key").inner_text()).replace(" ", "")
    await page.get_by_label("six digits").fill(person.code())
    await page.get_by_role("button", name="Turn it on").click()
    await page.get_by_role("link", name="go on").click()
    await expect(page).to_have_url(app)

    web.clock.advance(timedelta(minutes=1))
    await come_from(app)
    await page.get_by_label("Six digits").fill(person.code())
    await page.get_by_role("button", name="Go on").click()
    await expect(page).to_have_url(app)
