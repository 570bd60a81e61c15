"""Two sessions of one user that set up a factor at once: after one is in, the other has to prove it (A31)."""

import asyncio
from typing import Any

import pytest

from services.identity.model import UserId
from services.identity.peers.otp import OtpPeer
from services.otp import backup_codes
from tests.identity.people import PHONE, Person, SomeClinic, slug_of
from tests.identity.test_lost_replies import confirming

ROUNDS = 6


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def _factors(person: Person) -> int:
    return len((await person.stack.gateway.otp.factors_of(UserId(person.id))).factors)


async def test_a31_of_two_sessions_that_confirm_at_once_one_gets_its_factor_in(clinic: SomeClinic) -> None:
    for number in range(ROUNDS):
        person = await clinic.person()
        thief = Person(clinic, person.id, person.email)
        await person.sign_in()
        await thief.sign_in()
        path, own = await confirming(person)
        phone = f"{PHONE[:-2]}{60 + number}"
        started = await thief.call("POST", "/v1/me/two-factor/sms", {"phone": phone})
        assert started.status_code == 202, started.text
        other = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
        code = {"code": person.stack.notifier.code_to(phone)}
        both = [person.call("POST", path, own), thief.call("POST", other, code)]
        if number % 2:
            both.reverse()
        answers = await asyncio.gather(*both)
        assert sorted(answer.status_code for answer in answers)[0] == 200, [answer.text for answer in answers]
        assert sorted(answer.status_code for answer in answers)[1] in (403, 410)
        assert await _factors(person) == 1


async def test_a31_a_confirmation_that_was_on_its_way_when_the_owners_came_finds_its_set_up_over(
    clinic: SomeClinic, person: Person
) -> None:
    thief = Person(clinic, person.id, person.email)
    await person.sign_in()
    await thief.sign_in()
    started = await thief.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})
    path, own = await confirming(person)
    really, answers = OtpPeer.confirm, []

    async def overtaken(*given: Any, **more: Any) -> Any:
        patched.undo()
        answers.append(await person.call("POST", path, own))
        return await really(*given, **more)

    patched = pytest.MonkeyPatch()
    patched.setattr(OtpPeer, "confirm", overtaken)
    other = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
    refused = await thief.call("POST", other, {"code": person.stack.notifier.code_to(PHONE)})
    assert [answer.status_code for answer in answers] == [200]
    assert (refused.status_code, slug_of(refused)) == (410, "gone"), refused.text
    assert await _factors(person) == 1
    assert await thief.state() == "second_factor_required"
