"""Which accounts have a telephone number, by its mark (migration 0007)."""

from psycopg.rows import DictRow

from services.common.postgres import Connection, Database
from services.otp.model import EnrolmentKind, UserId

_OTHERS = (
    "SELECT count(DISTINCT m.user_id) AS n FROM number_mark m JOIN account a ON a.user_id = m.user_id"
    " WHERE m.mark = %s AND m.user_id <> %s AND (m.kind = 'proof' OR m.factor_id = a.sms_id)"
)
_KEEP = (
    "INSERT INTO number_mark (user_id, kind, mark, factor_id) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (user_id, kind) DO UPDATE SET mark = EXCLUDED.mark, factor_id = EXCLUDED.factor_id"
)
_FORGET_OTHER_PROOF = "DELETE FROM number_mark WHERE user_id = %s AND kind = 'proof' AND mark <> %s"
_UNMARKED = (
    "SELECT user_id, sms_id, sms_phone FROM account a WHERE sms_id IS NOT NULL AND user_id > %s AND NOT EXISTS"
    " (SELECT FROM number_mark m WHERE m.user_id = a.user_id AND m.kind = 'factor' AND m.factor_id = a.sms_id)"
    " ORDER BY user_id LIMIT %s"
)
_CATCH_UP = (
    "INSERT INTO number_mark (user_id, kind, mark, factor_id)"
    " SELECT user_id, 'factor', %s, sms_id FROM account WHERE user_id = %s AND sms_id = %s"
    " ON CONFLICT (user_id, kind) DO UPDATE SET mark = EXCLUDED.mark, factor_id = EXCLUDED.factor_id"
)


class HeldNumbers:
    """The numbers of an account that is held."""

    def __init__(self, connection: Connection, user_id: UserId) -> None:
        self._connection = connection
        self._user_id = user_id

    async def count_others(self, mark: bytes) -> int:
        """How many other accounts have the number. Until the transaction ends nobody else counts it, so that of several
        who put it in force at once each sees those before; nobody who counts waits for an account."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(encode(%s, 'hex'), 0))", [mark])
        cursor = await self._connection.execute(_OTHERS, [mark, self._user_id])
        row = await cursor.fetchone()
        return int(row["n"]) if row else 0

    async def keep(self, kind: EnrolmentKind, mark: bytes, factor_id: str) -> None:
        """The number is the account's from now on; one that was proven before is not."""
        if kind is EnrolmentKind.SMS:
            await self._connection.execute(_KEEP, [self._user_id, "factor", mark, factor_id])
            await self._connection.execute(_FORGET_OTHER_PROOF, [self._user_id, mark])
        else:
            await self._connection.execute(_KEEP, [self._user_id, "proof", mark, None])


class Numbers:
    """All accounts' numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget_proof(self, user_id: UserId) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM number_mark WHERE user_id = %s AND kind = 'proof'", [user_id])

    async def unmarked(self, after: str, most: int) -> list[DictRow]:
        """SMS factors without a mark (`user_id`, `sms_id`, `sms_phone`), in the order of their users."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_UNMARKED, [after, most])
            return list(await cursor.fetchall())

    async def catch_up(self, user_id: UserId, factor_id: str, mark: bytes) -> None:
        """Marks a factor's number, where that is still the factor."""
        async with self._database.connection() as connection:
            await connection.execute(_CATCH_UP, [mark, user_id, factor_id])
