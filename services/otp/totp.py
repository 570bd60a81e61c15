"""TOTP as RFC 6238 has it, for the one form every authenticator app computes: SHA-1, six digits, 30 seconds. A secret
that came from another system may be for SHA-256 or SHA-512; it is kept, sealed, with the algorithm in front of it.

A code is judged by the step it belongs to: accepted only for a step after the last accepted one, so that none passes
twice and none of an earlier step passes after a later one (P1, P2).
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hmac import compare_digest
from urllib.parse import quote

import pyotp

STEP_SECONDS = 30
WINDOW_STEPS = 1
"""One step either way: RFC 6238 5.2 for delay, and as much for clocks. Wider windows became CVE-2024-7318."""


class Algorithm(StrEnum):
    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"


_DIGESTS = {Algorithm.SHA1: hashlib.sha1, Algorithm.SHA256: hashlib.sha256, Algorithm.SHA512: hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Match:
    """The step that a code belongs to, and whether that step was spent before."""

    step: int
    is_spent: bool


def new_secret() -> str:
    """160 bits (RFC 4226 R6 advises them) in 32 characters of base32, unpadded."""
    return pyotp.random_base32(32)


def kept(secret: str, algorithm: Algorithm) -> str:
    """A secret in base32 as it is sealed."""
    return secret if algorithm is Algorithm.SHA1 else f"{algorithm}:{secret}"


def generator_of(secret: str) -> pyotp.TOTP:
    """The codes of a secret as it was sealed."""
    algorithm, _, base32 = secret.rpartition(":")
    return pyotp.TOTP(base32, digest=_DIGESTS[Algorithm(algorithm or Algorithm.SHA1)])


def step_at(now: datetime) -> int:
    return int(now.timestamp()) // STEP_SECONDS


def match(secret: str, code: str, now: datetime, last_step: int, burned: Collection[int] = ()) -> Match | None:
    """The newest step of the window that has this code, or None. Burned steps count as spent, whenever they come."""
    generator = generator_of(secret)
    current = step_at(now)
    # All are computed and the newest wins: two steps may share a code, and the older would leave the newer unspent.
    found = [
        step
        for step in range(current - WINDOW_STEPS, current + WINDOW_STEPS + 1)
        if compare_digest(generator.generate_otp(step).encode(), code.encode())
    ]
    if not found:
        return None
    return Match(found[-1], found[-1] <= last_step or any(step in burned for step in found))


def seconds_to_next_code(now: datetime, last_step: int, burned: Collection[int] = ()) -> int:
    """How long until an authenticator app shows a code that is not spent yet; at least 1."""
    current = step_at(now)
    shown = current if last_step < current else current + 1
    while shown in burned:
        shown += 1
    return 1 if shown == current else shown * STEP_SECONDS - int(now.timestamp())


def otpauth_uri(issuer: str, account_label: str, secret: str) -> str:
    """What the QR code says. A colon in the label would end the issuer for apps that decode before they split."""
    label = re.sub(r"\s*:\s*", " - ", "".join(filter(str.isprintable, account_label))).strip()
    return (
        f"otpauth://totp/{quote(issuer, safe='')}:{quote(label, safe='')}"
        f"?secret={secret}&issuer={quote(issuer, safe='')}&algorithm=SHA1&digits=6&period={STEP_SECONDS}"
    )
