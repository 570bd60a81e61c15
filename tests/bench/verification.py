"""TOTP verifications a second by the otp service over mutual TLS, and their floor: one Redis EVALSHA and one committed
PostgreSQL UPDATE through the same drivers, in one process, with as many callers."""

import secrets
import uuid
from collections import deque

import psycopg
from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import OtpStub
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import BlockingConnectionPool, Redis

from services.common.rate_limit import _TAKE
from tests.bench.authenticators import Authenticators
from tests.bench.channels import channel
from tests.bench.load import Phase, run
from tests.bench.sign_in import Unsafe
from tests.bench.stack import Stack

_POOL_SIZE = 8  # as the services'
_FLOOR_ROWS = 5000


class Verifications:
    """Calls Verify as the gateway does, one attempt a call, over one channel."""

    def __init__(self, stack: Stack, accounts: Authenticators) -> None:
        self._channel = channel(stack, "identity", "otp")
        self._stub = OtpStub(self._channel)
        self._accounts = accounts
        self._given: deque[tuple[str, str]] = deque(maxlen=20)

    async def phase(self, callers: int, seconds: float) -> Phase:
        done = await run(self._once, callers, seconds)
        for user_id, code in self._given:
            result = (await self._verify(user_id, code)).result
            if result != otp_pb2.Verdict.RESULT_ALREADY_USED:
                raise Unsafe(f"a code sent twice was answered {otp_pb2.Verdict.Result.Name(result)}")
        self._given.clear()
        return done

    async def close(self) -> None:
        await self._channel.close()

    async def _once(self, number: int) -> None:
        account, code = self._accounts.take()
        verdict = await self._verify(account.user_id, code)
        if verdict.result != otp_pb2.Verdict.RESULT_ACCEPTED or len(verdict.factors.factors) != 1:
            raise RuntimeError(f"a right code was answered {otp_pb2.Verdict.Result.Name(verdict.result)}")
        self._given.append((account.user_id, code))

    async def _verify(self, user_id: str, code: str) -> otp_pb2.Verdict:
        session_id = f"ses_{uuid.uuid4().hex}"
        attempt = otp_pb2.Attempt(
            attempt_id=uuid.uuid4().hex,
            login_id=f"{session_id}.1",
            caller=otp_pb2.Caller(clinic_id="cli_bench", user_id=user_id, session_id=session_id, address="192.0.2.7"),
            method=otp_pb2.METHOD_TOTP,
            code=code,
        )
        response = await self._stub.Verify(otp_pb2.VerifyRequest(attempts=[attempt]), timeout=10)
        return response.verdicts[0]


class StoreFloor:
    """The least that a verification which keeps its word must do: a limit asked of Redis, a step spent for good."""

    def __init__(self, stack: Stack, url: str) -> None:
        environment = stack.environments["otp"]
        password = (stack.layout.secrets("otp") / "redis_password").read_text().strip()
        self._redis = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                environment["OTP_REDIS_URL"], password=password, max_connections=_POOL_SIZE, timeout=5
            )
        )
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection] = AsyncConnectionPool(
            url, kwargs={"autocommit": True}, min_size=_POOL_SIZE, max_size=_POOL_SIZE, open=False
        )
        self._ids = deque(f"usr_{secrets.token_hex(16)}" for _ in range(_FLOOR_ROWS))
        self._script = ""
        self._step = 0

    async def open(self) -> None:
        self._script = await self._redis.script_load(_TAKE)
        await self._pool.open(wait=True)
        async with self._pool.connection() as connection:
            await connection.execute(
                "CREATE TABLE spent (user_id text PRIMARY KEY, last_step bigint NOT NULL) WITH (fillfactor = 70)"
            )
            async with connection.cursor().copy("COPY spent FROM STDIN") as copy:
                for user_id in self._ids:
                    await copy.write_row([user_id, 0])
            await connection.execute("ANALYZE spent")

    async def phase(self, callers: int, seconds: float) -> Phase:
        return await run(self._once, callers, seconds)

    async def close(self) -> None:
        await self._pool.close()
        await self._redis.aclose(close_connection_pool=True)

    async def _once(self, number: int) -> None:
        user_id = self._ids[0]
        self._ids.rotate(-1)
        self._step += 1
        worst, _ = await self._redis.evalsha(self._script, 1, f"rl:bench:{user_id}", 0, 1, 60000)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE spent SET last_step = %s WHERE user_id = %s AND last_step < %s",
                [self._step, user_id, self._step],
            )
        if worst or cursor.rowcount != 1:
            raise RuntimeError("the floor's own statement did not do what it must")
