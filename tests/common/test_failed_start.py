"""A service whose start fails ends, at once, and says why: an open pool must not hold it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeCertificates, MakeDatabase, sealer_of

ROOT = Path(__file__).parents[2]
KEYRING = '{"active": 1, "keys": {"1": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}'


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])


@pytest.mark.parametrize("service", ["otp", "policy", "notifier", "identity"])
def test_a_service_whose_port_is_taken_ends_and_says_so(
    service: str,
    taken_port: int,
    database: MakeDatabase,
    certificates: MakeCertificates,
    redis_url: str,
    redis_password: str,
    tmp_path: Path,
) -> None:
    url, password = database(service)
    keyring = tmp_path / "keyring.json"
    keyring.write_text(KEYRING)
    common = {
        "tls_dir": certificates(service),
        "database_url": url,
        "database_password": password,
        "sealer_database_url": sealer_of(service, url)[0],
        "sealer_database_password": sealer_of(service)[1],
        "keyring_file": keyring,
        "redis_url": redis_url,
        "redis_password": redis_password,
        "limits_pepper": "a pepper for limits that only tests use",
        "listen": f"127.0.0.1:{taken_port}",
        "grpc_listen": f"127.0.0.1:{taken_port}",
        "code_pepper": "a pepper for codes in tests",
        "password_pepper": "a pepper for passwords, used in tests",
        "csrf_key": "a key for CSRF tokens that tests use",
        "notifier_target": "127.0.0.1:1",
        "otp_target": "127.0.0.1:1",
        "policy_target": "127.0.0.1:1",
    }
    everywhere = ["tls_dir", "database_url", "database_password", "sealer_database_url", "sealer_database_password"]
    limits = ["redis_url", "redis_password", "limits_pepper"]
    needs = {
        "otp": ["listen", "keyring_file", "code_pepper", "notifier_target", *limits],
        "policy": ["listen"],
        "notifier": ["listen", "keyring_file"],
        "identity": [
            *("grpc_listen", "keyring_file", "password_pepper", "csrf_key", *limits),
            *("otp_target", "policy_target", "notifier_target"),
        ],
    }
    given = {f"{service}_{name}".upper(): str(common[name]) for name in (*everywhere, *needs[service])}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "serve"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}", **given},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode not in (0, None), said
    assert str(taken_port) in said
