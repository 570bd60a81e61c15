"""Which session a bypass opened, kept when that session is long gone: what an undoing has to undo, and who is told."""

from datetime import datetime

from services.common.postgres import Connection
from services.identity.model import Session, UserId


async def begun(connection: Connection, session: Session, granted_by: UserId | None) -> None:
    """Keeps who granted it, and the number on file as it is before anything is changed in the session, in the caller's
    transaction."""
    await connection.execute(
        "UPDATE bypass_use SET granted_by = %s, phone = (SELECT phone FROM app_user WHERE id = %s)"
        " WHERE bypass_id = %s AND user_id = %s",
        [granted_by, session.user_id, session.bypass_id, session.user_id],
    )


async def enrolled(connection: Connection, session: Session, at: datetime) -> None:
    """A second factor was set up in the session, in the caller's transaction."""
    await connection.execute("UPDATE bypass_use SET enrolled_at = %s WHERE bypass_id = %s", [at, session.bypass_id])
