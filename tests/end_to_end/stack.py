"""The running stack as the tests hold it: where it answers, its commands, its Twilio inbox, its processes.

Local by default (`python -m deploy.local up` in a state folder of this run's own, or the one COUNTERSIGN_STACK names);
with STACK=compose the Compose stack that is up. Invariant: only HTTP, processes, files and, for what only time
does, the database server; nothing of ours is imported.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.end_to_end.client import Client

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(r"\b[0-9]{6}\b")


class Stack:
    """What every kind of stack has."""

    gateway: str
    twilio: str

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=300, max_keepalive_connections=100)
        self.transport = httpx.HTTPTransport(limits=limits, verify=False)

    def client(self, address: str | None = None) -> Client:
        """A client app of its own. `address`: where it comes from, for stacks that trust this machine as a proxy."""
        return Client(self.gateway, self.transport, address if self.trusts_forwarded else None)

    @property
    def trusts_forwarded(self) -> bool:
        return False

    @property
    def public_url(self) -> str:
        """The address people use: the gateway, with the path of PUBLIC_URL where it has one."""
        return os.environ.get("PUBLIC_URL", self.gateway)

    def command(self, service: str, *arguments: str, fed: str = "") -> str:
        """Runs one of a service's commands, with `fed` on its standard input; what it printed."""
        done = subprocess.run(
            self._command(service, arguments), input=fed, capture_output=True, text=True, cwd=ROOT, timeout=60
        )
        assert done.returncode == 0, f"{service} {arguments[0]}: {done.stdout[-500:]}{done.stderr[-1500:]}"
        return done.stdout

    def _command(self, service: str, arguments: tuple[str, ...]) -> list[str]:
        raise NotImplementedError

    def goes_idle(self, user_id: str) -> None:
        """Nobody has been at this person's sessions for an hour, twice what a clinic grants that says nothing."""
        assert re.fullmatch(r"\w+", user_id)
        long_ago = "last_seen_at - interval '1 hour'"
        self._as_superuser("identity", f"UPDATE session SET last_seen_at = {long_ago} WHERE user_id = '{user_id}'")

    def _as_superuser(self, database: str, statement: str) -> None:
        raise NotImplementedError

    def create_clinic(self, slug: str, name: str, admin_email: str) -> dict[str, Any]:
        """`identity create-clinic`; its one JSON line."""
        told = self.command(
            "identity",
            "create-clinic",
            *("--slug", slug, "--name", name, "--timezone", "America/New_York", "--country", "US"),
            *("--admin-email", admin_email, "--admin-name", "Ada Admin"),
        )
        answer: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
        return answer

    def inbox(self, number: str) -> list[dict[str, Any]]:
        """The codes that the Twilio stand-in took for this number, newest first."""
        return [message for message in self._messages(number) if _CODE.search(message["body"])]

    def notices(self, number: str, count: int, seconds: float = 15.0) -> list[str]:
        """What this number was told, oldest first, once there are so many of them."""
        ends_at = time.monotonic() + seconds
        while True:
            told = [message["body"] for message in self._messages(number) if not _CODE.search(message["body"])]
            if len(told) >= count:
                return told[::-1]
            assert time.monotonic() < ends_at, f"{told} within {seconds} s"
            time.sleep(0.1)

    def _messages(self, number: str) -> list[dict[str, Any]]:
        """All that the Twilio stand-in took for this number, newest first."""
        messages: list[dict[str, Any]] = httpx.get(
            f"{self.twilio}/inbox", params={"to": number}, trust_env=False
        ).json()
        return messages

    def text(self, number: str, seen: int = 0, seconds: float = 15.0) -> str:
        """The body of the newest message with a code to this number, once there are more than `seen`."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            if len(messages := self.inbox(number)) > seen:
                return str(messages[0]["body"])
            time.sleep(0.1)
        raise AssertionError(f"no message to {number} within {seconds} s")

    def ready(self, seconds: float) -> float:
        """Waits until /readyz says 200; the seconds it took."""
        began = time.monotonic()
        told = "nothing"
        while time.monotonic() - began < seconds:
            try:
                answer = httpx.get(f"{self.gateway}/readyz", timeout=3, trust_env=False)
                if answer.status_code == 200:
                    return time.monotonic() - began
                told = answer.text
            except httpx.HTTPError as error:
                told = repr(error)
            time.sleep(0.1)
        raise AssertionError(f"not ready within {seconds} s: {told[:500]}")

    def logs(self) -> dict[str, str]:
        """Everything each process has logged so far."""
        raise NotImplementedError

    def close(self) -> None:
        self.transport.close()


class LocalStack(Stack):
    """`python -m deploy.local up`, found by its stack.json."""

    def __init__(self, stack_file: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: the product's own variables that the stack was started with."""
        super().__init__()
        self._settings = dict(settings or {})
        self.state = stack_file.parent
        self.stack_file = stack_file
        told = self.told
        self.gateway = told["gateway"]
        self.twilio = told["twilio"]

    @property
    def told(self) -> dict[str, Any]:
        """stack.json as it is now."""
        told: dict[str, Any] = json.loads(self.stack_file.read_text())
        return told

    @property
    def trusts_forwarded(self) -> bool:
        return "TRUSTED_PROXIES" in self._settings

    @property
    def public_url(self) -> str:
        return self._settings.get("PUBLIC_URL", self.gateway)

    @property
    def allowed_origin(self) -> str:
        """The one foreign origin that may call, or ''."""
        return self._settings.get("ALLOWED_ORIGINS", "")

    def _command(self, service: str, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "deploy.local", "exec", "--state", str(self.state), service, *arguments]

    @property
    def superuser(self) -> tuple[str, str]:
        """PostgreSQL's socket folder, and the password."""
        environments = json.loads((self.state / "run" / "environments.json").read_text())
        host = re.search(r"host=(\S+)", environments["otp"]["OTP_DATABASE_URL"])
        assert host
        return host[1], (self.state / "secrets" / "postgres" / "superuser_password").read_text().strip()

    def _as_superuser(self, database: str, statement: str) -> None:
        host, password = self.superuser
        with psycopg.connect(host=host, user="postgres", password=password, dbname=database) as connection:
            connection.execute(statement.encode())

    def pid(self, name: str) -> int:
        return int(self.told["processes"][name])

    def kill(self, name: str) -> None:
        """SIGKILL, as a fault would."""
        os.kill(self.pid(name), signal.SIGKILL)

    @contextmanager
    def hung(self, name: str) -> Iterator[None]:
        """The process, with all it has started, neither answers nor goes away meanwhile."""
        pids = [self.pid(name)]
        for pid in pids:
            pids += [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in children(task)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Starts the process again after a kill, as an operator (or a container runtime) would."""
        command = [sys.executable, "-m", "deploy.local", "restart", "--state", str(self.state), name]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1500:]

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text(errors="replace") for path in sorted(self.state.rglob("*.log"))}


def children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


class ComposeStack(Stack):
    """`docker compose --profile standin up`, on its published ports."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway = f"http://127.0.0.1:{os.environ.get('PORT', '8080')}"
        self.twilio = os.environ.get("TWILIO_STANDIN", "http://127.0.0.1:8090")

    def _command(self, service: str, arguments: tuple[str, ...]) -> list[str]:
        return ["docker", "compose", "exec", "-T", service, "python", "-m", f"services.{service}", *arguments]

    def _as_superuser(self, database: str, statement: str) -> None:
        psql = f"PGPASSWORD=$(cat /run/secrets/superuser_password) psql -v ON_ERROR_STOP=1 -U postgres -d {database}"
        command = ["docker", "compose", "exec", "-T", "postgres", "sh", "-c", psql]
        done = subprocess.run(command, input=statement, capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 0, done.stderr[-1500:]

    def logs(self) -> dict[str, str]:
        command = ["docker", "compose", "logs", "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
        told: dict[str, str] = {}
        for line in done.stdout.splitlines():
            name, _, text = line.partition("|")
            key = name.strip().rsplit("-", 1)[0]
            told[key] = told.get(key, "") + text + "\n"
        return told


@contextmanager
def local_stack(state: Path, **environment: str) -> Iterator[LocalStack]:
    """Starts a stack in a folder of its own and stops it; every process of it is gone afterwards."""
    state.mkdir(parents=True, exist_ok=True)
    output = state.with_suffix(".out")
    command = [sys.executable, "-m", "deploy.local", "up", "--state", str(state)]
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "COUNTERSIGN_RESPAWN": "0", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        stack_file = state / "stack.json"
        ends_at = time.monotonic() + 120
        while not stack_file.exists():
            assert process.poll() is None, f"the stack did not start:\n{output.read_text()[-3000:]}"
            assert time.monotonic() < ends_at, f"the stack is not up after 120 s:\n{output.read_text()[-3000:]}"
            time.sleep(0.1)
        yield LocalStack(stack_file, environment)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("the stack did not stop within 30 s of Ctrl-C") from None
