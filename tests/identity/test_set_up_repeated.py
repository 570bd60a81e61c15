"""Set-ups begun again: what was lost on its way is the same once more, and no second text is sent for it (P16)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.identity.people import PHONE, Person
from tests.identity.playing import Player, location_of

SET_UP = "/v1/me/two-factor/sms"


async def begun(person: Person, **body: Any) -> Any:
    started = await person.call("POST", SET_UP, body or None)
    assert started.status_code == 202, started.text
    return started.json()


async def test_p16_by_text_the_same_again_within_the_pause_and_a_new_text_after_it(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    first = await begun(person, phone="07700 900123")
    stack.clock.advance(timedelta(seconds=10))
    assert await begun(person, phone=PHONE) == {**first, "resend_after": first["resend_after"] - 10}
    assert len(stack.notifier.taken) == 1
    stack.clock.advance(timedelta(seconds=21))
    later = await begun(person, phone=PHONE)
    assert (later["enrolment_id"] != first["enrolment_id"], len(stack.notifier.taken)) == (True, 2)
    code = {"code": stack.notifier.code_to(PHONE)}
    assert (await person.call("POST", f"{SET_UP}/{first['enrolment_id']}/confirm", code)).status_code == 410
    assert (await person.call("POST", f"{SET_UP}/{later['enrolment_id']}/confirm", code)).status_code == 200


async def test_p16_within_the_pause_another_number_is_told_to_wait(person: Person) -> None:
    await person.sign_in()
    await begun(person, phone=PHONE)
    other = await person.call("POST", SET_UP, {"phone": "+447700900199"})
    assert (other.status_code, other.json()["retry_after"]) == (429, 30)
    assert len(person.stack.notifier.taken) == 1


@pytest.mark.parametrize("page", ["/set-up/sms", "/me/phone"])
async def test_p16_a_double_click_leads_to_the_one_set_up_and_who_asks_for_another_text_is_told_when(
    person: Person, page: str
) -> None:
    await person.sign_in()
    player, taken = Player(person), person.stack.notifier.taken
    send = player.send_enrolling if page == "/set-up/sms" else player.send
    path = location_of(await send(page, phone=PHONE))
    assert location_of(await send(page, phone=PHONE)) == path
    early = await send(f"{path}/again")
    assert (early.status_code, "Please wait 30 seconds before you ask for another code." in early.text) == (429, True)
    assert len(taken) == 1
    person.stack.clock.advance(timedelta(seconds=31))
    again = location_of(await send(f"{path}/again"))
    assert (again != path, [message.to for message in taken]) == (True, [PHONE, PHONE])
