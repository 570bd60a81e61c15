"""Tokens: rotated exactly once, told why they are dead, never more than ten (P14, P15, P24, A26-A28, A35, A66)."""

import asyncio
import random
from datetime import timedelta

import httpx
import pytest

from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

SECOND = timedelta(seconds=1)


def cause_of(response: httpx.Response) -> str:
    assert (response.status_code, slug_of(response)) == (401, "unauthenticated")
    return str(response.json().get("cause"))


async def test_p14_of_parallel_requests_with_one_code_exactly_one_gets_the_session(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    waiting, code = person.token, person.code()
    responses = await asyncio.gather(*(person.prove(code) for _ in range(20)))
    won = [response for response in responses if response.status_code == 200]
    assert len(won) == 1
    lost = [response for response in responses if response.status_code != 200]
    assert {cause_of(response) for response in lost} == {"replaced"}
    assert cause_of(await person.stack.call("GET", "/v1/session", token=waiting)) == "replaced"
    person.token = won[0].json()["token"]
    assert await person.state() == "active"
    assert person.stack.events(person.id).count("session.proven") == 2  # by the set-up, and here


async def test_p14_of_parallel_confirmations_exactly_one_gets_the_session(person: Person) -> None:
    await person.sign_in()
    started = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    person.secret = started["secret"]
    path, code = f"/v1/me/two-factor/totp/{started['enrolment_id']}/confirm", person.code()
    responses = await asyncio.gather(*(person.call("POST", path, {"code": code}) for _ in range(10)))
    won = [response for response in responses if response.status_code == 200]
    assert len(won) == 1
    assert person.stack.events(person.id).count("factor.enrolled") == 1
    person.token = won[0].json()["session"]["token"]
    assert await person.state() == "active"


async def test_p14_a35_every_rotation_kills_the_old_token_and_keeps_the_session(person: Person) -> None:
    dead: list[str] = []
    opened = await person.sign_in()
    dead.append(person.token)
    await person.enrol_totp()
    dead.append(person.token)
    stepped_up = (await person.prove()).json()
    assert stepped_up["id"] == opened["id"]
    person.token = stepped_up["token"]
    dead.append(person.token)
    body = {"current_password": PASSWORD, "new_password": "seven quiet lanterns drift"}
    changed = (await person.call("PUT", "/v1/me/password", body)).json()
    assert changed["id"] == opened["id"]
    person.token = changed["token"]
    assert await person.state() == "active"
    assert len({*dead, person.token}) == 4
    for token in dead:
        assert cause_of(await person.stack.call("GET", "/v1/me", token=token)) == "replaced"
        assert cause_of(await person.prove(token=token)) == "replaced"


async def test_a35_what_is_stored_of_a_session_holds_neither_token_nor_password(person: Person) -> None:
    await person.sign_in()
    dump = str(person.stack.sql("SELECT * FROM session WHERE user_id = %s", [person.id]))
    assert person.token not in dump
    assert PASSWORD not in dump


async def test_p15_idle_and_absolute_ends_by_the_second(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    stack.clock.advance(timedelta(minutes=30) - SECOND)
    assert (await person.call("GET", "/v1/me")).status_code == 200  # renews
    stack.clock.advance(timedelta(minutes=30) - SECOND)
    assert (await person.call("GET", "/v1/session")).status_code == 200  # does not renew
    stack.clock.advance(SECOND)
    assert cause_of(await person.call("GET", "/v1/me")) == "idle"
    await person.sign_in()
    for _ in range(28):
        stack.clock.advance(timedelta(minutes=25))
        assert (await person.call("GET", "/v1/me")).status_code == 200
    stack.clock.advance(timedelta(minutes=20) - SECOND)
    assert (await person.call("GET", "/v1/me")).status_code == 200
    stack.clock.advance(SECOND)
    assert cause_of(await person.call("GET", "/v1/me")) == "expired"


async def test_p15_waiting_sessions_end_by_the_second(person: Person) -> None:
    stack = person.stack
    await person.clinic.require_here(phone_required=False)
    await person.sign_in()
    stack.clock.advance(timedelta(minutes=30) - SECOND)
    assert await person.state() == "enrolment_required"
    stack.clock.advance(SECOND)
    assert cause_of(await person.call("GET", "/v1/session")) == "expired"
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    stack.clock.advance(timedelta(minutes=5) - SECOND)
    assert await person.state() == "second_factor_required"
    stack.clock.advance(SECOND)
    assert cause_of(await person.prove()) == "expired"


async def test_a66_the_eleventh_active_session_ends_the_oldest_and_waiting_ones_end_nobody(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    await person.enrol_totp()
    tokens = [person.token]
    for _ in range(9):
        await person.sign_in_in_full()
        tokens.append(person.token)
    for _ in range(5):
        await person.sign_in()
    assert {(await stack.call("GET", "/v1/session", token=token)).status_code for token in tokens} == {200}
    assert (await person.prove()).status_code == 200
    assert cause_of(await stack.call("GET", "/v1/session", token=tokens[0])) == "too_many"
    assert {(await stack.call("GET", "/v1/session", token=token)).status_code for token in tokens[1:]} == {200}


async def test_a66_parallel_sign_ins_leave_ten(clinic: SomeClinic) -> None:
    for _ in range(4):
        person = await clinic.person()
        await asyncio.gather(*(person.try_sign_in() for _ in range(14)))
        rows = clinic.stack.sql("SELECT end_cause FROM session WHERE user_id = %s", [person.id])
        assert len(rows) == 14
        assert [row["end_cause"] for row in rows].count(None) == 10


@pytest.mark.parametrize("extra", ["aal", "amr", "user_id", "mfa_required", "state", "acr"])
async def test_a28_a_body_that_says_who_it_is_is_refused(person: Person, extra: str) -> None:
    refused = await person.try_sign_in(**{extra: "aal2"})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert refused.json()["errors"] == [{"field": extra, "message": "There is no such field."}]
    await person.sign_in()
    body = {"method": "totp", "code": "123456", extra: "aal2"}
    proving = await person.call("POST", "/v1/session/second-factor", body)
    assert (proving.status_code, slug_of(proving)) == (422, "invalid-request")


async def test_a26_a27_the_state_is_the_servers_whatever_the_client_believes(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    for headers in ({"X-Countersign-Acr": "aal2"}, {"X-Countersign-User": person.id}, {"Cookie": "state=active"}):
        refused = await person.call("GET", "/v1/me", **headers)
        assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    assert await person.state() == "second_factor_required"


async def test_p24_a_changed_token_is_nobodys(person: Person) -> None:
    await person.sign_in()
    chosen = random.Random(24)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    async with person.stack.client() as client:
        for _ in range(300):
            place = chosen.randrange(len(person.token))
            letter = chosen.choice(alphabet.replace(person.token[place], ""))
            token = person.token[:place] + letter + person.token[place + 1 :]
            response = await client.get("/v1/session", headers={"Authorization": f"Bearer {token}"})
            assert response.status_code == 401
            assert "cause" not in response.json()
    assert await person.state() == "active"


async def test_a25_no_other_scheme_signs_anybody_in(person: Person) -> None:
    await person.sign_in()
    for value in (f"Basic {person.token}", person.token, "Bearer", "Bearer  ", f"Token {person.token}"):
        response = await person.stack.call("GET", "/v1/me", Authorization=value)
        assert response.status_code == 401
    by_query = await person.stack.call("GET", f"/v1/me?access_token={person.token}")
    assert by_query.status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one(person: Person) -> None:
    first = await person.sign_in()
    other = person.token
    person.stack.clock.advance(SECOND)
    second = await person.sign_in()
    listed = (await person.call("GET", "/v1/me/sessions")).json()["sessions"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert [one["current"] for one in listed] == [True, False]
    assert listed[0]["address"] == "192.0.2.7"
    assert (await person.call("DELETE", f"/v1/me/sessions/{first['id']}")).status_code == 204
    assert cause_of(await person.stack.call("GET", "/v1/session", token=other)) == "ended"
    again = await person.call("DELETE", f"/v1/me/sessions/{first['id']}")
    assert (again.status_code, slug_of(again)) == (404, "not-found")


async def test_a65_another_persons_session_cannot_be_ended(stack: Stack, person: Person) -> None:
    await person.sign_in()
    stranger = await person.clinic.person("admin")
    theirs = await stranger.sign_in()
    refused = await person.call("DELETE", f"/v1/me/sessions/{theirs['id']}")
    assert (refused.status_code, slug_of(refused)) == (404, "not-found")
    assert await stranger.state() == "active"


async def test_signing_out_is_at_once_and_told(person: Person) -> None:
    await person.sign_in()
    assert (await person.call("DELETE", "/v1/session")).status_code == 204
    assert cause_of(await person.call("GET", "/v1/session")) == "ended"
    assert person.stack.events(person.id)[-1] == "session.ended"


async def test_a48_a_disabled_user_has_no_session_at_the_next_request(person: Person) -> None:
    await person.sign_in()
    person.stack.sql("UPDATE app_user SET disabled_at = %s WHERE id = %s", [person.stack.clock.now(), person.id])
    assert cause_of(await person.call("GET", "/v1/me")) == "ended"


async def test_ended_sessions_are_forgotten_in_the_end(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    await stack.gateway.session_store.purge(stack.clock.now())
    assert await person.state() == "active"
    await stack.gateway.session_store.purge(stack.clock.now() + timedelta(days=1))
    assert cause_of(await person.call("GET", "/v1/session")) == "None"


async def test_f08_p18_what_cannot_be_put_on_record_does_not_happen(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    before = stack.sql("SELECT * FROM session WHERE user_id = %s ORDER BY id", [person.id])
    stack.sql(f"ALTER TABLE audit_event ADD CONSTRAINT full_disk CHECK (clinic_id <> '{person.clinic.id}') NOT VALID")
    try:
        for response in (await person.prove(), await person.try_sign_in()):
            assert (response.status_code, slug_of(response)) == (500, "internal-error")
    finally:
        stack.sql("ALTER TABLE audit_event DROP CONSTRAINT full_disk")
    assert stack.sql("SELECT * FROM session WHERE user_id = %s ORDER BY id", [person.id]) == before
    assert await person.state() == "second_factor_required"
    assert (await person.prove()).status_code == 200  # the same code, under the same login, finishes (A73)


async def test_what_goes_together_is_done_together_or_not_at_all(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    await person.enrol_totp()
    for _ in range(9):
        await person.sign_in_in_full()
    await person.sign_in()
    before = stack.sql("SELECT * FROM session WHERE user_id = %s ORDER BY id", [person.id])
    stack.sql("ALTER TABLE session ADD CONSTRAINT nobody_ends CHECK (end_cause <> 'too_many') NOT VALID")
    try:
        # The last statement fails, the end of the oldest session; the rotation before it must not stay.
        assert (await person.prove()).status_code == 500
    finally:
        stack.sql("ALTER TABLE session DROP CONSTRAINT nobody_ends")
    assert stack.sql("SELECT * FROM session WHERE user_id = %s ORDER BY id", [person.id]) == before
    assert (await person.prove()).status_code == 200


async def test_a_row_that_stays_locked_is_unavailable_and_changes_nothing(person: Person) -> None:
    stack = person.stack
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    with stack.postgres.connect(stack.database_name) as holder:
        holder.autocommit = False
        holder.execute("SELECT 1 FROM app_user WHERE id = %s FOR UPDATE", [person.id])
        for response in (await person.prove(), await person.try_sign_in()):
            assert (response.status_code, slug_of(response)) == (503, "unavailable")
        holder.rollback()
    assert (await person.prove()).json()["state"] == "active"
