"""The guess budget from sign-in to the audit trail: who hears that it is spent, what it stops, and what opens it."""

from datetime import timedelta
from typing import Any

import pytest

from tests.identity.people import Person, SomeClinic, slug_of

NEW_PASSWORD = "copper lantern orchard slate"


@pytest.fixture
async def guessed(clinic: SomeClinic) -> Person:
    """Someone with a factor whose password a thief has: the session that waits is the thief's."""
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    return person


async def spend(person: Person) -> None:
    for _ in range(5):
        wrong = await person.prove(person.wrong_code())
        assert (wrong.status_code, slug_of(wrong)) == (422, "invalid-code")


async def test_a08_while_it_is_spent_every_login_is_refused_none_is_ended_and_one_that_waited_is_over(
    guessed: Person,
) -> None:
    thief = guessed.token
    await spend(guessed)
    await guessed.sign_in()
    for token in (thief, guessed.token):
        for code, method in ((guessed.code(), "totp"), (guessed.backup_codes[0], "backup_code")):
            refused = await guessed.prove(code, method, token)
            assert (refused.status_code, slug_of(refused)) == (429, "too-many-attempts")
            assert "someone knows your password" in refused.json()["detail"]
    assert await guessed.state() == "second_factor_required"
    guessed.stack.clock.advance(timedelta(minutes=5))
    assert (await guessed.prove()).status_code == 401
    await guessed.sign_in()
    assert (await guessed.prove()).status_code == 429
    guessed.stack.clock.advance(timedelta(minutes=4, seconds=59))
    assert (await guessed.prove()).status_code == 429
    guessed.stack.clock.advance(timedelta(minutes=5, seconds=1))
    await guessed.sign_in()
    assert (await guessed.prove()).status_code == 200, "time opens it"


async def test_a_spent_budget_is_told_to_the_user_in_the_app_and_to_administrators_in_the_trail(
    guessed: Person, admin: Person
) -> None:
    await spend(guessed)
    trail = await admin.call("GET", f"/v1/audit-events?user={guessed.id}&kind=code.wrong")
    assert trail.status_code == 200, trail.text
    events = trail.json()["events"]
    assert len(events) == 5
    assert [event["detail"].get("budget_spent", False) for event in events] == [True, *[False] * 4]
    assert [event["detail"]["attempts_left"] for event in events] == [0, 1, 2, 3, 4]
    assert {event["address"] for event in events} == {"192.0.2.7"}
    guessed.stack.clock.advance(timedelta(minutes=15))
    await guessed.sign_in_in_full()
    notices = (await guessed.call("GET", "/v1/me/notices")).json()["notices"]
    [told] = [notice for notice in notices if notice["kind"] == "guesses_spent"]
    assert "someone knows your password" in told["sentence"]


async def of_staff(administrator: Person) -> list[dict[str, Any]]:
    response = await administrator.call("GET", "/v1/me/notices")
    assert response.status_code == 200, response.text
    return [notice for notice in response.json()["notices"] if notice["kind"] == "staff_guesses_spent"]


async def test_a_spent_budget_is_shown_to_the_clinics_administrators_once_and_names_the_person(
    guessed: Person, admin: Person
) -> None:
    stack = guessed.stack
    stack.sql("UPDATE app_user SET name = 'Olu Adeyemi' WHERE id = %s", [guessed.id])
    second, left = await guessed.clinic.person("admin"), await guessed.clinic.person("admin")
    stranger = await (await stack.make_clinic()).person("admin")
    stack.sql("UPDATE app_user SET disabled_at = %s WHERE id = %s", [stack.clock.now(), left.id])
    await spend(guessed)
    for _ in range(3):
        assert (await guessed.prove(guessed.wrong_code())).status_code == 429
    [notice] = await of_staff(admin)
    assert notice["sentence"] == (
        "Too many wrong codes were typed for the account of Olu Adeyemi on 16 November at 09:32 (Europe/London), from"
        " 192.0.2.7, a browser we do not know. If that was not Olu Adeyemi, somebody has their password: reset it."
    )
    assert notice["detail"] == {"user_id": guessed.id, "address": "192.0.2.7"}
    await second.sign_in()
    await stranger.sign_in()
    assert (len(await of_staff(second)), await of_staff(stranger)) == (1, [])
    found = stack.sql(
        "SELECT user_id, is_sent FROM notice WHERE kind = 'staff_guesses_spent' AND clinic_id = %s ORDER BY seq",
        [guessed.clinic.id],
    )
    assert {row["user_id"] for row in found} == {admin.id, second.id}
    assert [row["is_sent"] for row in found] == [False, False], "in the app alone"
    stack.clock.advance(timedelta(minutes=16))
    await guessed.sign_in()
    await spend(guessed)
    await admin.sign_in_in_full()
    assert len(await of_staff(admin)) == 2, "another budget"


async def test_a_reply_that_is_given_again_and_a_guess_freed_by_the_minute_tell_nobody_again(
    guessed: Person, admin: Person
) -> None:
    stack, key = guessed.stack, {"Idempotency-Key": "a" * 22}
    body = {"method": "totp", "code": guessed.wrong_code()}
    for _ in range(4):
        assert (await guessed.prove(guessed.wrong_code())).status_code == 422
        stack.clock.advance(timedelta(seconds=50))
    for _ in range(2):
        spent = await guessed.call("POST", "/v1/session/second-factor", body, **key)
        assert spent.json().get("attempts_left") == 0, spent.text
    stack.clock.advance(timedelta(minutes=12))  # the first of the five is out of the count
    await guessed.sign_in()
    assert (await guessed.prove(guessed.wrong_code())).json()["attempts_left"] == 0
    for kind in ("staff_guesses_spent", "guesses_spent"):
        told = stack.sql("SELECT 1 FROM notice WHERE kind = %s AND clinic_id = %s", [kind, guessed.clinic.id])
        assert len(told) == 1


async def test_an_administrators_own_spent_budget_is_told_to_the_others(clinic: SomeClinic, admin: Person) -> None:
    other = await clinic.person("admin")
    await admin.sign_in()
    await spend(admin)
    found = admin.stack.sql(
        "SELECT user_id FROM notice WHERE kind = 'staff_guesses_spent' AND clinic_id = %s", [clinic.id]
    )
    assert found == [{"user_id": other.id}]


async def test_a_lock_outlasts_waiting_and_ends_with_the_use_of_a_reset_that_an_administrator_made(
    guessed: Person, admin: Person
) -> None:
    clock = guessed.stack.clock
    for _ in range(10):
        await guessed.sign_in()
        await spend(guessed)
        clock.advance(timedelta(hours=7))
    clock.advance(timedelta(days=60))
    await guessed.sign_in()
    refused = await guessed.prove()
    assert (refused.status_code, refused.json()["locked"]) == (429, True)
    assert "ask your administrator" in refused.json()["detail"]

    await admin.sign_in_in_full()
    made = await admin.call("POST", f"/v1/users/{guessed.id}/password-reset")
    assert made.status_code == 201, made.text
    await guessed.sign_in()
    assert (await guessed.prove()).status_code == 429, "the offer alone opens nothing"
    used = await guessed.stack.call(
        "POST", f"/v1/activations/{made.json()['activation']['token']}", {"password": NEW_PASSWORD}
    )
    assert used.status_code == 204, used.text
    await guessed.sign_in(password=NEW_PASSWORD)
    assert (await guessed.prove()).status_code == 200
    trail = await admin.call("GET", f"/v1/audit-events?user={guessed.id}&kind=guess_budget.reset")
    [event] = trail.json()["events"]
    assert (event["detail"]["cause"], event["detail"]["wrong_guesses"]) == ("password_reset", 50)
    assert event["detail"]["locked_at"] is not None
