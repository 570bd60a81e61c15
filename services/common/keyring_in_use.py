"""The keyring as its file is now: a running process follows a rotation without a restart, and a wrong keyring seals
nothing.

Until the keyring was read and found to be the one that sealed this database's records, nothing is sealed or opened: a
wrong one must not mix its records among the others. Where its file goes bad later, what is sealed still opens, but
nothing new is sealed under keys that may be gone tomorrow. There is no plain path.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from prometheus_client import Counter, Gauge

from services.common.errors import unavailable
from services.common.logs import get_logger
from services.common.sealing import Keyring, SealingError, key_id_of

_LOOK_EVERY_SECONDS = 1.0
_KNOWN_TEXT = b"countersign"

FAILURES = Counter("sealing_failures_total", "Sealed records that did not open. Alert when it grows.")
ACTIVE = Gauge("keyring_active_key", "Id of the key that seals in this process; 0: it may not seal.")

_log = get_logger(__name__)

Stamp = tuple[int, int, int]


class Sealing(Protocol):
    """Seals and opens for a context: a `KeyringInUse`, or a `Keyring` that stays as it is."""

    def seal(self, plaintext: bytes, context: str) -> bytes: ...

    def open(self, sealed: bytes, context: str) -> bytes: ...


class SealingChecks(Protocol):
    """Keeps a known text, sealed, under each key's id."""

    async def keep(self, key_id: int, sealed: bytes) -> None:
        """Stores it unless the key has one."""

    async def all(self) -> dict[int, bytes]: ...

    async def samples(self) -> list[bytes]:
        """A few sealed records, of each kind and key that there is."""


class KeyringInUse:
    """`ensure_ready` is to be asked every few seconds: it is what checks a keyring, and says why one is refused."""

    def __init__(
        self, service: str, path: Path, checks: SealingChecks, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._path = path
        self._checks = checks
        self._now = now
        self._keyring: Keyring | None = None
        self._stamp: Stamp | None = None
        self._checked: Stamp | None = None
        self._looked_at = 0.0
        self._reason = ""

    async def ensure_ready(self) -> None:
        """Reads and checks the keyring until it fits; cheap while its file stays. Raises `unavailable` with the reason
        logged."""
        stamp = _stamp(self._path)
        if self._keyring is not None and not self._reason and stamp is not None and stamp == self._checked:
            return
        try:
            keyring = Keyring.load(self._path)
            await self._check(keyring)
            # Kept only by a keyring that opened what was there; checked again, for another replica may have been first.
            await self._checks.keep(keyring.active, known_text(keyring, self._service))
            await self._check(keyring)
        except SealingError as error:
            self._refuse(error)
            raise unavailable("keyring", why=str(error)) from error
        self._adopt(keyring, stamp)
        self._checked = stamp

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Under the active key of the file, as it was a second ago at most. Raises `unavailable` where it cannot be."""
        if self._keyring is None:
            raise unavailable("keyring")
        if self._now() - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._look(self._keyring)
        if self._reason:
            raise unavailable("keyring")
        return self._keyring.seal(plaintext, context)

    def open(self, sealed: bytes, context: str) -> bytes:
        """What was sealed for this context, or SealingError; a key not known yet is looked for in the file at once."""
        try:
            if self._keyring is None:
                raise SealingError("no keyring is in use")
            if key_id_of(sealed) not in self._keyring.ids:
                self._look(self._keyring)
            return self._keyring.open(sealed, context)
        except SealingError as error:
            FAILURES.inc()
            _log.error("sealed_record_does_not_open", context=context, reason=str(error))
            raise

    def _look(self, in_use: Keyring) -> None:
        self._looked_at = self._now()
        stamp = _stamp(self._path)
        if not self._reason and stamp is not None and stamp == self._stamp:  # a refused one may be back as it was
            return
        try:
            keyring = Keyring.load(self._path)
            # The database is not asked here; what it would say of this one follows from what it said of the other.
            if not keyring.follows(in_use):
                raise SealingError("the keyring is another than the one in use")
        except SealingError as error:
            self._refuse(error)
        else:
            self._adopt(keyring, stamp)

    def _adopt(self, keyring: Keyring, stamp: Stamp | None) -> None:
        # A first one is nothing to tell: an operator's command has one, too.
        if self._reason or (self._keyring is not None and keyring.ids != self._keyring.ids):
            _log.info("keyring_in_use", active=keyring.active, keys=sorted(keyring.ids))
        self._keyring, self._stamp, self._reason = keyring, stamp, ""
        self._looked_at = self._now()
        ACTIVE.set(keyring.active)

    def _refuse(self, error: SealingError) -> None:
        if str(error) != self._reason:  # once a reason, not every two seconds
            _log.error("keyring_unusable", reason=str(error))
            self._reason = str(error)
        ACTIVE.set(0)

    async def _check(self, keyring: Keyring) -> None:
        kept = await self._checks.all()
        # A database of a version that kept none has its records alone.
        examine(keyring, kept, [] if kept else await self._checks.samples(), self._service)


def known_text(keyring: Keyring, service: str) -> bytes:
    """What is kept under the id of the keyring's active key."""
    return keyring.seal(_KNOWN_TEXT, _context(keyring.active, service))


def examine(keyring: Keyring, known: Mapping[int, bytes], samples: Iterable[bytes], service: str) -> None:
    """Raises SealingError unless the keyring sealed these known texts, by their keys' ids, and these records."""
    try:
        for key_id, sealed in known.items():
            keyring.open(sealed, _context(key_id, service))
        for sealed in samples:
            keyring.unwrap(sealed)
    except SealingError as error:
        raise SealingError(f"this is not the keyring of this service's database ({error})") from error


def _context(key_id: int, service: str) -> str:
    return f"sealing_check|sealed|{key_id}|{service}|1"


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
