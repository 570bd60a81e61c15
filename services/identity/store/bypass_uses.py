"""Which session a bypass opened, kept when that session is long gone: what an undoing has to undo, and who is told.

Of the number on file it keeps what was there before that session, so that an undoing leaves nobody else's (A46).
"""

from datetime import datetime

from services.common.postgres import Connection
from services.identity.model import BypassId, Session, UserId


async def begun(connection: Connection, session: Session, granted_by: UserId | None) -> None:
    """Keeps who granted it, and the number on file as it is before anything is changed in the session, in the caller's
    transaction."""
    await connection.execute(
        "UPDATE bypass_use SET granted_by = %s, phone = u.phone, phone_proven = u.phone_proven FROM app_user u"
        " WHERE bypass_id = %s AND user_id = %s AND u.id = user_id",
        [granted_by, session.bypass_id, session.user_id],
    )


async def enrolled(connection: Connection, bypass_id: BypassId, at: datetime) -> None:
    """A second factor was set up in the session that it opened, in the caller's transaction."""
    await connection.execute("UPDATE bypass_use SET enrolled_at = %s WHERE bypass_id = %s", [at, bypass_id])


async def number_given(connection: Connection, user_id: UserId, phone: bytes) -> None:
    """An administrator has given another number, which an undoing leaves on file, in the caller's transaction."""
    await connection.execute(
        "UPDATE bypass_use SET phone = %s, phone_proven = false WHERE user_id = %s", [phone, user_id]
    )


async def put_number_back(connection: Connection, bypass_id: BypassId, user_id: UserId) -> None:
    """The number on file becomes the one that is kept, proven or not as it was, in the caller's transaction."""
    await connection.execute(
        "UPDATE app_user SET phone = kept.phone, phone_proven = kept.phone_proven FROM bypass_use AS kept"
        " WHERE app_user.id = %s AND kept.bypass_id = %s AND kept.user_id = app_user.id"
        " AND kept.phone_proven IS NOT NULL",
        [user_id, bypass_id],
    )
