"""Notices through the processes as they run: what is taken, from whom, what arrives, and what of it is kept."""

import concurrent.futures
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from countersign.notifier.v1 import notifier_pb2 as pb

from tests.notifier.conftest import Client, MakeNotifier, Notifier, Standin, eventually

AT = datetime(2026, 11, 22, 8, 12, tzinfo=UTC)


def refused(client: Client, **given: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        client.notify(**{"kind": pb.NOTICE_KIND_PASSWORD_CHANGED, **given})
    code = caught.value.code()  # type: ignore[attr-defined]
    assert isinstance(code, grpc.StatusCode)
    return code


def test_r23_a_notice_reaches_the_phone_in_words_and_in_the_clinic_s_time(
    running: Notifier, identity: Client, standin: Standin, number: str
) -> None:
    [taken] = identity.notify(
        pb.NOTICE_KIND_BYPASS_USED,
        phone=number,
        happened_at=AT,
        timezone="America/New_York",
        address="203.0.113.7",
        browser="Firefox on Windows",
    )
    assert taken.status == "queued"
    assert eventually(lambda: standin.inbox(number))[0]["body"] == (
        "Countersign: Someone signed in to your account without a code on 22 Nov at 03:12 (203.0.113.7, Firefox on"
        " Windows), as an administrator had allowed. If that was not you, tell your administrator at once."
    )
    assert eventually(lambda: running.row(taken.delivery_id)["state"] == "delivered")
    row = running.row(taken.delivery_id)
    assert (row["kind"], row["channel"], row["is_notice"], row["sealed"]) == ("bypass_used", "sms", True, None)


@pytest.mark.parametrize("kind", [kind for kind in pb.NoticeKind.values() if kind])
def test_r23_every_kind_of_the_contract_is_sent(identity: Client, standin: Standin, number: str, kind: int) -> None:
    identity.notify(kind, phone=number)  # type: ignore[arg-type]
    assert eventually(lambda: standin.inbox(number))[0]["body"].startswith("Countersign: ")


def test_r23_the_same_request_key_is_the_same_delivery_and_one_message(
    running: Notifier, identity: Client, standin: Standin, number: str
) -> None:
    key = f"ntc_{secrets.token_hex(16)}"
    given = {"kind": pb.NOTICE_KIND_PASSWORD_CHANGED, "phone": number, "request_key": key}
    with concurrent.futures.ThreadPoolExecutor(10) as threads:
        taken = [delivery for [delivery] in threads.map(lambda _: identity.notify(**given), range(20))]
    assert len({each.delivery_id for each in taken}) == 1
    assert eventually(lambda: identity.notify(**given)[0].status == "delivered")
    assert len(standin.calls(number)) == 1
    assert running.row(taken[0].delivery_id)["request_key"] == f"{key}:sms"
    told = running.rows(
        "SELECT detail FROM audit_event WHERE kind = 'delivery.queued' AND detail->>'delivery_id' = %s",
        taken[0].delivery_id,
    )
    assert [event["detail"] for event in told] == [
        {
            "delivery_id": taken[0].delivery_id,
            "message_kind": "password_changed",
            "channel": "sms",
            "attempt": 0,
        }
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"kind": pb.NOTICE_KIND_UNSPECIFIED},
        {"kind": 99},
        {"request_key": ""},
        {"request_key": "k" * 201},
        {"phone": "07700900123"},
        {"phone": "+449012345678"},
        {"email": "nurse at example.com"},
        {"email": "a@example.com\r\nBcc: b@example.com"},
        {"clinic_id": ""},
        {"user_id": ""},
        {"seconds": 25 * 3600},
        {"happened_at": datetime(1970, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_notice_that_makes_no_sense_is_refused_whole(
    running: Notifier, identity: Client, number: str, given: dict[str, Any]
) -> None:
    key = f"ntc_{secrets.token_hex(16)}"
    assert refused(identity, **{"request_key": key, "phone": number, **given}) is grpc.StatusCode.INVALID_ARGUMENT
    assert running.rows("SELECT 1 FROM delivery WHERE request_key LIKE %s", f"{key}%") == []


def test_a67_nobody_but_identity_gives_notices(running: Notifier, otp: Client, number: str) -> None:
    assert refused(otp, phone=number) is grpc.StatusCode.PERMISSION_DENIED
    policy = running.client("policy")
    assert refused(policy, phone=number) is grpc.StatusCode.PERMISSION_DENIED
    policy.close()


def test_a_notice_may_wait_a_day_and_is_never_sent_after_its_end(
    running: Notifier, identity: Client, standin: Standin, number: str
) -> None:
    [late] = identity.notify(pb.NOTICE_KIND_PASSWORD_RESET, phone=number, seconds=-1)
    assert late.status == "expired"
    assert "code" not in late.detail
    [taken] = identity.notify(pb.NOTICE_KIND_PASSWORD_RESET, phone=number, seconds=24 * 3600 - 60)
    assert eventually(lambda: running.row(taken.delivery_id)["state"] == "delivered")
    assert running.row(taken.delivery_id)["not_after"] > datetime.now(UTC) + timedelta(hours=23)
    assert [call["form"]["ValidityPeriod"] for call in standin.calls(number)] == ["36000"]  # the most Twilio holds one


def test_a_channel_that_is_not_there_gets_no_delivery_and_is_no_error(make_notifier: MakeNotifier, number: str) -> None:
    notifier = make_notifier(standin_url="")
    notifier.start("serve")
    identity = notifier.client("identity")
    assert eventually(identity.is_serving)
    given = {"kind": pb.NOTICE_KIND_PHONE_CHANGED, "request_key": "ntc_once", "email": "nurse@example.com"}
    assert identity.capabilities() == pb.Capabilities(sms=False, email=False)
    assert identity.notify(phone=number, **given) == []
    assert identity.notify(pb.NOTICE_KIND_PHONE_CHANGED) == []
    assert notifier.rows("SELECT 1 FROM delivery") == []
    notifier.stop()


def test_p12_what_a_notice_tells_is_sealed_until_it_ends_and_in_no_log(
    running: Notifier, identity: Client, standin: Standin, number: str
) -> None:
    standin.fail("401", number)
    happened_at = datetime(2026, 1, 13, 4, 44, tzinfo=UTC)
    told = {"address": "198.51.100.251", "browser": "Canary on Mars", "happened_at": happened_at}
    [waits] = identity.notify(pb.NOTICE_KIND_NEW_BROWSER, phone=number, **told)
    eventually(lambda: running.row(waits.delivery_id)["reason"] == "locked_out")
    [ends] = identity.notify(pb.NOTICE_KIND_NEW_BROWSER, phone=number, **told)
    eventually(lambda: running.row(ends.delivery_id)["state"] == "delivered")
    assert "198.51.100.251, Canary on Mars" in standin.inbox(number)[0]["body"]
    kept = str(running.rows("SELECT * FROM delivery")) + str(running.rows("SELECT * FROM audit_event"))
    for secret in (number, "198.51.100.251", "Canary on Mars"):
        assert secret not in running.said()
        assert secret not in kept
    assert running.row(waits.delivery_id)["sealed"] is not None
    assert running.row(ends.delivery_id)["sealed"] is None
    assert running.row(ends.delivery_id)["to_hint"] == f"+44 ••••{number[-2:]}"


def test_r23_notices_whose_provider_is_slow_do_not_delay_a_code(
    running: Notifier, otp: Client, identity: Client, standin: Standin, number: str
) -> None:
    """More of them than a worker has threads, each waiting for its provider until that hangs up."""
    slow = f"+4477009019{number[-2:]}"
    standin.fail("hang", slow, 12, seconds=1.5)
    for _ in range(12):
        identity.notify(pb.NOTICE_KIND_NEW_BROWSER, phone=slow)
    eventually(lambda: len(standin.calls(slow)) >= 3)
    codes = [otp.submit(number).delivery_id for _ in range(5)]
    eventually(lambda: {otp.status(code) for code in codes} <= {"sent", "delivered"})
    # Who began between a code's order and its own beginning: no more than were on their way, of the nine that waited.
    overtaken_by = running.rows(
        "SELECT c.id, count(n.id) AS notices FROM delivery c LEFT JOIN delivery n ON n.to_hint = %s AND n.is_notice"
        " AND n.kind = 'new_browser' AND n.sending_at > c.created_at AND n.sending_at < c.sending_at"
        " WHERE c.id = ANY (%s) GROUP BY c.id",
        f"+44 ••••{slow[-2:]}",
        codes,
    )
    assert len(overtaken_by) == 5
    assert max(row["notices"] for row in overtaken_by) <= 3, overtaken_by
    assert eventually(lambda: len(standin.calls(slow)) == 12)
