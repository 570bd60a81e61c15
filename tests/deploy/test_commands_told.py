"""Each service's README names the commands that the service has, all of them."""

import re
from pathlib import Path

import pytest
import typer

from services.identity.__main__ import app as identity
from services.notifier.__main__ import app as notifier
from services.otp.__main__ import app as otp
from services.policy.__main__ import app as policy

SERVICES = Path(__file__).parents[2] / "services"


@pytest.mark.parametrize(
    ("name", "app"), [("identity", identity), ("notifier", notifier), ("otp", otp), ("policy", policy)]
)
def test_the_readme_of_a_service_names_every_command_that_it_has(name: str, app: typer.Typer) -> None:
    commands = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    assert {"serve", "migrate", "verify-audit"} <= commands
    readme = (SERVICES / name / "README.md").read_text()
    [about] = re.findall(
        r"^(?:## Commands.*?(?=\n## |\Z)|\*\*Commands\.\*\*.*?(?=\n\n))", readme, re.MULTILINE | re.DOTALL
    )
    told = {word for quoted in re.findall(r"`([^`]+)`", about) for word in quoted.split()}
    assert commands - told == set()
