"""The pages: a real browser through the whole story."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pyotp
import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect

from deploy.embedded import free_port
from tests.identity.people import PASSWORD, PHONE, Person, Stack

_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync"


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


async def put_codes_away(page: Page) -> None:
    await page.get_by_label("I have put them somewhere safe").check()
    await page.get_by_role("button", name="Continue").click()


async def test_p25_the_whole_story_in_a_browser(web: Stack, page: Page, tmp_path: Path) -> None:
    clinic = await web.make_clinic()
    person = await clinic.person()
    await clinic.require()

    await page.goto(web.settings.public_url)
    await page.get_by_label("Clinic's short name").fill(clinic.slug.upper())
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password").fill("not this one, sorry")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("did not match")
    await expect(page.get_by_label("E-mail")).to_have_value(person.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()

    await expect(page.get_by_role("heading", name="One thing before you continue")).to_be_visible()
    await expect(page.get_by_text("Harbour Clinic")).to_be_visible()
    await page.goto(f"{web.settings.public_url}/me")
    await page.get_by_label("Mobile number").fill("12")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Mobile number").fill("07700 900123")
    await page.get_by_role("button", name="Continue").click()
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
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await page.locator(".key").inner_text() == key, "the same key after a typing error"
    await page.get_by_label("six digits").fill(pyotp.TOTP(person.secret).at(web.clock.now()))
    await page.get_by_role("button", name="Turn it on").click()

    await expect(page.get_by_role("list", name="Backup codes").get_by_role("listitem")).to_have_count(10)
    codes = await page.get_by_role("list", name="Backup codes").get_by_role("listitem").all_inner_texts()
    assert len(set(codes)) == 10
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Save as a text file").click()
    saved = tmp_path / "codes.txt"
    await (await download.value).save_as(saved)
    assert all(code in saved.read_text() for code in codes)
    await put_codes_away(page)
    await expect(page.get_by_text("10 left")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("You are signed out.")
    await page.goto(f"{web.settings.public_url}/me")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    await sign_in(page, web, person)
    await page.get_by_role("link", name="Use a backup code").click()
    await page.get_by_label("Backup code").fill(codes[3].lower().replace("-", " "))
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("9 left")).to_be_visible()
    await page.get_by_role("button", name="Make new ones").click()
    await expect(page.get_by_role("heading", name="Your new backup codes")).to_be_visible()


async def test_a_text_message_by_page(web: Stack, page: Page) -> None:
    person = await (await web.make_clinic()).person()
    await sign_in(page, web, person)
    await page.get_by_role("link", name="Set it up").click()
    await page.get_by_label("Mobile number").fill(PHONE)
    await page.get_by_role("button", name="Text me a code").click()
    await expect(page.get_by_text("We sent a six-digit code to")).to_be_visible()
    await page.get_by_label("Six digits").fill(web.notifier.code_to(PHONE))
    await put_codes_away(page)
    web.clock.set(web.clock.now().replace(minute=40))

    await sign_in(page, web, person)
    await page.get_by_role("button", name="Text me a code").click()
    await expect(page.get_by_text("We sent a six-digit code to")).to_be_visible()
    await page.get_by_label("Six digits").fill(web.notifier.code_to(PHONE))
    await expect(page.get_by_role("heading", name="Mina Okafor")).to_be_visible()


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
    await expect(page.locator("#password-wrong")).to_contain_text("too easy to guess")
    await box.fill(PASSWORD)
    await page.get_by_role("button", name="Save the password").click()
    await expect(page.get_by_role("status")).to_contain_text("password is saved")
    await page.goto(url)
    await expect(page.get_by_role("heading", name="This link is over")).to_be_visible()


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
    await put_codes_away(page)
    await expect(page).to_have_url(app)

    web.clock.advance(timedelta(minutes=1))
    await come_from(app)
    await page.get_by_label("Six digits").fill(person.code())
    await expect(page).to_have_url(app)
