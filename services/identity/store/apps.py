"""Apps as rows: machines of a clinic, each with a key of which only the SHA-256 digest is here."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import DictRow

from services.common.audit import AuditEvent, record
from services.common.postgres import Database
from services.identity.model import App, AppId, Clinic, ClinicId, Scope
from services.identity.store.clinics import clinic_from

_COLUMNS = "id, clinic_id, name, scopes, created_at, revoked_at"
_BY_DIGEST = (
    "SELECT a.id, a.clinic_id, a.name, a.scopes, a.created_at, a.revoked_at,"
    " c.id AS c_id, c.slug AS c_slug, c.name AS c_name, c.timezone AS c_timezone, c.country AS c_country,"
    " c.locale AS c_locale, c.created_at AS c_created_at"
    " FROM app_key a JOIN clinic c ON c.id = a.clinic_id WHERE a.digest = %s AND a.revoked_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class CallingApp:
    """An app whose key was shown, and the clinic it belongs to."""

    app: App
    clinic: Clinic


class AppStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_digest(self, digest: bytes) -> CallingApp | None:
        """The app with this key, while it is not revoked."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(_BY_DIGEST, [digest])).fetchone()
        return CallingApp(_app(row), clinic_from(row, "c_")) if row else None

    async def add(self, app: App, digest: bytes, event: AuditEvent) -> bool:
        """False where a living app of the clinic has this name."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "INSERT INTO app_key (id, clinic_id, name, digest, scopes, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [app.id, app.clinic_id, app.name, digest, [scope.value for scope in app.scopes], app.created_at],
            )
            if cursor.rowcount != 1:
                return False
            await record(connection, event)
        return True

    async def of_clinic(self, clinic_id: ClinicId) -> list[App]:
        """Living and revoked ones, oldest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM app_key WHERE clinic_id = %s ORDER BY created_at, id",  # noqa: S608
                [clinic_id],
            )
            return [_app(row) for row in await cursor.fetchall()]

    async def revoke(self, app: App, at: datetime, event: AuditEvent) -> bool:
        """False where it was revoked before."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE app_key SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", [at, app.id]
            )
            if cursor.rowcount != 1:
                return False
            await record(connection, event)
        return True


def _app(row: DictRow) -> App:
    return App(
        id=AppId(row["id"]),
        clinic_id=ClinicId(row["clinic_id"]),
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
