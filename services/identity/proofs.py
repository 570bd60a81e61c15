"""What proving and confirming a second factor have in common: whom otp is told of, and the session that goes on under a
new token, exactly once."""

import uuid
from typing import Any

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.identity.lost_replies import LostReplies, RequestKey
from services.identity.model import Client, Session, SignedIn
from services.identity.peers.otp import OtpCaller
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.store.rotation import Rotation
from services.identity.store.sessions import SessionStore

_log = get_logger(__name__)


class Proofs:
    def __init__(self, sessions: SessionStore, bypasses: PolicyBypassPeer, replies: LostReplies, clock: Clock) -> None:
        self._sessions = sessions
        self._bypasses = bypasses
        self._replies = replies
        self._clock = clock

    async def rotate(self, session: Session, rotation: Rotation, event: AuditEvent) -> Session:
        rotated = await self._sessions.rotate(session, rotation, event)
        if rotated is None:
            raise await self._replies.overtaken(rotation.kept)
        return rotated

    async def end_bypass(self, session: Session) -> None:
        """They got in another way. Where policy is away the next sign-in ends it, which lets nobody in by it."""
        try:
            await self._bypasses.end(session.clinic_id, session.user_id, "got_in")
        except ServiceError as error:
            _log.warning("bypass_not_ended", session_id=session.id, error=str(error.code))

    def event(self, kind: str, signed_in: SignedIn, client: Client, **detail: Any) -> AuditEvent:
        user_id, now = signed_in.user.id, self._clock.now()
        detail["session_id"] = signed_in.session.id
        return AuditEvent(kind, now, signed_in.clinic.id, "user", user_id, user_id, client.address, detail)


def attempt_id_of(key: RequestKey | None, session: Session) -> str:
    """Without a key every request is a new attempt."""
    return key.attempt_id(session.id) if key else uuid.uuid4().hex


def caller_of(signed_in: SignedIn, client: Client) -> OtpCaller:
    session = signed_in.session
    return OtpCaller(session.clinic_id, session.user_id, session.id, client.address, client.user_agent)


def only_first(session: Session) -> bool:
    """Whether what is confirmed in this session may only be a user's first factor: it has proven none, and no bypass
    stands for that. otp holds it to that, for a factor may have been set up elsewhere this very moment (A31)."""
    return session.verified_at is None and session.bypass_id is None


def locale_of(signed_in: SignedIn) -> str:
    return signed_in.user.locale or signed_in.clinic.locale
