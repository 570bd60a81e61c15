"""Codes by text message: through otp, notifier, Celery and the worker into Twilio's stand-in, and back."""

import time
from typing import Any

from tests.end_to_end.client import Client, new_number, ok, problem
from tests.end_to_end.clinics import Clinic, code_in


def delivered(client: Client, path: str = "/v1/session/second-factor/sms", seconds: float = 15.0) -> dict[str, Any]:
    """The challenge once its delivery has ended well."""
    ends_at = time.monotonic() + seconds
    while (answer := ok(client.get(path)))["delivery"]["status"] not in ("delivered", "failed"):
        assert time.monotonic() < ends_at, answer
        time.sleep(0.1)
    return dict(answer)


def test_a_number_becomes_a_factor_by_a_code_sent_to_it(shared: Clinic) -> None:
    person, client = shared.member()
    person.phone = new_number()
    enrolment = ok(client.post("/v1/me/two-factor/sms", {"phone": person.phone}), 202)
    assert person.phone[-2:] in enrolment["phone_hint"]
    assert person.phone not in str(enrolment)
    assert isinstance(enrolment["resend_after"], int)
    text = shared.stack.text(person.phone)
    path = f"/v1/me/two-factor/sms/{enrolment['enrolment_id']}/confirm"
    wrong = "000000" if code_in(text) != "000000" else "000001"
    problem(client.post(path, {"code": wrong}), 422, "invalid-code", attempts_left=4)
    answer = ok(client.post(path, {"code": code_in(text)}))
    assert [factor["method"] for factor in answer["two_factor"]["factors"]] == ["sms"]
    assert len(answer["backup_codes"]) == 10
    assert sorted(answer["session"]["amr"]) == ["mfa", "pwd", "sms"]
    client.token = answer["session"]["token"]
    me = ok(client.get("/v1/me"))
    assert (me["phone"], me["phone_proven"]) == (person.phone, True)


def test_a56_the_text_names_the_product_and_holds_no_link(shared: Clinic) -> None:
    _, client = shared.member()
    number = new_number()
    ok(client.post("/v1/me/two-factor/sms", {"phone": number}), 202)
    text = shared.stack.text(number)
    assert "Countersign" in text
    assert "http" not in text
    assert len(text) <= 160, "one message part"


def test_a_sign_in_code_is_delivered_shown_and_accepted_once(clinic: Clinic) -> None:
    """One person, one number: the set-up's text, then after the 30 seconds of the limit the sign-in's."""
    person, _ = clinic.enrolled_by_sms()
    client = clinic.client()
    waiting = client.sign_in(person)
    assert waiting["state"] == "second_factor_required"
    assert waiting["methods"][0] == "sms" or "sms" in waiting["methods"]
    problem(client.get("/v1/session/second-factor/sms"), 404, "not-found")
    early = client.post("/v1/session/second-factor/sms")
    if early.status_code == 429:
        time.sleep(problem(early, 429, "too-many-attempts")["retry_after"] + 0.2)
        early = client.post("/v1/session/second-factor/sms")
    challenge = ok(early, 202)
    assert challenge["delivery"]["status"] in ("queued", "sending", "sent", "delivered")
    assert 0 <= challenge["resend_after"] <= 30
    assert person.phone not in str(challenge)

    again = client.post("/v1/session/second-factor/sms")
    assert 0 < problem(again, 429, "too-many-attempts")["retry_after"] <= 30
    assert delivered(client)["delivery"]["status"] == "delivered"

    code = clinic.texted(person.phone, 1)
    # A29: another session of the same person has its own challenge, and this is not it.
    elsewhere = clinic.client()
    elsewhere.sign_in(person)
    assert elsewhere.factor("sms", code).status_code in (409, 422)
    # A54: the enrolment's code is dead.
    active = ok(client.factor("sms", code))
    assert sorted(active["amr"]) == ["mfa", "pwd", "sms"]
    client.token = active["token"]
    assert client.factor("sms", code).status_code in (409, 422), "a code works once"
    assert client.state() == "active"


def test_a_number_that_is_no_number_is_refused(shared: Clinic) -> None:
    _, client = shared.member()
    for phone in ("", "123", "call me", None, ["+12025550123"], "+1900555012", "+88213000000", "+12025550123;x"):
        problem(client.post("/v1/me/two-factor/sms", {"phone": phone}), 422, "invalid-request")
    problem(client.post("/v1/me/two-factor/sms", {}), 422, "invalid-request")


def test_a51_texts_to_one_person_are_limited(shared: Clinic) -> None:
    _, client = shared.member()
    ok(client.post("/v1/me/two-factor/sms", {"phone": new_number()}), 202)
    refused = client.post("/v1/me/two-factor/sms", {"phone": new_number()})
    assert 0 < problem(refused, 429, "too-many-attempts")["retry_after"] <= 30


def test_proving_a_number_makes_no_factor_of_it(shared: Clinic) -> None:
    _, client = shared.member()
    number = new_number()
    ok(client.post("/v1/me/phone", {"phone": number}), 202)
    ok(client.post("/v1/me/phone/confirm", {"code": shared.texted(number)}), 204)
    me = ok(client.get("/v1/me"))
    assert (me["phone"], me["phone_proven"]) == (number, True)
    assert ok(client.get("/v1/me/two-factor"))["factors"] == []


def test_an_unconfirmed_number_is_no_factor(shared: Clinic) -> None:
    person, client = shared.member()
    ok(client.post("/v1/me/two-factor/sms", {"phone": new_number()}), 202)
    assert ok(client.get("/v1/me/two-factor"))["enabled"] is False
    assert client.sign_in(person)["state"] == "active"
