"""Clinic rules in PostgreSQL. A change is one guarded UPDATE with its audit event in the same transaction: of two that
started from the same version, one is made."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from psycopg.rows import DictRow

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Database
from services.policy.model import ClinicId, ClinicRule, Method

_COLUMNS = (
    "clinic_id, require_two_factor, required_since, methods, phone_required, remember_device_days, idle_minutes,"
    " sms_countries, sms_daily_cap, version, epoch"
)
_SELECT = f"SELECT {_COLUMNS} FROM clinic_rule WHERE clinic_id = ANY(%s)"  # noqa: S608 (a constant)
_INSERT = (
    f"INSERT INTO clinic_rule ({_COLUMNS}) VALUES"  # noqa: S608 (a constant)
    " (%(clinic_id)s, %(require_two_factor)s, %(required_since)s, %(methods)s, %(phone_required)s,"
    " %(remember_device_days)s, %(idle_minutes)s, %(sms_countries)s, %(sms_daily_cap)s, %(version)s, %(epoch)s)"
    " ON CONFLICT (clinic_id) DO NOTHING"
)
# The epoch is counted from what it is by then: things outside the clinic's rule move it too.
_UPDATE = (
    "UPDATE clinic_rule SET require_two_factor = %(require_two_factor)s, required_since = %(required_since)s,"
    " methods = %(methods)s, phone_required = %(phone_required)s, version = version + 1, epoch = epoch + 1"
    " WHERE clinic_id = %(clinic_id)s AND version = %(version)s RETURNING version, epoch"
)


class PolicyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        await self._database.ping()

    async def rules(self, clinic_ids: Iterable[ClinicId]) -> dict[ClinicId, ClinicRule]:
        """The rules of those of the clinics that are known: one statement, no transaction."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SELECT, [list(clinic_ids)])
            return {row["clinic_id"]: _rule(row) for row in await cursor.fetchall()}

    async def add(self, rule: ClinicRule, event: AuditEvent) -> bool:
        """Makes the clinic known; False where it was."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_INSERT, _values(rule))
            if not cursor.rowcount:
                return False
            await audit.record(connection, event)
            return True

    async def replace(self, changed: ClinicRule, event: AuditEvent) -> ClinicRule | None:
        """Puts `changed` in place of the rule of the same version; None where that is no longer the current one."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_UPDATE, _values(changed))
            row = await cursor.fetchone()
            if row is None:
                return None
            await audit.record(connection, event)
            return replace(changed, version=row["version"], epoch=row["epoch"])


def _rule(row: DictRow) -> ClinicRule:
    return ClinicRule(
        clinic_id=ClinicId(row["clinic_id"]),
        require_two_factor=row["require_two_factor"],
        required_since=row["required_since"],
        methods=tuple(Method(name) for name in row["methods"]),
        phone_required=row["phone_required"],
        remember_device_days=row["remember_device_days"],
        idle_minutes=row["idle_minutes"],
        sms_countries=tuple(row["sms_countries"]),
        sms_daily_cap=row["sms_daily_cap"],
        version=row["version"],
        epoch=row["epoch"],
    )


def _values(rule: ClinicRule) -> Mapping[str, Any]:
    return {
        "clinic_id": rule.clinic_id,
        "require_two_factor": rule.require_two_factor,
        "required_since": rule.required_since,
        "methods": [method.value for method in rule.methods],
        "phone_required": rule.phone_required,
        "remember_device_days": rule.remember_device_days,
        "idle_minutes": rule.idle_minutes,
        "sms_countries": list(rule.sms_countries),
        "sms_daily_cap": rule.sms_daily_cap,
        "version": rule.version,
        "epoch": rule.epoch,
    }
