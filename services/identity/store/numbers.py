"""Telephone numbers in the database: sealed for the person they belong to, so that a copy of it holds nobody's number.
Sealing the same number twice gives different bytes; what is equal is decided here, on the numbers."""

from services.common.errors import unavailable
from services.common.keyring_in_use import Sealing
from services.common.postgres import Connection
from services.common.sealing import SealingError
from services.identity.model import UserId


class PhoneNumbers:
    def __init__(self, keyring: Sealing) -> None:
        self._keyring = keyring

    def seal(self, user_id: UserId, number: str | None) -> bytes | None:
        return None if number is None else self._keyring.seal(number.encode(), _context(user_id))

    def open(self, user_id: UserId, sealed: bytes | None) -> str | None:
        """Raises `unavailable` where the keyring is another than the one that sealed it: then nothing is known."""
        try:
            return self.opened(user_id, sealed)
        except SealingError as error:
            raise unavailable("keyring") from error

    def opened(self, user_id: UserId, sealed: bytes | None) -> str | None:
        """The same for whoever goes on without the number. Raises SealingError: DamagedError where it is lost for good,
        another where the keyring may yet come."""
        return None if sealed is None else self._keyring.open(sealed, _context(user_id)).decode()

    async def another(self, connection: Connection, user_id: UserId, number: str | None) -> bytes | None:
        """What to store in place of the number on file; None where none is given, or the same. Holds the user's row."""
        if number is None:
            return None
        cursor = await connection.execute("SELECT phone FROM app_user WHERE id = %s FOR UPDATE", [user_id])
        row = await cursor.fetchone()
        if row is not None and self.open(user_id, row["phone"]) == number:
            return None
        return self.seal(user_id, number)


def _context(user_id: UserId) -> str:
    return f"app_user|phone|{user_id}|{user_id}|1"
