"""docker-compose.yml as it is written: every container hardened, one way in, one way out."""

from typing import Any

import pytest
import yaml

from deploy.topology import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["ulimits"] == {"core": 0}
    assert "privileged" not in service
    assert not {volume for volume in service.get("volumes", []) if "docker.sock" in str(volume)}


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name]["restart"] != "no" and name != "caddy"])
def test_everything_that_stays_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


def test_only_identity_is_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    always = {name for name in published if "profiles" not in SERVICES[name]}
    assert always == {"identity"}
    assert set(published) == {"identity", "standin", "caddy"}
    assert published["identity"] == ["${BIND:-127.0.0.1}:${PORT:-8080}:8080"]
    assert published["standin"] == ["127.0.0.1:${STANDIN_PORT:-8090}:8090"]


def test_p22_only_the_worker_and_caddy_are_in_a_network_with_a_way_out() -> None:
    closed = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
    masked = {
        name
        for name, network in COMPOSE["networks"].items()
        if ((network or {}).get("driver_opts") or {}).get("com.docker.network.bridge.enable_ip_masquerade") == "false"
    }
    open_ones = set(COMPOSE["networks"]) - closed - masked
    assert open_ones == {"way-out", "edge-out"}
    assert {name for name in SERVICES if networks(name) & open_ones} == {"worker", "caddy"}
    assert SERVICES["bootstrap"]["network_mode"] == "none"
    for name, service in SERVICES.items():
        assert "networks" in service or name == "bootstrap", f"{name} would join the default network, which is open"


def test_p22_each_service_meets_its_own_database_and_the_queue_is_between_relay_and_worker() -> None:
    assert {name for name in SERVICES if "queue" in networks(name)} == {"broker", "relay", "worker"}
    assert {name for name in SERVICES if "limits" in networks(name)} == {"redis", "identity", "otp"}
    for service in ("identity", "otp", "policy"):
        meets = {name for name in SERVICES if f"database-{service}" in networks(name)}
        assert meets == {"postgres", service, f"migrate-{service}"}


def test_each_container_sees_its_own_secrets_and_nobody_else_s() -> None:
    for name, service in SERVICES.items():
        seen = {
            v["volume"]["subpath"]
            for v in service.get("volumes", [])
            if isinstance(v, dict) and "source" in v and v["source"] == "state" and "volume" in v
        }
        owner = name.removeprefix("migrate-")
        allowed = {f"secrets/{name}", f"tls/{name}", "tls/trust"}
        if name.startswith("migrate-"):
            allowed = {f"owners/{owner}", "tls/trust"}
        if name == "caddy":
            allowed = {"caddy"}
        assert seen <= allowed, name
        whole = [v for v in service.get("volumes", []) if isinstance(v, str) and v.startswith("state:")]
        assert bool(whole) == (name in ("bootstrap", "databases")), name
