"""Replies that may have been lost, as rows: found by the old token and the key, given again under a fresh token.

The unseen token is replaced by one guarded UPDATE; so is the note of it cleared at the first use (`SessionStore`). Of
the two exactly one wins, so a reply that was seen is never given again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Database
from services.identity.model import Session, SessionId, SignedIn
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.session_rows import SESSION_COLUMNS, SIGNED_IN, session_from, signed_in_from
from services.identity.store.session_statements import LOCK_USER

CONFIRMS_FOR = timedelta(seconds=20)
"""Longer than the deadlines of all that a confirmation asks for together. Whoever has not finished by then finds that
another has begun, and gets no token (`Rotation.claimed_at`): time alone decides nothing."""
OTP_GOES_ON_FOR = timedelta(seconds=5)
"""Longer than otp can still be at a confirmation that nobody waits for any more."""

_KEPT = (
    f"{SIGNED_IN} JOIN replaced_token r ON r.session_id = s.id"
    " WHERE r.digest = %(old)s AND s.reply_old_digest = %(old)s AND s.reply_key_digest = %(key)s"
    " AND s.reply_until > %(at)s"
)
_IS_FREE = "(confirming_since IS NULL OR confirming_since <= %(stale)s)"
_AGAIN = (
    "WITH again AS (UPDATE session SET token_digest = %(new)s, last_seen_at = %(at)s,"  # noqa: S608
    " confirming_since = %(confirming_since)s"
    " WHERE id = %(id)s AND token_digest = %(unseen)s AND reply_key_digest = %(key)s AND reply_until > %(at)s"
    f" AND ended_at IS NULL AND {_IS_FREE} RETURNING {SESSION_COLUMNS}, reply_device),"
    " gone AS (INSERT INTO replaced_token (digest, session_id, cause, replaced_at)"
    " SELECT %(unseen)s, id, 'replaced', %(at)s FROM again),"
    f" noted AS ({audit.insert_from('again')})"
    f" SELECT {SESSION_COLUMNS}, reply_device FROM again"
)
# Only while its token is as unseen as the session's.
_DEVICE = (
    "UPDATE device SET token_digest = %s WHERE id = %s AND user_id = %s AND ended_at IS NULL"
    " AND last_used_at = remembered_at"
)
_CLAIM = (
    "UPDATE session SET confirming_since = %(at)s"  # noqa: S608
    f" WHERE id = %(id)s AND token_digest = %(digest)s AND ended_at IS NULL AND {_IS_FREE}"
)


@dataclass(frozen=True, slots=True)
class KeptReply:
    """Whose session it is, and the keyed digest of what was asked for."""

    signed_in: SignedIn
    body: bytes


class ReplyStore:
    def __init__(self, database: Database, numbers: PhoneNumbers) -> None:
        self._database = database
        self._numbers = numbers

    async def find(self, old_digest: bytes, key: bytes, at: datetime) -> KeptReply | None:
        """The reply to the request with this token and key, while it may be given again."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_KEPT, {"old": old_digest, "key": key, "at": at})
            row = await cursor.fetchone()
        return KeptReply(signed_in_from(row, self._numbers), row["reply_body_digest"]) if row else None

    async def again(
        self,
        session: Session,
        key: bytes,
        new_digest: bytes,
        device_digest: bytes,
        event: AuditEvent,
        *,
        confirms: bool,
    ) -> tuple[Session, bool] | None:
        """The session under a fresh token in place of the unseen one, and whether `device_digest` has become the token
        of the browser that the reply had remembered. None where another request was faster or the reply was seen."""
        at = event.at
        values = {
            "id": session.id,
            "unseen": session.token_digest,
            "new": new_digest,
            "key": key,
            "at": at,
            "stale": at - CONFIRMS_FOR,
            "confirming_since": at if confirms else None,
            **audit.named(event),
        }
        async with self._database.transaction() as connection:
            await connection.execute(LOCK_USER, [session.user_id])
            cursor = await connection.execute(_AGAIN, values)
            row = await cursor.fetchone()
            if row is None:
                return None
            device = [device_digest, row["reply_device"], session.user_id]
            has_device = row["reply_device"] is not None and (await connection.execute(_DEVICE, device)).rowcount == 1
        return session_from(row), has_device

    async def claim(self, session: Session, at: datetime) -> bool:
        """Whether no other confirmation is under way in this session. This one is, from now on."""
        values = {"id": session.id, "digest": session.token_digest, "at": at, "stale": at - CONFIRMS_FOR}
        async with self._database.connection() as connection:
            return (await connection.execute(_CLAIM, values)).rowcount == 1

    async def release(self, session_id: SessionId, claimed_at: datetime, free_at: datetime | None = None) -> None:
        """The confirmation that was claimed then is over. `free_at`: it is, but nobody else may begin one before."""
        since = free_at - CONFIRMS_FOR if free_at else None
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE session SET confirming_since = %s WHERE id = %s AND confirming_since = %s",
                [since, session_id, claimed_at],
            )
