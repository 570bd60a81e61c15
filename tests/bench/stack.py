"""A local stack of the bench's own, and accounts in it: clones of one real person, each with a sealed secret.

Invariant: what is measured is the stack as `make up` starts it; only the accounts are put in by the back door, since
setting up thousands by the front door would take longer than measuring them.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyotp

from deploy.credentials import Layout, superuser_password
from deploy.embedded import EmbeddedPostgres, free_port
from services.common.sealing import Keyring
from services.otp.vault import totp_secret_context
from tests.bench.authenticators import Authenticator

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 150.0
_SMS_DAILY_CAP = "10000000"
"""Nobody pays for what the stand-in takes; the caps are counted all the same."""


class Stack:
    """A stack that is up."""

    def __init__(self, state: Path, told: dict[str, Any]) -> None:
        self.told = told
        self.processes: dict[str, int] = {k: v for k, v in told["processes"].items() if k != "runner"}
        self.environments: dict[str, dict[str, str]] = json.loads((state / "run" / "environments.json").read_text())
        self.layout = Layout(state, state / "authority")
        self.clinic: str = told["demo"]["clinic"]
        # The practitioner: no rights, no factor, a password that was chosen the usual way.
        self.person: dict[str, Any] = next(u for u in told["demo"]["users"] if u["role"] == "practitioner")
        self._postgres = EmbeddedPostgres(state / "data" / "postgres", superuser_password(self.layout))
        self._has_administrator_factor = False

    @property
    def port(self) -> int:
        return int(self.told["gateway"].rpartition(":")[2])

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return self._postgres.connect(database)

    def floor_database(self) -> str:
        """The address of a database beside the services', for the floor's own table."""
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE bench")
        password = superuser_password(self.layout)
        return psycopg.conninfo.make_conninfo(self._postgres.url("bench", "postgres"), password=password)

    def add_people(self, count: int, *, with_factor: bool = True) -> tuple[list[Authenticator], str]:
        """People of the demo clinic who sign in with the practitioner's password and a code (or without one); and the
        password's hash."""
        people = _new_authenticators(count)
        with self.connect("identity") as connection:
            found = connection.execute(
                "SELECT clinic_id, password_hash FROM app_user WHERE email = %s", [self.person["email"]]
            ).fetchone()
            assert found is not None
            clinic_id, password_hash = found
            columns = (
                "id, clinic_id, email, email_key, name, role, password_hash, password_changed_at, created_at, phone"
            )
            now = datetime.now(UTC)
            with connection.cursor().copy(f"COPY app_user ({columns}) FROM STDIN") as copy:
                for person in people:
                    copy.write_row(
                        [
                            *(person.user_id, clinic_id, person.email, person.email, "Bench Person", "practitioner"),
                            *(password_hash, now, now, None),
                        ]
                    )
            connection.execute("ANALYZE app_user")
        if with_factor:
            self._add_accounts(people, str(clinic_id))
        return people, str(password_hash)

    @property
    def clinic_id(self) -> str:
        with self.connect("identity") as connection:
            found = connection.execute("SELECT id FROM clinic WHERE slug = %s", [self.clinic]).fetchone()
        assert found is not None
        return str(found[0])

    def add_sessions(self, people: Iterable[Authenticator], *, is_proven: bool) -> list[str]:
        """Tokens of live sessions, one each, as a password alone has just opened them, or that and a code."""
        return self._add_sessions([person.user_id for person in people], is_proven=is_proven)

    def administrator_token(self) -> str:
        """A session of the clinic's administrator, who has a factor and has just proven it."""
        email = next(user["email"] for user in self.told["demo"]["users"] if user["role"] == "admin")
        with self.connect("identity") as connection:
            found = connection.execute("SELECT id FROM app_user WHERE email = %s", [email]).fetchone()
        assert found is not None
        if not self._has_administrator_factor:
            self._add_accounts([Authenticator(str(found[0]), email, pyotp.random_base32(32))], self.clinic_id)
            self._has_administrator_factor = True
        return self._add_sessions([str(found[0])], is_proven=True)[0]

    def _add_sessions(self, user_ids: list[str], *, is_proven: bool) -> list[str]:
        now, clinic_id = datetime.now(UTC), self.clinic_id
        tokens = [secrets.token_urlsafe(32) for _ in user_ids]
        columns = (
            "id, user_id, clinic_id, token_digest, authenticated_at, verified_at, proven_by, last_seen_at,"
            " idle_minutes, expires_at"
        )
        proof = (now, "totp") if is_proven else (None, None)
        with self.connect("identity") as connection:
            with connection.cursor().copy(f"COPY session ({columns}) FROM STDIN") as copy:
                for user_id, token in zip(user_ids, tokens, strict=True):
                    digest = hashlib.sha256(token.encode()).digest()
                    head = (f"ses_{secrets.token_hex(16)}", user_id, clinic_id, digest, now)
                    copy.write_row([*head, *proof, now, 60, now + timedelta(hours=12)])
            connection.execute("ANALYZE session")
        return tokens

    def add_accounts(self, count: int) -> list[Authenticator]:
        """Accounts that only the otp service knows."""
        accounts = _new_authenticators(count)
        self._add_accounts(accounts, "cli_bench")
        return accounts

    def _add_accounts(self, accounts: list[Authenticator], clinic_id: str) -> None:
        keyring = Keyring.load(self.layout.keyring("otp"))
        now = datetime.now(UTC)
        columns = "user_id, clinic_id, totp_id, totp_secret, totp_enrolled_at"
        with self.connect("otp") as connection:
            with connection.cursor().copy(f"COPY account ({columns}) FROM STDIN") as copy:
                for account in accounts:
                    factor_id = f"enr_{secrets.token_hex(16)}"
                    sealed = keyring.seal(account.secret.encode(), totp_secret_context(factor_id, account.user_id))
                    copy.write_row([account.user_id, clinic_id, factor_id, sealed, now])
            connection.execute("ANALYZE account")


@contextmanager
def started(state: Path) -> Iterator[Stack]:
    """Starts a local stack in an empty folder; stops it whatever happens."""
    # Ended by the kernel where the bench itself is killed: a stack left behind would spoil the next measurement.
    dying_with_parent = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
    command = [*dying_with_parent, sys.executable, "-m", "deploy.local", "up", "--state", str(state)]
    log = state.with_suffix(".log")
    with log.open("wb") as output:
        runner = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PORT": str(free_port()), "SMS_DAILY_CAP": _SMS_DAILY_CAP},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ends_at = time.monotonic() + _START_SECONDS
        while not (state / "stack.json").exists():
            if runner.poll() is not None or time.monotonic() > ends_at:
                raise SystemExit(f"The stack did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield Stack(state, json.loads((state / "stack.json").read_text()))
    finally:
        runner.send_signal(signal.SIGINT)
        try:
            runner.wait(60)
        except subprocess.TimeoutExpired:
            runner.kill()


def _new_authenticators(count: int) -> list[Authenticator]:
    numbers = (secrets.token_hex(16) for _ in range(count))
    return [Authenticator(f"usr_{n}", f"bench-{n}@harbour.example", pyotp.random_base32(32)) for n in numbers]
