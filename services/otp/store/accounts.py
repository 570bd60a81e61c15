"""Accounts, each changed only in one transaction under the lock of its row.

What is sent within `hold` is pipelined: the lock and the row take one round trip, all the writes and the commit
another, with one fsync. (By hand: psycopg's own transaction block costs a third more in a pipeline.) Leaving the block
waits for the commit, and an error anywhere before it leaves the server no commit to do; so whoever is told anything is
told it after the commit.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from services.common import audit, outbox
from services.common.audit import AuditEvent
from services.common.outbox import OutboxEvent
from services.common.postgres import Connection, Database
from services.otp.guess_budget import DEFAULT_LIMITS, GuessBudget, GuessLimits
from services.otp.model import (
    Account,
    Attempt,
    AttemptId,
    ClinicId,
    LoginId,
    SessionId,
    StoredVerdict,
    UserId,
    Verdict,
)
from services.otp.store import rows
from services.otp.store.backup_codes import HeldBackupCodes
from services.otp.store.challenges import HeldChallenges
from services.otp.store.enrolments import HeldEnrolments
from services.otp.store.numbers import HeldNumbers

_SELECT = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account"  # noqa: S608
_SELECT_HELD = f"{_SELECT} WHERE user_id = %s FOR UPDATE"
_SELECT_MANY = f"{_SELECT} WHERE user_id = ANY(%s)"
_CREATE = "INSERT INTO account (user_id, clinic_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"

_KEEP_VERDICT = (
    "told AS (INSERT INTO verdict (user_id, attempt_id, login_id, mark, result, attempts_left, retry_after, is_locked,"
    " is_budget_newly_spent, clock_skew_seconds, is_again, at, session_id)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s))"
)
_COUNT = (
    "counted AS (UPDATE account SET guesses = %s, locked_at = %s, totp_last_step = %s, totp_last_used_at = %s,"
    " totp_clock = %s, sms_last_used_at = %s, backup_codes_left = %s WHERE user_id = %s)"
)
_END_CHALLENGES = (
    "ended AS (UPDATE challenge SET ended_at = %s, code_sealed = NULL"
    " WHERE user_id = %s AND login_id = %s AND ended_at IS NULL)"
)
_TELL = f"WITH {_KEEP_VERDICT} {audit.INSERT}"
_TELL_WRONG = f"WITH {_KEEP_VERDICT}, {_COUNT} {audit.INSERT}"
_TELL_ACCEPTED = f"WITH {_KEEP_VERDICT}, {_COUNT}, {_END_CHALLENGES} {audit.INSERT}"

_SAVE_FACTORS = (
    "UPDATE account SET guesses = %s, locked_at = %s, totp_id = %s, totp_secret = %s, totp_enrolled_at = %s,"
    " totp_last_used_at = %s, totp_last_step = %s, totp_clock = %s, sms_id = %s, sms_phone = %s, sms_phone_hint = %s,"
    " sms_enrolled_at = %s, sms_last_used_at = %s, backup_codes_left = %s, backup_codes_generated_at = %s,"
    " suspended_at = %s WHERE user_id = %s"
)
_COUNT_ENROLLED = "SELECT count(*) AS n FROM account WHERE user_id = ANY(%s) AND num_nonnulls(totp_id, sms_id) > 0"
_EPOCH = "SELECT epoch FROM factors_epoch WHERE clinic_id = %s"
_VERDICT = f"SELECT {rows.VERDICT_COLUMNS} FROM verdict WHERE user_id = %s AND attempt_id = %s"  # noqa: S608
_ACCEPTED_ELSEWHERE = (
    "SELECT DISTINCT session_id FROM verdict"
    " WHERE user_id = %s AND mark = %s AND result = 'accepted' AND NOT is_again AND at >= %s AND session_id <> %s"
)
_IS_TOLD = "SELECT 1 FROM verdict WHERE user_id = %s AND attempt_id = %s"
_ACCEPTED_LOGINS = (
    "SELECT login_id FROM verdict"
    " WHERE user_id = %s AND mark = %s AND result = 'accepted' AND NOT is_again AND at >= %s"
)


class AttemptAlreadyTold(Exception):
    """The attempt's id has a verdict; nothing of this transaction was kept. Read the verdict instead."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A verdict as it goes on record: with the attempt, the mark of its code, and the event for the audit trail."""

    attempt: Attempt
    mark: bytes
    verdict: Verdict
    event: AuditEvent
    is_again: bool = False
    """The login has spent this very code before."""

    @property
    def spends_budget(self) -> OutboxEvent | None:
        """What follows of a guess that spent the budget."""
        if not self.verdict.is_budget_newly_spent:
            return None
        return self.attempt.caller.announcement("guesses_spent", self.event.at)


class HeldAccount:
    """One account under its lock, within one transaction. `account` is None for a user without a row."""

    def __init__(self, connection: Connection, user_id: UserId, account: Account | None) -> None:
        self._connection = connection
        self.user_id = user_id
        self.account = account

    @property
    def backup_codes(self) -> HeldBackupCodes:
        return HeldBackupCodes(self._connection, self.user_id)

    @property
    def challenges(self) -> HeldChallenges:
        return HeldChallenges(self._connection, self.user_id)

    @property
    def enrolments(self) -> HeldEnrolments:
        return HeldEnrolments(self._connection, self.user_id)

    @property
    def numbers(self) -> HeldNumbers:
        return HeldNumbers(self._connection, self.user_id)

    async def told_verdict(self, attempt_id: AttemptId) -> StoredVerdict | None:
        return await _told_verdict(self._connection, self.user_id, attempt_id)

    async def logins_that_spent(self, mark: bytes, since: datetime) -> frozenset[LoginId]:
        """Under which logins a code with this mark was accepted since then."""
        cursor = await self._connection.execute(_ACCEPTED_LOGINS, [self.user_id, mark, since])
        return frozenset(row["login_id"] for row in await cursor.fetchall())

    async def other_sessions_that_spent(self, mark: bytes, since: datetime, own: SessionId) -> list[SessionId]:
        """Which others a code with this mark was accepted in since then."""
        cursor = await self._connection.execute(_ACCEPTED_ELSEWHERE, [self.user_id, mark, since, own])
        return [row["session_id"] for row in await cursor.fetchall()]

    async def tell(self, telling: Telling) -> None:
        """Keeps a verdict that changes nothing of the account."""
        await self._connection.execute(_TELL, [*self._kept(telling), *audit.row(telling.event)])

    async def tell_wrong(self, telling: Telling, account: Account) -> None:
        """Keeps the verdict and the guess it counted."""
        values = [*self._kept(telling), *self._counted(account), *audit.row(telling.event)]
        await self._connection.execute(_TELL_WRONG, values)
        if telling.spends_budget is not None:
            await self.announce(telling.spends_budget)

    async def tell_accepted(self, telling: Telling, account: Account) -> None:
        """Keeps the verdict and what it spent, and ends the login's other codes (A54)."""
        ended = [telling.event.at, self.user_id, telling.attempt.login_id]
        values = [*self._kept(telling), *self._counted(account), *ended, *audit.row(telling.event)]
        await self._connection.execute(_TELL_ACCEPTED, values)

    async def save(self, account: Account) -> None:
        """Writes the whole account: factors, budget and all."""
        totp, sms = account.totp, account.sms
        await self._connection.execute(
            _SAVE_FACTORS,
            [
                Jsonb(rows.guesses(account.budget)),
                account.budget.locked_at,
                *((totp.id, totp.secret, totp.enrolled_at, totp.last_used_at) if totp else (None,) * 4),
                totp.last_step if totp else 0,
                _clock(account),
                *((sms.id, sms.phone, sms.phone_hint, sms.enrolled_at, sms.last_used_at) if sms else (None,) * 5),
                account.backup_codes_left,
                account.backup_codes_generated_at,
                account.suspended_at,
                self.user_id,
            ],
        )

    async def forget_accepted(self) -> None:
        """No code accepted before opens anything again: the factor it proved has changed."""
        await self._connection.execute("DELETE FROM verdict WHERE user_id = %s AND result = 'accepted'", [self.user_id])

    async def record(self, event: AuditEvent) -> None:
        await audit.record(self._connection, event)

    async def announce(self, event: OutboxEvent) -> None:
        """Leaves to identity what follows of this."""
        await outbox.put(self._connection, event)

    def _kept(self, telling: Telling) -> list[object]:
        attempt, verdict = telling.attempt, telling.verdict
        return [
            self.user_id,
            attempt.attempt_id,
            attempt.login_id,
            telling.mark,
            verdict.result.value,
            verdict.attempts_left,
            verdict.retry_after,
            verdict.is_locked,
            verdict.is_budget_newly_spent,
            verdict.clock_skew_seconds,
            telling.is_again,
            telling.event.at,
            attempt.caller.session_id,
        ]

    def _counted(self, account: Account) -> list[object]:
        return [
            Jsonb(rows.guesses(account.budget)),
            account.budget.locked_at,
            account.totp.last_step if account.totp else 0,
            account.totp.last_used_at if account.totp else None,
            _clock(account),
            account.sms.last_used_at if account.sms else None,
            account.backup_codes_left,
            self.user_id,
        ]


class Accounts:
    """All accounts, with the guess budget that the settings give each."""

    def __init__(self, database: Database, limits: GuessLimits = DEFAULT_LIMITS) -> None:
        self._database = database
        self._limits = limits

    def without_row(self, user_id: UserId, clinic_id: ClinicId) -> Account:
        """The account of a user who has no row: no factor and a full budget."""
        return Account(user_id, clinic_id, GuessBudget(limits=self._limits))

    @asynccontextmanager
    async def hold(
        self, user_id: UserId, create_in: ClinicId | None = None, attempt_id: AttemptId | None = None
    ) -> AsyncIterator[HeldAccount]:
        """The account under its lock until the block is left, then committed. `create_in` makes a missing row. Raises
        AttemptAlreadyTold before anything is done where `attempt_id` has a verdict: a statement of its own, for one
        beside the lock would not see what was committed while it waited."""
        async with self._database.connection() as connection:
            try:
                async with connection.pipeline():
                    await connection.execute("BEGIN")
                    if create_in is not None:
                        await connection.execute(_CREATE, [user_id, create_in])
                    cursor = await connection.execute(_SELECT_HELD, [user_id])
                    told = await connection.execute(_IS_TOLD, [user_id, attempt_id]) if attempt_id else None
                    row = await cursor.fetchone()
                    if told is not None and await told.fetchone() is not None:
                        raise AttemptAlreadyTold
                    yield HeldAccount(connection, user_id, rows.account(row, self._limits) if row else None)
                    await connection.execute("COMMIT")
            except psycopg.errors.UniqueViolation as error:
                await connection.rollback()
                if error.diag.constraint_name == "verdict_pkey":
                    raise AttemptAlreadyTold from None
                raise
            except BaseException:
                with suppress(psycopg.Error):
                    await connection.rollback()
                raise

    async def read(self, user_id: UserId) -> Account | None:
        """The account as it stands, without a lock: for looking, never for judging."""
        found = await self.read_many([user_id])
        return found[0]

    async def read_many(self, user_ids: Sequence[UserId]) -> list[Account | None]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SELECT_MANY, [list(user_ids)])
            found = {row["user_id"]: rows.account(row, self._limits) for row in await cursor.fetchall()}
        return [found.get(user_id) for user_id in user_ids]

    async def count_enrolled(self, user_ids: Sequence[UserId]) -> int:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_COUNT_ENROLLED, [list(user_ids)])
            row = await cursor.fetchone()
            return row["n"] if row else 0

    async def factors_epoch(self, clinic_id: ClinicId) -> int:
        """Counts what has changed the factors of anybody in the clinic (migration 0004)."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_EPOCH, [clinic_id])
            row = await cursor.fetchone()
            return row["epoch"] if row else 0

    async def told_verdict(self, user_id: UserId, attempt_id: AttemptId) -> StoredVerdict | None:
        async with self._database.connection() as connection:
            return await _told_verdict(connection, user_id, attempt_id)

    async def ping(self) -> None:
        await self._database.ping()


def _clock(account: Account) -> Jsonb:
    return Jsonb(rows.clock(account.totp.clock) if account.totp else {})


async def _told_verdict(connection: Connection, user_id: UserId, attempt_id: AttemptId) -> StoredVerdict | None:
    cursor = await connection.execute(_VERDICT, [user_id, attempt_id])
    row = await cursor.fetchone()
    return rows.stored_verdict(row) if row else None
