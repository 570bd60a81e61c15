"""People as rows: who they are, their password hash, their number. A change and its audit event are one transaction."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import DictRow

from services.common.audit import AuditEvent, record
from services.common.errors import ErrorCode, ServiceError
from services.common.postgres import Connection, Database
from services.identity.model import Clinic, ClinicId, EndCause, Role, SessionId, User, UserId, email_key, slug_key
from services.identity.notice_words import Notice
from services.identity.store.clinics import clinic_from
from services.identity.store.devices import end_devices
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.phone_changes import another_number, prove
from services.identity.store.sessions import end_sessions

COLUMNS = (
    "id, clinic_id, email, name, role, phone, phone_proven, locale, disabled_at IS NOT NULL AS is_disabled,"
    " password_hash IS NOT NULL AS has_password, created_at"
)

# One row where the clinic exists: a clinic without the user and one with cost the same (P13).
_FOR_SIGN_IN = (
    "SELECT c.id AS c_id, c.slug AS c_slug, c.name AS c_name, c.timezone AS c_timezone, c.country AS c_country,"
    " c.locale AS c_locale, c.created_at AS c_created_at,"
    " u.id, u.clinic_id, u.email, u.name, u.role, u.phone, u.phone_proven, u.locale,"
    " u.disabled_at IS NOT NULL AS is_disabled, u.password_hash IS NOT NULL AS has_password, u.created_at,"
    " u.password_hash"
    " FROM clinic c LEFT JOIN app_user u ON u.clinic_id = c.id AND u.email_key = %s WHERE c.slug = %s"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a sign-in is for, with the hash to compare with (None: no password was ever set)."""

    user: User
    clinic: Clinic
    password_hash: str | None


class UserStore:
    def __init__(self, database: Database, numbers: PhoneNumbers, notices: NoticeStore) -> None:
        self._database = database
        self._numbers = numbers
        self._notices = notices

    async def for_sign_in(self, slug: str, email: str) -> Account | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_FOR_SIGN_IN, [email_key(email), slug_key(slug)])
            row = await cursor.fetchone()
        if row is None or row["id"] is None:
            return None
        return Account(user_from(row, self._numbers), clinic_from(row, "c_"), row["password_hash"])

    async def by_id(self, clinic_id: ClinicId, user_id: UserId) -> User | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM app_user WHERE clinic_id = %s AND id = %s",  # noqa: S608
                [clinic_id, user_id],
            )
            row = await cursor.fetchone()
        return user_from(row, self._numbers) if row else None

    async def password_hash(self, user_id: UserId) -> str | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute("SELECT password_hash FROM app_user WHERE id = %s", [user_id])
            row = await cursor.fetchone()
        found: str | None = row["password_hash"] if row else None
        return found

    async def replace_hash(self, user_id: UserId, old: str, new: str) -> bool:
        """Puts a dearer hash of the same password in place of the one it was compared with; False where that one is no
        more."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "UPDATE app_user SET password_hash = %s WHERE id = %s AND password_hash = %s", [new, user_id, old]
            )
        return cursor.rowcount == 1

    async def change_own(
        self,
        user_id: UserId,
        event: AuditEvent,
        *,
        name: str | None,
        phone: str | None,
        locale: str | None,
        phone_changed: Notice,
    ) -> User:
        """Sets what is given; another number than the one on file is not proven, and the one that was is told. `event`
        goes on record where anything differs."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(f"SELECT {COLUMNS} FROM app_user WHERE id = %s FOR UPDATE", [user_id])  # noqa: S608
            found = await cursor.fetchone()
            was = user_from(found, self._numbers) if found else None
            another = await another_number(connection, self._numbers, self._notices, user_id, phone, phone_changed)
            cursor = await connection.execute(
                "UPDATE app_user SET name = coalesce(%(name)s, name), locale = coalesce(%(locale)s, locale),"  # noqa: S608
                " phone_proven = phone_proven AND %(phone)s::bytea IS NULL,"
                " phone = coalesce(%(phone)s, phone) WHERE id = %(id)s AND disabled_at IS NULL"
                f" RETURNING {COLUMNS}",
                {"name": name, "phone": another, "locale": locale, "id": user_id},
            )
            row = await cursor.fetchone()
            if row is None:
                raise ServiceError(ErrorCode.UNAUTHENTICATED, "Please sign in again.", cause=EndCause.ENDED.value)
            after = user_from(row, self._numbers)
            if after != was:
                await record(connection, event)
        self._notices.ring()
        return after

    async def set_proven_phone(self, user_id: UserId, phone: str, event: AuditEvent, phone_changed: Notice) -> None:
        async with self._database.transaction() as connection:
            if await prove(connection, self._numbers, self._notices, user_id, phone, phone_changed):
                await record(connection, event)
        self._notices.ring()


async def set_password(
    connection: Connection, user_id: UserId, password_hash: str, at: datetime, *, keep: SessionId | None
) -> bool:
    """Sets the password, ends every session of the user but `keep` and forgets their browsers, in the caller's
    transaction. False where there is no such user, or a disabled one."""
    cursor = await connection.execute(
        "UPDATE app_user SET password_hash = %s, password_changed_at = %s WHERE id = %s AND disabled_at IS NULL",
        [password_hash, at, user_id],
    )
    if cursor.rowcount != 1:
        return False
    await end_sessions(connection, user_id, at, EndCause.PASSWORD_CHANGED, keep=keep)
    await end_devices(connection, user_id, at, "password_changed")
    return True


def user_from(row: DictRow, numbers: PhoneNumbers, prefix: str = "") -> User:
    user_id = UserId(row[f"{prefix}id"])
    created_at: datetime = row[f"{prefix}created_at"]
    return User(
        id=user_id,
        clinic_id=ClinicId(row[f"{prefix}clinic_id"]),
        email=row[f"{prefix}email"],
        name=row[f"{prefix}name"],
        role=Role(row[f"{prefix}role"]),
        phone=numbers.open(user_id, row[f"{prefix}phone"]),
        phone_proven=row[f"{prefix}phone_proven"],
        locale=row[f"{prefix}locale"],
        is_disabled=row[f"{prefix}is_disabled"],
        has_password=row[f"{prefix}has_password"],
        created_at=created_at,
    )
