"""Texts and their price, from the gateway's side: which numbers may get one, the clinic's terms that go with it, what
is said where the day's are spent, and where they do not arrive."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import ClinicId
from tests.identity.people import PHONE, Person, SomeClinic, Stack, slug_of
from tests.identity.told import enrol_sms, told

_A_MINUTE = timedelta(minutes=1)


def terms_of(request: Any) -> tuple[int | None, list[str]]:
    return request.clinic_daily_cap if request.HasField("clinic_daily_cap") else None, list(request.countries)


@pytest.mark.parametrize(
    ("phone", "why"),
    [
        ("+449012345678", "premium-rate"),
        ("+448451234567", "premium-rate"),
        ("+49180123456", "shared-cost"),
        ("+448001111111", "toll-free"),
        ("+18005551234", "toll-free"),
        ("+447624123456", ""),  # the Isle of Man: of another country, and no kind that is refused
        ("+447600123456", "pager"),
        ("+447012345678", "price of its own"),
        ("+445512345678", "switchboard"),
        ("+881612345678", "no country"),
        ("+870773111111", "no country"),
        ("+80012345678", "no country"),
    ],
)
async def test_a50_numbers_at_a_price_are_refused_wherever_one_is_given(person: Person, phone: str, why: str) -> None:
    await person.sign_in()
    for method, path in (("POST", "/v1/me/two-factor/sms"), ("POST", "/v1/me/phone"), ("PATCH", "/v1/me")):
        answer = await person.call(method, path, {"phone": phone})
        if why:
            assert (answer.status_code, slug_of(answer)) == (422, "invalid-request"), path
            assert why in answer.json()["errors"][0]["message"]
        elif method == "POST":
            assert (answer.status_code, slug_of(answer)) == (409, "conflict")
    assert person.stack.notifier.taken == []


async def test_r22_the_clinics_terms_go_with_every_text(stack: Stack, clinic: SomeClinic) -> None:
    await clinic.require(require_two_factor=False, sms_countries=("GB", "IE"), sms_daily_cap=7)
    person = await clinic.person()
    await person.sign_in()
    await enrol_sms(person, PHONE)
    await person.sign_in()
    assert (await person.call("POST", "/v1/session/second-factor/sms")).status_code == 202
    assert [terms_of(message) for message in stack.notifier.taken] == [(7, ["GB", "IE"])] * 2
    proven = await person.prove(stack.notifier.code_to(PHONE), "sms")
    person.token = proven.json()["token"]
    assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 201
    texts = [notice for notice in await told(stack, person) if notice.phone]
    assert texts
    assert [terms_of(notice) for notice in texts] == [(7, ["GB", "IE"])] * len(texts)


async def test_a50_a_number_of_another_country_is_refused_at_once(stack: Stack, clinic: SomeClinic) -> None:
    french = "+33639981234"
    person = await clinic.person(phone=french)
    await person.sign_in()
    for path, body in (
        ("/v1/me/two-factor/sms", {"phone": french}),
        ("/v1/me/two-factor/sms", None),  # the number on file
        ("/v1/me/phone", {"phone": french}),
    ):
        answer = await person.call("POST", path, body)
        assert (answer.status_code, slug_of(answer)) == (409, "conflict")
        assert "this country" in answer.json()["detail"]
    assert stack.notifier.taken == []
    await clinic.require_here(require_two_factor=False, sms_countries=("GB", "FR"))
    assert (await person.call("POST", "/v1/me/phone", {"phone": french})).status_code == 202


@pytest.mark.parametrize(
    ("refusal", "status", "slug"),
    [
        (
            ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, "All is spent today.", retry_after=3600, locked=False),
            429,
            "too-many-attempts",
        ),
        (ServiceError(ErrorCode.CONFLICT, "Not to this country."), 409, "conflict"),
    ],
)
async def test_r22_what_the_notifier_refuses_is_said_in_its_words(
    stack: Stack, person: Person, refusal: ServiceError, status: int, slug: str
) -> None:
    await person.sign_in()
    await enrol_sms(person, PHONE)
    await person.sign_in()
    stack.notifier.refuses = refusal
    answer = await person.call("POST", "/v1/session/second-factor/sms")
    assert (answer.status_code, slug_of(answer), answer.json()["detail"]) == (status, slug, refusal.detail)
    if status == 429:
        assert (answer.json()["retry_after"], answer.headers["retry-after"]) == (3600, "3600")
    page = await stack.call("GET", "/code?method=sms", Cookie=f"{stack.gateway.cookies.name}={person.token}")
    assert page.status_code == 200


async def test_p10_with_policy_away_a_code_for_a_factor_goes_out_by_the_last_known_terms(
    stack: Stack, clinic: SomeClinic
) -> None:
    await clinic.require(require_two_factor=False, sms_daily_cap=9)
    people = [await clinic.person() for _ in range(2)]
    for number, person in enumerate(people):
        await person.sign_in()
        await enrol_sms(person, f"+44770090012{number}")
        await person.sign_in()
    newcomer = await clinic.person()
    await newcomer.sign_in()
    other_replica = await stack.another_app()
    await stack.stop_policy()
    stack.clock.advance(_A_MINUTE)
    sent = len(stack.notifier.taken)
    first = await people[0].call("POST", "/v1/session/second-factor/sms")
    assert first.status_code == 202, first.text
    second = await other_replica.call("POST", "/v1/session/second-factor/sms", token=people[1].token)
    assert second.status_code == 202, second.text
    assert [terms_of(message) for message in stack.notifier.taken[sent:]] == [(9, ["GB"]), (None, [])]
    terms = other_replica.gateway.standings.sms_terms
    with pytest.raises(ServiceError, match="unavailable"):
        await terms.for_number(ClinicId(clinic.id), PHONE)


async def test_r20_texts_that_do_not_arrive_are_listed_last_and_named_until_they_do(
    stack: Stack, person: Person
) -> None:
    await person.sign_in()
    await enrol_sms(person, PHONE)
    body = await person.sign_in()
    assert (body["methods"], body.get("degraded")) == (["sms", "backup_code"], None)
    stack.notifier.is_sms_degraded = True
    stack.clock.advance(_A_MINUTE)
    body = await person.sign_in()
    assert (body["methods"], body["degraded"]) == (["backup_code", "sms"], ["sms"])
    shown = (await person.call("GET", "/v1/session")).json()
    assert (shown["methods"], shown["degraded"]) == (["backup_code", "sms"], ["sms"])
    refused = await person.call("GET", "/v1/me/notices")
    assert slug_of(refused) == "second-factor-required"
    assert (refused.json()["methods"], refused.json()["degraded"]) == (["backup_code", "sms"], ["sms"])
    async with stack.client(cookie=f"{stack.gateway.cookies.name}={person.token}") as browser:
        page = (await browser.get("/code")).text
        assert "Type one of the ten codes" in page
        assert "may not arrive at the moment" in page
        assert "Text messages are having trouble at the moment" in (await browser.get("/code?method=sms")).text
    assert (await person.call("POST", "/v1/session/second-factor/sms")).status_code == 202, "it is tried all the same"
    stack.notifier.is_sms_degraded = False
    stack.clock.advance(_A_MINUTE)
    shown = (await person.call("GET", "/v1/session")).json()
    assert (shown["methods"], shown.get("degraded")) == (["sms", "backup_code"], None)


async def test_r20_trouble_with_texts_is_heard_of_within_five_seconds_and_asked_for_no_more_often(
    stack: Stack, person: Person
) -> None:
    await person.sign_in()
    await enrol_sms(person, PHONE)
    stack.clock.advance(_A_MINUTE)
    await person.sign_in()
    before = stack.notifier.times_asked
    heard = []
    for seconds in range(31):
        stack.notifier.is_sms_degraded = seconds < 15
        shown = (await person.call("GET", "/v1/session")).json()
        heard.append(shown.get("degraded") == ["sms"])
        stack.clock.advance(timedelta(seconds=1))
    assert heard == [5 <= seconds < 15 for seconds in range(31)]
    assert stack.notifier.times_asked - before == 6, "once in five seconds, however many ask"


async def test_r20_who_must_set_up_a_factor_is_told_as_well(stack: Stack, clinic: SomeClinic) -> None:
    await clinic.require(phone_required=False)
    stack.notifier.is_sms_degraded = True
    person = await clinic.person()
    body = await person.sign_in()
    assert (body["state"], body["enrolment"]["methods"], body["degraded"]) == (
        "enrolment_required",
        ["totp", "sms"],
        ["sms"],
    )
    refused = await person.call("GET", "/v1/me/notices")
    assert (slug_of(refused), refused.json()["degraded"]) == ("enrolment-required", ["sms"])


async def test_a55_a_proven_number_counts_until_another_is_on_file(
    stack: Stack, clinic: SomeClinic, admin: Person, identity_databases: dict[str, tuple[str, str]]
) -> None:
    def proofs() -> int:
        name = str(psycopg.conninfo.conninfo_to_dict(identity_databases["otp"][0])["dbname"])
        with stack.postgres.connect(name) as connection:
            return len(connection.execute("SELECT FROM number_mark WHERE kind = 'proof'").fetchall())

    people = [await clinic.person() for _ in range(4)]
    for person in people[:3]:
        await person.sign_in()
        assert (await person.call("POST", "/v1/me/phone", {"phone": PHONE})).status_code == 202
        code = stack.notifier.code_to(PHONE)
        assert (await person.call("POST", "/v1/me/phone/confirm", {"code": code})).status_code == 204
    await people[3].sign_in()
    refused = await people[3].call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert "as many accounts" in refused.json()["detail"]
    assert proofs() == 3
    assert (await people[0].call("PATCH", "/v1/me", {"name": "Mina"})).status_code == 200
    assert (await people[0].call("PATCH", "/v1/me", {"phone": PHONE})).status_code == 200
    assert proofs() == 3
    assert (await people[0].call("PATCH", "/v1/me", {"phone": "+447700900124"})).status_code == 200
    assert proofs() == 2
    changed = await admin.call("PATCH", f"/v1/users/{people[1].id}", {"phone": "+447700900125"})
    assert changed.status_code == 200, changed.text
    assert proofs() == 1
    stack.clock.advance(_A_MINUTE)
    assert (await people[3].call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})).status_code == 202
