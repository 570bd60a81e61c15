"""The pages at sign-in, for whoever is not through yet: what is typed wrong, what is lost, and how a text fares."""

import html
import re
from datetime import timedelta

import httpx
import pyotp
import pytest

from services.identity.policy_words import ScheduleChange
from tests.identity.people import PHONE, Person, SomeClinic
from tests.identity.test_forms import Visitor

OWN_PART = {"X-Part": "1"}


def plain(answer: httpx.Response) -> str:
    """The words of a page."""
    main = answer.text.partition("<main")[2].partition("</main>")[0] or answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


@pytest.fixture
async def enrolled(person: Person) -> Person:
    await person.sign_in()
    await person.enrol_totp()
    return person


@pytest.fixture
async def texted(person: Person) -> Person:
    """Somebody with codes by text message, whose number may be texted again."""
    stack = person.stack
    await person.sign_in()
    started = await person.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})
    assert started.status_code == 202, started.text
    path = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
    confirmed = await person.call("POST", path, {"code": stack.notifier.code_to(PHONE)})
    person.backup_codes = confirmed.json()["backup_codes"]
    stack.clock.advance(timedelta(minutes=15))
    return person


async def test_a57_before_the_password_nobody_learns_of_a_clinic_or_its_people(clinic: SomeClinic) -> None:
    await clinic.person("admin")
    visitor = Visitor(clinic.stack)
    known = await visitor.http.get(f"/c/{clinic.slug}/forgotten")
    assert plain(known) == plain(await visitor.http.get("/c/no-such-clinic/forgotten"))
    assert "Ask an administrator of your clinic" in plain(known)
    assert "Mina Okafor" not in known.text
    assert f'href="/c/{clinic.slug}/forgotten"' in (await visitor.http.get(f"/c/{clinic.slug}")).text
    for path in ("/code/forgotten", "/code/lost"):
        assert (await visitor.http.get(path)).headers["location"] == "/"


async def test_after_the_password_the_administrators_are_named_and_no_more_than_named(
    enrolled: Person, clinic: SomeClinic
) -> None:
    admins = [await clinic.person("admin", phone=PHONE), await clinic.person("admin"), await clinic.person("admin")]
    for admin, name in zip(admins, ("Ada <b>Admin", "Zoe Admin", "Left Admin"), strict=True):
        clinic.stack.sql("UPDATE app_user SET name = %s WHERE id = %s", [name, admin.id])
    clinic.stack.sql("UPDATE app_user SET disabled_at = created_at WHERE id = %s", [admins[2].id])
    elsewhere = await clinic.stack.make_clinic()
    await elsewhere.person("admin")
    visitor = Visitor(clinic.stack)
    await visitor.sign_in(enrolled)
    for path in ("/code/lost", "/code/forgotten"):
        shown = await visitor.http.get(path)
        assert shown.status_code == 200
        assert "Administrators of Harbour Clinic: Ada <b>Admin Zoe Admin" in plain(shown)
        assert "Ada &lt;b&gt;Admin" in shown.text
        for hidden in ("Left Admin", "Mina Okafor", admins[0].email, PHONE[-4:]):
            assert hidden not in shown.text
    code = (await visitor.http.get("/code")).text
    assert 'href="/code/lost"' in code
    assert 'href="/code/forgotten"' in code


async def test_the_only_administrator_is_told_to_ask_whoever_runs_it(clinic: SomeClinic) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    await admin.enrol_totp()
    visitor = Visitor(clinic.stack)
    await visitor.sign_in(admin)
    assert "You are the only administrator of Harbour Clinic" in plain(await visitor.http.get("/code/lost"))


async def test_whoever_lost_the_phone_is_offered_what_they_have_the_quickest_first(texted: Person) -> None:
    visitor = Visitor(texted.stack)
    await visitor.sign_in(texted)
    words = plain(await visitor.http.get("/code/lost"))
    ways = ("Use a backup code", "Get a text message", "They can let you in once")
    assert sorted(ways, key=words.index) == list(ways)


async def test_what_was_typed_stays_in_the_box_and_few_tries_are_counted(enrolled: Person) -> None:
    visitor = Visitor(enrolled.stack)
    await visitor.sign_in(enrolled)
    form = {"csrf": await visitor.token_in("/code"), "method": "totp"}
    typed = f"{enrolled.wrong_code()[:3]} {enrolled.wrong_code()[3:]}"
    answers = [await visitor.http.post("/code", data={**form, "code": typed}) for _ in range(6)]
    for answer in answers:
        assert f'name="code" type="text" value="{typed}"' in answer.text
        assert 'autocomplete="one-time-code"' in answer.text
        assert 'inputmode="numeric"' in answer.text
    assert [answer.status_code for answer in answers] == [422] * 5 + [429]
    assert "left for now" not in plain(answers[0])
    assert "3 tries left for now." in plain(answers[1])
    assert "1 try left for now." in plain(answers[3])
    assert "Try again in" in plain(answers[5])
    assert int(answers[5].headers["retry-after"]) > 60
    malformed = await visitor.http.post("/code", data={**form, "code": "12 34 x"})
    assert 'value="12 34 x"' in malformed.text
    assert "A code has six digits, 0 to 9." in plain(malformed)


async def test_r18_the_page_says_why_it_asks(enrolled: Person, clinic: SomeClinic) -> None:
    await clinic.require()
    visitor = Visitor(clinic.stack)
    await visitor.sign_in(enrolled)
    assert (
        "Why you are asked: Harbour Clinic has required a code at sign-in since 16 November, and you have set up"
        in plain(await visitor.http.get("/code"))
    )


@pytest.mark.parametrize(("skew", "words"), [(240, "4 minutes fast"), (-3570, "1 hour slow")])
async def test_r9_a_wrong_clock_is_shown_with_the_steps_for_each_phone(enrolled: Person, skew: int, words: str) -> None:
    visitor = Visitor(enrolled.stack)
    await visitor.sign_in(enrolled)
    for _ in range(2):
        enrolled.stack.clock.advance(timedelta(seconds=30))
        form = {"csrf": await visitor.token_in("/code"), "method": "totp"}
        shown = pyotp.TOTP(enrolled.secret).at(enrolled.stack.clock.now() + timedelta(seconds=skew))
        answer = await visitor.http.post("/code", data={**form, "code": shown})
    assert f"Your phone's clock is {words}." in plain(answer)
    assert plain(answer).count(words) == 1
    steps = re.findall(r"<li><strong>(\w+):</strong> ([^<]+)</li>", answer.text)
    assert [name for name, _ in steps] == ["iPhone", "Android"]
    assert html.unescape(steps[0][1]) == "Settings > General > Date & Time > Set Automatically"


async def test_r20_the_page_follows_the_text_until_nothing_changes_any_more(texted: Person) -> None:
    stack, visitor = texted.stack, Visitor(texted.stack)
    await visitor.sign_in(texted)
    assert "We can text a code" in plain(await visitor.http.get("/code?method=sms"))
    sent = await visitor.http.post("/code/text", data={"csrf": await visitor.token_in("/code")})
    assert sent.headers["location"] == "/code?method=sms"
    shown = await visitor.http.get("/code?method=sms")
    assert "We sent a six-digit code to +44 ••••" in plain(shown)
    assert 'data-live="/code/text" data-every="3"' in shown.text
    assert "It is on its way." in plain(shown)
    wait = re.search(r'data-wait="(\d+)"', shown.text)
    assert wait
    assert 0 < int(wait[1]) <= 60
    without_scripts = shown.text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert f"Another text can be sent in {wait[1]} seconds." in without_scripts
    assert 'href="/code?method=sms"' in without_scripts
    (delivery,) = [found for found in stack.notifier.statuses if stack.notifier.statuses[found] == "queued"][-1:]
    for status, words, is_over in (
        ("sent", "Your mobile network has it", False),
        ("delivered", "It has arrived.", True),
        ("failed", "It could not be delivered.", True),
    ):
        stack.notifier.statuses[delivery] = status
        part = await visitor.http.get("/code/text", headers=OWN_PART)
        assert "<html" not in part.text
        assert words in plain(part)
        assert ("data-over" in part.text) is is_over
    assert (await visitor.http.get("/code/text")).headers["location"] == "/code?method=sms"
    early = await visitor.http.post("/code/text", data={"csrf": await visitor.token_in("/code")})
    assert early.status_code == 429
    assert re.search(r"Please wait \d+ seconds before you ask for another code\. [^T]", plain(early)), "said once"
    assert "We sent a six-digit code to" in plain(early), "the code that was sent can still be typed"


async def test_a51_after_the_last_text_of_a_sign_in_none_is_offered_any_more(texted: Person) -> None:
    stack, visitor = texted.stack, Visitor(texted.stack)
    stack.clock.advance(timedelta(hours=1))
    await visitor.sign_in(texted)
    for _ in range(3):
        csrf = await visitor.token_in("/code")
        assert (await visitor.http.post("/code/text", data={"csrf": csrf})).status_code == 303
        stack.clock.advance(timedelta(seconds=31))
    shown = await visitor.http.get("/code?method=sms")
    assert "No more texts are sent for now." in plain(shown)
    assert "data-wait" not in shown.text
    assert "Text me a new code" not in shown.text
    fourth = await visitor.http.post("/code/text", data={"csrf": csrf})
    assert fourth.status_code == 429
    assert "No more codes are sent in this sign-in. Sign in again, or use another way." in plain(fourth)


async def test_whoever_only_waits_for_a_text_keeps_no_session_alive(texted: Person) -> None:
    stack, visitor = texted.stack, Visitor(texted.stack)
    await visitor.sign_in(texted)
    await visitor.http.post("/code/text", data={"csrf": await visitor.token_in("/code")})
    form = {"csrf": await visitor.token_in("/code"), "method": "sms", "code": stack.notifier.code_to(PHONE)}
    assert (await visitor.http.post("/code", data=form)).status_code == 303
    for _ in range(8):
        stack.clock.advance(timedelta(minutes=4))
        answer = await visitor.http.get("/code/text", headers=OWN_PART)
    assert answer.headers["location"] == f"/c/{texted.clinic.slug}?done=idle"


async def test_texts_that_hardly_arrive_are_said_to(texted: Person) -> None:
    texted.stack.notifier.is_sms_degraded = True
    again = await texted.stack.another_app()
    visitor = Visitor(again)
    await visitor.sign_in(texted)
    assert "(may not arrive at the moment)" in plain(await visitor.http.get("/code?method=backup_code"))
    assert "Text messages are having trouble at the moment." in plain(await visitor.http.get("/code?method=sms"))


async def test_r5_at_a_shared_computer_one_click_hands_over(clinic: SomeClinic) -> None:
    one, two = await clinic.person(), await clinic.person()
    visitor = Visitor(clinic.stack)
    await visitor.sign_in(one)
    assert "Change user" not in (await visitor.http.get("/me")).text
    marker = clinic.stack.gateway.cookies.shared_marker(one.clinic.id)  # type: ignore[arg-type]
    visitor.http.cookies.set(marker["key"], marker["value"])
    shown = await visitor.http.get("/me")
    assert "Change user" in shown.text
    token = re.search(r'name="csrf" value="([^"]+)"', shown.text)
    assert token
    left = await visitor.http.post("/sign-out", data={"csrf": token[1]})
    page = await visitor.http.get(left.headers["location"])
    assert "This is a shared computer" in plain(page)
    assert one.email not in page.text
    assert (await visitor.sign_in(two)).headers["location"] == "/me"
    assert two.email in (await visitor.http.get("/me")).text


async def test_r17_who_will_be_stopped_is_told_before_going_back_to_the_app(clinic: SomeClinic) -> None:
    stack, person = clinic.stack, await clinic.person()
    begins = stack.clock.now() + timedelta(days=2)
    await clinic.require(require_two_factor=None, schedule=ScheduleChange(begins))
    visitor = Visitor(stack)
    back = f"{stack.settings.public_origin}/healthz?from=the-app"
    await visitor.http.get(f"/c/{clinic.slug}", params={"return_to": back})
    told = await visitor.sign_in(person)
    assert told.headers["location"] == "/announced"
    page = await visitor.http.get("/announced")
    assert "Harbour Clinic will require a code at sign-in from 18 November, 09:30 (Europe/London)" in plain(page)
    assert f'href="{html.escape(back)}"' in page.text
    assert (await visitor.sign_in(person)).headers["location"] == "/me", "which says it itself"


async def test_a_link_asks_for_a_password_that_will_do_and_says_what_is_wrong_beside_it(admin: Person) -> None:
    body = {"email": "nia@harbour.example", "name": "Nia Adeyemi", "role": "receptionist"}
    made = (await admin.call("POST", "/v1/users", body)).json()["activation"]
    visitor, path = Visitor(admin.stack), f"/activate/{made['token']}"
    shown = await visitor.http.get(path)
    assert "You will sign in as <strong>nia@harbour.example</strong>." in shown.text
    assert "At least 12 characters." in plain(shown)
    form = {"csrf": await visitor.token_in(path)}
    for password, said in (("short", "Use at least 12 characters."), ("password1234", "too easy to guess")):
        answer = await visitor.http.post(path, data={**form, "password": password})
        assert answer.status_code == 422
        beside = re.search(r'<p class="wrong-here" id="password-wrong">([^<]+)</p>', answer.text)
        assert beside
        assert said in beside[1]
        assert password not in answer.text
