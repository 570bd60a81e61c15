"""Clinics, each changed only in one transaction under the lock of its rule's row, with the audit event in it.

Whatever could change a decision in the clinic is changed here and counts its epoch up, so that of two changes at once
each sees what the other has made: a hold set while the rule is being turned off, two administrators who exempt each
other, a bypass spent while it is being revoked.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from services.common import audit, outbox
from services.common.audit import AuditEvent
from services.common.outbox import OutboxEvent
from services.common.postgres import Connection, Database
from services.policy.model import ClinicId, ClinicRule
from services.policy.refusals import unknown_clinic
from services.policy.store import rows
from services.policy.store.bypasses import LockedBypasses
from services.policy.store.holds import LockedHolds
from services.policy.store.user_settings import LockedUserSettings

_SELECT = f"SELECT {rows.RULE_COLUMNS} FROM clinic_rule WHERE clinic_id = %s"  # noqa: S608 (a constant)
_LOCK = f"{_SELECT} FOR UPDATE"
_INSERT = (
    f"INSERT INTO clinic_rule ({rows.RULE_COLUMNS}) VALUES"  # noqa: S608 (a constant)
    " (%(clinic_id)s, %(require_two_factor)s, %(required_since)s, %(methods)s, %(phone_required)s,"
    " %(remember_device_days)s, %(idle_minutes)s, %(sms_countries)s, %(sms_daily_cap)s, %(version)s, %(epoch)s,"
    " %(enforce_from)s) ON CONFLICT (clinic_id) DO NOTHING"
)
_UPDATE = (
    "UPDATE clinic_rule SET require_two_factor = %(require_two_factor)s, required_since = %(required_since)s,"
    " enforce_from = %(enforce_from)s, methods = %(methods)s, phone_required = %(phone_required)s,"
    " remember_device_days = %(remember_device_days)s, idle_minutes = %(idle_minutes)s,"
    " sms_countries = %(sms_countries)s, sms_daily_cap = %(sms_daily_cap)s, version = %(version)s, epoch = %(epoch)s"
    " WHERE clinic_id = %(clinic_id)s"
)
_COUNT = "UPDATE clinic_rule SET epoch = epoch + 1 WHERE clinic_id = %s"


class LockedClinic:
    """One clinic under its lock, within one transaction."""

    def __init__(self, connection: Connection, rule: ClinicRule) -> None:
        self._connection = connection
        self.rule = rule
        self.holds = LockedHolds(connection, rule.clinic_id)
        self.settings = LockedUserSettings(connection, rule.clinic_id)
        self.bypasses = LockedBypasses(connection, rule.clinic_id)

    async def save_rule(self, changed: ClinicRule, event: AuditEvent) -> ClinicRule:
        """Puts `changed` in place of the rule and counts its version and the epoch."""
        saved = replace(changed, version=self.rule.version + 1, epoch=self.rule.epoch + 1)
        await self._connection.execute(_UPDATE, rows.rule_values(saved))
        await audit.record(self._connection, event)
        return saved

    async def record_change(self, *events: AuditEvent) -> None:
        """Counts the epoch of a change beside the rule, and puts on record what it was."""
        await self._connection.execute(_COUNT, [self.rule.clinic_id])
        for event in events:
            await audit.record(self._connection, event)

    async def announce(self, event: OutboxEvent) -> None:
        """Leaves to identity what follows of this."""
        await outbox.put(self._connection, event)


class Clinics:
    """All clinics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rule: ClinicRule, event: AuditEvent) -> bool:
        """Makes the clinic known; False where it was."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_INSERT, rows.rule_values(rule))
            if not cursor.rowcount:
                return False
            await audit.record(connection, event)
            return True

    async def rule(self, clinic_id: ClinicId) -> ClinicRule:
        """The rule as it stands, without a lock: for looking."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SELECT, [clinic_id])
            row = await cursor.fetchone()
        if row is None:
            raise unknown_clinic()
        return rows.rule(row)

    @asynccontextmanager
    async def lock(self, clinic_id: ClinicId) -> AsyncIterator[LockedClinic]:
        """The clinic under its lock until the block is left, then committed."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_LOCK, [clinic_id])
            row = await cursor.fetchone()
            if row is None:
                raise unknown_clinic()
            yield LockedClinic(connection, rows.rule(row))
