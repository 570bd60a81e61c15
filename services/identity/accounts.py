"""One's own account: name, number, language, password, and the sessions that are open."""

import uuid
from dataclasses import dataclass
from typing import Any

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.aftermath import Aftermath
from services.identity.codes import canonical
from services.identity.limits import PasswordAttempts
from services.identity.model import (
    Client,
    EndCause,
    Method,
    Session,
    SessionId,
    SessionState,
    SignedIn,
    User,
)
from services.identity.notice_words import NoticeKind, of_own, phone_changed
from services.identity.otp_words import SmsEnrolment, VerdictResult
from services.identity.passwords import Passwords
from services.identity.peers.otp import OtpPeer
from services.identity.phones import normalised
from services.identity.proofs import caller_of, only_first
from services.identity.sessions import SessionView, Standing, digest_of, new_token
from services.identity.standing import Standings, enrolment_required, over
from services.identity.store.passwords import PasswordStore
from services.identity.store.rotation import Rotation
from services.identity.store.sessions import SessionStore
from services.identity.store.users import UserStore
from services.identity.verdicts import refusal_for


@dataclass(frozen=True, slots=True)
class OwnChange:
    """What a user wants changed of themselves; None leaves it as it is."""

    name: str | None = None
    phone: str | None = None
    locale: str | None = None


class Accounts:
    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        password_store: PasswordStore,
        standings: Standings,
        passwords: Passwords,
        attempts: PasswordAttempts,
        otp: OtpPeer,
        aftermath: Aftermath,
        clock: Clock,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._password_store = password_store
        self._standings = standings
        self._passwords = passwords
        self._attempts = attempts
        self._otp = otp
        self._aftermath = aftermath
        self._clock = clock

    async def change(self, signed_in: SignedIn, standing: Standing, client: Client, change: OwnChange) -> User:
        """Sets contact data. Who must set up a second factor may give a number, and cannot change a proven one."""
        user = signed_in.user
        phone = normalised(change.phone, signed_in.clinic.country) if change.phone is not None else None
        if standing.state is SessionState.ENROLMENT_REQUIRED:
            if change.name is not None or change.locale is not None:
                raise enrolment_required(standing)
            if user.phone_proven and phone != user.phone:
                raise ServiceError(
                    ErrorCode.FORBIDDEN, "A confirmed number can only be changed after signing in with a code."
                )
        given = {"name": change.name, "phone": phone, "locale": change.locale}
        changed = [name for name, value in given.items() if value not in (None, getattr(user, name))]
        if not changed:
            return user
        event = self._event("user.changed", signed_in, client, fields=changed, by="self")
        told = phone_changed(user, event.at, client=client)
        updated = await self._users.change_own(
            user.id, event, name=change.name, phone=phone, locale=change.locale, phone_changed=told
        )
        if user.phone_proven and not updated.phone_proven:
            await self._otp.number_changed(user.id)
        self._standings.forget_user(user.id)
        return updated

    async def start_phone_proof(self, signed_in: SignedIn, client: Client, phone: str) -> SmsEnrolment:
        """Sends a code to a number, to prove that it is the user's; it becomes no factor by that."""
        number = normalised(phone, signed_in.clinic.country)
        locale = signed_in.user.locale or signed_in.clinic.locale
        caller = caller_of(signed_in, client)
        terms = await self._standings.sms_terms.for_number(signed_in.clinic.id, number)
        return await self._otp.start_sms(uuid.uuid4().hex, caller, number, locale, terms, only_proof=True)

    async def confirm_phone(self, signed_in: SignedIn, client: Client, code: str) -> None:
        """Puts the number on file, proven."""
        typed = canonical(Method.SMS, code)
        session, caller = signed_in.session, caller_of(signed_in, client)
        found = await self._otp.confirm_phone(
            uuid.uuid4().hex, session.login_id, caller, typed, only_first=only_first(session)
        )
        if found.verdict.result is VerdictResult.NO_SUCH_FACTOR:
            detail = "There is no code to check: none was sent, or it is no longer valid. Ask for a new one."
            raise ServiceError(ErrorCode.CODE_EXPIRED, detail)
        if found.verdict.result is not VerdictResult.ACCEPTED or found.phone is None:
            if found.verdict.is_budget_newly_spent:
                await self._aftermath.follow_soon("otp", session.user_id)
            raise refusal_for(found.verdict, Method.SMS)
        event = self._event("phone.proven", signed_in, client)
        told = phone_changed(signed_in.user, event.at, client=client)
        await self._users.set_proven_phone(signed_in.user.id, found.phone, event, told)
        self._standings.forget_user(signed_in.user.id)

    async def change_password(self, signed_in: SignedIn, client: Client, current: str, new: str) -> SessionView:
        """Sets another password; this session goes on under a new token, every other one of the user ends."""
        user, clinic, session = signed_in.user, signed_in.clinic, signed_in.session
        old_hash = await self._proven_hash(signed_in, client, current)
        if new == current:
            raise ServiceError(
                ErrorCode.INVALID_REQUEST,
                "Please choose another password.",
                errors=[{"field": "new_password", "message": "This is the password you have."}],
            )
        await self._passwords.check_new(new, user, clinic, field="new_password")
        new_hash = await self._passwords.hash(new)
        token, now = new_token(), self._clock.now()
        rotation = Rotation(
            old_digest=session.token_digest,
            new_digest=digest_of(token),
            at=now,
            enrol_after_proof=session.enrol_after_proof,
            waiting_until=session.waiting_until,
            notices=[of_own(NoticeKind.PASSWORD_CHANGED, signed_in, client, now)],
        )
        event = self._event("password.changed", signed_in, client, by="self")
        rotated = await self._password_store.change(session, rotation, old_hash, new_hash, event)
        if rotated is None:
            raise over(EndCause.REPLACED)
        now_in = SignedIn(rotated, user, clinic)
        return SessionView(now_in, await self._standings.view(now_in), token)

    async def sessions(self, signed_in: SignedIn) -> list[Session]:
        """The user's open sessions, newest first."""
        return await self._sessions.of_user(signed_in.user.id, self._clock.now())

    async def end_session(self, signed_in: SignedIn, client: Client, session_id: SessionId) -> None:
        event = self._event("session.ended", signed_in, client, ended=session_id)
        if not await self._sessions.end(session_id, signed_in.user.id, event.at, event):
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such session.")

    async def sign_out(self, signed_in: SignedIn, client: Client) -> None:
        """Ends this session; a second request that ends it finds it ended, and that is all right."""
        event = self._event("session.ended", signed_in, client, ended=signed_in.session.id)
        await self._sessions.end(signed_in.session.id, signed_in.user.id, event.at, event)

    async def note_shared(self, signed_in: SignedIn, client: Client, *, is_shared: bool) -> None:
        """An administrator has marked the browser as a shared computer, or has taken the mark away."""
        kind = "device.shared" if is_shared else "device.unshared"
        await self._sessions.note(self._event(kind, signed_in, client, user_agent=client.user_agent[:200]))

    async def _proven_hash(self, signed_in: SignedIn, client: Client, current: str) -> str:
        """The stored hash, where `current` is the password; wrong ones count as at sign-in."""
        slug, email = signed_in.clinic.slug, signed_in.user.email
        async with self._passwords.turn(), self._attempts.attempt(slug, email, client.address) as attempt:
            stored = await self._users.password_hash(signed_in.user.id)
            if not await self._passwords.is_right(current, stored) or stored is None:
                raise ServiceError(ErrorCode.INVALID_CREDENTIALS, "The current password is not right.")
            attempt.was_right = True
            return stored

    def _event(self, kind: str, signed_in: SignedIn, client: Client, **detail: Any) -> AuditEvent:
        user_id = signed_in.user.id
        detail["session_id"] = signed_in.session.id
        return AuditEvent(
            kind, self._clock.now(), signed_in.clinic.id, "user", user_id, user_id, client.address, detail
        )
