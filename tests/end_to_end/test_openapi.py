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

# What would end the session it runs with, or lock its owner out; these are called without a session instead.
ENDS_THE_SESSION = r"^/v1/(session$|session/second-factor$|me/password$|me/sessions/|users/\{[a-z_]+\}(/.*)?$)"
# A random valid body is not always acceptable (a clinic that does not exist, a factor that is there already), and the
# shape of what a path names is opaque: these two checks cannot know that.
NOT_MEANINGFUL = "positive_data_acceptance,ensure_resource_availability"


def schemathesis(stack: Stack, folder: Path, *options: str) -> None:
    program = Path(sys.executable).parent / "schemathesis"
    command = [str(program), "--no-color", "run", f"{stack.gateway}/openapi.json", "--url", stack.gateway]
    command += ["--checks", "all", "--exclude-checks", NOT_MEANINGFUL, "--request-timeout", "10", "--workers", "2"]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-shrink"]
    command += ["--max-response-time", "5", "--seed", "20", "--continue-on-failure", *options]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)
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
                if "example" not in str(operation["requestBody"]) and "example" not in str(named(described, operation)):
                    without.append(name)
            if operation.get("security"):
                assert "401" in problems, name
    assert not without, f"no example of a body: {without}"


def named(described: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    """The schemas that the request's body refers to."""
    names = re.findall(r"#/components/schemas/(\w+)", str(operation["requestBody"]))
    return [described["components"]["schemas"][name] for name in names]


@pytest.mark.timeout(150)
def test_an_administrators_session_meets_only_what_is_described(stack: Stack, shared: Clinic, tmp_path: Path) -> None:
    _, client = shared.member("admin")
    assert client.token
    schemathesis(
        stack,
        tmp_path,
        *("--header", f"Authorization: Bearer {client.token}", "--exclude-path-regex", ENDS_THE_SESSION),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "12"),
    )
    assert client.state() == "active"


@pytest.mark.timeout(150)
def test_a_session_that_waits_for_a_code_meets_only_what_is_described(
    stack: Stack, shared: Clinic, tmp_path: Path
) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    schemathesis(
        stack,
        tmp_path,
        *("--header", f"Authorization: Bearer {client.token}", "--exclude-path-regex", r"^/v1/session$"),
        *("--phases", "examples,fuzzing", "--max-examples", "6"),
    )
    answer = client.get("/v1/session")
    assert answer.status_code == 200, told(answer)
    assert answer.json()["state"] == "second_factor_required", "no generated request opened it"


@pytest.mark.timeout(150)
def test_without_a_session_there_is_only_what_is_described(stack: Stack, tmp_path: Path) -> None:
    schemathesis(stack, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "6")
