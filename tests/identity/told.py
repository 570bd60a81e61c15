"""What people were told: in the app, and through the notifier, by a teller that runs when a test says so."""

import re
from datetime import timedelta
from typing import Any

import httpx
from countersign.notifier.v1 import notifier_pb2

from services.identity.telling import Teller
from tests.identity.people import PASSWORD, Json, Person, Stack

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.1 Mobile/15E148 Safari/604.1"
)


def teller_of(stack: Stack, sweep_seconds: float = 3.0) -> Teller:
    gateway = stack.gateway
    terms = gateway.standings.sms_terms
    return Teller(gateway.notice_store, gateway.phone_numbers, gateway.notifier, terms, stack.clock, sweep_seconds)


async def shown(person: Person) -> list[Json]:
    response = await person.call("GET", "/v1/me/notices")
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["notices"]
    return found


async def kinds(person: Person) -> list[str]:
    """Of what the person is shown, oldest first."""
    return [notice["kind"] for notice in reversed(await shown(person))]


async def told(stack: Stack, person: Person) -> list[notifier_pb2.NotifyRequest]:
    """What the notifier has taken for the person, in the order it happened, after telling all that is due: side by
    side, so not in that order."""
    teller = teller_of(stack)
    while await teller.tell():
        pass
    order = {row["id"]: number for number, row in enumerate(rows(person))}
    taken = [notice for notice in stack.notifier.told if notice.user_id == person.id]
    return sorted(taken, key=lambda notice: order[notice.request_key])


async def texts(stack: Stack, person: Person) -> list[tuple[str, str]]:
    """Kinds and numbers of the texts."""
    prefix = "NOTICE_KIND_"
    return [
        (notifier_pb2.NoticeKind.Name(notice.kind).removeprefix(prefix).lower(), notice.phone)
        for notice in await told(stack, person)
        if notice.phone
    ]


def prove_number(person: Person) -> None:
    """As if the number on file had been proven."""
    person.stack.sql("UPDATE app_user SET phone_proven = true WHERE id = %s", [person.id])


async def step_up(person: Person) -> None:
    person.stack.clock.advance(timedelta(minutes=1))
    response = await person.prove()
    assert response.status_code == 200, response.text
    person.token = response.json()["token"]


async def enrol_sms(person: Person, phone: str) -> Json:
    started = await person.call("POST", "/v1/me/two-factor/sms", {"phone": phone})
    assert started.status_code == 202, started.text
    path = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
    confirmed = await person.call("POST", path, {"code": person.stack.notifier.code_to(phone)})
    assert confirmed.status_code == 200, confirmed.text
    body: Json = confirmed.json()
    person.token = body["session"]["token"]
    return body


def rows(person: Person) -> list[dict[str, Any]]:
    return person.stack.sql("SELECT * FROM notice WHERE user_id = %s ORDER BY at, seq", [person.id])


async def sign_in_by_pages(client: httpx.AsyncClient, person: Person) -> None:
    """Password and code, in a browser without JavaScript."""
    person.stack.clock.advance(timedelta(minutes=1))
    path = f"/c/{person.clinic.slug}"
    await post_form(client, path, path, {"email": person.email, "password": PASSWORD})
    await post_form(client, "/code", "/code", {"method": "totp", "code": person.code()})


async def post_form(client: httpx.AsyncClient, form: str, path: str, fields: dict[str, str]) -> None:
    page = (await client.get(form)).text
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page
    posted = await client.post(path, data={**fields, "csrf": found.group(1)})
    assert posted.status_code == 303, posted.text
