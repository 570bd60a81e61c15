"""What the service seals and opens, and for which context: table, column, row, owner, version."""

from services.common.errors import unavailable
from services.common.keyring_in_use import Sealing
from services.common.sealing import SealingError


class Vault:
    """Seals and opens text. What cannot be sealed or opened is `unavailable`."""

    def __init__(self, keyring: Sealing) -> None:
        self._keyring = keyring

    def seal(self, plaintext: str, context: str) -> bytes:
        return self._keyring.seal(plaintext.encode(), context)

    def open(self, sealed: bytes, context: str) -> str:
        """The text, or `unavailable` where it does not open: nothing may be judged by what cannot be trusted (A71)."""
        try:
            return self._keyring.open(sealed, context).decode()
        except SealingError as error:
            raise unavailable("sealing") from error


def totp_secret_context(factor_id: str, user_id: str) -> str:
    return f"account|totp_secret|{factor_id}|{user_id}|1"


def sms_phone_context(factor_id: str, user_id: str) -> str:
    return f"account|sms_phone|{factor_id}|{user_id}|1"


def enrolment_context(enrolment_id: str, user_id: str) -> str:
    return f"enrolment|secret|{enrolment_id}|{user_id}|1"


def challenge_context(challenge_id: str, user_id: str) -> str:
    return f"challenge|code_sealed|{challenge_id}|{user_id}|1"
