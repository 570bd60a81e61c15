"""What a session's new token comes with: plain data for the store, which does all of it in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.common import audit
from services.common.audit import AuditEvent
from services.identity.model import Client, EndCause, Method, Session
from services.identity.notice_words import Notice
from services.identity.store.devices import NewDevice


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left on the session so that the reply can be given again should it be lost."""

    until: datetime
    key: bytes
    old_digest: bytes
    body: bytes
    device_id: str | None


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a new token comes with. None leaves what the session has."""

    old_digest: bytes
    new_digest: bytes
    at: datetime
    cause: EndCause = EndCause.REPLACED
    proven_by: Method | None = None
    enrol_after_proof: bool = False
    waiting_until: datetime | None = None
    idle_minutes: int | None = None
    remembered: NewDevice | None = None
    """The browser in which this is proven, to be remembered in place of the one that opened the session."""
    proven_phone: str | None = None
    """A number that was proven in the same breath."""
    phone_changed: Notice | None = None
    """What is told where that is another number than the one on file."""
    seen_in: Client | None = None
    """The browser in which the session is active from now on."""
    notices: Sequence[Notice] = ()
    """What is told of it."""
    kept: Kept | None = None
    """For a request that came with a key."""

    claimed_at: datetime | None = None
    """Only while the confirmation that was claimed then is the one under way (`ReplyStore.claim`)."""

    @property
    def has_more(self) -> bool:
        """Whether more goes with it than one statement does."""
        more = (self.remembered, self.proven_phone)
        return bool(self.notices) or any(one is not None for one in more)


def rotation_values(session: Session, rotation: Rotation, event: AuditEvent) -> dict[str, Any]:
    """The values for `ROTATE`."""
    kept = rotation.kept
    return {
        "id": session.id,
        "old": rotation.old_digest,
        "new": rotation.new_digest,
        "cause": rotation.cause,
        "at": rotation.at,
        "verified_at": rotation.at if rotation.proven_by else None,
        "proven_by": rotation.proven_by,
        "enrol_after_proof": rotation.enrol_after_proof,
        "waiting_until": rotation.waiting_until,
        "idle_minutes": rotation.idle_minutes,
        "claimed_at": rotation.claimed_at,
        "reply_until": kept.until if kept else None,
        "reply_key_digest": kept.key if kept else None,
        "reply_old_digest": kept.old_digest if kept else None,
        "reply_body_digest": kept.body if kept else None,
        "reply_device": kept.device_id if kept else None,
        **audit.named(event),
    }
