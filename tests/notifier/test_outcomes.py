"""What becomes of a delivery for each way in which the provider can answer, or not answer: the table of outcomes, row
by row, through the processes as they run. Provider calls time out after three seconds here."""

import time

import pytest

from deploy.embedded import free_port
from tests.notifier.conftest import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    Client,
    MakeNotifier,
    Notifier,
    Standin,
    eventually,
    start,
)


def history(running: Notifier, delivery_id: str) -> list[str]:
    """The states a delivery went through, as its audit events tell."""
    rows = running.rows("SELECT kind FROM audit_event WHERE detail->>'delivery_id' = %s ORDER BY seq", delivery_id)
    return [row["kind"].removeprefix("delivery.") for row in rows]


def ends_as(otp: Client, delivery_id: str, status: str) -> None:
    eventually(lambda: otp.status(delivery_id) == status)


def test_f09_429_waits_as_asked_and_then_sends_once(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    standin.fail("429", number, retry_after=2)
    started = time.monotonic()
    taken = otp.submit(number)
    eventually(lambda: running.row(taken.delivery_id)["reason"] == "rate_limited")
    assert otp.get(taken.delivery_id).status == "queued"
    assert otp.get(taken.delivery_id).detail.startswith("This is taking longer")
    ends_as(otp, taken.delivery_id, "delivered")
    assert time.monotonic() - started >= 2
    assert [call["answered"] for call in standin.calls(number)] == [201, 429]
    assert len(standin.inbox(number)) == 1
    assert history(running, taken.delivery_id) == ["queued", "sending", "queued", "sending", "sent", "delivered"]


def test_401_keeps_the_message_queued_and_raises_the_alarm(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    standin.fail("401", number)
    taken = otp.submit(number)
    eventually(lambda: running.row(taken.delivery_id)["reason"] == "locked_out")
    row = running.row(taken.delivery_id)
    assert row["state"] == "queued"
    assert row["sealed"] is not None
    assert (row["next_at"] - row["updated_at"]).total_seconds() >= 30
    assert eventually(lambda: "provider_locked_us_out" in running.children["worker"].said())
    assert len(standin.calls(number)) == 1


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("21610", "opted_out", "opted out"),
        ("21211", "bad_number", "does not seem to exist"),
        ("21614", "not_mobile", "cannot receive text messages"),
        ("21408", "country_not_served", "this country"),
        ("30999", "provider", "could not be sent"),
    ],
)
def test_a_refusal_ends_as_failed_and_says_why(
    running: Notifier, otp: Client, standin: Standin, number: str, code: str, reason: str, detail: str
) -> None:
    standin.fail(code, number)
    taken = otp.submit(number)
    ends_as(otp, taken.delivery_id, "failed")
    row = running.row(taken.delivery_id)
    assert (row["reason"], row["provider_code"], row["sealed"]) == (reason, int(code), None)
    assert detail in otp.get(taken.delivery_id).detail
    assert len(standin.calls(number)) == 1


@pytest.mark.parametrize(
    ("kind", "reason"), [("500", "provider_failed"), ("hang", "no_answer"), ("garbage", "not_understood")]
)
def test_f10_where_the_answer_is_lost_it_is_unknown_and_never_sent_again_by_itself(
    running: Notifier, otp: Client, standin: Standin, number: str, kind: str, reason: str
) -> None:
    standin.fail(kind, number, seconds=9)
    taken = otp.submit(number)
    ends_as(otp, taken.delivery_id, "unknown")
    row = running.row(taken.delivery_id)
    assert (row["reason"], row["sealed"]) == (reason, None)
    assert otp.get(taken.delivery_id).detail
    assert history(running, taken.delivery_id) == ["queued", "sending", "unknown"]
    # Whoever asks anew gets a new message; the old one stays alone.
    again = otp.submit(number)
    ends_as(otp, again.delivery_id, "delivered")
    assert len(standin.calls(number)) == 2
    assert len(standin.inbox(number)) == 1
    assert otp.status(taken.delivery_id) == "unknown"


def test_f10_dropped_after_accepting_is_unknown_until_the_callback_resolves_it(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    standin.fail("drop_after_accept", number)
    taken = otp.submit(number)
    ends_as(otp, taken.delivery_id, "delivered")
    assert history(running, taken.delivery_id) == ["queued", "sending", "unknown", "sent", "delivered"]
    assert len(standin.calls(number)) == len(standin.inbox(number)) == 1
    assert running.row(taken.delivery_id)["provider_sid"] == standin.inbox(number)[0]["sid"]


def test_a_callback_that_overtakes_the_answer_wins(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    standin.fail("slow", number, seconds=0.7)
    taken = otp.submit(number)
    ends_as(otp, taken.delivery_id, "delivered")
    worker = running.children["worker"]
    eventually(lambda: f'"{taken.delivery_id}", "attempt": 1, "verdict": "accepted"' in worker.said())
    assert otp.status(taken.delivery_id) == "delivered"
    assert history(running, taken.delivery_id) == ["queued", "sending", "sent", "delivered"]


def test_a_message_that_the_network_could_not_deliver_ends_as_failed(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    standin.fail("undelivered", number, code=30003)
    taken = otp.submit(number)
    ends_as(otp, taken.delivery_id, "failed")
    assert "could not be reached" in otp.get(taken.delivery_id).detail
    assert running.row(taken.delivery_id)["reason"] == "unreachable"


def test_a_refused_connection_is_tried_again_until_somebody_listens(make_notifier: MakeNotifier, number: str) -> None:
    """Not sent for certain, so it may be sent again; Twilio counts as there without being asked."""
    port = free_port()
    notifier = make_notifier(
        standin_url="",
        twilio_account_sid=ACCOUNT_SID,
        twilio_auth_token=AUTH_TOKEN,
        twilio_messaging_service_sid=f"MG{'7b' * 16}",
        twilio_base_url=f"http://127.0.0.1:{port}",
    )
    otp = notifier.run()
    taken = otp.submit(number)
    assert eventually(lambda: notifier.row(taken.delivery_id)["attempt"] >= 2)
    assert eventually(lambda: notifier.row(taken.delivery_id)["reason"] == "not_reached")  # unset while it is tried
    assert otp.status(taken.delivery_id) in ("queued", "sending")
    account = {"STANDIN_ACCOUNT_SID": ACCOUNT_SID, "STANDIN_AUTH_TOKEN": AUTH_TOKEN}
    child = start(["deploy.twilio_standin", f"--listen=127.0.0.1:{port}"], account, notifier.folder)
    late = Standin(f"http://127.0.0.1:{port}", child)
    try:
        # Without an address that the provider could call, none is given: `sent` is all that is ever known.
        ends_as(otp, taken.delivery_id, "sent")
        form = late.calls(number)[0]["form"]
        assert form["MessagingServiceSid"] == f"MG{'7b' * 16}"
        assert "StatusCallback" not in form
        assert "From" not in form
        assert 0 < int(form["ValidityPeriod"]) <= 300
        assert len(late.inbox(number)) == 1
    finally:
        late.child.stop()
        notifier.stop()
