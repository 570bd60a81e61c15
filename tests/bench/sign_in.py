"""Sign-ins a second through the gateway, and their floor: bare Argon2id verifications on as many threads as cores."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping

from argon2 import extract_parameters

from tests.bench.authenticators import Authenticators
from tests.bench.connection import Connection
from tests.bench.load import Phase, run
from tests.bench.stack import ROOT, Stack

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
    """Verifications with the stored hash's own parameters, nothing around them."""

    def __init__(self, password_hash: str, environment: Mapping[str, str] | None = None) -> None:
        found = extract_parameters(password_hash)
        self.parameters = f"m={found.memory_cost // 1024} MiB, t={found.time_cost}, p={found.parallelism}"
        self._costs = [str(cost) for cost in (found.memory_cost, found.time_cost, found.parallelism)]
        self._environment = {**os.environ, **(environment or {})}

    async def phase(self, seconds: float) -> Phase:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.bare_argon2", str(seconds), *self._costs),
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        done = json.loads(told)
        return Phase(len(done["latencies_ms"]), done["seconds"], tuple(done["latencies_ms"]))
