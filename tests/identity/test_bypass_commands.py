"""The operator's bypass, by identity's command and by policy's, for a clinic without a working administrator."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from countersign.identity.v1 import operations_pb2
from countersign.identity.v1.operations_pb2_grpc import OperationsStub

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.identity.serving import rpc_server
from tests.conftest import MakeCertificates
from tests.identity.people import PHONE, SomeClinic, Stack
from tests.identity.test_commands import ROOT, answer_of, run


async def test_the_operator_lets_the_only_administrator_in_once(clinic: SomeClinic) -> None:
    stack, admin = clinic.stack, await clinic.person("admin", phone=PHONE)
    await admin.sign_in()
    await admin.enrol_totp()
    options = ["--clinic", clinic.slug, "--email", admin.email, "--reason", "Ticket 41: phone in the harbour."]
    # The command's own clock is the machine's, and policy's, which grants, is the test's.
    answer = answer_of(await run(stack, "bypass", *options))
    assert answer["user_id"] == admin.id
    assert (await admin.sign_in())["state"] == "enrolment_required"
    await admin.enrol_totp()
    shown = (await admin.call("GET", f"/v1/users/{admin.id}/two-factor")).json()["bypass"]
    assert (shown["state"], shown["granted_by"]["kind"]) == ("used", "operator")
    assert shown["note"] == "Ticket 41: phone in the harbour."
    events = (await admin.call("GET", f"/v1/audit-events?user={admin.id}&kind=bypass.granted")).json()["events"]
    assert [event["actor"]["kind"] for event in events] == ["operator"]
    told = [notice["kind"] for notice in (await admin.call("GET", "/v1/me/notices")).json()["notices"]]
    assert {"bypass_granted", "operator_bypass_granted", "bypass_used", "bypass_enrolled"} <= set(told)


async def test_the_operators_bypass_suspends_and_refuses_in_sentences(clinic: SomeClinic) -> None:
    stack, person = clinic.stack, await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    who = ["--clinic", clinic.slug, "--email", person.email]
    for options in (
        [*who, "--reason", " "],
        [*who, "--reason", "x", "--minutes", "1441"],
        ["--clinic", clinic.slug, "--email", "nobody@harbour.example", "--reason", "x"],
        ["--clinic", "nowhere", "--email", person.email, "--reason", "x"],
    ):
        done = await run(stack, "bypass", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
    assert (await person.call("GET", "/v1/me")).status_code == 200
    answer_of(await run(stack, "bypass", *who, "--reason", "Stolen.", "--suspend-factors"))
    assert (await person.call("GET", "/v1/session")).status_code == 401
    session = await person.sign_in()
    assert (session["state"], session["methods"]) == ("enrolment_required", [])


@pytest.fixture
async def door(stack: Stack) -> AsyncIterator[str]:
    """identity's gRPC door."""
    replica = await stack.another_app(grpc_listen="127.0.0.1:0")
    server = rpc_server(replica.gateway)
    yield f"127.0.0.1:{await server.start()}"
    await server.stop(0)


async def run_policy(
    stack: Stack, certificates: MakeCertificates, target: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    named = {
        "TLS_DIR": str(certificates("policy")),
        "DATABASE_URL": stack.settings.database_url,  # asked for at the start, not opened
        "DATABASE_PASSWORD": "not used",
        "SEALER_DATABASE_URL": stack.settings.database_url,
        "SEALER_DATABASE_PASSWORD": "not used",
        "IDENTITY_TARGET": target,
    }
    environment = {f"POLICY_{name}": value for name, value in named.items() if value}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"}
    command = [sys.executable, "-m", "services.policy", "bypass", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


async def test_policys_command_asks_identity_who_it_is_for(
    clinic: SomeClinic, certificates: MakeCertificates, door: str
) -> None:
    stack, admin = clinic.stack, await clinic.person("admin", phone=PHONE)
    await admin.sign_in()
    await admin.enrol_totp()
    options = ["--clinic", clinic.slug, "--email", admin.email, "--reason", "The only administrator lost the phone."]
    without = await run_policy(stack, certificates, "", *options)
    assert (without.returncode, without.stdout) == (1, "")
    assert "POLICY_IDENTITY_TARGET" in without.stderr
    nobody = await run_policy(stack, certificates, door, *options[:3], "nobody@harbour.example", *options[4:])
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("There is nobody")
    answer = answer_of(await run_policy(stack, certificates, door, *options))
    assert answer["user_id"] == admin.id
    assert (await admin.sign_in())["state"] == "enrolment_required"
    told = stack.sql("SELECT kind FROM notice WHERE user_id = %s AND detail ->> 'by' IS NULL", [admin.id])
    assert {"bypass_granted", "operator_bypass_granted"} <= {row["kind"] for row in told}


async def test_p21_only_policy_may_ask_for_it(certificates: MakeCertificates, door: str) -> None:
    for caller in ("backend", "otp", "notifier", "identity"):
        peer = Peer(OperationsStub, door, "identity", certificates(caller))
        with pytest.raises(ServiceError) as caught:
            await peer.call(peer.stub.GrantBypass, operations_pb2.GrantBypassRequest(), 10.0)
        assert caught.value.code is ErrorCode.FORBIDDEN
        await peer.close()
