"""Authenticator apps of many accounts. Invariant: no step's code is given twice, so every right code is accepted."""

import base64
import hashlib
import hmac
import struct
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

STEP_SECONDS = 30


@dataclass(slots=True)
class Authenticator:
    user_id: str
    email: str
    secret: str
    last_step: int = 0

    def code(self, step: int) -> str:
        """RFC 6238, written here so that the server is not its own judge."""
        digest = hmac.digest(base64.b32decode(self.secret), struct.pack(">Q", step), hashlib.sha1)
        offset = digest[-1] & 15
        return f"{(struct.unpack_from('>I', digest, offset)[0] & 0x7FFFFFFF) % 1_000_000:06}"


class Exhausted(Exception):
    """Every account has given the codes that this half minute allows."""


class Authenticators:
    """Gives the next account and its code; the one that rested longest comes first."""

    def __init__(self, accounts: Iterable[Authenticator]) -> None:
        self._line = deque(accounts)

    def __len__(self) -> int:
        return len(self._line)

    def take(self) -> tuple[Authenticator, str]:
        """An account and a code it has not given: of this step, or of the next, which is taken for a fast clock.

        Never of the last: it may have left the window when it arrives.
        """
        account = self._line[0]
        now = int(time.time()) // STEP_SECONDS
        step = max(account.last_step + 1, now)
        if step > now + 1:
            raise Exhausted(f"{len(self._line)} accounts are not enough for so many codes")
        account.last_step = step
        self._line.rotate(-1)
        return account, account.code(step)
