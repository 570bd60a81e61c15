"""What is set for one person: one row a person who was ever set apart. Changed only under the clinic's lock."""

from collections.abc import Sequence

from services.common.postgres import Connection
from services.policy.model import ClinicId, UserId, UserSetting
from services.policy.store import rows

_SELECT = "SELECT * FROM user_setting WHERE clinic_id = %s AND user_id = ANY(%s)"
_PUT = (
    "INSERT INTO user_setting (clinic_id, user_id, requirement, reason, expires_at, is_phone_lifted, set_by_kind,"
    " set_by_id, set_by_address, set_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (clinic_id, user_id) DO UPDATE SET requirement = EXCLUDED.requirement, reason = EXCLUDED.reason,"
    " expires_at = EXCLUDED.expires_at, is_phone_lifted = EXCLUDED.is_phone_lifted,"
    " set_by_kind = EXCLUDED.set_by_kind, set_by_id = EXCLUDED.set_by_id, set_by_address = EXCLUDED.set_by_address,"
    " set_at = EXCLUDED.set_at"
)


class LockedUserSettings:
    """What is set for the people of a clinic that is locked."""

    def __init__(self, connection: Connection, clinic_id: ClinicId) -> None:
        self._connection = connection
        self._clinic_id = clinic_id

    async def of(self, user_ids: Sequence[UserId]) -> dict[UserId, UserSetting]:
        """Those of the users for whom anything was ever set."""
        cursor = await self._connection.execute(_SELECT, [self._clinic_id, list(user_ids)])
        return {row["user_id"]: rows.setting(row) for row in await cursor.fetchall()}

    async def put(self, setting: UserSetting) -> None:
        by = setting.set_by
        await self._connection.execute(
            _PUT,
            [
                self._clinic_id,
                setting.user_id,
                setting.requirement.value,
                setting.reason,
                setting.expires_at,
                setting.is_phone_lifted,
                by.kind,
                by.id,
                by.address,
                setting.set_at,
            ],
        )
