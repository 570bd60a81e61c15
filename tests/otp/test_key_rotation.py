"""Keys are rotated while people sign in: nobody fails, nothing stays under the old key, a kill loses nothing (P23)."""

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from countersign.otp.v1 import otp_pb2
from prometheus_client import REGISTRY

from services.common import keyring_file as keyring_files
from services.common.errors import ServiceError
from services.common.sealed_columns import RotationStore
from services.common.sealing import Keyring, key_id_of
from services.otp.settings import OtpSettings
from services.otp.store.sealed import SEALED
from services.otp.vault import totp_secret_context
from tests.otp.conftest import CLINIC, NOW, Otp, fresh, result

ROOT = Path(__file__).parents[2]
_TAIL = 45  # after format, key id and wrapped key: nonce, ciphertext and tag


@dataclass
class Holder:
    """Someone who holds a secret that was put in by the back door."""

    user_id: str
    secret: str
    sealed: bytes
    last_step: int = 0


@pytest.fixture
def alone(otp: Otp) -> Iterator[None]:
    """No record of another test is in the way, and none stays that the next one's keyring could not open."""
    empty = "TRUNCATE account, number_mark, enrolment, challenge, backup_code, verdict, sealing_check"
    otp.sql(empty)
    yield
    otp.sql(empty)


def environment(settings: OtpSettings) -> dict[str, str]:
    names = ("database_url", "sealer_database_url", "redis_url", "keyring_file", "notifier_target", "tls_dir")
    secret = ("database_password", "sealer_database_password", "redis_password", "limits_pepper", "code_pepper")
    given = {name: str(getattr(settings, name)) for name in names}
    given |= {name: getattr(settings, name).get_secret_value() for name in secret}
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **paths, **{f"OTP_{name.upper()}": value for name, value in given.items()}}


def start(otp: Otp, command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "services.otp", command],
        cwd=ROOT,
        env=environment(otp.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(otp: Otp, command: str) -> tuple[int, str, str]:
    process = start(otp, command)
    told, complained = process.communicate(timeout=100)
    return process.returncode, told, complained


def fill(otp: Otp, count: int) -> list[Holder]:
    """People with an authenticator app."""
    keyring, holders = Keyring.load(otp.settings.keyring_file), []
    with otp.postgres.connect(otp.database_name) as connection:
        columns = "user_id, clinic_id, totp_id, totp_secret, totp_enrolled_at"
        with connection.cursor().copy(f"COPY account ({columns}) FROM STDIN") as copy:
            for number in range(count):
                user_id, factor_id, secret = fresh("usr"), f"enr_{number}", pyotp.random_base32()
                sealed = keyring.seal(secret.encode(), totp_secret_context(factor_id, user_id))
                copy.write_row([user_id, CLINIC, factor_id, sealed, NOW])
                holders.append(Holder(user_id, secret, sealed))
    return holders


class SignIns:
    """Goes on signing people in, at every instance by turns, and enrols others, until it is stopped."""

    def __init__(self, otp: Otp, holders: list[Holder], peers: list[Any]) -> None:
        self._otp, self._peers = otp, itertools.cycle(peers)
        self._line = itertools.cycle(holders)
        self._stopped = False
        self.results: list[str] = []
        self.offers: list[tuple[Any, Any]] = []
        self._tasks = [asyncio.create_task(self._sign_in()) for _ in range(3)] + [asyncio.create_task(self._enrol())]

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _sign_in(self) -> None:
        while not self._stopped:
            holder, peer = next(self._line), next(self._peers)
            step = max(holder.last_step + 1, int(self._otp.clock.now().timestamp()) // 30)
            if step > int(self._otp.clock.now().timestamp()) // 30:
                self._otp.clock.advance(timedelta(seconds=30))
            holder.last_step = step
            caller = otp_pb2.Caller(clinic_id=CLINIC, user_id=holder.user_id, session_id="ses_1", address="192.0.2.7")
            attempt = otp_pb2.Attempt(
                attempt_id=fresh("att"),
                login_id=fresh("log"),
                caller=caller,
                method=otp_pb2.METHOD_TOTP,
                code=pyotp.TOTP(holder.secret).at(step * 30),
            )
            request = otp_pb2.VerifyRequest(attempts=[attempt])
            self.results.append(result((await peer.call(peer.stub.Verify, request, seconds=10.0)).verdicts[0]))

    async def _enrol(self) -> None:
        while not self._stopped:
            person = self._otp.user()
            self.offers.append((person, await person.start_totp()))
            await asyncio.sleep(0.05)


async def until_rewrapped(process: "subprocess.Popen[str]", least: int) -> None:
    """Reads what the command tells until so many records are rewrapped."""
    assert process.stdout is not None
    while line := await asyncio.to_thread(process.stdout.readline):
        if (found := re.search(r"([\d,]+) of [\d,]+ records rewrapped", line)) and int(
            found[1].replace(",", "")
        ) >= least:
            return
    raise AssertionError(f"it ended before: {process.stderr.read() if process.stderr else ''}")


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_p23_secrets_are_rewrapped_while_people_sign_in_and_a_kill_in_the_middle_loses_nothing(
    otp: Otp, alone: None, count: int
) -> None:
    second = await otp.another()
    await otp.user().enrol_totp()  # both are ready
    holders = fill(otp, count)
    peers = [otp.peer, otp.peer_of("identity", second.server.port)]
    path = otp.settings.keyring_file
    path.chmod(0o400)
    traffic = SignIns(otp, holders, peers)
    killed = start(otp, "rotate-keys")
    await until_rewrapped(killed, count // 5)
    killed.kill()
    killed.wait()
    assert Keyring.load(path).ids == {1, 2}, "both open what is there"
    in_the_middle = otp.sql("SELECT count(*) AS left FROM account WHERE substr(totp_secret, 2, 4) = '\\x00000001'")
    assert 0 < in_the_middle[0]["left"] < count
    before = len(traffic.results)
    code, told, complained = await asyncio.to_thread(run, otp, "rotate-keys")
    await asyncio.sleep(1.5)  # sealed and opened once more under the keyring as it is now
    await traffic.stop()

    assert (code, "key 1 is retired" in told) == (0, True), complained
    assert len(traffic.results) > before > 0
    assert set(traffic.results) == {"accepted"}
    assert Keyring.load(path).ids == {2}
    assert (path.stat().st_mode & 0o777, [p.name for p in path.parent.iterdir() if ".keyring" in p.name]) == (0o400, [])
    for column in SEALED:
        rows = otp.sql(f"SELECT {column.column} AS sealed FROM {column.table} WHERE {column.column} IS NOT NULL")
        assert {key_id_of(row["sealed"]) for row in rows} <= {2}, column
    keyring = Keyring.load(path)
    found = {row["user_id"]: row for row in otp.sql("SELECT user_id, totp_id, totp_secret FROM account")}
    for holder in holders:
        row = found[holder.user_id]
        assert row["totp_secret"][_TAIL:] == holder.sealed[_TAIL:], "only the record's key is wrapped anew"
        context = totp_secret_context(row["totp_id"], holder.user_id)
        assert keyring.open(row["totp_secret"], context) == holder.secret.encode()
    assert len(traffic.offers) > 20
    for person, offer in traffic.offers[-5:] + traffic.offers[:5]:  # sealed before, in the middle and after
        person.secret = offer.secret
        assert result((await person.confirm(offer.enrolment_id, person.code())).verdict) == "accepted"
    [event] = otp.sql("SELECT actor_kind, detail FROM audit_event WHERE kind = 'keys.rotated'")
    assert (event["actor_kind"], event["detail"]["retired"], event["detail"]["active"]) == ("operator", [1], 2)
    assert [row["key_id"] for row in otp.sql("SELECT key_id FROM sealing_check")] == [2]
    assert json.loads(path.read_text())["keys"]["2"] not in told + complained
    [logged] = [json.loads(line) for line in complained.splitlines() if '"keys_rotated"' in line]
    assert (logged["retired"], logged["active"], logged["records"] > count // 10) == ([1], 2, True)


@contextmanager
def the_file_held(otp: Otp) -> Iterator[None]:
    with keyring_files.held(otp.settings.keyring_file):
        yield


@contextmanager
def the_database_held(otp: Otp) -> Iterator[None]:
    password = otp.settings.database_password.get_secret_value()
    with RotationStore(otp.settings.database_url, password, SEALED) as store:
        assert store.try_lock()
        yield


@pytest.mark.parametrize("held", [the_file_held, the_database_held])
async def test_of_two_rotations_one_says_that_the_other_runs_and_does_nothing(otp: Otp, alone: None, held: Any) -> None:
    before = otp.settings.keyring_file.read_bytes()
    with held(otp):
        code, _, complained = await asyncio.to_thread(run, otp, "rotate-keys")
    assert (code, "another rotation is running" in complained) == (1, True)
    assert otp.settings.keyring_file.read_bytes() == before


async def test_the_keys_are_listed_with_their_records_and_without_themselves(otp: Otp, alone: None) -> None:
    fill(otp, 3)
    await otp.user().enrol_sms()
    code, told, _ = await asyncio.to_thread(run, otp, "keys")
    rows = [line.split() for line in told.splitlines()]
    assert code == 0
    assert rows[0] == ["key", *(str(column) for column in SEALED)]
    assert rows[1][:3] == ["1", "active", "3"]
    assert json.loads(otp.settings.keyring_file.read_text())["keys"]["1"] not in told
    other = Keyring.load(otp.settings.keyring_file).with_new_key(2).with_active_key_only()
    otp.settings.keyring_file.write_bytes(other.as_file())
    code, told, complained = await asyncio.to_thread(run, otp, "keys")
    assert (code, "missing" in told, "restore it from your backup" in complained) == (1, True, True)
    code, _, complained = await asyncio.to_thread(run, otp, "rotate-keys")
    assert (code, "which the keyring lacks" in complained) == (1, True)
    assert otp.settings.keyring_file.read_bytes() == other.as_file()


@pytest.mark.parametrize("how", ["swapped", "truncated", "retired"])
async def test_a71_a_secret_that_is_not_what_was_sealed_for_its_owner_is_not_judged_by_and_shows(
    otp: Otp, alone: None, how: str
) -> None:
    await otp.user().enrol_totp()
    victim, thief = fill(otp, 2)
    sealed = {
        "swapped": thief.sealed,
        "truncated": victim.sealed[:-1],
        "retired": victim.sealed[:1] + (7).to_bytes(4) + victim.sealed[5:],
    }[how]
    otp.sql("UPDATE account SET totp_secret = %s WHERE user_id = %s", [sealed, victim.user_id])
    failures = REGISTRY.get_sample_value("sealing_failures_total") or 0.0
    person = otp.user()
    person.user_id = victim.user_id
    for secret in (victim.secret, thief.secret):
        person.secret = secret
        with pytest.raises(ServiceError, match="unavailable"):
            await person.verify(person.code())
    assert (REGISTRY.get_sample_value("sealing_failures_total") or 0.0) == failures + 2
    assert otp.sql("SELECT guesses FROM account WHERE user_id = %s", [victim.user_id])[0]["guesses"] == []


async def test_f16_a_keyring_that_goes_bad_meanwhile_seals_nothing_more_and_still_opens(otp: Otp, alone: None) -> None:
    user = await otp.user().enrol_totp()
    path = otp.settings.keyring_file
    right = Keyring.load(path)
    stranger = Keyring(1, {1: os.urandom(32)})
    for content in (stranger.as_file(), b"{}", None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        await asyncio.sleep(1.1)  # the file is looked at once a second
        with pytest.raises(ServiceError, match="unavailable"):
            await otp.user().start_totp()
        otp.clock.advance(timedelta(seconds=30))
        assert await user.sees(user.code()) == "accepted"
    path.write_bytes(right.as_file())
    await asyncio.sleep(1.1)
    await otp.user().enrol_totp()
