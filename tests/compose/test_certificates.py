"""A renewed certificate reaches PostgreSQL and both Redis while they run (their start.sh in deploy/)."""

import subprocess
import time

import pytest

from tests.compose.test_containers import inside
from tests.end_to_end.stack import ROOT

pytestmark = pytest.mark.timeout(240)
# The server, its port, and a container of ours that meets it.
SERVERS = {"postgres": (5432, "identity"), "redis": (6379, "identity"), "broker": (6379, "relay")}
_WITHIN_SECONDS = 90  # the servers look once a minute


def presented(server: str) -> str:
    """The serial number of the certificate that a caller is shown, who trusts the authority and checks the name."""
    port, caller = SERVERS[server]
    # PostgreSQL wants to be asked for TLS first (SSLRequest).
    code = f"""
import socket, ssl
context = ssl.create_default_context(cafile="/run/tls/ca.pem")
with socket.create_connection(({server!r}, {port}), 5) as plain:
    if {port} == 5432:
        plain.sendall(bytes.fromhex("0000000804d2162f"))
        assert plain.recv(1) == b"S"
    with context.wrap_socket(plain, server_hostname={server!r}) as connection:
        print(connection.getpeercert()["serialNumber"])
"""
    return inside(caller, code)


def renew() -> None:
    """As bootstrap does when under ten days are left; here, with any number of days left."""
    code = f"""
from pathlib import Path
from deploy.certificates import LEAF_DAYS, make_leaf
from deploy.credentials import Layout
layout = Layout(Path("/state"), Path("/authority"), 999)
for name in {list(SERVERS)!r}:
    mode = layout.open_folder(layout.tls(name), foreign=True)
    assert make_leaf(layout.authority, layout.tls(name), [name], renew_under_days=LEAF_DAYS + 1, key_mode=mode)
"""
    compose("run", "--rm", "--no-deps", "bootstrap", "python", "-c", code)


def started() -> list[str]:
    ids = compose("ps", "--quiet", *SERVERS).split()
    command = ["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", *ids]
    return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def compose(*arguments: str) -> str:
    done = subprocess.run(["docker", "compose", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_a_renewed_certificate_is_presented_without_a_restart() -> None:
    before, running = {server: presented(server) for server in SERVERS}, started()
    renew()
    waiting, ends_at = set(SERVERS), time.monotonic() + _WITHIN_SECONDS
    while waiting := {server for server in waiting if presented(server) == before[server]}:
        assert time.monotonic() < ends_at, f"still the old certificate: {waiting}"
        time.sleep(2)
    assert started() == running
