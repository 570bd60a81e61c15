"""The API conforms to the document it serves: schemathesis against the running gateway, for a while."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.client import ok, told
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import Stack

# What would end the session it runs with, stop it (a hold), or lock its owner out; these are called without a session
# instead.
ENDS_THE_SESSION = (
    r"^/v1/(session$|session/second-factor$|me/password$|me/sessions/|clinic/integrations/|users/\{[a-z_]+\}(/.*)?$)"
)
# A random valid body is not always acceptable (a clinic that does not exist, a factor that is there already), and what
# a path names is opaque: the first two checks cannot know that. `DELETE …/{method}` shares its addresses with the
# literal ones beside it, each of which takes other methods: there the last two cannot tell whose methods they see.
CHECKS = r"""
[checks]
positive_data_acceptance.enabled = false
ensure_resource_availability.enabled = false

[[operations]]
include-path-regex = "^/v1/me/two-factor/(\\{method\\}|totp|sms|backup-codes)$"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
"""


def schemathesis(stack: Stack, folder: Path, *options: str) -> None:
    (folder / "schemathesis.toml").write_text(CHECKS)
    program = Path(sys.executable).parent / "schemathesis"
    command = [str(program), "--no-color", "run", f"{stack.gateway}/openapi.json", "--url", stack.gateway]
    # One worker: two that build an AST at once trip over each other in Python 3.11 (a RuntimeError of the interpreter).
    command += ["--workers", "1", "--request-timeout", "10", "--max-response-time", "5", "--seed", "20"]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-shrink"]
    command += ["--continue-on-failure", *options]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=140)
    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-2000:]


def document(stack: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = ok(stack.client().get("/openapi.json"))
    return answer


def test_the_document_describes_every_error_and_gives_examples(stack: Stack) -> None:
    described = document(stack)
    assert described["openapi"].startswith("3.")
    paths = described["paths"]
    for path in (
        "/v1/sessions",
        "/v1/session",
        "/v1/session/second-factor",
        "/v1/session/second-factor/sms",
        "/v1/me",
        "/v1/me/phone",
        "/v1/me/phone/confirm",
        "/v1/me/password",
        "/v1/me/sessions",
        "/v1/me/two-factor",
        "/v1/me/two-factor/totp",
        "/v1/me/two-factor/sms",
        "/v1/me/two-factor/backup-codes",
        "/v1/clinic/security",
        "/v1/users",
        "/healthz",
        "/readyz",
    ):
        assert path in paths, path
    without: list[str] = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            if not path.startswith("/v1/"):
                continue
            name = f"{method.upper()} {path}"
            responses = operation["responses"]
            problems = [status for status in responses if status >= "400"]
            for status in problems:
                kinds = responses[status].get("content", {})
                assert "application/problem+json" in kinds, (name, status)
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= set(problems), (name, problems)
                bodies = named(described, operation)
                said = f"{operation['requestBody']} {bodies}"
                if any(body.get("properties") for body in bodies) and "example" not in said:
                    without.append(name)
            if operation.get("security"):
                assert "401" in problems, name
    assert not without, f"no example of a body: {without}"


def named(described: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    """The schemas that the request's body refers to."""
    names = re.findall(r"#/components/schemas/(\w+)", str(operation["requestBody"]))
    return [described["components"]["schemas"][name] for name in names]


@pytest.mark.local_only("the gateway answers generated requests alike on either stack")
@pytest.mark.timeout(150)
def test_an_administrators_session_meets_only_what_is_described(stack: Stack, clinic: Clinic, tmp_path: Path) -> None:
    _, client = clinic.member("admin")
    assert client.token
    schemathesis(
        stack,
        tmp_path,
        *("--header", f"Authorization: Bearer {client.token}", "--exclude-path-regex", ENDS_THE_SESSION),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "5"),
    )
    assert client.state() == "active"


@pytest.mark.local_only("the gateway answers generated requests alike on either stack")
@pytest.mark.timeout(150)
def test_a_session_that_waits_for_a_code_meets_only_what_is_described(
    stack: Stack, clinic: Clinic, tmp_path: Path
) -> None:
    person, _ = clinic.enrolled()
    client = clinic.client()
    client.sign_in(person)
    schemathesis(
        stack,
        tmp_path,
        *("--header", f"Authorization: Bearer {client.token}", "--exclude-path-regex", r"^/v1/session$"),
        *("--phases", "examples,fuzzing", "--max-examples", "4"),
    )
    answer = client.get("/v1/session")
    assert answer.status_code == 200, told(answer)
    assert answer.json()["state"] == "second_factor_required", "no generated request opened it"


@pytest.mark.local_only("the gateway answers generated requests alike on either stack")
@pytest.mark.timeout(150)
def test_without_a_session_there_is_only_what_is_described(stack: Stack, tmp_path: Path) -> None:
    schemathesis(stack, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "4")
