"""What machines ask: is it alive, is it ready and if not what is away, and Twilio's callbacks."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.identity.people import Stack, slug_of


async def test_the_gateway_says_that_it_lives_and_is_ready(stack: Stack) -> None:
    assert (await stack.call("GET", "/healthz")).json() == {"status": "ok"}
    ready = await stack.call("GET", "/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert ready.json()["checks"] == dict.fromkeys(("database", "keyring", "otp", "policy", "redis", "notifier"), "ok")


@pytest.mark.parametrize("name", ["otp", "policy"])
async def test_what_is_needed_and_away_is_named(stack: Stack, name: str) -> None:
    stop: dict[str, Callable[[], Awaitable[None]]] = {"otp": stack.stop_otp, "policy": stack.stop_policy}
    await stop[name]()
    answer = await stack.call("GET", "/readyz")
    assert (answer.status_code, slug_of(answer)) == (503, "unavailable")
    assert answer.json()["not_ready"] == [name]
    assert name in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await stack.call("GET", "/healthz")).status_code == 200, "alive all the same"


async def test_a_database_that_is_away_is_named(stack: Stack) -> None:
    broken = await stack.another_app(database_url=stack.settings.database_url.replace("user=identity", "user=nobody"))
    answer = await broken.call("GET", "/readyz")
    assert (answer.status_code, answer.json()["not_ready"]) == (503, ["database", "keyring"])


@pytest.mark.parametrize(
    "content", [None, "{}", '{"active": 2, "keys": {"2": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}']
)
async def test_f16_without_the_right_keyring_it_is_not_ready_and_names_it(
    stack: Stack, tmp_path: Path, content: str | None
) -> None:
    keyring = tmp_path / "another.json"
    if content is not None:
        keyring.write_text(content)
    lame = await stack.another_app(keyring_file=keyring)
    answer = await lame.call("GET", "/readyz")
    assert (answer.status_code, answer.json()["not_ready"]) == (503, ["keyring"])
    keyring.write_bytes(stack.settings.keyring_file.read_bytes())
    assert (await lame.call("GET", "/readyz")).status_code == 200


async def test_limits_and_texts_away_are_told_and_keep_nobody_from_being_ready(stack: Stack) -> None:
    lame = await stack.another_app(redis_url="redis://127.0.0.1:1", notifier_target="127.0.0.1:1")
    answer = await lame.call("GET", "/readyz")
    assert answer.status_code == 200
    assert {name for name, found in answer.json()["checks"].items() if found == "away"} == {"redis", "notifier"}


async def test_a52_a_callback_is_handed_on_whole_and_refused_where_the_notifier_refuses(stack: Stack) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+447700900123"}
    async with stack.client() as client:
        taken = await client.post(
            "/v1/webhooks/twilio/status?delivery=dlv_1&a=%C3%BC", data=form, headers={"X-Twilio-Signature": "good"}
        )
        assert (taken.status_code, taken.content) == (204, b"")
        assert stack.notifier.callbacks == [(form, "good", "delivery=dlv_1&a=%C3%BC")]
        for headers in ({}, {"X-Twilio-Signature": "forged"}):
            refused = await client.post("/v1/webhooks/twilio/status?delivery=dlv_1", data=form, headers=headers)
            assert (refused.status_code, slug_of(refused)) == (403, "forbidden")
        wrong = await client.post("/v1/webhooks/twilio/status", json=form)
        assert (wrong.status_code, slug_of(wrong)) == (415, "unsupported-media-type")
        assert (await client.get("/v1/webhooks/twilio/status")).status_code == 405
