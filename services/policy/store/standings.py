"""All that decisions in some clinics depend on, read in one statement: one snapshot, so that no decision is made from
a rule of before a change and holds of after it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.common.postgres import Database
from services.policy.model import UNDOABLE_FOR, Bypass, ClinicId, ClinicRule, Hold, UserId, UserSetting
from services.policy.store import rows

_COLUMNS = ", ".join(f"r.{name}" for name in rows.RULE_COLUMNS.split(", "))
_READ = (
    f"SELECT {_COLUMNS},"  # noqa: S608 (a constant)
    " (SELECT coalesce(json_agg(h ORDER BY h.name), '[]') FROM hold h WHERE h.clinic_id = r.clinic_id) AS holds,"
    " (SELECT coalesce(json_agg(s), '[]') FROM user_setting s"
    "  WHERE s.clinic_id = r.clinic_id AND s.user_id = ANY(%(user_ids)s)) AS settings,"
    " (SELECT coalesce(json_agg(b ORDER BY b.granted_at), '[]') FROM bypass b"
    "  WHERE b.clinic_id = r.clinic_id AND b.user_id = ANY(%(user_ids)s)"
    "  AND (b.state = 'unused' AND b.expires_at > %(at)s OR b.state = 'used' AND b.used_at > %(used_after)s)"
    " ) AS bypasses"
    " FROM clinic_rule r WHERE r.clinic_id = ANY(%(clinic_ids)s)"
)

_COUNT_EXEMPT = (
    "SELECT count(*) AS n FROM user_setting WHERE clinic_id = %s AND user_id = ANY(%s)"
    " AND requirement = 'exempt' AND (expires_at IS NULL OR expires_at > %s)"
)
_EPOCH = "SELECT epoch FROM clinic_rule WHERE clinic_id = %s"


@dataclass(frozen=True, slots=True)
class Standing:
    """A clinic as it stands, with what is set for those of its users that were asked for."""

    rule: ClinicRule
    holds: tuple[Hold, ...]
    settings: Mapping[UserId, UserSetting]
    bypasses: Mapping[UserId, Bypass]
    """The usable bypass of each, or else the last one used that can still be undone."""


class Standings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self, clinic_ids: Collection[ClinicId], user_ids: Collection[UserId], at: datetime
    ) -> dict[ClinicId, Standing]:
        """Those of the clinics that are known."""
        values = {
            "clinic_ids": list(clinic_ids),
            "user_ids": list(user_ids),
            "at": at,
            "used_after": at - UNDOABLE_FOR,
        }
        async with self._database.connection() as connection:
            cursor = await connection.execute(_READ, values)
            found = await cursor.fetchall()
        return {row["clinic_id"]: _standing(row, at) for row in found}

    async def count_exempt(self, clinic_id: ClinicId, user_ids: Collection[UserId], at: datetime) -> int:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_COUNT_EXEMPT, [clinic_id, list(user_ids), at])
            row = await cursor.fetchone()
        return row["n"] if row else 0

    async def epoch(self, clinic_id: ClinicId) -> int | None:
        """What counts everything that could change a decision in the clinic; None where the clinic is not known."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_EPOCH, [clinic_id])
            row = await cursor.fetchone()
        return row["epoch"] if row else None


def _standing(row: rows.Row, at: datetime) -> Standing:
    bypasses: dict[UserId, Bypass] = {}
    for bypass in map(rows.bypass, row["bypasses"]):
        known = bypasses.get(bypass.user_id)
        if known is None or not known.is_usable(at):
            bypasses[bypass.user_id] = bypass
    return Standing(
        rule=rows.rule(row),
        holds=tuple(map(rows.hold, row["holds"])),
        settings={setting["user_id"]: rows.setting(setting) for setting in row["settings"]},
        bypasses=bypasses,
    )
