"""Holds: one row a name, gone when ended. Changed only under the clinic's lock."""

from services.common.postgres import Connection
from services.policy.model import ClinicId, Hold
from services.policy.store import rows

_SELECT = "SELECT * FROM hold WHERE clinic_id = %s ORDER BY name"
_PUT = (
    "INSERT INTO hold (clinic_id, name, requires_two_factor, max_device_trust_hours, set_by_kind, set_by_id,"
    " set_by_address, set_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (clinic_id, name) DO UPDATE SET"
    " requires_two_factor = EXCLUDED.requires_two_factor, max_device_trust_hours = EXCLUDED.max_device_trust_hours,"
    " set_by_kind = EXCLUDED.set_by_kind, set_by_id = EXCLUDED.set_by_id, set_by_address = EXCLUDED.set_by_address,"
    " set_at = EXCLUDED.set_at"
)


class LockedHolds:
    """The holds of a clinic that is locked."""

    def __init__(self, connection: Connection, clinic_id: ClinicId) -> None:
        self._connection = connection
        self._clinic_id = clinic_id

    async def all(self) -> tuple[Hold, ...]:
        """By name."""
        cursor = await self._connection.execute(_SELECT, [self._clinic_id])
        return tuple(rows.hold(row) for row in await cursor.fetchall())

    async def put(self, hold: Hold) -> None:
        by = hold.set_by
        demand = [hold.requires_two_factor, hold.max_device_trust_hours]
        values = [self._clinic_id, hold.name, *demand, by.kind, by.id, by.address, hold.set_at]
        await self._connection.execute(_PUT, values)

    async def end(self, name: str) -> None:
        await self._connection.execute("DELETE FROM hold WHERE clinic_id = %s AND name = %s", [self._clinic_id, name])
