"""Pages for whoever was let in once without a code: the set-up, and the phone that is found again."""

import pytest

from tests.identity.people import Person, SomeClinic
from tests.identity.playing import words_of
from tests.identity.test_bypass import administrator, enrolled, granted
from tests.identity.test_forms import Visitor

FOUND = "I have my phone after all"


@pytest.fixture
async def let_in(clinic: SomeClinic) -> Person:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await granted(admin, person)
    return person


async def test_a_phone_found_again_is_offered_beside_the_set_up_and_opens_everything(let_in: Person) -> None:
    visitor = Visitor(let_in.stack)
    assert (await visitor.sign_in(let_in)).headers["location"] == "/set-up"
    assert FOUND in words_of((await visitor.http.get("/set-up")).text)
    page = await visitor.http.get("/code")
    assert page.status_code == 200
    words = words_of(page.text)
    assert "Open your authenticator app" in words
    assert "Use a backup code" in words
    assert "set up two-factor authentication now" not in words, "who is here does something else"
    assert "Back to the set-up" in words
    form = {"csrf": await visitor.token_in("/code"), "method": "totp"}
    wrong = await visitor.http.post("/code", data={**form, "code": let_in.wrong_code()})
    assert wrong.status_code == 422
    assert (await visitor.http.get("/me")).headers["location"] == "/set-up"
    proven = await visitor.http.post("/code", data={**form, "code": let_in.code()})
    assert proven.headers["location"] == "/me"
    assert "Authenticator app" in words_of((await visitor.http.get("/me")).text)
    assert (await visitor.http.get("/code")).status_code == 200, "for a step-up, as ever"


async def test_suspended_factors_are_offered_to_nobody(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await granted(admin, person, suspend_factors=True)
    visitor = Visitor(person.stack)
    assert (await visitor.sign_in(person)).headers["location"] == "/set-up"
    assert FOUND not in words_of((await visitor.http.get("/set-up")).text)
    assert (await visitor.http.get("/code")).headers["location"] == "/set-up"
    sent = {"csrf": await visitor.token_in("/set-up"), "method": "totp", "code": person.code()}
    assert (await visitor.http.post("/code", data=sent)).headers["location"] == "/set-up"
    assert (await visitor.http.get("/me")).headers["location"] == "/set-up"


async def test_who_has_nothing_to_prove_is_led_to_the_set_up(clinic: SomeClinic) -> None:
    await clinic.require_here()
    visitor = Visitor(clinic.stack)
    await visitor.sign_in(await clinic.person())
    assert FOUND not in words_of((await visitor.http.get("/set-up")).text)
    assert (await visitor.http.get("/code")).headers["location"] == "/set-up"
