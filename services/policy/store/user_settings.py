"""What is set for one person: one row a person who was ever set apart. Changed only under the clinic's lock."""

from collections.abc import Sequence

from services.common.postgres import Connection
from services.policy.model import ClinicId, UserId, UserSetting
from services.policy.store import rows

_SELECT = "SELECT * FROM user_setting WHERE clinic_id = %s AND user_id = ANY(%s)"
_COLUMNS = (
    *("clinic_id", "user_id", "requirement", "reason", "expires_at"),
    *("set_by_kind", "set_by_id", "set_by_address", "set_at"),
    *(
        "is_phone_lifted",
        "phone_reason",
        "phone_set_by_kind",
        "phone_set_by_id",
        "phone_set_by_address",
        "phone_set_at",
    ),
)
_PUT = (
    f"INSERT INTO user_setting ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"  # noqa: S608 (constants)
    f" ON CONFLICT (clinic_id, user_id) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in _COLUMNS[2:])}"
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
        by, lift = setting.set_by, setting.lift
        note = (
            (lift.reason, lift.set_by.kind, lift.set_by.id, lift.set_by.address, lift.set_at) if lift else (None,) * 5
        )
        await self._connection.execute(
            _PUT,
            [
                *(self._clinic_id, setting.user_id, setting.requirement.value, setting.reason, setting.expires_at),
                *(by.kind, by.id, by.address, setting.set_at),
                *(lift is not None, *note),
            ],
        )
