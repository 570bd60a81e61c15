"""The numbers that the runbook says to watch are those that the processes expose, under the same names and labels."""

import json
import re
import subprocess
import sys
from functools import cache

import pytest

from deploy.topology import ROOT

RUNBOOK = (ROOT / "deploy" / "README.md").read_text()
# What each process imports that keeps metrics; those are there from the start.
MODULES = {
    "identity": ("services.identity.__main__",),
    "otp": ("services.otp.__main__",),
    "policy": ("services.policy.__main__",),
    "front": ("services.notifier.__main__", "services.notifier.servicer", "services.common.audit_sealer"),
    "relay": ("services.notifier.__main__", "services.notifier.relay", "services.notifier.queue_watch"),
    "worker": ("services.notifier.__main__", "services.notifier.dispatch", "services.notifier.worker"),
}
ALL_FOUR = ("identity", "otp", "policy", "front")
_ASK = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
from prometheus_client import REGISTRY
told = {}
for name, kept in REGISTRY._names_to_collectors.items():
    told[name] = sorted(getattr(kept, "_labelnames", ()))
print(json.dumps(told))
"""


@cache
def exposed(process: str) -> dict[str, list[str]]:
    """Names and labels of what the process exposes."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *MODULES[process]], capture_output=True, text=True, cwd=ROOT, timeout=90
    )
    assert done.returncode == 0, done.stderr[-1500:]
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def rows(heading: str) -> list[list[str]]:
    """The table that follows, without its head; cells as written."""
    _, _, after = RUNBOOK.partition(heading)
    table = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[0].splitlines()[2:]]


TEN = rows("### Ten numbers to watch\n")
ALERTS = rows("Metrics: port 9100")


def test_there_are_ten() -> None:
    assert len(TEN) == 10


@pytest.mark.parametrize("row", TEN, ids=lambda row: row[0].split("`")[1])
def test_each_number_is_exposed_by_the_process_that_is_named_with_its_labels(row: list[str]) -> None:
    names, _, where = row[0].partition("(")
    within, _, beside = where.partition(")")
    processes = re.findall(r"all four|[a-z]+", re.sub(r"`[^`]*`", "", within))
    labels = re.findall(r"`([a-z]+)`", within)
    if processes == ["exporters"]:
        assert re.findall(r"`(\w+)`", names) == ["redis_up", "redis_memory_used_bytes"]  # tests/compose asks for these
        return
    [name] = re.findall(r"`(\w+)`", names)
    for process in ALL_FOUR if processes == ["all four"] else processes:
        assert name in exposed(process), process
        assert not labels or sorted(labels) == exposed(process)[name]
    every = {known for process in MODULES for known in exposed(process)}
    assert set(re.findall(r"`(\w+)`", beside)) <= every


@pytest.mark.parametrize("row", ALERTS, ids=lambda row: row[0].strip("`"))
def test_each_alert_asks_for_what_is_exposed(row: list[str]) -> None:
    every = {known for process in MODULES for known in exposed(process)}
    asked = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", row[0]))
    assert asked
    assert asked <= every


def test_a50_conversions_under_a_fifth_are_an_alert() -> None:
    assert "otp_sms_conversion_ratio < 0.2" in [row[0].strip("`") for row in ALERTS]
    [number] = [row for row in TEN if "otp_sms_conversion_ratio" in row[0]]
    assert number[0] == "`otp_sms_conversion_ratio` (otp)"
    assert "under 0.2" in number[2]
    assert "otp_sms_conversion_ratio" in exposed("otp")


def test_what_else_the_runbook_calls_a_metric_is_one() -> None:
    every = {known for process in MODULES for known in exposed(process)}
    named = set(re.findall(r"`(\w+_(?:total|seconds|ratio|key))`", RUNBOOK))
    assert {"sealing_failures_total", "keyring_active_key", "notifier_provider_locked_out_total"} <= named
    assert named <= every
