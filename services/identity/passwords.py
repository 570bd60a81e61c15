"""Passwords: how they are kept, compared, and what a new one must be.

Kept as Argon2id over HMAC-SHA256 with a pepper that the database does not have. Comparing takes tens of milliseconds
of a core and tens of megabytes, so it happens in two threads with a short line before them: past the line the answer
is `unavailable`, and a flood of sign-ins cannot take the service down. Whoever does not exist is compared with a dummy,
so that nothing tells them apart (P13). A hash that another system made (`imported_hashes`) takes that system's time
until its owner's first sign-in here makes it one of ours; until then that time may tell that there is an account.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.common.errors import unavailable
from services.identity.imported_hashes import ImportedHashes, is_imported
from services.identity.model import Clinic, User
from services.identity.password_rules import check

_THREADS = 2  # more than the machine's cores only hurts; two keep a small one busy
_MOST_IN_TURN = 4  # two hashing, two with their limits and rows being looked up meanwhile
_MOST_IN_LINE = 64  # about a second's worth at two threads


class Passwords:
    def __init__(
        self, pepper: bytes, *, memory_kib: int, time_cost: int, parallelism: int, product_name: str = ""
    ) -> None:
        self._pepper = hashlib.sha256(b"password:" + pepper).digest()
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, hash_len=32, salt_len=16
        )
        self._imported = ImportedHashes(pepper)
        self._product_name = product_name
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        # zxcvbn keeps its context words in a global: one thread, so that two checks never mix theirs.
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")
        self._turns = asyncio.Semaphore(_MOST_IN_TURN)
        self._in_line = 0
        self._dummy = self._hasher.hash(secrets.token_bytes(32))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._judge.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place among the few that compare or hash just now. Raises `unavailable` where the line is full."""
        if self._in_line >= _MOST_IN_LINE:
            raise unavailable("password line", retry_after=1)
        self._in_line += 1
        try:
            await self._turns.acquire()
        finally:
            self._in_line -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def is_right(self, password: str, password_hash: str | None) -> bool:
        """Compares, within a turn; None (nobody, or nobody with a password) takes as long and is wrong."""
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, self._compare, password, password_hash or self._dummy)
        return right and password_hash is not None

    async def hash(self, password: str) -> str:
        """What is stored of a password."""
        async with self.turn():
            return await self.rehash(password)

    async def rehash(self, password: str) -> str:
        """The same, for a caller that has its turn already."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._hasher.hash, self._peppered(password))

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether a stored hash was made with other costs than today's, or elsewhere."""
        return is_imported(password_hash) or self._hasher.check_needs_rehash(password_hash)

    async def check_new(self, password: str, user: User, clinic: Clinic, field: str = "password") -> None:
        """Raises `invalid-request`, naming `field`, where a password may not be chosen."""
        words = (self._product_name, clinic.name, clinic.slug, user.name, user.email, *user.email.split("@"))
        await asyncio.get_running_loop().run_in_executor(self._judge, check, password, words, field)

    def _compare(self, password: str, password_hash: str) -> bool:
        if is_imported(password_hash):
            return self._imported.is_right(password, password_hash)
        try:
            return self._hasher.verify(password_hash, self._peppered(password))
        except (VerificationError, InvalidHashError):
            return False

    def _peppered(self, password: str) -> bytes:
        return hmac.digest(self._pepper, password.encode(), "sha256")
