"""The statements of sessions that go in one go. Their values are named; `sessions` gives them."""

from services.common import audit
from services.identity.store.session_rows import SESSION_COLUMNS

LOCK_USER = "SELECT 1 FROM app_user WHERE id = %s FOR UPDATE"
# One statement: the user as they were looked up, the session, the event; without the first there is none of the rest.
OPEN = (
    "WITH owner AS (SELECT id FROM app_user WHERE id = %(user_id)s AND disabled_at IS NULL"  # noqa: S608
    " AND password_hash = %(password_hash)s FOR UPDATE),"
    f" opened AS (INSERT INTO session ({SESSION_COLUMNS})"
    " SELECT %(id)s, owner.id, %(clinic_id)s, %(token_digest)s, %(generation)s, %(opened_by)s, %(authenticated_at)s,"
    " NULL, NULL, %(enrol_after_proof)s, %(waiting_until)s::timestamptz, %(last_seen_at)s, %(idle_minutes)s,"
    " %(expires_at)s, %(shared_device)s, %(address)s, %(user_agent)s, NULL, NULL, %(bypass_id)s, %(device_id)s,"
    # Not what was read before the user's row was held: the remembering may have ended since.
    " (SELECT remembered_at FROM device WHERE id = %(device_id)s AND user_id = owner.id AND ended_at IS NULL),"
    " %(ends_bypass)s, NULL"
    " FROM owner RETURNING id, bypass_id, user_id, authenticated_at),"
    " bypassed AS (INSERT INTO bypass_use (bypass_id, user_id, session_id, used_at)"
    " SELECT bypass_id, user_id, id, authenticated_at FROM opened WHERE bypass_id IS NOT NULL) "
    + audit.insert_from("opened")
)
ROTATE = (
    "WITH rotated AS (UPDATE session SET token_digest = %(new)s, generation = generation + 1,"  # noqa: S608
    " verified_at = coalesce(%(verified_at)s, verified_at), proven_by = coalesce(%(proven_by)s, proven_by),"
    " enrol_after_proof = %(enrol_after_proof)s, waiting_until = %(waiting_until)s, last_seen_at = %(at)s,"
    " idle_minutes = coalesce(%(idle_minutes)s, idle_minutes), reply_until = %(reply_until)s,"
    " reply_key_digest = %(reply_key_digest)s, reply_old_digest = %(reply_old_digest)s,"
    " reply_body_digest = %(reply_body_digest)s,"
    " reply_device = %(reply_device)s, confirming_since = NULL"
    " WHERE id = %(id)s AND token_digest = %(old)s AND ended_at IS NULL"
    " AND (%(claimed_at)s::timestamptz IS NULL OR confirming_since = %(claimed_at)s)"
    f" RETURNING {SESSION_COLUMNS}),"
    " gone AS (INSERT INTO replaced_token (digest, session_id, cause, replaced_at)"
    " SELECT %(old)s, id, %(cause)s, %(at)s FROM rotated),"
    f" noted AS ({audit.insert_from('rotated')})"
    f" SELECT {SESSION_COLUMNS} FROM rotated"
)
# Idle time is told to the second; losing the last second of it in a crash costs nobody anything, so no fsync.
SEEN = (
    "UPDATE session SET last_seen_at = %s FROM (SELECT set_config('synchronous_commit', 'off', true)) AS lazily"
    " WHERE id = %s AND last_seen_at < %s AND ended_at IS NULL"
)
# The reply that its token came with was seen.
REPLY_SEEN = (
    "UPDATE session SET reply_until = NULL, reply_key_digest = NULL, reply_old_digest = NULL, reply_body_digest = NULL,"
    " reply_device = NULL,"
    " confirming_since = NULL WHERE id = %s AND token_digest = %s"
)
LIVE = "ended_at IS NULL AND expires_at > %(at)s AND (waiting_until IS NULL OR waiting_until > %(at)s)"
ACTIVE = (
    "ended_at IS NULL AND expires_at > %(at)s AND waiting_until IS NULL"
    " AND last_seen_at > %(at)s - idle_minutes * interval '1 minute'"
)
END_SURPLUS = (
    "UPDATE session SET ended_at = %(at)s, end_cause = 'too_many' WHERE id IN ("  # noqa: S608
    f"SELECT id FROM session WHERE user_id = %(user_id)s AND id <> %(id)s AND {ACTIVE}"
    " ORDER BY authenticated_at DESC, id DESC OFFSET %(others)s)"
    " AND EXISTS (SELECT 1 FROM session WHERE id = %(id)s AND token_digest = %(token_digest)s)"
)
