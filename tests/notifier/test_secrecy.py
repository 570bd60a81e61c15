"""P12 for the notifier: a code and a whole number stand in the message that is sent, sealed in the row until it has
ended, and nowhere else."""

import threading

import redis as redis_client

from tests.notifier.conftest import BROKER_PASSWORD, Client, Notifier, Standin, eventually

CANARY = "918273"


def test_p12_no_code_and_no_whole_number_in_queue_logs_or_database(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    heard: list[bytes] = []
    url = running.environment["NOTIFIER_BROKER_URL"]
    listening = redis_client.Redis.from_url(url, password=BROKER_PASSWORD)
    with listening.monitor() as monitor:
        until = threading.Event()

        def listen() -> None:
            while not until.is_set():
                heard.append(str(monitor.next_command()).encode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        # A good one, one that is refused, one whose answer is lost, one that waits, and one that is resolved late.
        standin.fail("21610", number)
        standin.fail("garbage", number)
        standin.fail("401", number)
        standin.fail("drop_after_accept", number)
        taken = []
        for _ in range(5):
            taken.append(otp.submit(number, code=CANARY).delivery_id)
            eventually(lambda: running.row(taken[-1])["attempt"] >= 1 and otp.status(taken[-1]) != "sending")
        eventually(lambda: otp.status(taken[3]) == "delivered")
        eventually(lambda: otp.status(taken[4]) == "delivered")
        until.set()
        assert redis_client.Redis.from_url(url, password=BROKER_PASSWORD).ping()
        thread.join(5)
    states = [otp.status(delivery_id) for delivery_id in taken]
    assert states == ["failed", "unknown", "queued", "delivered", "delivered"]
    queue = b"".join(heard)
    assert taken[0].encode() in queue  # it was heard at all
    said = running.said()
    assert all(delivery_id in said for delivery_id in taken)
    kept = str(running.rows("SELECT * FROM delivery")) + str(running.rows("SELECT * FROM audit_event"))
    for secret in (CANARY, number, number.removeprefix("+")):
        assert secret.encode() not in queue
        assert secret not in said
        assert secret not in kept
    assert str(running.rows("SELECT to_hint FROM delivery WHERE id = %s", taken[0])) == str(
        [{"to_hint": f"+44 ••••{number[-2:]}"}]
    )
    for delivery_id in taken:
        assert (running.row(delivery_id)["sealed"] is None) == (running.row(delivery_id)["state"] != "queued")


def test_a56_a_text_names_the_product_and_the_code_and_nobody(otp: Client, standin: Standin, number: str) -> None:
    otp.submit(number, clinic_id="cli_canary", user_id="usr_canary")
    body = eventually(lambda: standin.inbox(number))[0]["body"]
    assert "canary" not in body
    assert "http" not in body
    assert "." not in body.removesuffix(".").replace(". ", "")  # nothing that a phone would make a link of


def test_the_request_id_follows_a_message_into_the_worker(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    otp.submit(number, request_id="request-0123456789")
    eventually(lambda: standin.inbox(number))
    worker = running.children["worker"]
    for event in ("delivery_claimed", "delivery_attempted"):
        eventually(
            lambda event=event: [
                line for line in worker.said().splitlines() if event in line and "request-0123456789" in line
            ]
        )
    found = running.rows("SELECT kind FROM audit_event WHERE request_id = 'request-0123456789' ORDER BY seq")
    assert [row["kind"] for row in found][:3] == ["delivery.queued", "delivery.sending", "delivery.sent"]
