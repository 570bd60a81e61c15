"""Backup codes: ten, each of sixteen Crockford characters, the first of which is its slot, so that a typed code is
compared with one hash and not with ten.

At rest a living code is Argon2id of its keyed hash. Hashing runs in two threads at most, and past a short queue the
answer is `unavailable`: a flood of codes must not take the service's processors.
"""

import asyncio
import functools
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from services.common.errors import unavailable
from services.otp.code_shape import CROCKFORD
from services.otp.marks import Marks
from services.otp.model import UserId

CODES_IN_A_SET = 10
CODE_LENGTH = 16
SLOTS = CROCKFORD[:CODES_IN_A_SET]

_THREADS = 2
_MOST_WAITING = 60
_MEMORY_KIB, _TIME_COST, _PARALLELISM = 19456, 2, 1  # ASVS' floor; 75 random bits need no more (NIST 800-63B-4)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewSet:
    """Ten codes to show once, and what is stored of them."""

    set_id: str
    codes: tuple[str, ...]
    hashes: tuple[str, ...]


def slot_of(code: str) -> str:
    return code[0]


def in_groups(code: str) -> str:
    """As people read it: four groups of four."""
    return "-".join(code[start : start + 4] for start in range(0, CODE_LENGTH, 4))


def new_codes() -> tuple[str, ...]:
    """One code a slot, canonical: fifteen random characters, 75 bits."""
    return tuple(slot + "".join(secrets.choice(CROCKFORD) for _ in range(CODE_LENGTH - 1)) for slot in SLOTS)


class BackupCodeHasher:
    """Makes and checks hashes, off the event loop."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._argon2 = PasswordHasher(
            time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=_PARALLELISM, hash_len=32, salt_len=16
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0

    async def new_set(self, user_id: UserId, *, one_by_one: bool = False) -> NewSet:
        """Ten new codes. `one_by_one`: in one thread at a time, as befits work that nobody waits for."""
        codes = new_codes()
        jobs: list[Callable[[], str]] = [functools.partial(self._hash, user_id, code) for code in codes]
        hashes = [(await self._run([job]))[0] for job in jobs] if one_by_one else await self._run(jobs)
        return NewSet(secrets.token_hex(8), tuple(in_groups(code) for code in codes), tuple(hashes))

    async def is_match(self, hashed: str, user_id: UserId, code: str) -> bool:
        return (await self._run([lambda: self._verify(hashed, user_id, code)]))[0]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        if self._waiting + len(jobs) > _MOST_WAITING:
            raise unavailable("hashing")
        self._waiting += len(jobs)
        try:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(self._threads, job) for job in jobs))
        finally:
            self._waiting -= len(jobs)

    def _hash(self, user_id: UserId, code: str) -> str:
        return self._argon2.hash(self._marks.backup_code(user_id, code))

    def _verify(self, hashed: str, user_id: UserId, code: str) -> bool:
        try:
            return self._argon2.verify(hashed, self._marks.backup_code(user_id, code))
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            raise unavailable("hashing") from error
