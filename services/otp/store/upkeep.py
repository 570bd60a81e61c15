"""What nobody asks about any more is deleted, and what must not be kept is erased."""

from datetime import datetime, timedelta

from services.common.postgres import Database

VERDICTS_KEPT = timedelta(minutes=11)  # promised for ten
OVER_KEPT = timedelta(hours=24)  # so that a late client hears "gone" and not "not found"


class Upkeep:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, now: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM verdict WHERE at < %s", [now - VERDICTS_KEPT])
            await connection.execute(
                "UPDATE enrolment SET secret = NULL WHERE secret IS NOT NULL AND expires_at < %s",
                [now - VERDICTS_KEPT],
            )
            await connection.execute(
                "UPDATE challenge SET code_sealed = NULL WHERE code_sealed IS NOT NULL AND expires_at < %s", [now]
            )
            await connection.execute("DELETE FROM enrolment WHERE expires_at < %s", [now - OVER_KEPT])
            await connection.execute("DELETE FROM challenge WHERE expires_at < %s", [now - OVER_KEPT])
