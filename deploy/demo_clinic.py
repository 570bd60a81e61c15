"""Makes the demo clinic of the local stack, once: an administrator, a practitioner and a receptionist, made the way a
real clinic's people are (the operator's command, invitations, activations), each with a random password.

The passwords are kept in `.local/demo.json` (0600), for this is a stack to try things on.
"""

import contextlib
import http.client
import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.certificates import write_private

_CLINIC = "Harbour Clinic"
_PEOPLE = (
    # Numbers of the range kept for fiction; nobody is texted, the stand-in takes the messages.
    ("admin", "Ada Admin", "ada", "+12025550141"),
    ("practitioner", "Paul Practitioner", "paul", "+12025550142"),
    ("receptionist", "Rita Reception", "rita", None),
)


class DemoNotMade(Exception):
    """The running stack refused a step; the text says which and what it answered."""


class _SlugTaken(Exception):
    """There is a clinic of this name."""


def find_or_make(state: Path, gateway: str, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The demo as `stack.json` tells it. `command`, `environment`: how identity's commands are run."""
    path = state / "demo.json"
    kept = _kept(path)
    if kept and kept["complete"]:
        return kept
    # An attempt that was cut short leaves a clinic nobody can enter, and a file that was deleted one whose passwords
    # nobody knows: the next one gets a name of its own.
    if kept is None:
        with contextlib.suppress(_SlugTaken):
            return _keep(path, "demo", gateway, command, environment)
    return _keep(path, f"demo-{secrets.token_hex(2)}", gateway, command, environment)


def _kept(path: Path) -> dict[str, Any] | None:
    """What an earlier start wrote, or None where there is nothing."""
    try:
        kept = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        kept = None
    if isinstance(kept, dict) and (kept.get("complete") is False or _is_whole(kept)):
        return kept
    raise DemoNotMade(f"{path} is damaged: delete it, and the next start makes a new demo clinic.")


def _is_whole(kept: dict[str, Any]) -> bool:
    users = kept.get("users")
    if kept.get("complete") is not True or not isinstance(users, list) or not users:
        return False
    people = [
        (kept, ("clinic", "name", "email", "password")),
        *((user, ("role", "email", "password")) for user in users),
    ]
    return all(isinstance(told, dict) and all(isinstance(told.get(n), str) for n in names) for told, names in people)


def _keep(
    path: Path, slug: str, gateway: str, command: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Makes it, and writes down first that it is being made."""
    _write(path, {"clinic": slug, "complete": False})
    demo = _make(slug, gateway, command, environment)
    _write(path, demo)
    return demo


def _make(slug: str, gateway: str, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    users = [
        {
            "role": role,
            "name": name,
            "email": f"{local}@{slug}.example",
            "password": secrets.token_urlsafe(12),
            "phone": phone,
        }
        for role, name, local, phone in _PEOPLE
    ]
    admin, others = users[0], users[1:]
    activation = _create_clinic(slug, admin, command, environment)["activation_token"]
    api = _Api(gateway)
    api.call("POST", f"/v1/activations/{activation}", {"password": admin["password"]}, 204)
    session = api.call(
        "POST", "/v1/sessions", {"clinic": slug, "email": admin["email"], "password": admin["password"]}, 201
    )
    api.token = session["token"]
    for user in others:
        wanted = {name: user[name] for name in ("email", "name", "role", "phone") if user[name]}
        made = api.call("POST", "/v1/users", wanted, 201)
        api.call("POST", f"/v1/activations/{made['activation']['token']}", {"password": user["password"]}, 204)
    api.call("PATCH", "/v1/me", {"phone": admin["phone"]}, 200)
    api.call("DELETE", "/v1/session", None, 204)
    return {
        "clinic": slug,
        "name": _CLINIC,
        "email": admin["email"],
        "password": admin["password"],
        "users": users,
        "complete": True,
    }


def _create_clinic(
    slug: str, admin: Mapping[str, Any], command: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    arguments = [
        *("--slug", slug, "--name", _CLINIC, "--timezone", "America/New_York", "--country", "US"),
        *("--admin-email", admin["email"], "--admin-name", admin["name"]),
    ]
    done = subprocess.run(
        [*command, "create-clinic", *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode and f"There is a clinic '{slug}' already." in done.stderr:
        raise _SlugTaken
    if done.returncode:
        raise DemoNotMade(f"The demo clinic could not be made: {(done.stderr or done.stdout).strip()[-600:]}")
    answer: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


class _Api:
    """The gateway's API on loopback, past any proxy the environment names."""

    def __init__(self, gateway: str) -> None:
        self._address = urlsplit(gateway).netloc
        self.token: str | None = None

    def call(self, method: str, path: str, body: Mapping[str, Any] | None, expected: int) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(self._address, timeout=15)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != expected:
            # The path may carry an activation's token: the shape of it is enough.
            shape = "/".join(path.split("/")[:3])
            raise DemoNotMade(
                f"The demo clinic could not be made: {method} {shape} → {answer.status} {content[:400]!r}"
            )
        return json.loads(content) if content else None


def _write(path: Path, demo: Mapping[str, Any]) -> None:
    write_private(path, json.dumps(demo, indent=2).encode() + b"\n", 0o600)
