"""One run of the local stack: from nothing to ready to nothing.

Invariant: `stack.json` is there only while everything in it answers; a start that fails leaves no process behind.
"""

import contextlib
import functools
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from deploy.bootstrap import make_files
from deploy.certificates import write_private
from deploy.credentials import Layout, database_passwords, superuser_password
from deploy.databases import SERVICES, prepare
from deploy.demo_clinic import find_or_make
from deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from deploy.processes import Child, Died, Supervisor
from deploy.programs import NotStarted
from deploy.topology import ROOT, PortInUse, Topology, is_free, refuse_used_port
from services.common.health_check import main as health_check
from services.common.migrate import migrate

_READY_SECONDS = 60.0


class LocalStack:
    """One run of the stack, from nothing to ready to nothing."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.began = time.monotonic()
        self.layout = Layout(state, state / "authority")
        self.postgres_folder = state / "data" / "postgres"
        self.supervisor = Supervisor(process_groups(state), state / "stack.json")
        self.port = port
        # What happens when a process dies: the stack stops, or for tests of faults it is started again ("1") or left
        # dead until `restart` names it ("0").
        self.respawn = os.environ.get("COUNTERSIGN_RESPAWN", "")
        self.topology: Topology
        self.told: dict[str, Any] = {}

    def start(self) -> None:
        """Brings everything up; `stack.json` is there afterwards."""
        with step("secrets and certificates"):
            make_files(self.layout, database_exists=(self.postgres_folder / "PG_VERSION").exists())
        postgres = EmbeddedPostgres(self.postgres_folder, superuser_password(self.layout))
        self.topology = Topology.on_free_ports(self.state, self.layout, self.port, postgres, os.environ)
        with step("PostgreSQL and two Redis"):
            self._start_servers(postgres)
        with step("databases and migrations"):
            self._prepare_databases(postgres)
        with step("identity, otp, policy, notifier, relay, worker, Twilio's stand-in, sample app"):
            self._start_services()
        with step("demo clinic"):
            command = self.topology.commands()["identity"][:-1]
            environment = self.topology.environments()["identity"]
            demo = find_or_make(self.state, self.topology.gateway, command, environment)
        self.told = {
            "gateway": self.topology.gateway,
            "public_url": self.topology.public_url,
            "twilio": self.topology.twilio,
            "sample_app": self.topology.sample_app,
            "back_ends": self.topology.back_ends(),
            "metrics": self.topology.metrics(),
            "demo": demo,
        }
        self._tell()

    def watch(self) -> NoReturn:
        """Runs until interrupted; raises `Died` when a process ends that should not."""
        requests = self.state / "run" / "restart"
        while True:
            time.sleep(0.2)
            for request in list(requests.iterdir()):
                if request.name in self.supervisor.processes:
                    start_patiently(functools.partial(self.supervisor.restart, request.name))
                    self._tell()
                request.unlink()
            for name in self.supervisor.dead():
                if self.respawn == "1":
                    say(f"  {self.supervisor.death(name)}\n  {name}: starting it again")
                    start_patiently(functools.partial(self.supervisor.restart, name))
                    self._tell()
                elif self.respawn != "0":
                    raise self.supervisor.death(name)

    def stop(self) -> None:
        """Stops every process; the data stays."""
        (self.state / "stack.json").unlink(missing_ok=True)
        (self.state / "run" / "environments.json").unlink(missing_ok=True)
        self.supervisor.stop()

    def _start_servers(self, postgres: EmbeddedPostgres) -> None:
        start_patiently(lambda: self.supervisor.start("postgres", postgres))
        for name in ("redis", "broker"):
            # A message waiting in the broker is only an id, and its row is in PostgreSQL: nothing is kept on disk.
            users = self.layout.secrets(name) / "users.acl"
            server = EmbeddedRedis(self.state / "data" / name, self.topology.ports[name], acl_file=users)
            self.supervisor.start(name, server)

    def _prepare_databases(self, postgres: EmbeddedPostgres) -> None:
        passwords = database_passwords(self.layout)
        with postgres.connect("postgres") as connection:
            prepare(connection, passwords)
        for service in SERVICES:
            folder = ROOT / "services" / service / "migrations"
            migrate(postgres.url(service, f"{service}_owner"), passwords[service].owner, folder)

    def _start_services(self) -> None:
        topology = self.topology
        environments = topology.environments()
        write_private(self.state / "run" / "environments.json", json.dumps(environments).encode(), 0o600)
        topology.heartbeat.unlink(missing_ok=True)
        logs = self.state / "logs"
        logs.mkdir(exist_ok=True)
        refuse_used_port(topology.port)  # once more: what came before took a while
        for name, command in topology.commands().items():
            self.supervisor.start(name, Child(command, environments[name], ROOT, logs / f"{name}.log"))
        ready: dict[str, Callable[[], bool]] = {
            **{name: functools.partial(listens, topology.ports[name]) for name in ("twilio", "sample-app")},
            **{name: functools.partial(self._serves, name) for name in ("policy", "notifier", "otp")},
            "relay": functools.partial(listens, topology.ports["relay-metrics"]),
            "worker": topology.heartbeat.exists,
            "identity": self._identity_answers,
        }
        try:
            self.supervisor.wait_until(ready, _READY_SECONDS)
        except Died as death:
            if death.name == "identity" and not is_free(topology.port):
                raise PortInUse(topology.port) from death
            raise

    def _serves(self, name: str) -> bool:
        """What a container's health check asks."""
        target = f"127.0.0.1:{self.topology.ports[name]}"
        return not health_check(["grpc", target, name, str(self.layout.tls(name))])

    def _identity_answers(self) -> bool:
        """Whether the gateway is ready, and ours: any program, and another stack, may answer on its port; but then our
        own process has counted no answer."""
        if answer(self.topology.port, "/readyz") is None:
            return False
        counted = answer(self.topology.ports["identity-metrics"], "/metrics") or ""
        return any('"/readyz"' in line and '"200"' in line for line in counted.splitlines())

    def _tell(self) -> None:
        told = {**self.told, "processes": {**self.supervisor.pids(), "runner": os.getpid()}}
        write_private(self.state / "stack.json", json.dumps(told, indent=2).encode() + b"\n", 0o600)


def process_groups(state: Path) -> Path:
    """The list of what runs, for the guardian."""
    return state / "run" / "process-groups"


def say(text: str, end: str = "\n") -> None:
    """Prints a line of progress; a terminal that was closed meanwhile must not keep the rest from being stopped."""
    with contextlib.suppress(OSError):
        print(text, end=end, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says what is being done and how long it took, on one line."""
    began = time.monotonic()
    say(f"  {what} … ", end="")
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - began:.1f} s")


def start_patiently(start: Callable[[], None], seconds: float = 15.0) -> None:
    """A PostgreSQL that was killed a moment ago may still hold its memory and its lock: tries again for a while."""
    ends_at = time.monotonic() + seconds
    while True:
        try:
            start()
            return
        except NotStarted as error:
            held = "lock file" in str(error) or "shared memory" in str(error) or "being used" in str(error)
            if not held or time.monotonic() > ends_at:
                raise
            time.sleep(0.3)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False


def answer(port: int, path: str) -> str | None:
    """The body of a 200, or None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        body = got.read().decode(errors="replace")
        return body if got.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
