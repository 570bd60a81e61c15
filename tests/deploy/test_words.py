"""What the papers say of the repository: numbers of promises, commands, and who calls what."""

import re

import pytest
import typer
import yaml

from deploy.topology import ROOT
from services.identity.__main__ import app as identity_commands
from services.policy.__main__ import app as policy_commands

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def cited() -> list[int]:
    """The numbers of SECURITY.md, ranges spelt out."""
    text = (ROOT / "SECURITY.md").read_text()
    found: set[int] = set()
    for first, last in re.findall(r"\bP(\d+)(?:\u2013P(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


@pytest.mark.parametrize("number", cited())
def test_every_promise_that_is_cited_has_a_test_with_its_number(number: int) -> None:
    name = re.compile(rf"def test_(?:[paf]\d\d_)*p{number:02}_")
    assert [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if name.search(path.read_text())]


@pytest.mark.parametrize("paper", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", ".ci/run"])
def test_every_make_command_that_is_named_exists(paper: str) -> None:
    named = set(re.findall(r"(?:`|^(?:step )?)make ([a-z-]+)", (ROOT / paper).read_text(), re.MULTILINE))
    assert named
    assert named <= TARGETS


def test_the_runbook_helps_a_locked_out_administrator_with_commands_that_exist() -> None:
    text = (ROOT / "deploy" / "README.md").read_text()
    section = text.partition("### When somebody cannot get in\n")[2].partition("\n### ")[0]
    apps = {"identity": identity_commands, "policy": policy_commands}
    named = set()
    for service, command, options in re.findall(r"^in_(\w+) ([a-z-]+) (.*)", section, re.MULTILINE):
        known = typer.main.get_command(apps[service]).commands[command]  # type: ignore[attr-defined]
        spelt = {option for parameter in known.params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z-]+", f" {options}")) <= spelt, command
        named.add(f"{service} {command}")
    of_identity = (
        "explain",
        "bypass",
        "reset-password",
        "set-role",
        "create-app",
        "list-apps",
        "revoke-app",
        "end-hold",
    )
    assert named == {"policy bypass", *(f"identity {command}" for command in of_identity)}
    assert "deploy/README.md#when-somebody-cannot-get-in" in (ROOT / "README.md").read_text()


def test_ci_only_calls_the_makefile() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"make lint", "make test", "make compose-test"} <= set(commands)
    assert {command.removeprefix("make ") for command in commands} <= TARGETS


def test_help_lists_every_command_that_is_typed() -> None:
    listed = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert listed >= {"up", "demo", "test", "test-full", "lint", "system-packages", "compose-up", "compose-test"}
