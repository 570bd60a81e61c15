"""Replies that were lost on their way (`Idempotency-Key`): given once more to whoever repeats the same request with the
same key and token, under a fresh token, until the new token is first used and for a minute at most.

Invariant: at every moment one token of the session lives. A reply that was seen is never given again, and only who
holds the old token and the key gets one at all.
"""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, invalid, unavailable
from services.identity.model import Client, EndCause, Session, SessionId, SignedIn
from services.identity.sessions import Standing, digest_of, end_of, new_token
from services.identity.standing import over, refusal_of
from services.identity.store.replies import CONFIRMS_FOR, OTP_GOES_ON_FOR, ReplyStore
from services.identity.store.rotation import Kept

KEY = r"^[A-Za-z0-9_-]{22,64}$"
_KEY = re.compile(KEY[1:-1])
_REPLY_LIFE = timedelta(seconds=60)
_REPEAT_AFTER = timedelta(seconds=1)  # the other request has made the reply by then, and the repeat finds it
_SAID_ALIKE = (ErrorCode.GONE, ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST, ErrorCode.CONFLICT)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The key that a request came with. `kept_body` is set where its token is dead and its reply may be given again:
    then the session is that of the reply."""

    value: str
    old_digest: bytes
    kept_body: bytes | None = None

    @property
    def is_kept(self) -> bool:
        return self.kept_body is not None

    @property
    def digest(self) -> bytes:
        """All that is stored of a key. It is random (22 characters at least), so a plain hash is enough."""
        return hashlib.sha256(self.value.encode()).digest()

    def attempt_id(self, session_id: SessionId) -> str:
        """The same for the same key in the same session, so that otp tells the same verdict and counts it once."""
        return hashlib.sha256(f"{session_id}:{self.value}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Again:
    """The session of a reply that is given again, under its fresh tokens."""

    signed_in: SignedIn
    token: str
    device_token: str | None

    @property
    def earlier_login(self) -> str:
        """The login under which the code was accepted: that of the token before this one."""
        session = self.signed_in.session
        return replace(session, generation=session.generation - 1).login_id


class LostReplies:
    def __init__(self, store: ReplyStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = hashlib.sha256(b"lost replies:" + secret).digest()

    async def find(self, token: str, value: str, refused: ServiceError) -> tuple[SignedIn, RequestKey]:
        """Whose reply may be given again to who comes with this dead token and this key. Raises `refused` where there
        is none."""
        key, now = RequestKey(value, digest_of(token)), self._clock.now()
        found = await self._store.find(key.old_digest, key.digest, now)
        if found is None:
            raise refused
        cause = end_of(found.signed_in.session, found.signed_in.user, now)
        if cause is not None:
            raise over(cause)
        return found.signed_in, replace(key, kept_body=found.body)

    def kept(self, key: RequestKey | None, asked: tuple[str, ...], device_id: str | None = None) -> Kept | None:
        """What the new token leaves on its session. `asked`: what the request asks for."""
        if key is None:
            return None
        until = self._clock.now() + _REPLY_LIFE
        return Kept(until, key.digest, key.old_digest, self._body(asked), device_id)

    async def again(
        self, signed_in: SignedIn, client: Client, key: RequestKey, asked: tuple[str, ...], *, confirms: bool = False
    ) -> Again:
        """The reply's session, under a fresh token in place of the unseen one. `confirms`: fresh backup codes go with
        it, and nothing else may make any meanwhile. Raises `conflict` where something else is asked for."""
        if not hmac.compare_digest(key.kept_body or b"", self._body(asked)):
            raise ServiceError(ErrorCode.CONFLICT, "This Idempotency-Key was used for another request.")
        session, token, device_token = signed_in.session, new_token(), new_token()
        detail = {"session_id": session.id}
        user_id = session.user_id
        event = AuditEvent(
            "session.retold", self._clock.now(), session.clinic_id, "user", user_id, user_id, client.address, detail
        )
        found = await self._store.again(
            session, key.digest, digest_of(token), digest_of(device_token), event, confirms=confirms
        )
        if found is None:
            raise await self._overtaken(key.old_digest, key.digest, CONFIRMS_FOR if confirms else _REPEAT_AFTER)
        return Again(replace(signed_in, session=found[0]), token, device_token if found[1] else None)

    async def overtaken(self, kept: Kept | None) -> ServiceError:
        """The refusal of a request that another was faster than. `kept`: what its own new token would have left."""
        if kept is None:
            return over(EndCause.REPLACED)
        return await self._overtaken(kept.old_digest, kept.key, _REPEAT_AFTER)

    async def _overtaken(self, old_digest: bytes, key: bytes, repeat_after: timedelta) -> ServiceError:
        """Where the faster one had the same key, nobody's sign-in is over: a repeat hears the same verdict."""
        if await self._store.find(old_digest, key, self._clock.now()) is None:
            return over(EndCause.REPLACED)
        return _under_way(repeat_after)

    @asynccontextmanager
    async def one_confirmation(self, session: Session) -> AsyncIterator[datetime]:
        """Keeps a repeated request from making fresh backup codes while the first may be showing its own. One that is
        killed keeps others off for a while; the new token ends it too. Yields what the new token is guarded by: where
        another has begun all the same, there is none for this one."""
        claimed_at = self._clock.now()
        if not await self._store.claim(session, claimed_at):
            raise _under_way(CONFIRMS_FOR)
        try:
            yield claimed_at
        except ServiceError as error:
            free_at = self._clock.now() + OTP_GOES_ON_FOR if error.code is ErrorCode.UNAVAILABLE else None
            with suppress(ServiceError):  # it then ends by itself
                await self._store.release(session.id, claimed_at, free_at)
            raise

    def _body(self, asked: tuple[str, ...]) -> bytes:
        return hmac.digest(self._key, "\0".join(asked).encode(), "sha256")


def checked_key(value: str) -> str:
    """The key as it was sent. Raises `invalid-request` where it is none."""
    if _KEY.fullmatch(value):
        return value
    raise invalid("Idempotency-Key", "Use 22 to 64 random letters, digits, - and _.")


@contextmanager
def only_repeating(standing: Standing | None) -> Iterator[None]:
    """For a session that may not confirm anything, but hear again what it has confirmed: everything else is refused as
    it would be without that (A31). `standing`: None for a session that may."""
    try:
        yield
    except ServiceError as error:
        if standing is not None and error.code in _SAID_ALIKE:
            raise refusal_of(standing) from error
        raise


def _under_way(repeat_after: timedelta) -> ServiceError:
    return unavailable("the same request", retry_after=int(repeat_after.total_seconds()))
