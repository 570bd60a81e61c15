"""Authenticator secrets that come from another system, many in one transaction, under the locks of their accounts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Connection, Database
from services.otp.model import Account, ClinicId, TotpFactor, UserId
from services.otp.store import rows

_CREATE = "INSERT INTO account (user_id, clinic_id) SELECT unnest(%s::text[]), %s ON CONFLICT DO NOTHING"
# In one order for all: two imports at once wait for each other and never in a circle.
_HOLD = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account WHERE user_id = ANY(%s) ORDER BY user_id FOR UPDATE"  # noqa: S608
_ADD = (
    "UPDATE account SET totp_id = %s, totp_secret = %s, totp_enrolled_at = %s, totp_last_used_at = %s,"
    " totp_last_step = %s WHERE user_id = %s AND totp_id IS NULL"
)
_END_ENROLMENTS = (
    "WITH gone AS (UPDATE enrolment SET ended_at = %(at)s, secret = NULL"
    " WHERE user_id = ANY(%(users)s) AND ended_at IS NULL AND confirmed_at IS NULL RETURNING id)"
    " UPDATE challenge SET ended_at = %(at)s, code_sealed = NULL"
    " WHERE user_id = ANY(%(users)s) AND login_id IN (SELECT id FROM gone) AND ended_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class NewFactor:
    user_id: UserId
    factor: TotpFactor
    event: AuditEvent


class HeldAccounts:
    """Accounts under their locks, by user."""

    def __init__(self, connection: Connection, accounts: dict[UserId, Account]) -> None:
        self._connection = connection
        self.accounts = accounts

    async def add(self, new: Sequence[NewFactor]) -> None:
        """Puts the factors in force, for accounts that have none. What their owners were setting up is over: it was
        begun without this factor, and must not replace it."""
        if not new:
            return
        users = [one.user_id for one in new]
        await self._connection.execute(_END_ENROLMENTS, {"at": new[0].factor.enrolled_at, "users": users})
        async with self._connection.cursor() as cursor:
            await cursor.executemany(_ADD, [_values(one) for one in new])
            await cursor.executemany(audit.INSERT, [audit.row(one.event) for one in new])


class ImportStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, user_ids: Sequence[UserId]) -> dict[UserId, Account]:
        """The accounts that there are, for looking."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_HOLD.removesuffix(" FOR UPDATE"), [list(user_ids)])
            return {row["user_id"]: rows.account(row) for row in await cursor.fetchall()}

    @asynccontextmanager
    async def hold(self, clinic_id: ClinicId, user_ids: Sequence[UserId]) -> AsyncIterator[HeldAccounts]:
        """The accounts of all these users, made where there are none, until the block is left; then committed."""
        async with self._database.transaction() as connection:
            await connection.execute(_CREATE, [sorted(set(user_ids)), clinic_id])
            cursor = await connection.execute(_HOLD, [list(user_ids)])
            yield HeldAccounts(connection, {row["user_id"]: rows.account(row) for row in await cursor.fetchall()})


def _values(one: NewFactor) -> list[object]:
    factor = one.factor
    return [
        factor.id,
        factor.secret,
        factor.enrolled_at,
        factor.last_used_at,
        factor.last_step,
        one.user_id,
    ]
