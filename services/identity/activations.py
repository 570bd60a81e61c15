"""Invitations and password resets: a link that an administrator hands over, by which a person sets their own password.

The link works once, for a while, and only until a newer one is made. Using it proves the mailbox or the administrator's
word, never a second factor: it opens no session, and 2FA stays as it is (A36).
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.rate_limit import Limit
from services.identity.addresses import subscriber_of
from services.identity.limits import Limits
from services.identity.model import ActivationId, ActivationKind, Client, User, UserId
from services.identity.notice_words import NoticeKind, of_account
from services.identity.passwords import Passwords
from services.identity.peers.otp import OtpPeer
from services.identity.sessions import digest_of, new_token
from services.identity.standing import Standings
from services.identity.store.activations import Activation, ActivationStore, NewActivation

# A clinic's hundred people behind one router may all take up their invitations in one morning; a token has 256 bits, so
# the limit keeps load away, not guesses.
PER_ADDRESS = Limit("activation-address", 300, 300)
_LIVES = {ActivationKind.INVITATION: timedelta(days=7), ActivationKind.RESET: timedelta(minutes=60)}


@dataclass(frozen=True, slots=True)
class Link:
    """What is handed over; the token is known only here and now."""

    url: str
    token: str
    expires_at: datetime


class Activations:
    def __init__(
        self,
        store: ActivationStore,
        passwords: Passwords,
        otp: OtpPeer,
        standings: Standings,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._otp = otp
        self._standings = standings
        self._limits = limits
        self._clock = clock

    async def look_up(self, token: str, client: Client) -> Activation:
        """Whom the link is for. Raises `not-found` for a token never given out, `gone` for one that works no more."""
        await self._limits.take([(PER_ADDRESS, subscriber_of(client.address))])
        found = await self._store.by_digest(digest_of(token))
        if found is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "This link is not known. Check that it was copied whole.")
        if not found.works(self._clock.now()):
            raise _gone(found)
        return found

    async def use(self, token: str, password: str, client: Client) -> Activation:
        """Sets the password, ends every session of the user, and spends the link."""
        found = await self.look_up(token, client)
        await self._passwords.check_new(password, found.user, found.clinic)
        password_hash = await self._passwords.hash(password)
        if found.kind is ActivationKind.RESET:
            # Before the link is spent: should either fail, the same request can be sent again and nothing is lost.
            await self._otp.reset_guess_budget(found.clinic.id, found.user.id, "password_reset")
        now = self._clock.now()
        event = AuditEvent(
            kind="password.reset" if found.kind is ActivationKind.RESET else "user.activated",
            at=now,
            clinic_id=found.clinic.id,
            actor_kind="user",
            actor_id=found.user.id,
            subject_id=found.user.id,
            address=client.address,
            detail={"activation": found.id},
        )
        is_reset = found.kind is ActivationKind.RESET
        told = [of_account(NoticeKind.PASSWORD_RESET, found.user, client, now)] if is_reset else []
        if not await self._store.use(found, password_hash, now, [event], told):
            raise _gone(found)
        self._standings.forget_user(found.user.id)
        return found


def make(
    user: User, kind: ActivationKind, by: UserId | None, now: datetime, public_url: str
) -> tuple[NewActivation, Link]:
    """A new link: what is stored of it, and what is handed over. `by` is None for the operator."""
    token = new_token()
    expires_at = now + _LIVES[kind]
    new = NewActivation(
        id=ActivationId(f"act_{uuid.uuid4().hex}"),
        user_id=user.id,
        kind=kind,
        token_digest=digest_of(token),
        created_by=by,
        created_at=now,
        expires_at=expires_at,
    )
    # The configured address, never the request's Host: a poisoned header must not reach a link (A64).
    return new, Link(f"{public_url}/activate/{token}", token, expires_at)


def _gone(activation: Activation) -> ServiceError:
    what = "invitation" if activation.kind is ActivationKind.INVITATION else "link"
    return ServiceError(
        ErrorCode.GONE,
        f"This {what} has been used, replaced by a newer one, or has expired. Ask an administrator of your clinic for"
        " a new one.",
    )
