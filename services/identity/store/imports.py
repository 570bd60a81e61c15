"""People who come from another system as rows, many in one transaction; and who of a clinic has which address."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Connection, Database
from services.identity.model import ClinicId, User, UserId, email_key
from services.identity.store.activations import NewActivation
from services.identity.store.numbers import PhoneNumbers

_INSERT = (
    "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, phone, locale, password_hash, created_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (clinic_id, email_key) DO NOTHING RETURNING id"
)
_INVITE = (
    "INSERT INTO activation (id, user_id, kind, token_digest, created_by, created_at, expires_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A person to be made, with the event that tells of it; `activation` where they are invited at once."""

    user: User
    password_hash: str | None
    activation: NewActivation | None
    event: AuditEvent


class ImportStore:
    def __init__(self, database: Database, numbers: PhoneNumbers) -> None:
        self._database = database
        self._numbers = numbers

    async def ids(self, clinic_id: ClinicId, emails: Collection[str]) -> dict[str, UserId]:
        """Who there is of these, by the key of the e-mail address."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, email_key FROM app_user WHERE clinic_id = %s AND email_key = ANY(%s)",
                [clinic_id, [email_key(email) for email in emails]],
            )
            return {row["email_key"]: UserId(row["id"]) for row in await cursor.fetchall()}

    async def add(
        self, newcomers: Sequence[Newcomer], before_commit: Callable[[Sequence[Newcomer]], None]
    ) -> frozenset[UserId]:
        """Adds them all, save those whose e-mail address somebody has; answers who was added. `before_commit` is told
        who: what it writes down is written when they are there for everybody, and not when they never were."""
        async with self._database.transaction() as connection:
            made = await self._insert(connection, newcomers)
            added = [one for one in newcomers if one.user.id in made]
            async with connection.cursor() as cursor:
                invitations = [_activation(one.activation) for one in added if one.activation]
                await cursor.executemany(_INVITE, invitations)
                await cursor.executemany(audit.INSERT, [audit.row(one.event) for one in added])
            before_commit(added)
        return made

    async def _insert(self, connection: Connection, newcomers: Sequence[Newcomer]) -> frozenset[UserId]:
        made: set[UserId] = set()
        if not newcomers:
            return frozenset()
        async with connection.cursor() as cursor:
            await cursor.executemany(_INSERT, [self._row(one) for one in newcomers], returning=True)
            while True:
                made |= {UserId(row["id"]) for row in await cursor.fetchall()}
                if not cursor.nextset():
                    return frozenset(made)

    def _row(self, one: Newcomer) -> list[object]:
        user = one.user
        return [
            user.id,
            user.clinic_id,
            user.email,
            email_key(user.email),
            user.name,
            user.role,
            self._numbers.seal(user.id, user.phone),
            user.locale,
            one.password_hash,
            user.created_at,
        ]


def _activation(new: NewActivation) -> list[object]:
    return [new.id, new.user_id, new.kind, new.token_digest, new.created_by, new.created_at, new.expires_at]
