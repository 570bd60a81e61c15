"""What the operator does by command: makes a clinic with its first administrator, and helps one that has locked itself
out. Each act is in the clinic's audit trail as the operator's."""

import uuid
from dataclasses import dataclass

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity import activations
from services.identity.activations import Link
from services.identity.model import ActivationKind, Clinic, ClinicId, Role, User, UserId, slug_key
from services.identity.named import nobody_named, person_named
from services.identity.particulars import is_country, is_email, is_name, is_slug, is_timezone
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.staff_changes import StaffChanges
from services.identity.store.activations import ActivationStore
from services.identity.store.clinics import ClinicStore
from services.identity.store.staff import SlugTaken, StaffStore, UserChange
from services.identity.users import NewUser, new_user

_LOCALE = "en"


@dataclass(frozen=True, slots=True)
class NewClinic:
    slug: str
    name: str
    timezone: str
    country: str
    admin_email: str
    admin_name: str


class Operator:
    def __init__(
        self,
        clinics: ClinicStore,
        staff: StaffStore,
        changes: StaffChanges,
        activation_store: ActivationStore,
        policy: PolicyPeer,
        notifier: NotifierPeer,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._clinics = clinics
        self._staff = staff
        self._changes = changes
        self._activations = activation_store
        self._policy = policy
        self._notifier = notifier
        self._clock = clock
        self._public_url = public_url

    async def create_clinic(self, new: NewClinic) -> tuple[Clinic, User, Link]:
        """A clinic with the rule of a new one, and an administrator with an invitation."""
        _check(new)
        if await self._clinics.by_slug(new.slug) is not None:
            raise _slug_taken(new.slug)
        now = self._clock.now()
        clinic = Clinic(
            id=ClinicId(f"cli_{uuid.uuid4().hex}"),
            slug=slug_key(new.slug),
            name=new.name,
            timezone=new.timezone,
            country=new.country,
            locale=_LOCALE,
            created_at=now,
        )
        # The rule first: without it nobody could sign in, and a rule whose clinic was never made harms nobody.
        await self._policy.create_rule(clinic.id, await self._notifier.methods_available(), clinic.country)
        user = new_user(clinic.id, NewUser(new.admin_email, new.admin_name, Role.ADMIN), now)
        activation, link = activations.make(user, ActivationKind.INVITATION, None, now, self._public_url)
        event = self._event("clinic.created", clinic.id, user.id, slug=clinic.slug, activation=activation.id)
        try:
            await self._staff.add_clinic(clinic, user, activation, event)
        except SlugTaken:
            raise _slug_taken(new.slug) from None
        return clinic, user, link

    async def reset_password(self, slug: str, email: str) -> tuple[User, Link]:
        """A link by which the user sets a new password; 2FA stays as it is."""
        _, user = await person_named(self._clinics, self._staff, slug, email)
        now = self._clock.now()
        new, link = activations.make(user, ActivationKind.RESET, None, now, self._public_url)
        event = self._event("password.reset_offered", user.clinic_id, user.id, activation=new.id)
        if not await self._activations.add(new, event):
            raise ServiceError(ErrorCode.CONFLICT, f"{email} is disabled. An administrator must enable it first.")
        return user, link

    async def set_role(self, slug: str, email: str, role: Role) -> User:
        _, user = await person_named(self._clinics, self._staff, slug, email)
        event = self._event("user.changed", user.clinic_id, user.id, role=[user.role.value, role.value])
        after = await self._changes.apply(user, UserChange(role=role), event.at, event)
        if after is None:
            raise nobody_named(slug, email)
        return after

    def _event(self, kind: str, clinic_id: ClinicId, subject: UserId, **detail: object) -> AuditEvent:
        return AuditEvent(
            kind=kind,
            at=self._clock.now(),
            clinic_id=clinic_id,
            actor_kind="operator",
            actor_id=None,
            subject_id=subject,
            detail=detail,
        )


def _check(new: NewClinic) -> None:
    problems = [
        sentence
        for right, sentence in (
            (
                is_slug(slug_key(new.slug)),
                "The slug has 1 to 63 letters a to z, digits and hyphens, and no hyphen at an end.",
            ),
            (is_name(new.name), "The clinic's name has 1 to 100 characters, without line breaks or outer spaces."),
            (is_timezone(new.timezone), "The time zone is a name such as Europe/Berlin (IANA database)."),
            (is_country(new.country), "The country is a code of two capital letters such as DE (ISO 3166-1)."),
            (is_email(new.admin_email), "The administrator's e-mail address is not one."),
            (is_name(new.admin_name), "The administrator's name has 1 to 100 characters, without line breaks."),
        )
        if not right
    ]
    if problems:
        raise ServiceError(ErrorCode.INVALID_REQUEST, " ".join(problems))


def _slug_taken(slug: str) -> ServiceError:
    return ServiceError(ErrorCode.CONFLICT, f"There is a clinic {slug_key(slug)!r} already. Choose another slug.")
