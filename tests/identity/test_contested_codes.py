"""One code in two hands, as its victim and their administrator meet it (A20)."""

from tests.identity.people import Person, slug_of


async def test_a20_whoever_comes_too_late_with_a_code_is_told_it_was_used_and_the_trail_says_by_whom(
    person: Person, admin: Person
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    code = person.code()
    phisher = person.token
    victim = await person.sign_in()
    assert (await person.prove(code, token=phisher)).status_code == 200
    refused = await person.prove(code)
    assert (refused.status_code, slug_of(refused)) == (422, "code-already-used")
    trail = await admin.call("GET", f"/v1/audit-events?user={person.id}&kind=code.contested")
    [event] = trail.json()["events"]
    assert event["detail"]["session_id"] == victim["id"]
    assert len(event["detail"]["accepted_session_ids"]) == 1
    assert event["detail"]["accepted_session_ids"] != [victim["id"]]
