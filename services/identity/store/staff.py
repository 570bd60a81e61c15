"""A clinic's people as its administrators handle them: page by page, added, changed, disabled.

A change that could take the last working administrator away is decided under the clinic's row lock, so that two
administrators who demote each other at once cannot both succeed.
"""

from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import UniqueViolation

from services.common.audit import AuditEvent, record
from services.common.postgres import Connection, Database
from services.identity.model import Clinic, ClinicId, EndCause, Role, User, UserId, email_key
from services.identity.store.activations import NewActivation, insert_activation, supersede
from services.identity.store.clinics import insert_clinic
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.sessions import end_sessions
from services.identity.store.users import COLUMNS, user_from


class EmailTaken(Exception):
    """Another person of the clinic has this e-mail address."""


class LastAdministrator(Exception):
    """The change would leave the clinic without an administrator who can sign in."""


class SlugTaken(Exception):
    """Another clinic has this short name."""


@dataclass(frozen=True, slots=True)
class UserChange:
    """What to change; None leaves it as it is."""

    name: str | None = None
    email: str | None = None
    role: Role | None = None
    phone: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the order is that of arrival."""

    created_at: datetime
    user_id: UserId


class StaffStore:
    def __init__(self, database: Database, numbers: PhoneNumbers) -> None:
        self._database = database
        self._numbers = numbers

    async def add_clinic(self, clinic: Clinic, user: User, activation: NewActivation, event: AuditEvent) -> None:
        """A clinic with its first administrator. Raises `SlugTaken`."""
        async with self._database.transaction() as connection:
            if not await insert_clinic(connection, clinic):
                raise SlugTaken
            await _insert_user(connection, user, self._numbers)
            await insert_activation(connection, activation)
            await record(connection, event)

    async def add(self, user: User, activation: NewActivation, event: AuditEvent) -> None:
        """A person with the invitation. Raises `EmailTaken`."""
        async with self._database.transaction() as connection:
            if not await _insert_user(connection, user, self._numbers):
                raise EmailTaken
            await insert_activation(connection, activation)
            await record(connection, event)

    async def page(self, clinic_id: ClinicId, after: Place | None, limit: int, text: str | None) -> list[User]:
        """Up to `limit` people in the order of arrival; `text` is looked for in name and e-mail."""
        parameters = {
            "clinic_id": clinic_id,
            "at": after.created_at if after else None,
            "id": after.user_id if after else None,
            "pattern": _containing(text) if text else None,
            "limit": limit,
        }
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM app_user WHERE clinic_id = %(clinic_id)s"  # noqa: S608
                " AND (%(at)s::timestamptz IS NULL OR (created_at, id) > (%(at)s, %(id)s))"
                " AND (%(pattern)s::text IS NULL OR name ILIKE %(pattern)s OR email ILIKE %(pattern)s)"
                " ORDER BY created_at, id LIMIT %(limit)s",
                parameters,
            )
            return [user_from(row, self._numbers) for row in await cursor.fetchall()]

    async def by_email(self, clinic_id: ClinicId, email: str) -> User | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM app_user WHERE clinic_id = %s AND email_key = %s",  # noqa: S608
                [clinic_id, email_key(email)],
            )
            row = await cursor.fetchone()
        return user_from(row, self._numbers) if row else None

    async def change(self, before: User, change: UserChange, at: datetime, event: AuditEvent) -> User | None:
        """Sets what is given. Disabling ends the user's sessions and links. None where there is no such user.

        Raises `EmailTaken`, `LastAdministrator`.
        """
        try:
            async with self._database.transaction() as connection:
                # NO KEY UPDATE: a sign-in, which holds its user's row and refers to the clinic, must not wait for us.
                await connection.execute("SELECT 1 FROM clinic WHERE id = %s FOR NO KEY UPDATE", [before.clinic_id])
                cursor = await connection.execute(
                    "SELECT 1 FROM app_user WHERE clinic_id = %s AND id = %s AND role = 'admin'"
                    " AND disabled_at IS NULL AND password_hash IS NOT NULL FOR UPDATE",
                    [before.clinic_id, before.id],
                )
                was_working_administrator = await cursor.fetchone() is not None
                another = await self._numbers.another(connection, before.id, change.phone)
                cursor = await connection.execute(
                    "UPDATE app_user SET name = coalesce(%(name)s, name), email = coalesce(%(email)s, email),"  # noqa: S608
                    " email_key = coalesce(%(email_key)s, email_key), role = coalesce(%(role)s, role),"
                    " phone_proven = phone_proven AND %(phone)s::bytea IS NULL,"
                    " phone = coalesce(%(phone)s, phone), disabled_at = CASE WHEN %(disabled)s::boolean IS NULL"
                    " THEN disabled_at WHEN %(disabled)s THEN coalesce(disabled_at, %(at)s) END"
                    f" WHERE clinic_id = %(clinic_id)s AND id = %(id)s RETURNING {COLUMNS}",
                    {
                        "name": change.name,
                        "email": change.email,
                        "email_key": email_key(change.email) if change.email else None,
                        "role": change.role,
                        "phone": another,
                        "disabled": change.disabled,
                        "at": at,
                        "clinic_id": before.clinic_id,
                        "id": before.id,
                    },
                )
                row = await cursor.fetchone()
                if row is None:
                    return None
                after = user_from(row, self._numbers)
                if was_working_administrator:
                    await _check_administrators(connection, after.clinic_id)
                if change.disabled:
                    await end_sessions(connection, after.id, at, EndCause.ENDED, keep=None)
                    await supersede(connection, after.id)
                await record(connection, event)
        except UniqueViolation as error:
            raise EmailTaken from error
        return after


async def _check_administrators(connection: Connection, clinic_id: ClinicId) -> None:
    """Somebody must be left who can sign in and repair what went wrong; an unused invitation is nobody."""
    cursor = await connection.execute(
        "SELECT 1 FROM app_user WHERE clinic_id = %s AND role = 'admin' AND disabled_at IS NULL"
        " AND password_hash IS NOT NULL LIMIT 1",
        [clinic_id],
    )
    if await cursor.fetchone() is None:
        raise LastAdministrator


async def _insert_user(connection: Connection, user: User, numbers: PhoneNumbers) -> bool:
    """Adds a person without a password; False where the e-mail address is taken."""
    cursor = await connection.execute(
        "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, phone, created_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            user.id,
            user.clinic_id,
            user.email,
            email_key(user.email),
            user.name,
            user.role,
            numbers.seal(user.id, user.phone),
            user.created_at,
        ],
    )
    return cursor.rowcount == 1


def _containing(text: str) -> str:
    """A pattern for ILIKE that takes the text as it is."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
