"""Clinics as rows."""

from datetime import datetime

from psycopg.rows import DictRow

from services.common.audit import AuditEvent, record
from services.common.errors import ErrorCode, ServiceError
from services.common.postgres import Connection, Database
from services.identity.model import Clinic, ClinicId, slug_key

COLUMNS = "id, slug, name, timezone, country, locale, created_at"


class ClinicStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_id(self, clinic_id: ClinicId) -> Clinic | None:
        return await self._one("id", clinic_id)

    async def by_slug(self, slug: str) -> Clinic | None:
        return await self._one("slug", slug_key(slug))

    async def _one(self, column: str, value: str) -> Clinic | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(f"SELECT {COLUMNS} FROM clinic WHERE {column} = %s", [value])  # noqa: S608
            row = await cursor.fetchone()
        return clinic_from(row) if row else None

    async def change(
        self,
        clinic_id: ClinicId,
        event: AuditEvent,
        *,
        name: str | None = None,
        timezone: str | None = None,
        country: str | None = None,
        locale: str | None = None,
    ) -> Clinic:
        """Sets what is given and answers the clinic as it is then."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE clinic SET name = coalesce(%s, name), timezone = coalesce(%s, timezone),"  # noqa: S608
                f" country = coalesce(%s, country), locale = coalesce(%s, locale) WHERE id = %s RETURNING {COLUMNS}",
                [name, timezone, country, locale, clinic_id],
            )
            row = await cursor.fetchone()
            if row is None:
                raise ServiceError(ErrorCode.NOT_FOUND, "There is no such clinic.")
            await record(connection, event)
        return clinic_from(row)

    async def set_idle_minutes(self, clinic_id: ClinicId, minutes: int) -> None:
        """For every session of the clinic that lives; it counts from its next request on."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE session SET idle_minutes = %s WHERE clinic_id = %s AND ended_at IS NULL AND idle_minutes <> %s",
                [minutes, clinic_id, minutes],
            )


async def insert_clinic(connection: Connection, clinic: Clinic) -> bool:
    """Adds a clinic in the caller's transaction; False where the slug is taken."""
    cursor = await connection.execute(
        f"INSERT INTO clinic ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",  # noqa: S608
        [
            clinic.id,
            slug_key(clinic.slug),
            clinic.name,
            clinic.timezone,
            clinic.country,
            clinic.locale,
            clinic.created_at,
        ],
    )
    return cursor.rowcount == 1


def clinic_from(row: DictRow, prefix: str = "") -> Clinic:
    created_at: datetime = row[f"{prefix}created_at"]
    return Clinic(
        id=ClinicId(row[f"{prefix}id"]),
        slug=row[f"{prefix}slug"],
        name=row[f"{prefix}name"],
        timezone=row[f"{prefix}timezone"],
        country=row[f"{prefix}country"],
        locale=row[f"{prefix}locale"],
        created_at=created_at,
    )
