"""Another number on file, told to the one that was there (A49), in the transaction of the change."""

from dataclasses import replace

from services.common.postgres import Connection
from services.identity.model import UserId
from services.identity.notice_words import Notice, Number
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers


async def another_number(
    connection: Connection,
    numbers: PhoneNumbers,
    notices: NoticeStore,
    user_id: UserId,
    number: str | None,
    notice: Notice | None,
) -> bytes | None:
    """What to store in place of the number on file; None where none is given, or the same. Where there was another the
    notice for it is written. Holds the user's row, in the caller's transaction."""
    another = await numbers.another(connection, user_id, number)
    if another is not None and notice is not None:
        await notices.put(connection, [notice])
    return another


async def prove(
    connection: Connection,
    numbers: PhoneNumbers,
    notices: NoticeStore,
    user_id: UserId,
    number: str,
    notice: Notice | None,
) -> bool:
    """Puts a proven number on file, in the caller's transaction; where another was there, both are told. False where it
    was there, and proven."""
    another = await numbers.another(connection, user_id, number)
    there_was_one = 0
    if another is not None and notice is not None:
        there_was_one = await notices.put(connection, [notice])
    cursor = await connection.execute(
        "UPDATE app_user SET phone = coalesce(%(another)s, phone), phone_proven = true WHERE id = %(id)s"
        " AND (NOT phone_proven OR %(another)s::bytea IS NOT NULL)",
        {"another": another, "id": user_id},
    )
    if there_was_one and notice is not None:
        await notices.put(connection, [replace(notice, number=Number.PROVEN, is_shown=False, most_a_day=None)])
    return cursor.rowcount == 1
