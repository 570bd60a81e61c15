"""Sign-ins a second through the gateway, and their floor: bare Argon2id verifications on as many threads as cores."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, extract_parameters

from tests.bench.authenticators import Authenticators
from tests.bench.connection import Connection
from tests.bench.load import Phase, run
from tests.bench.stack import Stack

CALLERS = 8


class Unsafe(Exception):
    """A code was accepted twice, or something was let through: whatever was measured is void."""


class SignIns:
    """People who sign in with password and code, each code once; every answer is looked at."""

    def __init__(self, stack: Stack, people: Authenticators) -> None:
        self._stack = stack
        self._people = people
        self._connections = [Connection("127.0.0.1", stack.port) for _ in range(CALLERS)]
        self._given: list[tuple[str, str]] = []

    async def phase(self, seconds: float) -> Phase:
        self._given.clear()
        done = await run(self._once, CALLERS, seconds)
        for email, code in self._given[-5:]:
            token = await self._password(self._connections[0], email)
            body = {"method": "totp", "code": code}
            status, answer = await self._connections[0].post("/v1/session/second-factor", body, token)
            if status != 422 or not answer["type"].endswith(":code-already-used"):
                raise Unsafe(f"a code sent twice was answered {status} {answer.get('type')}")
        await self.close()  # the gateway would, in the pause
        return done

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def _once(self, number: int) -> None:
        connection = self._connections[number]
        person, code = self._people.take()
        token = await self._password(connection, person.email)
        status, answer = await connection.post("/v1/session/second-factor", {"method": "totp", "code": code}, token)
        if status != 200 or answer["state"] != "active" or answer["token"] == token:
            raise RuntimeError(f"the second step was answered {status} {answer}")
        self._given.append((person.email, code))

    async def _password(self, connection: Connection, email: str) -> str:
        credentials = {"clinic": self._stack.clinic, "email": email, "password": self._stack.person["password"]}
        status, answer = await connection.post("/v1/sessions", credentials)
        if status != 201 or answer["state"] != "second_factor_required":
            raise RuntimeError(f"the first step was answered {status} {answer}")
        return str(answer["token"])


class BareArgon2:
    """Verifies one hash with the parameters of the stack's own, on one thread a core, and does nothing else."""

    def __init__(self, password_hash: str) -> None:
        found = extract_parameters(password_hash)
        self.parameters = f"m={found.memory_cost // 1024} MiB, t={found.time_cost}, p={found.parallelism}"
        self._hasher = PasswordHasher(found.time_cost, found.memory_cost, found.parallelism)
        self._hash = self._hasher.hash(b"a password of the bench")
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)

    async def phase(self, seconds: float) -> Phase:
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        runs = [
            loop.run_in_executor(self._threads, self._verify_until, began + seconds) for _ in range(os.cpu_count() or 1)
        ]
        latencies = [latency for run in await asyncio.gather(*runs) for latency in run]
        return Phase(len(latencies), time.perf_counter() - began, tuple(latencies))

    def _verify_until(self, ends_at: float) -> list[float]:
        latencies = []
        while (started := time.perf_counter()) < ends_at:
            self._hasher.verify(self._hash, b"a password of the bench")
            latencies.append((time.perf_counter() - started) * 1000)
        return latencies
