"""People as a clinic's administrators handle them: invited, listed, changed, signed out, given a reset.

Another clinic's people do not exist here (A65). A clinic always keeps an administrator who can sign in, and nobody
without a second factor takes over another administrator's account by a reset.
"""

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
    Clinic,
    ClinicId,
    Role,
    SignedIn,
    User,
    UserId,
)
from services.identity.notice_words import phone_changed
from services.identity.own_factor import check_own_factor
from services.identity.peers.otp import OtpPeer
from services.identity.phones import normalised
from services.identity.policy_words import Actor
from services.identity.staff_changes import StaffChanges, email_taken
from services.identity.standing import Standings
from services.identity.store.activations import ActivationStore
from services.identity.store.sessions import SessionStore
from services.identity.store.staff import EmailTaken, StaffStore, UserChange
from services.identity.store.users import UserStore

RESETS = Limit("reset", 5, 3600)


@dataclass(frozen=True, slots=True)
class NewUser:
    email: str
    name: str
    role: Role
    phone: str | None = None


class Users:
    def __init__(
        self,
        store: StaffStore,
        users: UserStore,
        sessions: SessionStore,
        activation_store: ActivationStore,
        changes: StaffChanges,
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
        self._changes = changes
        self._otp = otp
        self._standings = standings
        self._limits = limits
        self._clock = clock
        self._public_url = public_url

    async def add(self, clinic: Clinic, by: Actor, new: NewUser) -> tuple[User, Link]:
        """A person of the clinic, with the invitation by which they choose a password."""
        if by.kind == "app" and new.role is Role.ADMIN:
            raise ServiceError(ErrorCode.FORBIDDEN, "An app makes nobody an administrator.")
        if new.phone is not None:
            new = replace(new, phone=normalised(new.phone, clinic.country))
        now = self._clock.now()
        user = new_user(clinic.id, new, now)
        made_by = UserId(by.id) if by.kind == "user" and by.id else None
        activation, link = activations.make(user, ActivationKind.INVITATION, made_by, now, self._public_url)
        event = self._event("user.added", clinic, by, user.id, {"role": user.role.value, "activation": activation.id})
        try:
            await self._store.add(user, activation, event)
        except EmailTaken:
            raise email_taken() from None
        return user, link

    async def one(self, clinic: Clinic, by: Actor, user_id: UserId) -> User:
        user = await self._users.by_id(clinic.id, user_id)
        if user is None:
            raise not_found()
        if by.kind == "app" and user.role is Role.ADMIN:
            raise ServiceError(ErrorCode.FORBIDDEN, "Administrators are no business of apps.")
        return user

    async def administrators_to_ask(self, signed_in: SignedIn) -> list[str]:
        """The names of those who can help somebody of their clinic whose password is proven; nothing else of them."""
        return await self._store.names_of_administrators(signed_in.clinic.id, signed_in.user.id)

    async def change(self, clinic: Clinic, by: Actor, user_id: UserId, change: UserChange) -> User:
        """Sets what is given; disabling ends the user's sessions at once, with their unused links."""
        if by.kind == "app":
            _check_app_may(change)
        before = await self.one(clinic, by, user_id)
        if change.disabled and before.id == by.id:
            raise ServiceError(ErrorCode.CONFLICT, "You cannot disable your own account. Ask another administrator.")
        if change.phone is not None:
            told = phone_changed(before, self._clock.now(), by=by.id or by.kind)
            change = replace(change, phone=normalised(change.phone, clinic.country), phone_changed=told)
        event = self._event("user.changed", clinic, by, before.id, _what_changes(before, change))
        after = await self._changes.apply(before, change, event.at, event)
        if after is None:
            raise not_found()
        if before.phone_proven and not after.phone_proven:
            await self._otp.number_changed(after.id)
        self._standings.forget_user(after.id)
        return after

    async def end_sessions(self, by: SignedIn, client: Client, user_id: UserId) -> None:
        """Signs the user out everywhere."""
        actor = Actor.user(by, client)
        user = await self.one(by.clinic, actor, user_id)
        event = self._event("sessions.ended", by.clinic, actor, user.id, {})
        await self._sessions.end_all(user.id, self._clock.now(), event)

    async def reset_password(self, by: SignedIn, client: Client, user_id: UserId) -> Link:
        """A link by which the user sets a new password; the old one works until then, and 2FA stays as it is."""
        actor = Actor.user(by, client)
        user = await self.one(by.clinic, actor, user_id)
        if user.role is Role.ADMIN:
            await check_own_factor(self._otp, by.user.id, "reset an administrator's password")
        await self._limits.take([(RESETS, user.id)])
        now = self._clock.now()
        new, link = activations.make(user, ActivationKind.RESET, by.user.id, now, self._public_url)
        event = self._event("password.reset_offered", by.clinic, actor, user.id, {"activation": new.id})
        if not await self._activations.add(new, event):
            raise ServiceError(ErrorCode.CONFLICT, "This account is disabled. Enable it first.")
        return link

    def _event(self, kind: str, clinic: Clinic, by: Actor, subject: UserId, detail: dict[str, Any]) -> AuditEvent:
        return AuditEvent(
            kind=kind,
            at=self._clock.now(),
            clinic_id=clinic.id,
            actor_kind=by.kind,
            actor_id=by.id,
            subject_id=subject,
            address=by.address or None,
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


def _check_app_may(change: UserChange) -> None:
    """An app renames and disables, no more; whom an administrator has disabled it does not let in again."""
    if change.disabled is False or any(getattr(change, name) is not None for name in ("email", "role", "phone")):
        raise ServiceError(ErrorCode.FORBIDDEN, "An app may change a name and disable, nothing else.")


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
