"""The profile `ops` as it runs: Flower and the exporters of both Redis see what they are for, and can do nothing (P22,
A68)."""

import json
import os
import subprocess
import time
from typing import Any

import httpx
import pytest

from tests.compose.test_containers import inside, reached
from tests.end_to_end.stack import ROOT

FLOWER = f"http://127.0.0.1:{os.environ.get('FLOWER_PORT', '5555')}"
EXPORTERS = {
    "redis": os.environ.get("REDIS_EXPORTER_PORT", "9121"),
    "broker": os.environ.get("BROKER_EXPORTER_PORT", "9122"),
}


@pytest.fixture(scope="module")
def password() -> tuple[str, str]:
    return "operator", inside("flower", "print(open('/run/secrets/web_password').read())")


def test_flower_shows_the_worker_and_the_queue_to_whoever_has_the_password(password: tuple[str, str]) -> None:
    for path in ("/", "/workers", "/tasks", "/broker"):
        assert httpx.get(FLOWER + path).status_code == 401
        assert httpx.get(FLOWER + path, auth=("operator", "wrong")).status_code == 401
        assert httpx.get(FLOWER + path, auth=password).status_code == 200
    ends_at = time.monotonic() + 20
    workers: list[dict[str, Any]] = []
    while not workers and time.monotonic() < ends_at:
        workers = httpx.get(f"{FLOWER}/workers", params={"json": "1"}, auth=password).json()["data"]
        time.sleep(0.5)
    assert [worker["status"] for worker in workers] == [True] * len(workers)
    assert workers
    assert "<td>deliveries</td>" in httpx.get(f"{FLOWER}/broker", auth=password).text


@pytest.mark.parametrize(
    "path",
    [
        "/api/workers",
        "/api/worker/shutdown/celery@worker",
        "/api/worker/queue/add-consumer/celery@worker",
        "/api/task/async-apply/notifier.send",
        "/api/task/revoke/x",
        "/api/queues/length",
        "/metrics",
    ],
)
def test_flower_serves_nothing_that_could_change_anything(password: tuple[str, str], path: str) -> None:
    assert httpx.post(FLOWER + path, auth=password, json={}).status_code == 404
    assert httpx.get(FLOWER + path, auth=password).status_code == 404


def test_a68_flower_s_user_can_listen_but_neither_take_nor_put_nor_command() -> None:
    tried = inside(
        "flower",
        """
import json, redis
password = open("/run/secrets/broker_password").read()
broker = redis.Redis(host="broker", port=6379, username="flower", password=password, ssl=True,
                     ssl_ca_certs="/run/tls/ca.pem")
told = {}
for command in (
    ["LLEN", "deliveries"],
    ["LPUSH", "deliveries", "x"], ["SADD", "deliveries", "x"], ["RPOP", "deliveries"], ["DEL", "deliveries"],
    ["EVAL", "return redis.call('SADD', 'deliveries', 'x')", "0"], ["SREM", "_kombu.binding.deliveries", "x"],
    ["PUBLISH", "/0.celery.pidbox", "x"], ["PSUBSCRIBE", "*"], ["KEYS", "*"], ["INFO"], ["ACL", "LIST"], ["FLUSHALL"],
):
    try:
        broker.execute_command(*command)
        told[" ".join(command)] = "allowed"
    except redis.exceptions.RedisError as error:
        told[" ".join(command)] = "refused" if "permission" in str(error).lower() else str(error)
print(json.dumps(told))
""",
    )
    told = json.loads(tried)
    assert told.pop("LLEN deliveries") == "allowed"
    assert set(told.values()) == {"refused"}, told


@pytest.mark.parametrize("redis", EXPORTERS)
def test_an_exporter_reads_its_redis_and_complains_of_nothing(redis: str) -> None:
    told = httpx.get(f"http://127.0.0.1:{EXPORTERS[redis]}/metrics").text.splitlines()
    assert "redis_up 1" in told
    assert 'redis_exporter_last_scrape_error{err=""} 0' in told
    assert any(line.startswith("redis_memory_used_bytes ") for line in told)


def test_p22_flower_meets_both_redis_and_nobody_else() -> None:
    targets = {"broker": 6379, "redis": 6379, "postgres": 5432, "notifier": 50051, "worker": 9100, "identity": 8080}
    assert reached("flower", {**targets, "1.1.1.1": 443, "api.twilio.com": 443}) == {"broker", "redis"}


@pytest.mark.parametrize("service", ["flower", "redis-exporter", "broker-exporter"])
def test_they_are_published_on_this_machine_alone(service: str) -> None:
    command = ["docker", "compose", "ps", "--format", "json", service]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    ports = [each for line in done.stdout.splitlines() for each in json.loads(line)["Publishers"]]
    assert {port["URL"] for port in ports if port["PublishedPort"]} == {"127.0.0.1"}
