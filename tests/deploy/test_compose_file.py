"""docker-compose.yml as it is written: every container hardened, one way in, one way out."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.credentials import Layout
from deploy.embedded import EmbeddedPostgres
from deploy.topology import ROOT, Topology

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


# Their images hold one program, and none to ask it with; an exporter that stands still shows as no metrics.
NOT_ASKED = {"caddy", "redis-exporter", "broker-exporter"}


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name]["restart"] != "no"])
def test_everything_that_stays_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert name in NOT_ASKED or SERVICES[name]["healthcheck"]["test"]


def test_only_identity_is_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    always = {name for name in published if "profiles" not in SERVICES[name]}
    assert always == {"identity"}
    assert set(published) == {"identity", "standin", "caddy", "flower", "redis-exporter", "broker-exporter"}
    assert published["identity"] == ["${BIND:-127.0.0.1}:${PORT:-8080}:8080"]
    assert published["standin"] == ["127.0.0.1:${STANDIN_PORT:-8090}:8090"]
    for name in ("flower", "redis-exporter", "broker-exporter"):
        assert SERVICES[name]["profiles"] == ["ops"]
        assert [port.startswith("127.0.0.1:${") for port in published[name]] == [True]


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


TRACES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.traces.yml").read_text())


def test_p22_with_traces_each_service_meets_the_collector_alone_and_has_no_way_out() -> None:
    """The override adds a closed network a process; only the collector is in all of them, and in one that is open."""
    sending = {
        name for name, service in SERVICES.items() if any("OTLP" in key for key in service.get("environment", ()))
    }
    assert set(TRACES["services"]) == sending | {"collector"}
    for name in sending:
        added = TRACES["services"][name]
        assert added == {"networks": [f"traces-{name}"]}
        assert TRACES["networks"][f"traces-{name}"] == {"internal": True}
    collector = TRACES["services"]["collector"]
    assert set(collector["networks"]) == {f"traces-{name}" for name in sending} | {"traces-out"}
    assert "ports" not in collector
    assert collector["read_only"] is True
    assert collector["cap_drop"] == ["ALL"]


def test_p22_each_service_meets_its_own_database_and_the_queue_is_between_relay_and_worker() -> None:
    assert {name for name in SERVICES if "queue" in networks(name)} == {"broker", "relay", "worker"}
    assert {name for name in SERVICES if "limits" in networks(name)} == {"redis", "identity", "otp"}
    watched = {name for name in SERVICES if "watch" in networks(name)}
    assert watched == {"redis", "broker", "flower", "redis-exporter", "broker-exporter"}
    assert {name for name in SERVICES if "ops" in networks(name)} == watched - {"redis", "broker"}
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
        if name in ("identity", "otp", "notifier", "worker"):
            allowed |= {f"keyrings/{name.replace('worker', 'notifier')}"}
        if name.startswith("migrate-"):
            allowed = {f"owners/{owner}", "tls/trust"}
        if name == "caddy":
            allowed = {"caddy"}
        if name == "databases":
            allowed = {"secrets/databases", "tls/trust"}
        assert seen <= allowed, name
        whole = [v for v in service.get("volumes", []) if isinstance(v, str) and v.startswith("state:")]
        assert bool(whole) == (name == "bootstrap"), name  # which makes what is in it
        assert bool(service.get("group_add")) == (name == "bootstrap"), name


def test_p22_a_keyring_is_written_by_its_own_service_and_nothing_else_of_the_volume_by_any() -> None:
    """`rotate-keys` puts another file in its place, so it is the folder that is mounted, and nothing else is in it."""
    writable = {
        (name, v["volume"]["subpath"])
        for name, service in SERVICES.items()
        for v in service.get("volumes", [])
        if isinstance(v, dict) and v.get("source") == "state" and not v.get("read_only")
    }
    keyrings = {(name, f"keyrings/{name}") for name in ("identity", "otp", "notifier")}
    assert writable == keyrings | {("caddy", "caddy")}
    for name, service in SERVICES.items():
        told = {key: value for key, value in service.get("environment", {}).items() if key.endswith("_KEYRING_FILE")}
        assert set(told.values()) <= {"/run/keyring/keyring.json"}
        assert bool(told) == (name in ("identity", "otp", "notifier", "worker")), name


def test_secrets_from_outside_are_files_of_those_who_need_them_and_empty_where_none_is_named() -> None:
    assert COMPOSE["secrets"] == {
        "twilio_auth_token": {"file": "${TWILIO_AUTH_TOKEN_FILE:-/dev/null}"},
        "smtp_password": {"file": "${SMTP_PASSWORD_FILE:-/dev/null}"},
    }
    holders = {"twilio_auth_token": {"notifier", "worker"}, "smtp_password": {"worker"}}
    for secret, expected in holders.items():
        given = {
            name: one["target"]
            for name, service in SERVICES.items()
            for one in service.get("secrets", ())
            if one["source"] == secret
        }
        assert set(given) == expected
        for name in given:
            assert SERVICES[name]["environment"][f"NOTIFIER_{secret.upper()}_FILE"] == given[name]


def test_the_mail_server_s_password_goes_to_the_worker_alone() -> None:
    """The front only says that e-mail is there; both know where and from whom."""
    given = {name: str(service.get("environment", "")) for name, service in SERVICES.items()}
    assert {name for name in given if "${SMTP_PASSWORD:-}" in given[name]} == {"worker"}
    for variable in ("SMTP_HOST", "SMTP_FROM", "SMTP_SECURITY"):
        assert {name for name in given if f"${{{variable}:-}}" in given[name]} == {"notifier", "worker"}


def test_the_example_names_every_variable_that_is_read_with_its_default() -> None:
    """A line for each, and no other."""
    compose = (ROOT / "docker-compose.yml").read_text() + (ROOT / "deploy" / "compose.traces.yml").read_text()
    read = dict(re.findall(r"\$\{([A-Z0-9_]+)(?::-([^$}]*))?", compose))
    told = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(told) == set(read)
    same = ("PORT", "STANDIN_PORT", "FLOWER_PORT", "BIND", "LOG_LEVEL", "COUNTERSIGN_TAG", "WORKER_EVENTS")
    for name in (*same, *(n for n in read if "EDGE" in n or "EXPORTER" in n)):
        assert told[name] == read[name], name


def test_the_local_stack_takes_the_same_names(tmp_path: Path) -> None:
    example, _, _ = (ROOT / ".env.example").read_text().partition("Compose alone ---")
    names = set(re.findall(r"^#([A-Z0-9_]+)=", example, re.MULTILINE)) - {"PORT"}
    assert names >= {"LOG_LEVEL", "OTLP_ENDPOINT", "STANDIN_PORT", "ARGON2_MEMORY_KIB", "TWILIO_FROM"}
    given = {name: f"value of {name}" for name in names} | {"STANDIN_PORT": "18123"}
    postgres = EmbeddedPostgres(tmp_path / "postgres", "")
    layout = Layout(tmp_path, tmp_path / "authority")
    topology = Topology.on_free_ports(tmp_path, layout, 8080, postgres, given)
    environments = topology.environments()
    assert topology.twilio == "http://127.0.0.1:18123"
    assert "127.0.0.1:18123" in topology.commands()["twilio"]
    reached = {value for environment in environments.values() for value in environment.values()}
    assert {value for name, value in given.items() if name != "STANDIN_PORT"} <= reached
    assert environments["worker"]["NOTIFIER_SMTP_PASSWORD"] == given["SMTP_PASSWORD"]
    holders = {name for name, environment in environments.items() if given["SMTP_PASSWORD"] in environment.values()}
    assert holders == {"worker"}  # the front only says that e-mail is there
    for process in ("identity", "otp", "policy", "notifier", "relay", "worker"):
        prefix = "NOTIFIER" if process in ("relay", "worker") else process.upper()
        assert environments[process][f"{prefix}_LOG_LEVEL"] == given["LOG_LEVEL"]
        assert environments[process][f"{prefix}_OTLP_ENDPOINT"] == given["OTLP_ENDPOINT"]
