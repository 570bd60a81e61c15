"""The browsers that people were seen in, as keyed digests: of the cookie that a browser was given for it, or, of
clients that keep no cookies, of what they call themselves. Whoever signs in from another one is told.

A person's first browser is nothing new. Of each person the latest fifty are kept.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

from services.common.postgres import Connection
from services.identity.browsers import family_of
from services.identity.model import Client, Session, UserId
from services.identity.notice_words import new_browser
from services.identity.store.notices import insertion, values_of

MOST_BROWSERS = 50
_LATELY = timedelta(days=1)

# Where the browser was seen lately nothing is written: one look into the index.
_SEEN = (
    "WITH known AS (SELECT 1 FROM seen_browser WHERE user_id = %(user_id)s LIMIT 1),"
    " seen AS (INSERT INTO seen_browser (user_id, digest, seen_at) SELECT user_id, %(digest)s, %(at)s FROM session"
    " WHERE id = %(session_id)s AND token_digest = %(token_digest)s AND NOT EXISTS (SELECT 1 FROM seen_browser"
    " WHERE user_id = %(user_id)s AND digest = %(digest)s AND seen_at > %(lately)s)"
    " ON CONFLICT (user_id, digest) DO UPDATE SET seen_at = excluded.seen_at RETURNING xmax = 0 AS is_new),"
    " surplus AS (DELETE FROM seen_browser WHERE EXISTS (SELECT 1 FROM seen WHERE is_new) AND (user_id, digest) IN"
    " (SELECT user_id, digest FROM seen_browser WHERE user_id = %(user_id)s ORDER BY seen_at DESC OFFSET %(others)s)) "
)
_IS_NEW = "EXISTS (SELECT 1 FROM known) AND EXISTS (SELECT 1 FROM seen WHERE is_new)"


class SeenBrowsers:
    """`key`: for the digests; under another one every browser is new."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"seen browser:" + key).digest()

    def statement(
        self, session: Session, token_digest: bytes, client: Client, at: datetime
    ) -> tuple[str, dict[str, Any]]:
        """Notes that the session's owner was seen in this browser, provided that it has this token by now. One
        statement, to go with the one that makes the session active; the rows that it counts are notices."""
        notice = new_browser(session, client, at)
        values = {
            "digest": self._digest(session.user_id, client),
            "session_id": session.id,
            "token_digest": token_digest,
            "lately": at - _LATELY,
            "others": MOST_BROWSERS - 1,
        }
        return _SEEN + insertion(notice, _IS_NEW), {**values_of(notice), **values}

    async def see(
        self, connection: Connection, session: Session, token_digest: bytes, client: Client, at: datetime
    ) -> None:
        """The same in the caller's transaction."""
        await connection.execute(*self.statement(session, token_digest, client, at))

    def _digest(self, user_id: UserId, client: Client) -> bytes:
        known_by = f"cookie|{client.browser}" if client.browser else f"agent|{family_of(client.user_agent)}"
        return hmac.new(self._key, f"{user_id}|{known_by}".encode(), hashlib.sha256).digest()[:16]
