"""The queue between relay and worker: ids only, JSON only, and nothing that stands in it can harm."""

import base64
import json
import pickle
import secrets
from typing import Any

import pytest
import redis as redis_client

from deploy.embedded import EmbeddedRedis
from services.notifier.queue import QUEUE, TASK, Publisher, make_app
from tests.notifier.conftest import BROKER_PASSWORD, Client, Notifier, Standin, eventually


@pytest.fixture
def raw(running: Notifier) -> "redis_client.Redis":
    """The broker as somebody sees it who has broken in."""
    return redis_client.Redis.from_url(running.environment["NOTIFIER_BROKER_URL"], password=BROKER_PASSWORD)


def forged(body: bytes, content_type: str = "application/json", task: str = TASK, **headers: Any) -> bytes:
    """A message as Celery would have put it in the list."""
    tag = secrets.token_hex(16)
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary" if content_type != "application/json" else "utf-8",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": tag, "root_id": tag, "argsrepr": "()", **headers},
            "properties": {
                "correlation_id": tag,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": tag,
            },
        }
    ).encode()


def call(*arguments: Any, **named: Any) -> bytes:
    return json.dumps([arguments, named, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


class Evil:
    """Would write a file where it was ever unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_a69_forged_and_pickled_messages_are_dropped_and_the_worker_lives(
    running: Notifier, otp: Client, standin: Standin, raw: "redis_client.Redis", number: str
) -> None:
    worker = running.children["worker"]
    canary = running.folder / "unpickled"
    pickled = pickle.dumps(((Evil(str(canary)),), {}, {}))
    items = [
        b"not json at all",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'"text"',
        b'{"body": "x", "properties": {}}',
        forged(pickled, "application/x-python-serialize"),
        forged(b"- !!python/object/apply:os.system [id]", "application/x-yaml"),
        forged(b"\x93", "application/x-msgpack"),
        forged(b"no json"),
        forged(call(), task="os.system"),
        forged(call(), task="celery.chord_unlock"),
        forged(call()),
        forged(call(1, 2, 3)),
        forged(call({"delivery_id": "dlv_x"})),
        forged(call("dlv_" + "0" * 32 + "'; DROP TABLE delivery; --")),
        forged(call("dlv_" + "0" * 32)),
        forged(call("dlv_" + "0" * 32, extra=1)),
        forged(json.dumps([["dlv_" + "0" * 32], {}, {"callbacks": [{"task": TASK, "args": ["dlv_x"]}]}]).encode()),
        forged(json.dumps({"args": []}).encode()),
        forged(b"null"),
    ]
    for item in items:
        raw.lpush(QUEUE, item)
    taken = otp.submit(number)
    assert eventually(lambda: otp.status(taken.delivery_id) == "delivered")
    assert worker.process.poll() is None
    assert eventually(lambda: raw.llen(QUEUE) == 0)
    assert not canary.exists()
    well_formed = 1  # of an id that nobody knows; a slow relay may publish the known one twice
    not_claimed = [line for line in worker.said().splitlines() if "delivery_not_claimed" in line]
    assert worker.said().count("queue_item_dropped") == len(items) - well_formed
    assert sum("dlv_" + "0" * 32 in line for line in not_claimed) == well_formed
    assert "os.system" not in worker.said()
    assert eventually(lambda: raw.hlen("unacked") == 0)
    assert len(standin.calls(number)) == 1


def test_the_same_id_a_hundred_times_is_sent_once(
    running: Notifier, otp: Client, standin: Standin, raw: "redis_client.Redis", number: str
) -> None:
    """F12: whatever a broker brings twice, the claim lets one through."""
    running.children["relay"].freeze()
    try:
        taken = otp.submit(number)
        for _ in range(100):
            raw.lpush(QUEUE, forged(call(taken.delivery_id)))
        assert eventually(lambda: otp.status(taken.delivery_id) == "delivered")
        assert eventually(lambda: raw.llen(QUEUE) == 0)
    finally:
        running.children["relay"].thaw()
    assert len(standin.calls(number)) == 1
    assert running.row(taken.delivery_id)["attempt"] == 1


def test_a_published_message_holds_one_id_as_json_and_nothing_else(broker: EmbeddedRedis) -> None:
    url = broker.url.removesuffix("/0") + "/15"
    app = make_app(url, BROKER_PASSWORD)
    publisher = Publisher(app)
    publisher.publish(["dlv_" + "1" * 32])  # type: ignore[list-item]
    assert publisher.backlog() == 1
    publisher.close()
    client = redis_client.Redis.from_url(url, password=BROKER_PASSWORD)
    message = json.loads(client.lrange(QUEUE, 0, 0)[0])
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[:2] == [["dlv_" + "1" * 32], {}]
    assert app.conf.accept_content == ["json"]
    assert app.conf.result_backend is None
    client.flushdb()
