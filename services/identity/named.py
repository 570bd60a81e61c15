"""Whom an operator means: a clinic by its short name, a person of it by e-mail address. Whoever is not there is said so
in words that repeat what was asked for, since only operators ask."""

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Clinic, User
from services.identity.store.clinics import ClinicStore
from services.identity.store.staff import StaffStore


async def clinic_named(clinics: ClinicStore, slug: str) -> Clinic:
    clinic = await clinics.by_slug(slug)
    if clinic is None:
        raise ServiceError(ErrorCode.NOT_FOUND, f"There is no clinic {slug!r}.")
    return clinic


async def person_named(clinics: ClinicStore, staff: StaffStore, slug: str, email: str) -> tuple[Clinic, User]:
    clinic = await clinic_named(clinics, slug)
    user = await staff.by_email(clinic.id, email)
    if user is None:
        raise nobody_named(slug, email)
    return clinic, user


def nobody_named(slug: str, email: str) -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, f"There is nobody with the e-mail address {email!r} in clinic {slug!r}.")
