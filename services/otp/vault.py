"""The keyring in use. Until it was read and found to be the one that sealed this database's records, nothing is sealed
or opened: a wrong keyring must not mix its records among the others, and there is no plain path."""

from pathlib import Path
from typing import Protocol

from prometheus_client import Counter

from services.common.errors import unavailable
from services.common.logs import get_logger
from services.common.sealing import Keyring, SealingError

_KNOWN_TEXT = b"countersign"
_FAILURES = Counter("otp_sealing_failures", "Sealed records that did not open.")
_log = get_logger(__name__)


class SealingChecks(Protocol):
    """Keeps a known text, sealed, under each key's id."""

    async def keep(self, key_id: int, sealed: bytes) -> None:
        """Stores it unless the key has one."""

    async def all(self) -> dict[int, bytes]: ...


class Vault:
    """Seals and opens, once `ensure_ready` has gone through; before that the answer is `unavailable`."""

    def __init__(self, path: Path, checks: SealingChecks) -> None:
        self._path = path
        self._checks = checks
        self._keyring: Keyring | None = None
        self._reason = ""

    async def ensure_ready(self) -> None:
        """Reads and checks the keyring until it fits; cheap afterwards. Raises `unavailable` with the reason logged."""
        if self._keyring is not None:
            return
        try:
            keyring = Keyring.load(self._path)
            await self._check(keyring)
            # Kept only by a keyring that opened what was there; checked again, for another replica may have been first.
            await self._checks.keep(keyring.active, keyring.seal(_KNOWN_TEXT, _check_context(keyring.active)))
            await self._check(keyring)
        except SealingError as error:
            if str(error) != self._reason:  # once a reason, not every two seconds
                _log.error("keyring_unusable", reason=str(error))
                self._reason = str(error)
            raise unavailable("keyring") from error
        self._keyring = keyring
        _log.info("keyring_in_use", active=keyring.active)

    async def _check(self, keyring: Keyring) -> None:
        for key_id, sealed in (await self._checks.all()).items():
            keyring.open(sealed, _check_context(key_id))

    def seal(self, plaintext: str, context: str) -> bytes:
        return self._in_use().seal(plaintext.encode(), context)

    def open(self, sealed: bytes, context: str) -> str:
        """The text, or `unavailable` where it does not open: nothing may be judged by what cannot be trusted (A71)."""
        try:
            return self._in_use().open(sealed, context).decode()
        except SealingError as error:
            _FAILURES.inc()
            _log.error("sealed_record_does_not_open", context=context, reason=str(error))
            raise unavailable("sealing") from error

    def _in_use(self) -> Keyring:
        if self._keyring is None:
            raise unavailable("keyring")
        return self._keyring


def totp_secret_context(factor_id: str, user_id: str) -> str:
    return f"account|totp_secret|{factor_id}|{user_id}|1"


def sms_phone_context(factor_id: str, user_id: str) -> str:
    return f"account|sms_phone|{factor_id}|{user_id}|1"


def enrolment_context(enrolment_id: str, user_id: str) -> str:
    return f"enrolment|secret|{enrolment_id}|{user_id}|1"


def challenge_context(challenge_id: str, user_id: str) -> str:
    return f"challenge|code_sealed|{challenge_id}|{user_id}|1"


def _check_context(key_id: int) -> str:
    return f"sealing_check|sealed|{key_id}|otp|1"
