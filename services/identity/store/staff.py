"""A clinic's people as its administrators handle them: page by page, added, changed, disabled.

A change that could take the last working administrator away is decided under the clinic's row lock, so that two
administrators who demote each other at once cannot both succeed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import UniqueViolation

from services.common.audit import AuditEvent, record
from services.common.postgres import Connection, Database
from services.identity.model import Clinic, ClinicId, EndCause, Role, User, UserId, email_key
from services.identity.notice_words import Notice
from services.identity.store.activations import NewActivation, insert_activation, supersede, supersede_made_by
from services.identity.store.bypass_uses import number_given
from services.identity.store.clinics import insert_clinic
from services.identity.store.devices import end_devices
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.phone_changes import another_number
from services.identity.store.sessions import end_sessions
from services.identity.store.users import COLUMNS, user_from

# NO KEY UPDATE: a sign-in, which holds its user's row and refers to the clinic, must not wait for us.
_HOLD_ADMINISTRATORS = "SELECT 1 FROM clinic WHERE id = %s FOR NO KEY UPDATE"

CheckOthers = Callable[[Sequence[UserId]], Awaitable[None]]


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
    phone_changed: Notice | None = None
    """What is told where another number is given than the one on file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the order is that of arrival."""

    created_at: datetime
    user_id: UserId


class StaffStore:
    def __init__(self, database: Database, numbers: PhoneNumbers, notices: NoticeStore) -> None:
        self._database = database
        self._numbers = numbers
        self._notices = notices

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

    async def page(
        self,
        clinic_id: ClinicId,
        after: Place | None,
        limit: int,
        text: str | None,
        *,
        with_administrators: bool = True,
    ) -> list[User]:
        """Up to `limit` people in the order of arrival; `text` is looked for in name and e-mail."""
        parameters = {
            "with_administrators": with_administrators,
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
                " AND (%(with_administrators)s OR role <> 'admin')"
                " AND (%(pattern)s::text IS NULL OR name ILIKE %(pattern)s OR email ILIKE %(pattern)s)"
                " ORDER BY created_at, id LIMIT %(limit)s",
                parameters,
            )
            return [user_from(row, self._numbers) for row in await cursor.fetchall()]

    @asynccontextmanager
    async def holding_administrators(self, clinic_id: ClinicId) -> AsyncIterator[list[UserId]]:
        """The clinic's administrators who can sign in; while the block runs nobody ceases to be one."""
        async with self._database.transaction() as connection:
            await connection.execute(_HOLD_ADMINISTRATORS, [clinic_id])
            yield await _administrators(connection, clinic_id)

    async def names_of_administrators(self, clinic_id: ClinicId, but: UserId) -> list[str]:
        """Those of the clinic's administrators who can sign in, without the one who asks."""
        async with self._database.connection() as connection:
            others = [found for found in await _administrators(connection, clinic_id) if found != but]
            cursor = await connection.execute(
                "SELECT name FROM app_user WHERE id = ANY(%s) ORDER BY lower(name), id", [others]
            )
            return [str(row["name"]) for row in await cursor.fetchall()]

    async def by_email(self, clinic_id: ClinicId, email: str) -> User | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {COLUMNS} FROM app_user WHERE clinic_id = %s AND email_key = %s",  # noqa: S608
                [clinic_id, email_key(email)],
            )
            row = await cursor.fetchone()
        return user_from(row, self._numbers) if row else None

    async def change(
        self, before: User, change: UserChange, at: datetime, event: AuditEvent, check_others: CheckOthers
    ) -> User | None:
        """Sets what is given; `event` goes on record where that differs. Disabling ends the user's sessions, and so
        does it, or taking an administrator's role away, with their links and those they made. None where there is no
        such user.

        `check_others`: asked, before an administrator ceases to be one, whether those who are left are enough. Raises
        `EmailTaken`, `LastAdministrator`.
        """
        try:
            async with self._database.transaction() as connection:
                await connection.execute(_HOLD_ADMINISTRATORS, [before.clinic_id])
                cursor = await connection.execute(
                    f"SELECT {COLUMNS} FROM app_user WHERE clinic_id = %s AND id = %s FOR UPDATE",  # noqa: S608
                    [before.clinic_id, before.id],
                )
                found = await cursor.fetchone()
                if found is None:
                    return None
                was = user_from(found, self._numbers)
                was_administrator = was.role is Role.ADMIN
                another = await another_number(
                    connection, self._numbers, self._notices, before.id, change.phone, change.phone_changed
                )
                if another is not None:
                    await number_given(connection, before.id, another)
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
                after = user_from(row, self._numbers) if row else before
                if was_administrator and was.has_password and not was.is_disabled:
                    left = await _administrators(connection, after.clinic_id)
                    if not left:
                        raise LastAdministrator
                    if after.id not in left:
                        await check_others(left)
                if change.disabled:
                    await end_sessions(connection, after.id, at, EndCause.ENDED, keep=None)
                    await end_devices(connection, after.id, at, "disabled")
                    await supersede(connection, after.id)
                if was_administrator and (change.disabled or after.role is not Role.ADMIN):
                    await supersede(connection, after.id)
                    await supersede_made_by(connection, after.id)
                if after != was:
                    await record(connection, event)
        except UniqueViolation as error:
            raise EmailTaken from error
        self._notices.ring()
        return after


async def _administrators(connection: Connection, clinic_id: ClinicId) -> list[UserId]:
    """Those who can sign in and repair what went wrong; an unused invitation is nobody."""
    cursor = await connection.execute(
        "SELECT id FROM app_user WHERE clinic_id = %s AND role = 'admin' AND disabled_at IS NULL"
        " AND password_hash IS NOT NULL ORDER BY id",
        [clinic_id],
    )
    return [UserId(row["id"]) for row in await cursor.fetchall()]


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
