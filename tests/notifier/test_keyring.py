"""Without its database's keyring the notifier takes no code and claims none; once it is there, it goes on (F16)."""

import json
from pathlib import Path

from services.common.sealing import Keyring
from tests.notifier.conftest import MakeNotifier, eventually


def test_f16_with_a_wrong_keyring_nothing_is_taken_or_claimed_until_the_right_one_is_back(
    make_notifier: MakeNotifier, tmp_path: Path, number: str
) -> None:
    path = tmp_path / "keyring.json"
    right = Keyring(1, {1: b"k" * 32})
    heartbeat = tmp_path / "heartbeat"
    notifier = make_notifier(keyring_file=str(path))
    front = notifier.start("serve")
    client = notifier.client("otp")
    eventually(lambda: "keyring cannot be read" in front.said())
    assert not client.is_serving()

    path.write_bytes(right.as_file())
    eventually(client.is_serving)
    waiting = client.submit(number)
    assert notifier.rows("SELECT key_id FROM sealing_check") == [{"key_id": 1}]

    path.write_bytes(Keyring(1, {1: b"x" * 32}).as_file())
    eventually(lambda: not client.is_serving())
    relay, worker = notifier.start("relay"), notifier.start("worker", NOTIFIER_HEARTBEAT_FILE=str(heartbeat))
    eventually(lambda: "worker_not_ready" in worker.said())
    assert notifier.row(waiting.delivery_id)["attempt"] == 0
    assert not heartbeat.exists()
    reasons = [json.loads(line).get("reason") for line in worker.said().splitlines() if "keyring_unusable" in line]
    assert reasons == [
        "this is not the keyring of this service's database (the sealed bytes do not open under this key and context)"
    ], "once a reason"

    path.write_bytes(right.as_file())
    eventually(client.is_serving)
    eventually(lambda: client.status(waiting.delivery_id) in ("sent", "delivered"), 90)
    client.close()
    for child in (worker, relay, front):
        assert child.stop() == 0
