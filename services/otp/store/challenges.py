"""SMS challenges: at most one living for a login, which an index guards. Made and ended under the account's lock."""

from datetime import datetime

from services.common.postgres import Connection, Database
from services.otp.model import Challenge, ChallengeId, LoginId, UserId
from services.otp.store import rows

_SELECT = f"SELECT {rows.CHALLENGE_COLUMNS} FROM challenge"  # noqa: S608
_NEWEST = f"{_SELECT} WHERE user_id = %s AND login_id = %s ORDER BY seq DESC LIMIT 1"
_INSERT = (
    f"INSERT INTO challenge ({rows.CHALLENGE_COLUMNS})"  # noqa: S608
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


class HeldChallenges:
    """The challenges of an account that is held."""

    def __init__(self, connection: Connection, user_id: UserId) -> None:
        self._connection = connection
        self._user_id = user_id

    async def newest(self, login_id: LoginId) -> Challenge | None:
        return await _newest(self._connection, self._user_id, login_id)

    async def begin(self, challenge: Challenge) -> None:
        """The login's newest challenge; the earlier one is dead."""
        await self.end(challenge.login_id, challenge.created_at)
        await self._connection.execute(
            _INSERT,
            [
                challenge.id,
                challenge.user_id,
                challenge.login_id,
                challenge.request_id,
                challenge.code_mark,
                challenge.code_sealed,
                challenge.phone_hint,
                challenge.wrong_guesses,
                challenge.created_at,
                challenge.expires_at,
                challenge.delivery_id,
                challenge.delivery_status,
                challenge.ended_at,
                challenge.spent_at,
            ],
        )

    async def end(self, login_id: LoginId, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE challenge SET ended_at = %s, code_sealed = NULL"
            " WHERE user_id = %s AND login_id = %s AND ended_at IS NULL",
            [now, self._user_id, login_id],
        )

    async def end_all(self, now: datetime) -> None:
        """Ends every code on its way to the user: the number it went to is no longer theirs to prove."""
        await self._connection.execute(
            "UPDATE challenge SET ended_at = %s, code_sealed = NULL WHERE user_id = %s AND ended_at IS NULL",
            [now, self._user_id],
        )

    async def spend(self, challenge_id: ChallengeId, now: datetime) -> bool:
        """False where it was spent already, which the lock keeps from happening and this from mattering."""
        cursor = await self._connection.execute(
            "UPDATE challenge SET spent_at = %s, ended_at = %s, code_sealed = NULL"
            " WHERE id = %s AND spent_at IS NULL RETURNING true",
            [now, now, challenge_id],
        )
        return await cursor.fetchone() is not None

    async def count_wrong(self, challenge_id: ChallengeId) -> None:
        await self._connection.execute(
            "UPDATE challenge SET wrong_guesses = wrong_guesses + 1 WHERE id = %s", [challenge_id]
        )


class Challenges:
    """Challenges outside the lock: how one fares, and its handing over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, user_id: UserId, login_id: LoginId) -> Challenge | None:
        async with self._database.connection() as connection:
            return await _newest(connection, user_id, login_id)

    async def dead(self, user_id: UserId, now: datetime) -> list[ChallengeId]:
        """The user's codes that can no longer be right, for a newer one or another ending, before their time is up:
        their texts may still wait to be sent."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id FROM challenge WHERE user_id = %s AND ended_at IS NOT NULL AND spent_at IS NULL"
                " AND expires_at > %s ORDER BY seq DESC LIMIT 20",
                [user_id, now],
            )
            return [ChallengeId(row["id"]) for row in await cursor.fetchall()]

    async def hand_over(self, challenge_id: ChallengeId, delivery_id: str, status: str) -> bool:
        """Says the notifier has taken the code, which from now on can be right. False where it was ended meanwhile."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "UPDATE challenge SET delivery_id = %s, delivery_status = %s, code_sealed = NULL"
                " WHERE id = %s AND ended_at IS NULL",
                [delivery_id, status, challenge_id],
            )
            return cursor.rowcount == 1

    async def sent_and_used(self, since: datetime, until: datetime) -> tuple[int, int]:
        """How many of the codes drawn in that time were handed over, and of those how many were used."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) AS sent, count(spent_at) AS used FROM challenge"
                " WHERE delivery_id IS NOT NULL AND created_at > %s AND created_at <= %s",
                [since, until],
            )
            row = await cursor.fetchone()
            return (row["sent"], row["used"]) if row else (0, 0)

    async def void(self, challenge_id: ChallengeId, now: datetime) -> None:
        """Ends a challenge whose code was refused by the notifier, unless it was taken after all."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE challenge SET ended_at = %s, code_sealed = NULL WHERE id = %s AND delivery_id IS NULL",
                [now, challenge_id],
            )


async def _newest(connection: Connection, user_id: UserId, login_id: LoginId) -> Challenge | None:
    cursor = await connection.execute(_NEWEST, [user_id, login_id])
    row = await cursor.fetchone()
    return rows.challenge(row) if row else None
