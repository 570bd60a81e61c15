"""The change of one's own password as one transaction: the hash, the end of the other sessions, the new token."""

from services.common.audit import AuditEvent
from services.common.postgres import Database
from services.identity.model import Session
from services.identity.store.notices import NoticeStore
from services.identity.store.rotation import Rotation
from services.identity.store.sessions import SessionStore
from services.identity.store.users import set_password


class _Lost(Exception):
    """Another request was faster; the transaction must not stay."""


class PasswordStore:
    def __init__(self, database: Database, sessions: SessionStore, notices: NoticeStore) -> None:
        self._database = database
        self._sessions = sessions
        self._notices = notices

    async def change(
        self, session: Session, rotation: Rotation, old_hash: str, new_hash: str, event: AuditEvent
    ) -> Session | None:
        """None, and nothing changed, where the hash is no longer the one compared with or the token was replaced."""
        try:
            async with self._database.transaction() as connection:
                cursor = await connection.execute(
                    "SELECT 1 FROM app_user WHERE id = %s AND password_hash = %s FOR UPDATE",
                    [session.user_id, old_hash],
                )
                if await cursor.fetchone() is None:
                    raise _Lost
                if not await set_password(connection, session.user_id, new_hash, rotation.at, keep=session.id):
                    raise _Lost
                rotated = await self._sessions.rotate_in(connection, session, rotation, event)
                if rotated is None:
                    raise _Lost
        except _Lost:
            return None
        self._notices.ring()
        return rotated
