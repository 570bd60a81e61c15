"""Password hashes that another system made: argon2, bcrypt and PBKDF2, until their owner's next sign-in replaces them.

What is stored is an HMAC under the pepper over the hash, with the parameters to compute it again: a copy of the
database alone lets nobody try passwords, weak as the old hash may be. Parameters are bounded, so that no line of a file
makes a sign-in take many seconds or a gigabyte.

    imported:v1:<HMAC in base64>:<bytes of the hash>:<parameters with the salt, as the other system wrote them>
"""

import base64
import binascii
import hashlib
import hmac
import re
import string
from collections.abc import Callable

import argon2
import bcrypt
from argon2.low_level import hash_secret_raw

_PREFIX = "imported:v1:"
_BCRYPT_BYTES = 72  # bcrypt reads no more of a password; the library refuses what the original cut off
_BCRYPT_COSTS = range(8, 15)  # 14: about a second
_LEAST_ITERATIONS = 1_000
_MOST_ITERATIONS = {"sha1": 2_000_000, "sha256": 2_000_000, "sha512": 1_000_000}  # Django's default is 1,200,000 by now
_ARGON2_MOST_KIB = 131_072  # twice over it still fits into identity's container
_ARGON2_MOST_WORK = 524_288  # KiB times passes: half a second or so
_ARGON2_MOST_LANES = 16
_SALT_BYTES = range(8, 65)  # 8: as short as passlib makes them
_LEAST_DIGEST_BYTES, _MOST_DIGEST_BYTES = 16, 64

_BCRYPT = re.compile(r"(\$2[aby]\$\d\d\$[./A-Za-z0-9]{21})([./A-Za-z0-9])([./A-Za-z0-9]{31})")
_BCRYPT_ALPHABET = "./" + string.ascii_uppercase + string.ascii_lowercase + string.digits
_PASSLIB = re.compile(r"(\$pbkdf2(-sha256|-sha512|)\$(\d{1,8})\$([./A-Za-z0-9]{1,100}))\$([./A-Za-z0-9]{1,100})")
_DJANGO = re.compile(r"(pbkdf2_(sha1|sha256|sha512)\$(\d{1,8})\$([^$:\s]{1,64}))\$([+/A-Za-z0-9]{1,100}={0,2})")
_ARGON2 = re.compile(r"(\$argon2(?:id|i)\$v=\d+\$m=\d+,t=\d+,p=\d+\$([+/A-Za-z0-9]{1,100}))\$([+/A-Za-z0-9]{1,100})")

Compute = Callable[[bytes], bytes]


class Unusable(Exception):
    """A hash that cannot be taken over; its text says why and holds nothing of it."""


class ImportedHashes:
    def __init__(self, pepper: bytes) -> None:
        self._key = hashlib.sha256(b"imported-password:" + pepper).digest()

    def wrapped(self, password_hash: str) -> str:
        """What is stored of a hash. Raises `Unusable`."""
        # Django writes its own name for the algorithm in front of what others write alone.
        bare = re.sub(r"^(?:argon2|bcrypt\$)(?=\$)", "", password_hash)
        parameters, digest = _parsed(bare)
        if not _LEAST_DIGEST_BYTES <= len(digest) <= _MOST_DIGEST_BYTES:
            raise Unusable("The hash is shorter or longer than any such hash is.")
        _computing(parameters, len(digest))
        return f"{_PREFIX}{base64.b64encode(self._sealed(digest)).decode()}:{len(digest)}:{parameters}"

    def is_right(self, password: str, stored: str) -> bool:
        """Whether the wrapped hash is the password's; takes as long as the other system's hash took."""
        expected, length, parameters = stored.removeprefix(_PREFIX).split(":", 2)
        digest = _computing(parameters, int(length))(password.encode())
        return hmac.compare_digest(base64.b64encode(self._sealed(digest)).decode(), expected)

    def _sealed(self, digest: bytes) -> bytes:
        return hmac.digest(self._key, digest, "sha256")


def is_imported(stored: str) -> bool:
    return stored.startswith(_PREFIX)


def _parsed(password_hash: str) -> tuple[str, bytes]:
    """The parameters with the salt, and the digest. Raises `Unusable` where it is none of the forms."""
    if found := _BCRYPT.fullmatch(password_hash):
        # Of the salt's last character two bits count; some systems fill the others, which the library refuses.
        last = _BCRYPT_ALPHABET[_BCRYPT_ALPHABET.index(found[2]) & 0b110000]
        return found[1] + last, found[3].encode()
    try:
        if found := _PASSLIB.fullmatch(password_hash):
            return found[1], _base64(found[5].replace(".", "+"))
        if found := _DJANGO.fullmatch(password_hash) or _ARGON2.fullmatch(password_hash):
            return found[1], _base64(found[found.re.groups])
    except binascii.Error:
        raise Unusable("The hash is cut off or damaged.") from None
    raise Unusable(
        "The hash is of no known form: argon2id or argon2i (PHC), bcrypt ($2a$, $2b$, $2y$), PBKDF2 with SHA-1,"
        " SHA-256 or SHA-512 (passlib, Django)."
    )


def _computing(parameters: str, length: int) -> Compute:
    """Computes the digest of a password with these parameters. Raises `Unusable` where they are out of bounds."""
    if parameters.startswith("$2"):
        return _bcrypt(parameters)
    if parameters.startswith("$argon2"):
        return _argon2(parameters, length)
    return _pbkdf2(parameters, length)


def _bcrypt(parameters: str) -> Compute:
    if int(parameters[4:6]) not in _BCRYPT_COSTS:
        raise Unusable(f"bcrypt's cost must be {_BCRYPT_COSTS[0]} to {_BCRYPT_COSTS[-1]}.")

    def compute(password: bytes) -> bytes:
        return bcrypt.hashpw(password[:_BCRYPT_BYTES], parameters.encode())[len(parameters) :]

    return compute


def _pbkdf2(parameters: str, length: int) -> Compute:
    is_passlib = parameters.startswith("$")
    name, iterations, salt = parameters.removeprefix("$").split("$")
    rounds = int(iterations)
    algorithm = name[len("pbkdf2-") :] or "sha1"  # which passlib leaves out
    if not _LEAST_ITERATIONS <= rounds <= _MOST_ITERATIONS[algorithm]:
        raise Unusable(f"PBKDF2's iterations must be {_LEAST_ITERATIONS:,} to {_MOST_ITERATIONS[algorithm]:,}.")
    raw_salt = _salt(salt.replace(".", "+")) if is_passlib else salt.encode()
    return lambda password: hashlib.pbkdf2_hmac(algorithm, password, raw_salt, rounds, length)


def _argon2(parameters: str, length: int) -> Compute:
    _, name, version, costs, salt = parameters.split("$")
    memory, passes, lanes = (int(part[2:]) for part in costs.split(","))
    if version not in ("v=16", "v=19"):
        raise Unusable("argon2's version must be 16 or 19.")
    if memory > _ARGON2_MOST_KIB or memory * passes > _ARGON2_MOST_WORK:
        raise Unusable(f"argon2 may take {_ARGON2_MOST_KIB:,} KiB at most, and {_ARGON2_MOST_WORK:,} times its passes.")
    if not 1 <= lanes <= _ARGON2_MOST_LANES or memory < 8 * lanes or passes < 1:
        raise Unusable("argon2's parameters are none that it can have.")
    kind = argon2.Type.ID if name == "argon2id" else argon2.Type.I
    raw_salt = _salt(salt)
    return lambda password: hash_secret_raw(
        password, raw_salt, passes, memory, lanes, length, kind, int(version.removeprefix("v="))
    )


def _salt(text: str) -> bytes:
    try:
        salt = _base64(text)
    except binascii.Error:
        raise Unusable("The hash is cut off or damaged.") from None
    if len(salt) not in _SALT_BYTES:
        raise Unusable(f"The salt must have {_SALT_BYTES[0]} to {_SALT_BYTES[-1]} bytes.")
    return salt


def _base64(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
