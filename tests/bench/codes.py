"""Backup codes redeemed a second by the otp service, and authenticator apps set up, and their floor: as many bare
Argon2id hashes of the same cost as each must make."""

import asyncio
import secrets
import time
import uuid
from collections import deque
from collections.abc import Iterable

from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import OtpStub

from tests.bench.authenticators import STEP_SECONDS, Authenticator
from tests.bench.channels import channel
from tests.bench.load import Phase, run
from tests.bench.sign_in import BareArgon2, Unsafe
from tests.bench.stack import Stack

CALLERS = 8
SET_UP_CALLERS = 4  # each confirmation at once hashes ten codes, and otp lets sixty wait (services/otp/backup_codes.py)
ACCOUNTS = 500
CODES_IN_A_SET = 10
_MOST_A_SECOND = 120
_FEWEST_ACCOUNTS = 10  # so that two callers seldom meet on one account
_SENT_AGAIN = 20

Given = tuple[str, "otp_pb2.Method.ValueType", str]


class _Otp:
    """The otp service, as the gateway calls it."""

    def __init__(self, stack: Stack) -> None:
        self._channel = channel(stack, "identity", "otp")
        self.stub = OtpStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def verify(self, user_id: str, method: otp_pb2.Method.ValueType, code: str) -> otp_pb2.Verdict:
        """By a login of its own."""
        caller = caller_of(user_id)
        attempt = otp_pb2.Attempt(
            attempt_id=uuid.uuid4().hex, login_id=f"{caller.session_id}.1", caller=caller, method=method, code=code
        )
        return (await self.stub.Verify(otp_pb2.VerifyRequest(attempts=[attempt]), timeout=10)).verdicts[0]

    async def check_spent(self, given: Iterable[Given]) -> None:
        for user_id, method, code in given:
            result = (await self.verify(user_id, method, code)).result
            if result != otp_pb2.Verdict.RESULT_ALREADY_USED:
                raise Unsafe(f"a code sent twice was answered {otp_pb2.Verdict.Result.Name(result)}")


class Redemptions:
    """Redeems codes that otp made, each once, of many accounts in turn."""

    def __init__(self, stack: Stack, accounts: Iterable[Authenticator]) -> None:
        self._otp = _Otp(stack)
        self._accounts = deque(accounts)
        self._line: deque[tuple[str, str]] = deque()
        self._given: deque[Given] = deque(maxlen=_SENT_AGAIN)

    async def fill(self, seconds: float) -> None:
        """Has otp make as many codes as a phase could take; no part of any phase."""
        missing = int(seconds * _MOST_A_SECOND) - len(self._line)
        if missing <= 0:
            return
        sets: list[list[tuple[str, str]]] = []
        for _ in range(max(_FEWEST_ACCOUNTS, -(-missing // CODES_IN_A_SET))):
            user_id = self._accounts[0].user_id
            self._accounts.rotate(-1)
            request = otp_pb2.RegenerateBackupCodesRequest(caller=caller_of(user_id))
            made = await self._otp.stub.RegenerateBackupCodes(request, timeout=20)
            sets.append([(user_id, code) for code in made.codes])
        self._line.extend(each for slot in zip(*sets, strict=True) for each in slot)

    async def phase(self, seconds: float) -> Phase:
        done = await run(self._once, CALLERS, seconds)
        await self._otp.check_spent(self._given)
        self._given.clear()
        return done

    async def close(self) -> None:
        await self._otp.close()

    async def _once(self, number: int) -> None:
        if not self._line:
            raise RuntimeError(f"{_MOST_A_SECOND} codes a second were not enough")
        user_id, code = self._line.popleft()
        verdict = await self._otp.verify(user_id, otp_pb2.METHOD_BACKUP_CODE, code)
        if verdict.result != otp_pb2.Verdict.RESULT_ACCEPTED:
            raise RuntimeError(f"a right code was answered {otp_pb2.Verdict.Result.Name(verdict.result)}")
        self._given.append((user_id, otp_pb2.METHOD_BACKUP_CODE, code))


class SetUps:
    """People who set up an authenticator app for the first time, and confirm it as fast as no person could."""

    def __init__(self, stack: Stack) -> None:
        self._otp = _Otp(stack)
        self._given: deque[Given] = deque(maxlen=_SENT_AGAIN)

    async def phase(self, seconds: float) -> Phase:
        done = await run(self._once, SET_UP_CALLERS, seconds)
        await self._otp.check_spent(self._given)
        self._given.clear()
        return done

    async def close(self) -> None:
        await self._otp.close()

    async def _once(self, number: int) -> None:
        user_id = f"usr_{secrets.token_hex(16)}"
        caller = caller_of(user_id)
        start = otp_pb2.StartTotpEnrolmentRequest(caller=caller, account_label=f"Bench: {user_id}@harbour.example")
        begun = await self._otp.stub.StartTotpEnrolment(start, timeout=10)
        code = Authenticator(user_id, "", begun.secret).code(int(time.time()) // STEP_SECONDS)
        confirm = otp_pb2.ConfirmEnrolmentRequest(
            attempt_id=uuid.uuid4().hex,
            login_id=f"{caller.session_id}.1",
            caller=caller,
            method=otp_pb2.METHOD_TOTP,
            enrolment_id=begun.enrolment_id,
            code=code,
            methods_allowed=[otp_pb2.METHOD_TOTP],
        )
        confirmed = await self._otp.stub.ConfirmEnrolment(confirm, timeout=10)
        result = confirmed.verdict.result
        if result != otp_pb2.Verdict.RESULT_ACCEPTED or len(confirmed.backup_codes.codes) != CODES_IN_A_SET:
            raise RuntimeError(f"a right code was answered {otp_pb2.Verdict.Result.Name(result)}")
        self._given.append((user_id, otp_pb2.METHOD_TOTP, code))


class Tens:
    """Bare Argon2id hashes by the ten: what a set of backup codes takes at least."""

    def __init__(self, argon2: BareArgon2) -> None:
        self._argon2 = argon2

    async def phase(self, seconds: float) -> Phase:
        done = await self._argon2.phase(seconds)
        whole = done.count // CODES_IN_A_SET
        if not whole:
            raise RuntimeError(f"the machine made only {done.count} hashes in {done.seconds:.0f} s")
        hashes = done.latencies_ms[: whole * CODES_IN_A_SET]
        sets = tuple(sum(hashes[start : start + CODES_IN_A_SET]) for start in range(0, len(hashes), CODES_IN_A_SET))
        return Phase(whole, done.seconds * whole * CODES_IN_A_SET / done.count, sets)


async def stored_hash(stack: Stack) -> str:
    """A hash as otp keeps it of a living code: its parameters are the floor's."""

    def read() -> str:
        with stack.connect("otp") as connection:
            found = connection.execute("SELECT hash FROM backup_code WHERE hash IS NOT NULL LIMIT 1").fetchone()
        assert found is not None
        return str(found[0])

    return await asyncio.to_thread(read)


def caller_of(user_id: str) -> otp_pb2.Caller:
    """A session of its own, too."""
    session_id = f"ses_{uuid.uuid4().hex}"
    return otp_pb2.Caller(clinic_id="cli_bench", user_id=user_id, session_id=session_id, address="192.0.2.7")
