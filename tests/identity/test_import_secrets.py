"""Authenticator apps of another system: otp's command, which asks identity whose an e-mail address is, beside the
running services."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from countersign.identity.v1 import operations_pb2
from countersign.identity.v1.operations_pb2_grpc import OperationsStub

from services.common.errors import ErrorCode, ServiceError
from services.common.import_report import Outcome, Result
from services.common.postgres import Database
from services.common.rpc_client import Peer
from services.common.sealing import Keyring
from services.identity.model import ClinicId, SessionId, UserId
from services.identity.peers.otp import OtpCaller
from services.identity.serving import rpc_server
from services.otp.__main__ import vault_of
from services.otp.identity_peer import IdentityPeer
from services.otp.secret_formats import entries
from services.otp.secret_import import SecretImport
from services.otp.store.imports import ImportStore
from tests.conftest import MakeCertificates, sealer_of
from tests.identity.people import PHONE, Person, SomeClinic, Stack
from tests.identity.test_commands import ROOT

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

Import = Any


@pytest.fixture
async def door(stack: Stack) -> AsyncIterator[str]:
    """identity's gRPC door."""
    replica = await stack.another_app(grpc_listen="127.0.0.1:0")
    server = rpc_server(replica.gateway)
    yield f"127.0.0.1:{await server.start()}"
    await server.stop(0)


@pytest.fixture
async def importing(
    stack: Stack, door: str, certificates: MakeCertificates, identity_databases: dict[str, tuple[str, str]]
) -> AsyncIterator[Import]:
    """The command's own operation, with its database and its certificate."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[SecretImport]:
        database, peer = Database(*identity_databases["otp"], 1), IdentityPeer(door, certificates("otp"))
        await database.open()
        vault = await vault_of(stack.settings.keyring_file, database)
        yield SecretImport(ImportStore(database), peer, vault, stack.clock)
        await peer.close()
        await database.close()

    async def run(
        clinic: SomeClinic, lines: Iterable[str], *, is_applied: bool = True, domain: str = ""
    ) -> list[Result]:
        found = entries(enumerate(lines, 1), None)
        results = operation.run(clinic.slug, found, is_applied=is_applied, domain=domain)
        return [result async for result in results]

    async with opened() as operation:
        yield run


def otpauth(email: str, secret: str = SECRET, more: str = "") -> str:
    return f"otpauth://totp/Old%20Product:{email}?secret={secret}{more}"


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256", "SHA512"])
async def test_an_imported_app_signs_in_at_the_next_step_and_each_code_once(
    clinic: SomeClinic, importing: Import, algorithm: str
) -> None:
    stack, person = clinic.stack, await clinic.person(phone=PHONE)
    app = pyotp.TOTP(SECRET, digest=getattr(hashlib, algorithm.lower()))
    lines = [otpauth(person.email.upper(), more=f"&algorithm={algorithm}")]
    (dry,) = await importing(clinic, lines, is_applied=False)
    assert dry.outcome is Outcome.WOULD_BE_MADE
    assert (await person.sign_in())["state"] == "active"
    (made,) = await importing(clinic, lines)
    assert (made.outcome, made.email) == (Outcome.MADE, person.email.upper())
    (again,) = await importing(clinic, lines)
    assert again.outcome is Outcome.THERE

    session = await person.sign_in()
    assert (session["state"], session["methods"]) == ("second_factor_required", ["totp"])
    used = await person.prove(app.at(stack.clock.now()))
    assert used.json()["type"].endswith("code-already-used"), "the other system may have taken it just now"
    stack.clock.advance(timedelta(seconds=30))
    code = app.at(stack.clock.now())
    proven = await person.prove(code)
    assert proven.status_code == 200, proven.text
    person.token = proven.json()["token"]
    assert proven.json()["backup_codes_remaining"] == 0
    await person.sign_in()
    assert (await person.prove(code)).json()["type"].endswith("code-already-used")
    events = stack.events(person.id)
    assert "factor.added" not in events


async def test_the_sessions_there_are_follow_within_two_seconds(clinic: SomeClinic, importing: Import) -> None:
    person = await clinic.person(phone=PHONE)
    await clinic.require_here()
    assert (await person.sign_in())["state"] == "enrolment_required"
    started = await person.call("POST", "/v1/me/two-factor/totp")
    assert started.status_code == 201
    await importing(clinic, [otpauth(person.email)])
    clinic.stack.clock.advance(timedelta(seconds=2))
    await asyncio.sleep(2)  # by the machine's clock what is remembered of factors is checked
    assert await person.state() == "second_factor_required"
    # What was begun without this factor must not replace it.
    sessions = clinic.stack.sql("SELECT id FROM session WHERE user_id = %s ORDER BY authenticated_at", [person.id])
    with pytest.raises(ServiceError) as caught:
        await clinic.stack.gateway.otp.totp_enrolment(
            UserId(person.id), SessionId(sessions[-1]["id"]), started.json()["enrolment_id"]
        )
    assert caught.value.code is ErrorCode.GONE


async def test_nothing_is_replaced_and_no_line_stops_another(clinic: SomeClinic, importing: Import) -> None:
    has_one, stopped, fresh = [await clinic.person(phone=PHONE) for _ in range(3)]
    await has_one.sign_in()
    await has_one.enrol_totp()
    await stopped.sign_in()
    enrolment = (await stopped.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})).json()
    code = clinic.stack.notifier.code_to(PHONE)
    path = f"/v1/me/two-factor/sms/{enrolment['enrolment_id']}/confirm"
    assert (await stopped.call("POST", path, {"code": code})).status_code == 200
    caller = OtpCaller(ClinicId(clinic.id), UserId(stopped.id), SessionId("ses_desk"), "192.0.2.9")
    await clinic.stack.gateway.otp.suspend_factors(caller, "bypass")
    results = await importing(
        clinic,
        [
            otpauth(has_one.email),
            otpauth(stopped.email),
            otpauth("nobody@harbour.example"),
            otpauth("nameless"),
            otpauth(fresh.email, more="&digits=8"),
            otpauth(fresh.email),
            otpauth(fresh.email, OTHER),
            otpauth(fresh.email),
        ],
    )
    assert [one.outcome.value for one in results] == [*["refused"] * 5, "made", "refused", "already there"]
    words = ("another authenticator app", "suspended", "Nobody in this clinic", "--domain", "8 digits")
    for one, word in zip([*results[:5], results[6]], [*words, "another authenticator app"], strict=True):
        assert word in one.reason
        assert SECRET not in one.reason


async def test_names_are_given_the_domain_and_another_clinic_is_another(
    clinic: SomeClinic, stack: Stack, importing: Import
) -> None:
    person, elsewhere = await clinic.person(), await stack.make_clinic()
    name = person.email.partition("@")[0]
    (one,) = await importing(clinic, [otpauth(name)], domain="harbour.example")
    assert (one.outcome, one.email) == (Outcome.MADE, person.email)
    (one,) = await importing(elsewhere, [otpauth(person.email)])
    assert one.outcome is Outcome.REFUSED
    with pytest.raises(ServiceError) as caught:
        await importing(SomeClinic(stack, "cli_x", "nowhere"), [otpauth(person.email)])
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_the_command_prints_no_secret_and_needs_identity(
    clinic: SomeClinic,
    door: str,
    certificates: MakeCertificates,
    identity_databases: dict[str, tuple[str, str]],
    tmp_path: Path,
) -> None:
    settings, (url, password) = clinic.stack.settings, identity_databases["otp"]
    person = await clinic.person()
    file = tmp_path / "secrets.csv"
    file.write_text(f"email,secret\n{person.email},{SECRET}\n{person.email},{SECRET},x\n")
    named = {
        "TLS_DIR": str(certificates("otp")),
        "DATABASE_URL": url,
        "DATABASE_PASSWORD": password,
        "SEALER_DATABASE_URL": sealer_of("otp", url)[0],
        "SEALER_DATABASE_PASSWORD": "not used",
        "REDIS_URL": settings.redis_url,
        "REDIS_PASSWORD": "not used",
        "LIMITS_PEPPER": "not used, but long enough",
        "CODE_PEPPER": "not used, but long enough",
        "NOTIFIER_TARGET": "127.0.0.1:1",
        "KEYRING_FILE": str(settings.keyring_file),
    }

    async def run(*options: str, target: str = door) -> subprocess.CompletedProcess[str]:
        environment = {f"OTP_{name}": value for name, value in named.items()} | {"OTP_IDENTITY_TARGET": target}
        environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"}
        command = [sys.executable, "-m", "services.otp", "import", str(file), "--clinic", clinic.slug, *options]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    without = await run(target="")
    assert (without.returncode, without.stdout) == (1, "")
    assert "OTP_IDENTITY_TARGET" in without.stderr
    right = named["KEYRING_FILE"]
    named["KEYRING_FILE"] = str(tmp_path / "another.json")
    (tmp_path / "another.json").write_bytes(Keyring(1, {1: os.urandom(32)}).as_file())
    wrong = await run("--apply")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "The keyring cannot be used: this is not the keyring of this service's database" in wrong.stderr
    named["KEYRING_FILE"] = right
    done = await run("--apply")
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    first, second, counts = [json.loads(line) for line in done.stdout.splitlines()]
    assert first == {"line": 2, "email": person.email, "result": "made"}
    assert (second["line"], second["result"]) == (3, "refused")
    assert (counts, done.returncode) == ({"applied": True, "made": 1, "there": 0, "refused": 1}, 1)
    assert (await person.sign_in())["methods"] == ["totp"]


async def test_p21_only_otp_may_ask_whose_an_address_is(certificates: MakeCertificates, door: str) -> None:
    for caller in ("backend", "policy", "notifier", "identity"):
        peer = Peer(OperationsStub, door, "identity", certificates(caller))
        with pytest.raises(ServiceError) as caught:
            await peer.call(peer.stub.FindUsers, operations_pb2.FindUsersRequest(), 10.0)
        assert caught.value.code is ErrorCode.FORBIDDEN
        await peer.close()


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_many_apps_come_in_batches(clinic: SomeClinic, importing: Import, count: int) -> None:
    stack = clinic.stack
    stack.sql(
        "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, created_at)"
        " SELECT %s || n, %s, e, e, 'Mina', 'practitioner', %s FROM (SELECT n,"
        " 'p' || n || '@harbour.example' AS e FROM generate_series(1, %s) AS n) AS people",
        [clinic.id, clinic.id, stack.clock.now(), count],
    )
    lines = [otpauth(f"p{number}@harbour.example") for number in range(1, count + 1)]
    assert {one.outcome for one in await importing(clinic, lines)} == {Outcome.MADE}
    results = await importing(clinic, lines)
    assert {one.outcome for one in results} == {Outcome.THERE}
    assert [one.line for one in results] == list(range(1, count + 1))
    person = Person(clinic, f"{clinic.id}{count}", f"p{count}@harbour.example")
    factors = await stack.gateway.otp.factors_of(UserId(person.id))
    assert [factor.method for factor in factors.factors] == ["totp"]
