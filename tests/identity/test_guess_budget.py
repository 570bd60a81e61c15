"""The guess budget from sign-in to the audit trail: who hears that it is spent, what it stops, and what opens it."""

from datetime import timedelta

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
