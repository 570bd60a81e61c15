"""The stand-in says what Twilio would, as far as Twilio's own OpenAPI description tells; and what our worker sends is
what that description takes."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from deploy.embedded import free_port
from deploy.twilio_messages import sign
from tests.notifier.conftest import ACCOUNT_SID, AUTH_TOKEN, ROOT, Client, Standin, eventually, start

DESCRIPTION = ROOT / "tests" / "data" / "twilio-messages.openapi.json"
MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
MESSAGE = "/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json"


@pytest.fixture(scope="module")
def twilio() -> Any:
    return schemathesis.openapi.from_path(str(DESCRIPTION))


def request_schema() -> jsonschema_rs.Draft4Validator:
    """Of the form that creates a message. Unknown fields are refused here, which the description leaves open."""
    spec = json.loads(DESCRIPTION.read_text())
    media = spec["paths"][MESSAGES]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return jsonschema_rs.Draft4Validator(
        {**media["schema"], "additionalProperties": False, "components": spec["components"]}
    )


def post(standin: Standin, auth: tuple[str, str] = (ACCOUNT_SID, AUTH_TOKEN), sid: str = "", **form: str) -> Any:
    given = {"To": "+447700900999", "From": "+15005550006", "Body": "Hello"} | form
    return httpx.post(
        standin.url + MESSAGES.format(AccountSid=sid or ACCOUNT_SID),
        data={name: value for name, value in given.items() if value},
        auth=auth,
    )


def fetch(standin: Standin, sid: str) -> httpx.Response:
    path = MESSAGE.format(AccountSid=ACCOUNT_SID, Sid=sid)
    return httpx.get(standin.url + path, auth=(ACCOUNT_SID, AUTH_TOKEN))


@pytest.mark.parametrize("service", ["", f"MG{'0c' * 16}"])
def test_a_created_message_is_as_twilio_describes_it(standin: Standin, twilio: Any, number: str, service: str) -> None:
    sender = {"MessagingServiceSid": service, "From": ""} if service else {}
    created = post(standin, To=number, ValidityPeriod="300", **sender)
    assert created.status_code == 201
    twilio[MESSAGES]["POST"].validate_response(created)
    message = created.json()
    assert set(message) == set(
        json.loads(DESCRIPTION.read_text())["components"]["schemas"]["api.v2010.account.message"]["properties"]
    )
    assert message["status"] == ("accepted" if service else "queued")
    eventually(lambda: fetch(standin, message["sid"]).json()["status"] == "delivered")
    fetched = fetch(standin, message["sid"])
    twilio[MESSAGE]["GET"].validate_response(fetched)
    assert fetched.json()["date_sent"]


def test_what_our_worker_sends_is_what_twilio_takes(otp: Client, standin: Standin, number: str) -> None:
    taken = otp.submit(number)
    eventually(lambda: otp.status(taken.delivery_id) == "delivered")
    form: dict[str, Any] = standin.calls(number)[0]["form"]
    typed = form | {"ValidityPeriod": int(form["ValidityPeriod"])}
    request_schema().validate(typed)
    assert set(form) == {"To", "From", "Body", "StatusCallback", "ValidityPeriod"}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "0770"}, 21211),
        ({"From": ""}, 21603),
        ({"From": " 15005550006"}, 21212),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"StatusCallback": "not a url"}, 21609),
        ({"ValidityPeriod": "36001"}, 20001),
    ],
)
def test_what_twilio_would_refuse_is_refused_as_twilio_says_it(
    standin: Standin, changed: dict[str, str], code: int
) -> None:
    refused = post(standin, **changed)
    assert refused.status_code == 400
    assert refused.json().keys() == {"code", "message", "more_info", "status"}
    assert (refused.json()["code"], refused.json()["status"]) == (code, 400)


def test_strangers_are_refused(standin: Standin) -> None:
    for answer in (
        post(standin, auth=(ACCOUNT_SID, "wrong")),
        post(standin, auth=("AC" + "0" * 32, AUTH_TOKEN)),
        httpx.post(standin.url + MESSAGES.format(AccountSid=ACCOUNT_SID)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)
    assert post(standin, sid="AC" + "0" * 32).status_code == 404
    assert fetch(standin, "SM" + "0" * 32).json()["code"] == 20404


def test_faults_hit_the_number_they_are_meant_for_as_often_as_they_are_told(standin: Standin, number: str) -> None:
    standin.fail("429", number, count=2, retry_after=7)
    answers = [post(standin, To=number) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()["code"] == 20429
    standin.fail("500", number)
    assert post(standin).status_code == 201
    httpx.delete(f"{standin.url}/faults").raise_for_status()
    assert post(standin, To=number).status_code == 201
    assert httpx.post(f"{standin.url}/faults", json={"kind": "mischief"}).status_code == 422


def test_the_inbox_shows_the_newest_first_and_takes_a_bare_plus(standin: Standin, number: str) -> None:
    for body in ("first", "second"):
        post(standin, To=number, Body=body)
    listed = httpx.get(f"{standin.url}/inbox?to={number}").json()
    assert [message["body"] for message in listed] == ["second", "first"]
    assert set(listed[0]) == {"sid", "to", "body", "status", "created_at"}
    assert re.fullmatch(r"SM[0-9a-f]{32}", listed[0]["sid"])


def test_callbacks_are_signed_as_twilio_documents_it() -> None:
    """The worked example of Twilio's page on webhook security."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    assert sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_what_it_was_asked_and_what_it_took_outlives_a_kill(tmp_path: Path, number: str) -> None:
    """With a journal; and a message that was on its way goes on."""
    listening, journal = f"--listen=127.0.0.1:{free_port()}", f"--journal={tmp_path / 'journal.jsonl'}"
    account = {"STANDIN_ACCOUNT_SID": ACCOUNT_SID, "STANDIN_AUTH_TOKEN": AUTH_TOKEN}
    first = start(["deploy.twilio_standin", journal, "--step-seconds=600", listening], account, tmp_path)
    standin = Standin(json.loads(eventually(first.said))["listening"], first)
    standin.fail("21610", number)
    assert post(standin, To=number).status_code == 400
    taken = post(standin, To=number).json()
    calls = standin.calls(number)
    first.kill()
    with (tmp_path / "journal.jsonl").open("a") as unfinished:
        unfinished.write('{"message": {"account_')
    standin.child = start(["deploy.twilio_standin", journal, "--step-seconds=0", listening], account, tmp_path)
    eventually(standin.child.said)
    assert standin.calls(number) == calls
    assert [call["answered"] for call in calls] == [201, 400]
    eventually(lambda: fetch(standin, taken["sid"]).json()["status"] == "delivered")
    [message] = standin.inbox(number)
    assert (message["sid"], message["body"]) == (taken["sid"], "Hello")
    assert post(standin, To=number).status_code == 201
    assert len(standin.inbox(number)) == 2
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600
    standin.child.stop()
