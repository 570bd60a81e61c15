"""What a container of the running stack can and cannot do, tried from inside it (P22, A70)."""

import json
import os
import socket
import subprocess

import pytest

from tests.end_to_end.stack import ROOT

OURS = ("identity", "otp", "policy", "notifier", "relay", "worker", "standin")
# Who may open a connection to whom; everything else finds no way.
EDGES = {
    "identity": {"identity", "otp", "policy", "notifier", "postgres", "redis", "standin"},
    "otp": {"identity", "otp", "notifier", "postgres", "redis"},
    "policy": {"identity", "policy", "postgres"},
    "notifier": {"identity", "otp", "notifier", "postgres", "standin"},
    "relay": {"postgres", "broker", "notifier"},
    "worker": {"postgres", "broker", "notifier", "standin"},
    "standin": {"identity", "notifier", "standin"},
}
PORTS = {
    **dict.fromkeys(("otp", "policy", "notifier"), 50051),
    **{"identity": 8080, "postgres": 5432, "redis": 6379, "broker": 6379, "standin": 8090},
}


def inside(service: str, code: str) -> str:
    """Runs Python in the container, beside its process; what it printed."""
    command = ["docker", "compose", "exec", "-T", service, "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


def reached(service: str, targets: dict[str, int]) -> set[str]:
    code = f"""
import socket
for host, port in {targets!r}.items():
    try:
        socket.create_connection((host, port), 2).close()
        print(host)
    except OSError:
        pass
"""
    return set(inside(service, code).split())


def test_a_caller_on_this_machine_comes_from_the_gateway_s_address() -> None:
    """What the runbook says to write into TRUSTED_PROXIES for a proxy on the host."""
    peers = """
told = open("/proc/net/tcp").read() + open("/proc/net/tcp6").read()
for local, remote, state in (line.split()[1:4] for line in told.splitlines() if ":" in line.split()[0]):
    if local.endswith(":1F90") and state == "01":
        print(".".join(str(int(remote.split(":")[0][-8:][at : at + 2], 16)) for at in (6, 4, 2, 0)))
"""
    with socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", "8080"))), 5) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 200")
        assert os.environ.get("FRONT_GATEWAY", "10.213.77.33") in inside("identity", peers).split()


@pytest.mark.parametrize("service", OURS)
def test_p22_it_meets_its_neighbours_and_nobody_else(service: str) -> None:
    assert reached(service, PORTS) == EDGES[service]


@pytest.mark.parametrize("service", [name for name in OURS if name != "worker"])
def test_p22_it_cannot_reach_out(service: str) -> None:
    # An address of a public resolver, and one of a host name: neither a route nor a name leads out.
    assert reached(service, {"1.1.1.1": 443, "9.9.9.9": 53, "api.twilio.com": 443}) == set()


@pytest.mark.parametrize("service", OURS)
def test_it_is_nobody_and_can_write_nowhere_but_tmp_and_beside_its_keyring(service: str) -> None:
    code = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith(("Cap", "NoNewPrivs")))
tried = {}
for folder in ("/", "/app", "/run/tls", "/run/secrets", "/run/keyring", "/opt/venv", "/tmp"):
    try:
        open(folder + "/probe", "w").close()
        os.unlink(folder + "/probe")
        tried[folder] = True
    except OSError:
        tried[folder] = False
caps, nnp = status["CapBnd"].strip(), status["NoNewPrivs"].strip()
print(json.dumps({"uid": os.getuid(), "caps": caps, "nnp": nnp, "tried": tried}))
"""
    told = json.loads(inside(service, code))
    assert told["uid"] == 10001
    assert int(told["caps"], 16) == 0
    assert told["nnp"] == "1"
    # A rotation puts another keyring in place; the worker only reads the notifier's.
    own = ["/run/keyring"] if service in ("identity", "otp", "notifier") else []
    assert [folder for folder, could in told["tried"].items() if could] == [*own, "/tmp"]


@pytest.mark.parametrize("service", ["identity", "otp", "notifier"])
def test_p22_its_keyring_is_the_only_thing_in_its_folder_and_its_own_to_read(service: str) -> None:
    code = """
import os
for name in os.listdir("/run/keyring"):
    print(name, oct(os.stat("/run/keyring/" + name).st_mode & 0o777))
print(oct(os.stat("/run/keyring").st_mode & 0o777))
"""
    assert inside(service, code).split() == ["keyring.json", "0o400", "0o700"]


@pytest.mark.parametrize("sealer", ["", "sealer_"])
@pytest.mark.parametrize("service", ["identity", "otp", "policy", "notifier"])
def test_a70_its_roles_open_its_own_database_and_no_other(service: str, sealer: str) -> None:
    user = f"{service}_sealer" if sealer else service
    code = f"""
import psycopg
password = open("/run/secrets/{sealer}database_password").read()
for database in ("identity", "otp", "policy", "notifier", "postgres", "template1"):
    try:
        psycopg.connect(host="postgres", user={user!r}, password=password, dbname=database, connect_timeout=3,
                        sslmode="verify-full", sslrootcert="/run/tls/ca.pem").close()
        print(database)
    except psycopg.OperationalError:
        pass
try:
    psycopg.connect(host="postgres", user={user!r}, password=password, dbname={service!r}, sslmode="disable").close()
    print("without TLS")
except psycopg.OperationalError:
    pass
"""
    assert inside(service, code).split("\n") == [service]


@pytest.mark.parametrize("service", ["identity", "otp", "policy", "notifier"])
def test_its_image_holds_its_own_code_and_no_other_service_s(service: str) -> None:
    code = "import os; print(*sorted(os.listdir('/app/services')))"
    assert set(inside(service, code).split()) - {"__pycache__"} == {"__init__.py", "common", service}


def test_no_environment_holds_a_secret() -> None:
    ids = subprocess.run(
        ["docker", "compose", "ps", "--all", "--quiet"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    inspected = subprocess.run(
        ["docker", "inspect", *ids, "--format", "{{json .Config.Env}}"], capture_output=True, text=True, check=True
    ).stdout
    names = [entry for line in inspected.splitlines() for entry in json.loads(line)]
    secret = [
        entry
        for entry in names
        if any(word in entry.partition("=")[0] for word in ("PASSWORD", "TOKEN", "PEPPER", "KEY"))
    ]
    assert [
        entry for entry in secret if entry.partition("=")[2] and not entry.partition("=")[2].startswith("/run/")
    ] == []
