"""Setting up a second factor by page: step by step, nothing typed is lost, nothing secret is in an address."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import httpx
import pyotp
import pytest
from playwright.async_api import Browser

from services.identity.pages.setting_up.authenticator_apps import APPS
from tests.identity.people import PHONE, Person, SomeClinic, Stack
from tests.identity.playing import Player, codes_in, location_of, words_of
from tests.identity.test_pages import browser, sign_in, web  # noqa: F401  fixtures

OTHER = "+447700900199"


@pytest.fixture
async def forced(clinic: SomeClinic) -> Player:
    """Somebody whose clinic requires it, without a number and without a factor."""
    await clinic.require_here()
    person = await clinic.person()
    await person.sign_in()
    return Player(person)


async def begin(player: Player) -> tuple[str, str, str]:
    """A set-up with an app: its page, what the page says, and the key."""
    path = location_of(await player.send_enrolling("/set-up/totp"))
    page = await player.text(path)
    (key,) = re.findall(r'id="key" data-text="([A-Z2-7]{32})"', page)
    return path, page, key


def marked_step(page: str) -> str:
    (step,) = re.findall(r'<li aria-current="step">([^<]+)<', page)
    return step


async def test_r06_a_forced_set_up_says_why_asks_for_the_number_first_and_lets_nobody_around(forced: Player) -> None:
    page = await forced.text("/set-up")
    assert words_of(page).index("Harbour Clinic has required a code at sign-in") < words_of(page).index(
        "First, your mobile number"
    )
    assert marked_step(page) == "Number"
    assert "Use an app" not in page
    assert 'href="/me"' not in page
    for path in ("/me", "/me/phone", "/me/password", "/me/details", "/clinic/security"):
        assert location_of(await forced.http.get(path)) == "/set-up"
    wrong = await forced.send_enrolling("/set-up/phone", phone="12 <3")
    assert wrong.status_code == 422
    assert 'value="12 &lt;3"' in wrong.text
    assert re.search(r'id="phone"[^>]* aria-describedby="phone-hint phone-wrong" aria-invalid="true"', wrong.text)
    assert location_of(await forced.send_enrolling("/set-up/phone", phone="07700 900123")) == "/set-up"
    page = await forced.text("/set-up")
    assert marked_step(page) == "Scan"
    assert "Use an app" in page


async def test_r01_the_key_is_a_picture_a_link_and_groups_of_four_and_in_no_address(person: Person) -> None:
    await person.sign_in()
    player = Player(person)
    path, page, key = await begin(player)
    assert key not in path
    assert " ".join(re.findall("....", key)) in page
    (uri,) = re.findall(r'href="(otpauth://totp/[^"]+)"', page)
    assert f"secret={key}&amp;" in uri
    assert person.email in unquote(uri)
    assert re.search(r'<svg [^>]*viewBox="0 0 \d+ \d+" role="img" aria-label="QR code to scan with your app"', page)
    assert marked_step(page) == "Scan"
    assert (await begin(player))[0::2] == (path, key), "the same after going back"
    stranger = await person.clinic.person()
    await stranger.sign_in()
    answer = await Player(stranger).http.get(path)
    assert location_of(answer) == "/me?done=set-up-over"
    assert location_of(await player.send_enrolling(path)) == f"{path}?done=stepped-up", "as after a fresh code"
    person.stack.clock.advance(timedelta(minutes=11))
    assert location_of(await player.http.get(path)) == "/me?done=set-up-over"


async def test_a_wrong_code_stays_in_the_box_and_the_key_the_same(forced: Player) -> None:
    await forced.send_enrolling("/set-up/phone", phone=PHONE)
    path, _, key = await begin(forced)
    forced.person.secret = key
    typed = forced.person.wrong_code()
    wrong = await forced.send_enrolling(path, code=f" {typed[:3]} {typed[3:]}")
    assert wrong.status_code == 422
    assert f'value=" {typed[:3]} {typed[3:]}"' in wrong.text
    assert key in wrong.text
    assert marked_step(wrong.text) == "Code"
    assert words_of(wrong.text).index("Type the code again") < words_of(wrong.text).index("Scan this with your app")
    right = await forced.send_enrolling(path, code=forced.person.code())
    assert len(codes_in(right.text)) == 10
    assert marked_step(right.text) == "Backup codes"
    assert key not in right.text
    assert location_of(await forced.http.get(path)) == "/me?done=set-up-over"


async def test_r09_a_phone_whose_clock_is_wrong_is_told_what_to_do_on_iphone_and_android(person: Person) -> None:
    await person.sign_in()
    player = Player(person)
    path, _, key = await begin(player)
    for _ in range(2):
        person.stack.clock.advance(timedelta(seconds=30))
        ahead = pyotp.TOTP(key).at(person.stack.clock.now() + timedelta(minutes=4))
        answer = await player.send_enrolling(path, code=ahead)
    assert "Your phone's clock is 4 minutes fast." in words_of(answer.text)
    assert "iPhone: Settings > General > Date & Time" in words_of(answer.text)
    assert "Android: Settings > System > Date & time" in words_of(answer.text)


async def test_r04_the_old_phone_works_until_the_new_one_is_confirmed(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    player = Player(person)
    assert "The old one works until the new one is confirmed" in await player.words("/set-up")
    assert "Change to a new phone or app" in await player.words("/set-up")
    path, page, key = await begin(player)
    assert "The old one then stops working" in words_of(page)
    assert "Backup codes" in page
    old = person.secret
    await person.sign_in()
    assert (await person.prove()).status_code == 200
    answer = await player.send_enrolling(path, code=pyotp.TOTP(key).at(person.stack.clock.now()))
    assert len(codes_in(answer.text)) == 10
    person.stack.clock.advance(timedelta(minutes=1))
    await person.sign_in()
    assert (await person.prove(pyotp.TOTP(old).at(person.stack.clock.now()))).status_code == 422
    assert (await person.prove(pyotp.TOTP(key).at(person.stack.clock.now()))).status_code == 200


async def test_r02_a_second_way_beside_the_first_leaves_the_backup_codes_alone(stack: Stack, person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    player = Player(person)
    path = location_of(await player.send_enrolling("/set-up/sms", phone=PHONE))
    assert "Backup codes" not in await player.text(path)
    answer = await player.send_enrolling(path, code=stack.notifier.code_to(PHONE))
    assert location_of(answer) == "/me?done=set-up"


async def test_a49_wherever_a_number_is_given_its_owner_reads_before_it_what_will_be_sent_there(forced: Player) -> None:
    """And that there is a stronger way, and what the risk is, where it is to become a way to sign in."""

    async def read_before(path: str) -> str:
        page = await forced.text(path)
        (section,) = [part for part in page.split("<section") if 'name="phone"' in part]
        return words_of("<section" + section.partition('name="phone"')[0])

    assert "to reach you if something happens to your account" in await read_before("/set-up")
    await forced.send_enrolling("/set-up/phone", phone=PHONE)
    said = await read_before("/set-up")
    assert "We text you a code each time." in said
    assert "An app is safer: a text can be read by someone who takes over your number." in said
    await forced.person.enrol_totp()
    enrolled = Player(forced.person)
    page = (await enrolled.text("/me/phone")).partition('name="phone"')[0]
    assert "We text this number when something happens to your account." in words_of(page)
    assert "It is used for sign-in codes only if you set that up." in words_of(page)


async def test_r20_a_code_by_text_says_how_it_goes_and_comes_again_without_typing_the_number(
    stack: Stack, person: Person
) -> None:
    await person.sign_in()
    player = Player(person)
    sent = await player.send_enrolling("/set-up/sms", phone="07700 900199")
    path = location_of(sent)
    cookie = next(line for line in sent.headers.get_list("set-cookie") if line.startswith("countersign-number="))
    assert "HttpOnly" in cookie
    assert "7700900199" not in str(sent.headers)
    page = await player.text(path)
    assert "We sent a six-digit code to +44 ••••99. It is on its way." in words_of(page)
    assert OTHER not in page
    assert f'data-live="{path}"' in page
    stack.notifier.statuses = dict.fromkeys(stack.notifier.statuses, "delivered")
    part = await player.http.get(path, headers={"X-Part": "1"})
    assert "<main" not in part.text
    assert "data-over" in part.text
    assert "It has arrived." in part.text
    early = await player.send_enrolling(f"{path}/again")
    assert early.status_code == 429
    assert "Type the code we sent you" in words_of(early.text)
    stack.clock.advance(timedelta(minutes=2))
    again = location_of(await player.send_enrolling(f"{path}/again"))
    assert again != path
    assert [message.to for message in stack.notifier.taken[-2:]] == [OTHER, OTHER]
    wrong = await player.send_enrolling(again, code="000001")
    assert (wrong.status_code, 'value="000001"' in wrong.text) == (422, True)
    right = await player.send_enrolling(again, code=stack.notifier.code_to(OTHER))
    assert len(codes_in(right.text)) == 10
    assert "countersign-number" not in player.http.cookies


async def test_a_kept_number_is_its_owners_alone_and_of_the_shown_code(stack: Stack, person: Person) -> None:
    stranger = await person.clinic.person()
    await person.sign_in()
    await stranger.sign_in()
    player, other = Player(person), Player(stranger)
    path = location_of(await player.send_enrolling("/set-up/sms", phone=PHONE))
    theirs = location_of(await other.send_enrolling("/set-up/sms", phone=OTHER))
    stack.clock.advance(timedelta(minutes=2))
    for taken in (other.http.cookies["countersign-number"], "x", "A" * 2000):
        player.http.cookies.delete("countersign-number")
        player.http.cookies.set("countersign-number", taken)
        answer = await player.send_enrolling(f"{path}/again")
        assert location_of(answer) == "/set-up"
    assert location_of(await player.http.get(theirs)) == "/me?done=set-up-over"
    player.http.cookies.delete("countersign-number")
    await player.send_enrolling("/set-up/sms", phone="07700 900188")  # in another tab
    assert location_of(await player.send_enrolling(f"{path}/again")) == "/set-up"
    assert [message.to for message in stack.notifier.taken] == [PHONE, OTHER, "+447700900188"]


async def test_texts_that_few_get_are_said_so_and_the_app_stands_first(stack: Stack, person: Person) -> None:
    stack.notifier.is_sms_degraded = True
    await person.sign_in()
    words = await Player(person).words("/set-up")
    assert "Text messages are having trouble at the moment." in words
    assert words.index("With an authenticator app") < words.index("By text message")


async def test_the_apps_are_named_with_publisher_price_and_store_and_a_picture_that_a_phone_reads(
    web: Stack,  # noqa: F811
    browser: Browser,  # noqa: F811
    tmp_path: Path,
) -> None:
    clinic = await web.make_clinic()
    person = await clinic.person()
    email = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.example"
    web.sql("UPDATE app_user SET email = %s, email_key = %s WHERE id = %s", [email, email, person.id])
    person.email = email
    context = await browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = await context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await sign_in(page, web, person)
    await page.goto(f"{web.settings.public_url}/set-up")
    for summary in await page.locator("details.apps summary").all():
        await summary.click()
    for app in APPS:
        assert await page.get_by_text(f"Publisher: {app.publisher}").count() == 2
    assert (await page.locator("main").inner_text()).count("\nFree\n") == 6
    await page.screenshot(path=tmp_path / "apps.png", full_page=True)
    read = set((await scanned(tmp_path / "apps.png")).split())
    assert read == {address for app in APPS for address in (app.app_store, app.google_play)}
    await page.get_by_role("button", name="Use an app").click()
    drawn = page.locator(".qr svg")
    a_module = await drawn.evaluate("svg => svg.getBoundingClientRect().width / (svg.viewBox.baseVal.width / 6)")
    assert a_module >= 4
    await page.screenshot(path=tmp_path / "key.png", full_page=True)
    key = (await page.locator(".key").inner_text()).replace(" ", "")
    assert f"secret={key}&" in await scanned(tmp_path / "key.png"), "read on dark, with a clinic's longest address"
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert all(url.startswith((f"{web.settings.public_url}/", "data:")) for url in asked)
    await context.close()


async def scanned(picture: Path) -> str:
    seen = await asyncio.create_subprocess_exec(
        *("zbarimg", "--quiet", "--raw", "--nodbus", str(picture)), stdout=asyncio.subprocess.PIPE
    )
    return (await seen.communicate())[0].decode()


async def test_a26_after_the_set_up_the_way_back_comes_after_the_tick(forced: Player) -> None:
    await forced.send_enrolling("/set-up/phone", phone=PHONE)
    await forced.http.get("/set-up?return_to=/healthz?from=the-app")
    path, _, key = await begin(forced)
    shown: httpx.Response = await forced.send_enrolling(path, code=pyotp.TOTP(key).at(forced.web.clock.now()))
    codes = codes_in(shown.text)
    held = {"codes": " ".join(codes), "why": "app"}
    not_ticked = await forced.send("/me/backup-codes/kept", **held)
    assert not_ticked.status_code == 422
    assert codes_in(not_ticked.text) == codes
    ticked = await forced.send("/me/backup-codes/kept", safe="yes", **held)
    assert location_of(ticked) == f"{forced.web.settings.public_origin}/healthz?from=the-app"
    ticked = await forced.send("/me/backup-codes/kept", safe="yes", **held)
    assert location_of(ticked) == "/me?done=codes-kept"
