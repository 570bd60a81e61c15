"""Invitations and password resets as rows. A token comes in as its SHA-256 digest; it is used by one guarded UPDATE,
under the user's row lock, so that of parallel uses exactly one sets the password (A38)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.audit import AuditEvent, record
from services.common.postgres import Connection, Database
from services.identity.model import ActivationId, ActivationKind, Clinic, User, UserId
from services.identity.notice_words import Notice
from services.identity.store.clinics import clinic_from
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.users import set_password, user_from

_BY_DIGEST = (
    "SELECT a.id AS a_id, a.kind AS a_kind, a.created_by AS a_created_by, a.expires_at AS a_expires_at,"
    " a.used_at IS NOT NULL AS a_is_used, a.superseded AS a_is_superseded,"
    " c.id AS c_id, c.slug AS c_slug, c.name AS c_name, c.timezone AS c_timezone, c.country AS c_country,"
    " c.locale AS c_locale, c.created_at AS c_created_at,"
    " u.id, u.clinic_id, u.email, u.name, u.role, u.phone, u.phone_proven, u.locale,"
    " u.disabled_at IS NOT NULL AS is_disabled, u.password_hash IS NOT NULL AS has_password, u.created_at"
    " FROM activation a JOIN app_user u ON u.id = a.user_id JOIN clinic c ON c.id = u.clinic_id"
    " WHERE a.token_digest = %s"
)


@dataclass(frozen=True, slots=True)
class NewActivation:
    """A link to be sent; `created_by` is the administrator, None for the operator."""

    id: ActivationId
    user_id: UserId
    kind: ActivationKind
    token_digest: bytes
    created_by: UserId | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Activation:
    """A link as it is on record, with whom it is for."""

    id: ActivationId
    kind: ActivationKind
    created_by: UserId | None
    expires_at: datetime
    is_used: bool
    is_superseded: bool
    user: User
    clinic: Clinic

    def works(self, at: datetime) -> bool:
        return not (self.is_used or self.is_superseded or self.user.is_disabled) and at < self.expires_at


class ActivationStore:
    def __init__(self, database: Database, numbers: PhoneNumbers, notices: NoticeStore) -> None:
        self._database = database
        self._numbers = numbers
        self._notices = notices

    async def by_digest(self, digest: bytes) -> Activation | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_BY_DIGEST, [digest])
            row = await cursor.fetchone()
        if row is None:
            return None
        return Activation(
            id=ActivationId(row["a_id"]),
            kind=ActivationKind(row["a_kind"]),
            created_by=UserId(row["a_created_by"]) if row["a_created_by"] else None,
            expires_at=row["a_expires_at"],
            is_used=row["a_is_used"],
            is_superseded=row["a_is_superseded"],
            user=user_from(row, self._numbers),
            clinic=clinic_from(row, "c_"),
        )

    async def add(self, new: NewActivation, event: AuditEvent) -> bool:
        """Puts a link on record in place of the user's older ones; False where the user is disabled."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM app_user WHERE id = %s AND disabled_at IS NULL FOR UPDATE", [new.user_id]
            )
            if await cursor.fetchone() is None:
                return False
            await insert_activation(connection, new)
            await record(connection, event)
        return True

    async def use(
        self,
        activation: Activation,
        password_hash: str,
        at: datetime,
        events: Sequence[AuditEvent],
        notices: Sequence[Notice],
    ) -> bool:
        """Sets the password and ends the user's sessions; False where the link was used, replaced or over before."""
        async with self._database.transaction() as connection:
            # The user's row first, as everywhere: a disabling that is under way is waited for, not raced.
            await connection.execute("SELECT 1 FROM app_user WHERE id = %s FOR UPDATE", [activation.user.id])
            cursor = await connection.execute(
                "UPDATE activation SET used_at = %s"
                " WHERE id = %s AND used_at IS NULL AND NOT superseded AND expires_at > %s",
                [at, activation.id, at],
            )
            if cursor.rowcount != 1:
                return False
            if not await set_password(connection, activation.user.id, password_hash, at, keep=None):
                await connection.execute("UPDATE activation SET used_at = NULL WHERE id = %s", [activation.id])
                return False
            await self._notices.put(connection, notices)
            for event in events:
                await record(connection, event)
        self._notices.ring()
        return True


async def insert_activation(connection: Connection, new: NewActivation) -> None:
    """Adds a link and kills the user's older ones, in the caller's transaction, which holds the user's row."""
    await supersede(connection, new.user_id)
    await connection.execute(
        "INSERT INTO activation (id, user_id, kind, token_digest, created_by, created_at, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [new.id, new.user_id, new.kind, new.token_digest, new.created_by, new.created_at, new.expires_at],
    )


async def supersede(connection: Connection, user_id: UserId) -> None:
    """Kills the user's unused links, in the caller's transaction."""
    await connection.execute(
        "UPDATE activation SET superseded = true WHERE user_id = %s AND used_at IS NULL AND NOT superseded", [user_id]
    )


async def supersede_made_by(connection: Connection, user_id: UserId) -> None:
    """Kills the unused links that this administrator made for others, in the caller's transaction."""
    await connection.execute(
        "UPDATE activation SET superseded = true WHERE created_by = %s AND used_at IS NULL AND NOT superseded",
        [user_id],
    )
