"""How audit events are chained: what of an event is hashed, and how each hash follows from the one before.

hash = SHA-256(hash before ‖ digest), digest = SHA-256(the event and the moment of its sealing, as canonical JSON). So
whoever changes, removes or adds an event must make every later hash anew, and then none of the heads fits that were
logged meanwhile. No key is in it: the chain rests on the sealer's role and on the logs, not on a secret.
"""

import hashlib
import json
from collections.abc import Sequence

START = bytes(32)
"""The hash before the first."""

# As text and independent of a server's settings; jsonb writes itself in one way only.
_EVENT = (
    "e.seq::text",
    "e.id::text",
    "to_json(e.at AT TIME ZONE 'UTC') #>> '{}'",
    "e.clinic_id",
    "e.actor_kind",
    "e.actor_id",
    "e.subject_id",
    "e.kind",
    "e.address",
    "e.request_id",
    "e.detail::text",
    "e.written_by",
)
EVENT_AS_TEXT = f"ARRAY[{', '.join(_EVENT)}]"
"""SQL: what is hashed of the event `e`."""


def time_as_text(expression: str) -> str:
    """SQL: a timestamp as it is hashed."""
    return f"to_json(({expression}) AT TIME ZONE 'UTC') #>> '{{}}'"


def digest(event: Sequence[str | None], sealed_at: str) -> bytes:
    canonical = json.dumps([*event, sealed_at], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


def follow(before: bytes, event_digest: bytes) -> bytes:
    """The hash that comes after `before`."""
    return hashlib.sha256(before + event_digest).digest()
