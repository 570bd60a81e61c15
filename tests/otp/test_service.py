"""The service as its caller sees it: one step for everyone at once, repeated calls, refused callers, faults."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import OtpStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.embedded import EmbeddedPostgres
from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.otp.app import OtpService
from services.otp.servicer import ALLOWED
from tests.conftest import MakeCertificates
from tests.otp.conftest import Otp, fresh, result

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _connections(otp: Otp, tls_dir: Path, ports: list[int], count: int) -> list[grpc.aio.Channel]:
    """Channels of their own: a global subchannel pool would fold them into one connection."""
    credentials = grpc.ssl_channel_credentials(
        (tls_dir / "ca.pem").read_bytes(), (tls_dir / "key.pem").read_bytes(), (tls_dir / "cert.pem").read_bytes()
    )
    options = [("grpc.ssl_target_name_override", "otp"), ("grpc.use_local_subchannel_pool", 1)]
    return [
        grpc.aio.secure_channel(f"127.0.0.1:{ports[number % len(ports)]}", credentials, options=options)
        for number in range(count)
    ]


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
async def test_p01_a_thousand_submissions_of_one_code_over_a_hundred_connections_are_one(
    otp: Otp, certificates: MakeCertificates, rounds: int
) -> None:
    """Each under a login of its own, at two instances of the service, whose clock goes over a step's boundary at one
    stage of the round or another."""
    user = await otp.user().enrol_totp()
    ports = [otp.service.server.port, (await otp.another()).server.port]
    channels = _connections(otp, certificates("identity"), ports, 100)
    stubs: list[Any] = [OtpStub(channel) for channel in channels]
    answered = 0

    async def submit(number: int, code: str) -> str:
        """Repeated, as the same attempt, while the account is too busy to answer."""
        nonlocal answered
        request = otp_pb2.VerifyRequest(attempts=[user.attempt(code)])
        while True:
            try:
                answer = await stubs[number % len(stubs)].Verify(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                continue
            answered += 1
            return result(answer.verdicts[0])

    async def go_over_boundary(after: int) -> None:
        while answered < after:
            await asyncio.sleep(0.001)
        otp.clock.advance(timedelta(seconds=2))

    for round_number in range(rounds):
        otp.clock.set(_a_second_before_a_boundary(otp.clock.now() + timedelta(seconds=90)))
        count = 1000 if rounds == 50 or not round_number else 200
        after = (0, 1, 20, count // 2, count - 1)[round_number % 5]
        answered, code = 0, user.code(round_number % 2)
        *results, _ = await asyncio.gather(*(submit(number, code) for number in range(count)), go_over_boundary(after))
        assert results.count("accepted") == 1
        assert results.count("already_used") == count - 1
    assert otp.events(user.user_id).count("code.accepted") == rounds + 1
    assert (await user.factors()).attempts_left == 5
    for channel in channels:
        await channel.close()


def _a_second_before_a_boundary(moment: datetime) -> datetime:
    return moment + timedelta(seconds=29 - moment.timestamp() % 30)


async def test_a_flood_on_one_account_leaves_the_others_their_turn(otp: Otp) -> None:
    flooded, calm = await otp.user().enrol_totp(), await otp.user().enrol_totp()
    wrong = flooded.wrong_code()

    async def guess() -> None:
        try:
            await flooded.verify(wrong)
        except ServiceError:
            return

    flood = [asyncio.create_task(guess()) for _ in range(500)]
    await asyncio.sleep(0.1)
    assert await calm.sees(calm.code()) == "accepted"
    assert not all(task.done() for task in flood)
    await asyncio.gather(*flood)


async def test_a_repeated_attempt_is_told_the_same_and_counts_once(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    for code, method, told in (
        (user.wrong_code(), "totp", "wrong"),
        (user.code(), "totp", "accepted"),
        (user.code(), "totp", "already_used"),
        ("0" * 16, "backup_code", "wrong"),
        (user.backup_codes[0], "backup_code", "accepted"),
        ("123456", "sms", "no_such_factor"),
    ):
        login, attempt = fresh("log"), fresh("att")
        first = await user.verify(code, method, login, attempt)
        assert result(first) == told
        assert await user.verify(code, method, login, attempt) == first
    assert (await user.factors()).attempts_left == 3
    assert otp.events(user.user_id).count("code.wrong") == 2


async def test_an_attempt_repeated_a_hundred_times_at_once_counts_once(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    other = otp.peer_of("identity", (await otp.another()).server.port)
    request = otp_pb2.VerifyRequest(attempts=[user.attempt(user.wrong_code())])

    async def repeat(peer: Peer[Any]) -> tuple[str, int] | None:
        try:
            verdict = (await peer.call(peer.stub.Verify, request, seconds=10)).verdicts[0]
        except ServiceError as error:
            if error.code is not ErrorCode.UNAVAILABLE:
                raise
            return None
        return result(verdict), verdict.attempts_left

    answers = await asyncio.gather(*(repeat(peer) for peer in (otp.peer, other) for _ in range(50)))
    assert set(answers) - {None} == {("wrong", 4)}
    assert (await user.factors()).attempts_left == 4


async def test_an_attempts_id_with_another_code_or_login_is_refused(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    login, attempt = fresh("log"), fresh("att")
    assert await user.sees(user.code(), login=login, attempt=attempt) == "accepted"
    for code, other_login in ((user.wrong_code(), login), (user.code(), fresh("log"))):
        with pytest.raises(ServiceError, match="conflict"):
            await user.sees(code, login=other_login, attempt=attempt)
    assert (await user.factors()).attempts_left == 5


async def test_many_attempts_are_answered_in_their_order(otp: Otp) -> None:
    users = [await otp.user().enrol_totp() for _ in range(3)]
    attempts = [user.attempt(code) for user in users for code in (user.wrong_code(), user.code(), user.code(), "1")]
    answer = await otp.call("Verify", otp_pb2.VerifyRequest(attempts=attempts))
    told = [result(verdict) for verdict in answer.verdicts]
    assert told == ["wrong", "accepted", "already_used", "malformed"] * 3
    assert (await otp.call("Verify", otp_pb2.VerifyRequest())).verdicts == []


async def test_every_verdict_and_change_stands_in_the_audit_trail_without_its_code(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    code = user.code()
    await user.verify(code)
    await user.verify(user.wrong_code())
    await user.regenerate()
    await user.remove("totp")
    assert otp.events(user.user_id) == [
        "enrolment.started",
        "code.accepted",
        "factor.added",
        "backup_codes.made",
        "code.accepted",
        "code.wrong",
        "backup_codes.made",
        "factor.removed",
    ]
    rows = otp.sql("SELECT * FROM audit_event WHERE subject_id = %s ORDER BY seq", [user.user_id])
    assert all(row["clinic_id"] == "cli_harbour" and row["address"] == "192.0.2.7" for row in rows)
    assert rows[5]["detail"]["method"] == "totp"
    everything = json.dumps(rows, default=str)
    assert f'"{code}"' not in everything
    assert user.secret not in everything


async def test_p22_the_application_role_cannot_change_the_audit_trail_or_its_tables(
    otp: Otp, otp_database: tuple[str, str]
) -> None:
    url, password = otp_database
    with psycopg.connect(url, password=password, autocommit=True) as connection:
        for statement in (
            "UPDATE audit_event SET kind = 'x'",
            "DELETE FROM audit_event",
            "TRUNCATE audit_event",
            "UPDATE sealing_check SET sealed = ''",
            "DROP TABLE account",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)  # type: ignore[arg-type]


@pytest.mark.parametrize("caller", ["policy", "notifier", "otp", "postgres"])
async def test_p21_a67_only_identity_may_call(otp: Otp, caller: str) -> None:
    peer = otp.peer_of(caller, otp.service.server.port)
    user = otp.user()
    calls: dict[str, Any] = {
        "Verify": otp_pb2.VerifyRequest(attempts=[user.attempt("123456")]),
        "GetFactors": otp_pb2.GetFactorsRequest(user_ids=[user.user_id]),
        "ResetGuessBudget": otp_pb2.ResetGuessBudgetRequest(user_id=user.user_id, clinic_id="c", cause="x"),
    }
    for name in ALLOWED:
        method = name.rsplit("/", 1)[-1]
        request = calls.get(method) or getattr(otp_pb2, f"{method}Request")()
        with pytest.raises(ServiceError) as refusal:
            await peer.call(getattr(peer.stub, method), request)
        assert refusal.value.code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    "change",
    [
        {"attempt_id": ""},
        {"login_id": ""},
        {"login_id": "a|b"},
        {"method": 0},
        {"method": 99},
        {"attempt_id": "x" * 201},
        {"attempt_id": "a\x00b"},
        {"login_id": "ü"},
    ],
)
async def test_what_is_not_understood_is_refused_before_anything_is_counted(otp: Otp, change: dict[str, Any]) -> None:
    user = await otp.user().enrol_totp()
    attempt = user.attempt(user.code())
    for name, value in change.items():
        setattr(attempt, name, value)
    with pytest.raises(ServiceError) as refusal:
        await otp.call("Verify", otp_pb2.VerifyRequest(attempts=[attempt]))
    assert refusal.value.code is ErrorCode.INVALID_REQUEST
    assert (await user.factors()).attempts_left == 5


async def test_a71_swapped_cut_or_foreign_secrets_fail_closed(otp: Otp) -> None:
    anna, ben = await otp.user().enrol_totp(), await otp.user().enrol_totp()
    rows = otp.sql(
        "SELECT user_id, totp_id, totp_secret FROM account WHERE user_id IN (%s, %s)", [anna.user_id, ben.user_id]
    )
    sealed = {row["user_id"]: row for row in rows}

    async def is_refused(secret: bytes, factor_id: str | None = None) -> None:
        otp.sql(
            "UPDATE account SET totp_secret = %s, totp_id = coalesce(%s, totp_id) WHERE user_id = %s",
            [secret, factor_id, ben.user_id],
        )
        with pytest.raises(ServiceError) as refusal:
            await ben.verify(anna.code())
        assert refusal.value.code is ErrorCode.UNAVAILABLE

    mine, hers = sealed[ben.user_id], sealed[anna.user_id]
    await is_refused(hers["totp_secret"])
    await is_refused(hers["totp_secret"], hers["totp_id"])
    await is_refused(mine["totp_secret"][:-1], mine["totp_id"])
    await is_refused(mine["totp_secret"][:-1] + bytes([mine["totp_secret"][-1] ^ 1]))
    await is_refused(b"\x01\x00\x00\x00\x07" + mine["totp_secret"][5:])  # sealed under a key that is not there
    otp.sql("UPDATE account SET totp_secret = %s WHERE user_id = %s", [mine["totp_secret"], ben.user_id])
    assert await ben.sees(ben.code()) == "accepted"


async def _health(otp: Otp, service: OtpService, certificates: MakeCertificates, expected: Any) -> None:
    tls_dir = certificates("identity")
    [channel] = _connections(otp, tls_dir, [service.server.port], 1)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(20):
        while (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status != expected:
            await asyncio.sleep(0.1)
    await channel.close()


async def test_f16_without_the_right_keyring_it_does_not_serve_and_with_it_it_does(
    otp: Otp, keyring_file: Path, certificates: MakeCertificates
) -> None:
    user = await otp.user().enrol_totp()
    right = keyring_file.read_text()
    wrong = json.loads(right)
    wrong["keys"]["1"] = "YW5vdGhlci1rZXktb2YtMzItYnl0ZXMtZm9yLXRlc3Q="
    strange = {"active": 2, "keys": {"2": wrong["keys"]["1"]}}
    for content in ("", "{}", json.dumps(wrong), json.dumps(strange), None):
        if content is None:
            keyring_file.unlink()
        else:
            keyring_file.write_text(content)
        service = await otp.another()
        await _health(otp, service, certificates, NOT_SERVING)
        peer = otp.peer_of("identity", service.server.port)
        request = otp_pb2.VerifyRequest(attempts=[user.attempt(user.code())])
        with pytest.raises(ServiceError) as refusal:
            await peer.call(peer.stub.Verify, request)
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        with pytest.raises(ServiceError, match="unavailable"):
            await peer.call(
                peer.stub.StartTotpEnrolment,
                otp_pb2.StartTotpEnrolmentRequest(caller=otp.user().caller(), account_label="Harbour"),
            )
    keyring_file.write_text(right)
    await _health(otp, service, certificates, SERVING)
    assert result((await peer.call(peer.stub.Verify, request)).verdicts[0]) == "accepted"


async def test_f07_a_killed_postgresql_is_unavailable_and_forgets_no_spent_code(
    otp: Otp, postgres: EmbeddedPostgres, certificates: MakeCertificates
) -> None:
    user = await otp.user().enrol_totp()
    code = user.code()
    assert await user.sees(code) == "accepted"
    await _health(otp, otp.service, certificates, SERVING)
    postgres.kill()
    try:
        with pytest.raises(ServiceError, match="unavailable"):
            await user.sees(user.code(1))
        await _health(otp, otp.service, certificates, NOT_SERVING)
    finally:
        postgres.start()
    await _health(otp, otp.service, certificates, SERVING)
    assert await user.sees(code) == "already_used"
    assert await user.sees(user.code(1)) == "accepted"


async def test_a_row_held_for_over_a_second_is_unavailable(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    with otp.postgres.connect(otp.database_name) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM account WHERE user_id = %s FOR UPDATE", [user.user_id])
        begun = asyncio.get_running_loop().time()
        with pytest.raises(ServiceError, match="unavailable"):
            await user.verify(user.code())
        assert 0.9 < asyncio.get_running_loop().time() - begun < 2
    assert await user.sees(user.code()) == "accepted"


async def test_f08_where_the_audit_event_cannot_be_written_nothing_is_told_or_spent(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    otp.sql("ALTER TABLE audit_event ADD CONSTRAINT disk_full CHECK (at < '2000-01-01') NOT VALID")
    try:
        with pytest.raises(ServiceError):
            await user.verify(user.code())
        with pytest.raises(ServiceError):
            await user.verify(user.wrong_code())
    finally:
        otp.sql("ALTER TABLE audit_event DROP CONSTRAINT disk_full")
    assert (await user.factors()).attempts_left == 5
    assert await user.sees(user.code()) == "accepted"


async def test_callers_that_hang_up_leave_every_connection_usable(otp: Otp) -> None:
    users = [await otp.user().enrol_totp() for _ in range(4)]
    told: list[str] = []
    chance = random.Random(7)

    async def impatient(number: int) -> None:
        user = users[number % 4]
        request = otp_pb2.VerifyRequest(attempts=[user.attempt(user.wrong_code())])
        try:
            answer = await otp.peer.stub.Verify(request, timeout=chance.uniform(0.001, 0.02))
            told.append(result(answer.verdicts[0]))
        except grpc.aio.AioRpcError:
            return

    for start in range(0, 400, 20):
        await asyncio.gather(*(impatient(number) for number in range(start, start + 20)))
    otp.clock.advance(timedelta(days=2))
    codes = await asyncio.gather(*(user.sees(user.code()) for user in users))
    assert codes == ["accepted"] * 4
    for user in users:
        assert otp.events(user.user_id).count("code.wrong") <= 5


async def test_expired_verdicts_and_secrets_are_deleted(otp: Otp) -> None:
    user = await otp.user().enrol_totp()
    attempt = fresh("att")
    await user.verify(user.wrong_code(), attempt=attempt)
    await user.start_totp()
    await user.start_sms()
    upkeep: Callable[..., Awaitable[None]] = otp.service._upkeep.run
    await upkeep(otp.clock.now() + timedelta(minutes=10))
    assert otp.sql("SELECT 1 FROM verdict WHERE attempt_id = %s", [attempt])
    await upkeep(otp.clock.now() + timedelta(minutes=30))
    assert otp.sql("SELECT 1 FROM verdict WHERE attempt_id = %s", [attempt]) == []
    assert otp.sql("SELECT 1 FROM enrolment WHERE user_id = %s AND secret IS NOT NULL", [user.user_id]) == []
    await upkeep(otp.clock.now() + timedelta(hours=25))
    assert otp.sql("SELECT 1 FROM enrolment WHERE user_id = %s", [user.user_id]) == []
    assert otp.sql("SELECT 1 FROM challenge WHERE user_id = %s", [user.user_id]) == []
    assert await user.sees(user.code()) == "accepted"
