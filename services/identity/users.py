"""People as a clinic's administrators handle them: invited, listed, changed, signed out, given a reset.

Another clinic's people do not exist here (A65). A clinic always keeps an administrator who can sign in, and nobody
without a second factor takes over another administrator's account by a reset.
"""

import base64
import binascii
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.rate_limit import Limit
from services.identity import activations
from services.identity.activations import Link
from services.identity.limits import Limits
from services.identity.model import (
    ActivationKind,
    Client,
    ClinicId,
    Role,
    SignedIn,
    User,
    UserId,
)
from services.identity.peers.otp import OtpPeer
from services.identity.phones import normalised
from services.identity.standing import Standings
from services.identity.store.activations import ActivationStore
from services.identity.store.sessions import SessionStore
from services.identity.store.staff import EmailTaken, LastAdministrator, Place, StaffStore, UserChange
from services.identity.store.users import UserStore
from services.identity.two_factor import Overview

RESETS = Limit("reset", 5, 3600)
_BATCH = 100
_MOST_BATCHES = 20


@dataclass(frozen=True, slots=True)
class NewUser:
    email: str
    name: str
    role: Role
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    users: list[User]
    next_cursor: str | None


class Users:
    def __init__(
        self,
        store: StaffStore,
        users: UserStore,
        sessions: SessionStore,
        activation_store: ActivationStore,
        otp: OtpPeer,
        standings: Standings,
        limits: Limits,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._store = store
        self._users = users
        self._sessions = sessions
        self._activations = activation_store
        self._otp = otp
        self._standings = standings
        self._limits = limits
        self._clock = clock
        self._public_url = public_url

    async def add(self, by: SignedIn, client: Client, new: NewUser) -> tuple[User, Link]:
        """A person of the administrator's clinic, with the invitation by which they choose a password."""
        if new.phone is not None:
            new = replace(new, phone=normalised(new.phone, by.clinic.country))
        now = self._clock.now()
        user = new_user(by.clinic.id, new, now)
        activation, link = activations.make(user, ActivationKind.INVITATION, by.user.id, now, self._public_url)
        event = self._event("user.added", by, client, user.id, {"role": user.role.value, "activation": activation.id})
        try:
            await self._store.add(user, activation, event)
        except EmailTaken:
            raise _email_taken() from None
        return user, link

    async def page(
        self, by: SignedIn, *, limit: int, cursor: str | None, text: str | None, two_factor: str | None
    ) -> Page:
        """Up to `limit` people; with `two_factor` ('missing', 'enrolled', 'exempt') only such."""
        place = _place_from(cursor) if cursor else None
        if two_factor is None:
            found = await self._store.page(by.clinic.id, place, limit + 1, text)
            more = len(found) > limit
            return Page(found[:limit], _cursor_at(found[limit - 1]) if more else None)
        if two_factor == "exempt":
            return Page([], None)  # Requirements of single users do not exist yet, so nobody is exempt.
        chosen: list[User] = []
        for _ in range(_MOST_BATCHES):
            batch = await self._store.page(by.clinic.id, place, _BATCH, text)
            if not batch:
                return Page(chosen, None)
            factors = await self._otp.factors([user.id for user in batch])
            for user, held in zip(batch, factors, strict=True):
                if bool(held.factors) == (two_factor == "enrolled"):
                    chosen.append(user)
                if len(chosen) == limit:
                    return Page(chosen, _cursor_at(user))
            place = Place(batch[-1].created_at, batch[-1].id)
            if len(batch) < _BATCH:
                return Page(chosen, None)
        return Page(chosen, _cursor_at(batch[-1]))

    async def one(self, by: SignedIn, user_id: UserId) -> User:
        user = await self._users.by_id(by.clinic.id, user_id)
        if user is None:
            raise not_found()
        return user

    async def change(self, by: SignedIn, client: Client, user_id: UserId, change: UserChange) -> User:
        """Sets what is given; disabling ends the user's sessions at once, with their unused links."""
        before = await self.one(by, user_id)
        if change.disabled and before.id == by.user.id:
            raise ServiceError(ErrorCode.CONFLICT, "You cannot disable your own account. Ask another administrator.")
        if change.phone is not None:
            change = replace(change, phone=normalised(change.phone, by.clinic.country))
        event = self._event("user.changed", by, client, before.id, _what_changes(before, change))
        try:
            after = await self._store.change(before, change, self._clock.now(), event)
        except EmailTaken:
            raise _email_taken() from None
        except LastAdministrator:
            raise last_administrator() from None
        if after is None:
            raise not_found()
        self._standings.forget_user(after.id)
        return after

    async def end_sessions(self, by: SignedIn, client: Client, user_id: UserId) -> None:
        """Signs the user out everywhere."""
        user = await self.one(by, user_id)
        event = self._event("sessions.ended", by, client, user.id, {})
        await self._sessions.end_all(user.id, self._clock.now(), event)

    async def reset_password(self, by: SignedIn, client: Client, user_id: UserId) -> Link:
        """A link by which the user sets a new password; the old one works until then, and 2FA stays as it is."""
        user = await self.one(by, user_id)
        if user.role is Role.ADMIN:
            own = await self._otp.factors_of(by.user.id)
            if not any(not factor.is_suspended for factor in own.factors):
                raise ServiceError(
                    ErrorCode.CONFLICT,
                    "Set up two-factor authentication for yourself first; then you can reset an administrator's"
                    " password.",
                )
        await self._limits.take([(RESETS, user.id)])
        now = self._clock.now()
        new, link = activations.make(user, ActivationKind.RESET, by.user.id, now, self._public_url)
        event = self._event("password.reset_offered", by, client, user.id, {"activation": new.id})
        if not await self._activations.add(new, event):
            raise ServiceError(ErrorCode.CONFLICT, "This account is disabled. Enable it first.")
        return link

    async def two_factor(self, by: SignedIn, user_id: UserId) -> Overview:
        user = await self.one(by, user_id)
        factors = await self._otp.factors_of(user.id)
        return Overview(factors, await self._standings.decide(user, by.clinic, factors))

    def _event(self, kind: str, by: SignedIn, client: Client, subject: UserId, detail: dict[str, Any]) -> AuditEvent:
        return AuditEvent(
            kind=kind,
            at=self._clock.now(),
            clinic_id=by.clinic.id,
            actor_kind="user",
            actor_id=by.user.id,
            subject_id=subject,
            address=client.address,
            detail=detail,
        )


def new_user(clinic_id: ClinicId, new: NewUser, now: datetime) -> User:
    """A person who has yet to choose a password."""
    return User(
        id=UserId(f"usr_{uuid.uuid4().hex}"),
        clinic_id=clinic_id,
        email=new.email,
        name=new.name,
        role=new.role,
        phone=new.phone,
        phone_proven=False,
        locale=None,
        is_disabled=False,
        has_password=False,
        created_at=now,
    )


def not_found() -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, "There is no such person in your clinic.")


def last_administrator() -> ServiceError:
    return ServiceError(
        ErrorCode.CONFLICT,
        "This is the clinic's only administrator who can sign in. Make someone else an administrator first.",
    )


def _email_taken() -> ServiceError:
    return ServiceError(ErrorCode.CONFLICT, "Someone in this clinic has this e-mail address already.")


def _what_changes(before: User, change: UserChange) -> dict[str, Any]:
    """What the audit trail keeps: which fields, and the values of those that are no contact data."""
    named = {"name": before.name, "email": before.email, "phone": before.phone}
    fields = [name for name, old in named.items() if getattr(change, name) not in (None, old)]
    detail: dict[str, Any] = {"fields": fields} if fields else {}
    if change.role not in (None, before.role):
        detail["role"] = [before.role.value, str(change.role)]
    if change.disabled not in (None, before.is_disabled):
        detail["disabled"] = change.disabled
    return detail


def _cursor_at(user: User) -> str:
    """Where the next page begins; opaque to the caller, and worth nothing in another clinic."""
    return base64.urlsafe_b64encode(f"{user.created_at.isoformat()}|{user.id}".encode()).decode().rstrip("=")


def _place_from(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        moment, _, user_id = text.partition("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not user_id.isprintable():
            raise ValueError(moment)
        return Place(created_at, UserId(user_id))
    except (ValueError, binascii.Error):
        errors = [{"field": "cursor", "message": "This is not a place that a page of this list has named."}]
        raise ServiceError(ErrorCode.INVALID_REQUEST, "Something in the request is not right.", errors=errors) from None
