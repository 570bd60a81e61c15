"""What all tests share: a real PostgreSQL, two real Redis and certificates, started once a run."""

import functools
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from deploy.certificates import make_authority, make_leaf
from deploy.databases import SERVICES, Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres, EmbeddedRedis, free_port
from services.common.migrate import migrate

MakeDatabase = Callable[[str], tuple[str, str]]
MakeCertificates = Callable[[str], Path]

_ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def logs_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test runs in this process sends the logs to its own output, which ends with it."""
    configure = structlog.configure

    def without_cache(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", without_cache)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this run's own, with fsync as in production."""
    server = EmbeddedPostgres(
        tmp_path_factory.mktemp("postgres") / "data", secrets.token_hex(8), {"max_connections": "300"}
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The limits' store; its default user's password is `redis_password`."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"), free_port(), password="limits-password")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(redis: EmbeddedRedis) -> str:
    return redis.url


@pytest.fixture(scope="session")
def redis_password() -> str:
    return "limits-password"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this run's certificate authority."""
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    return folder


@pytest.fixture(scope="session")
def certificates(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeCertificates:
    """Answers a folder with ca.pem, cert.pem and key.pem for the service named: the same each time, to be read only."""

    @functools.cache
    def make(service: str) -> Path:
        folder = tmp_path_factory.mktemp(f"tls-{service}")
        make_leaf(authority, folder, [service])
        return folder

    return make


@pytest.fixture(scope="session")
def database(postgres: EmbeddedPostgres) -> MakeDatabase:
    """Makes a fresh, migrated database for a service; answers the application role's URL and password."""
    passwords = {
        service: Passwords(f"{service}-password", f"{service}-owner-password", sealer_of(service)[1])
        for service in SERVICES
    }
    numbers = itertools.count()

    def make(service: str) -> tuple[str, str]:
        name = f"{service}_{next(numbers)}"
        with postgres.connect("postgres") as connection:
            prepare_service(connection, service, name, passwords[service])
        owner = postgres.url(name, f"{service}_owner")
        migrate(owner, passwords[service].owner, _ROOT / "services" / service / "migrations")
        return postgres.url(name, service), passwords[service].application

    return make


def sealer_of(service: str, url: str = "") -> tuple[str, str]:
    """The URL and the password of the role that seals the audit trail, for a database that `database` has made."""
    return url.replace(f"user={service}", f"user={service}_sealer"), f"{service}-sealer-password"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI a skipped test is a failure: what did not run proves nothing."""
    if os.environ.get("CI") == "true" and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("CI: skipped tests count as failures", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and exitstatus == 0 and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
