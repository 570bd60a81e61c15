"""Rows read as sessions, and as whose they are and where."""

from psycopg.rows import DictRow

from services.identity.model import (
    BypassId,
    Clinic,
    ClinicId,
    DeviceId,
    EndCause,
    Method,
    Role,
    Session,
    SessionId,
    SignedIn,
    User,
    UserId,
)
from services.identity.store.numbers import PhoneNumbers

SESSION_COLUMNS = (
    "id, user_id, clinic_id, token_digest, generation, opened_by, authenticated_at, verified_at, proven_by,"
    " enrol_after_proof, waiting_until, last_seen_at, idle_minutes, expires_at, shared_device, address, user_agent,"
    " ended_at, end_cause, bypass_id, device_id, remembered_at, ends_bypass, reply_until"
)
"""What `session_from` reads."""
_OF_SESSION = ", ".join(f"s.{name}" for name in SESSION_COLUMNS.split(", "))
SIGNED_IN = (
    f"SELECT {_OF_SESSION}, s.reply_body_digest,"  # noqa: S608 (a constant)
    " u.email AS u_email, u.name AS u_name, u.role AS u_role, u.phone AS u_phone, u.phone_proven AS u_phone_proven,"
    " u.locale AS u_locale, u.disabled_at IS NOT NULL AS u_is_disabled, u.created_at AS u_created_at,"
    " u.password_hash IS NOT NULL AS u_has_password,"
    " c.slug AS c_slug, c.name AS c_name, c.timezone AS c_timezone, c.country AS c_country, c.locale AS c_locale,"
    " c.created_at AS c_created_at"
    " FROM session s JOIN app_user u ON u.id = s.user_id JOIN clinic c ON c.id = s.clinic_id"
)
"""What `signed_in_from` reads; which one is still to be said."""
BY_DIGEST = f"{SIGNED_IN} WHERE s.token_digest = %s"


def session_from(row: DictRow) -> Session:
    return Session(
        id=SessionId(row["id"]),
        user_id=UserId(row["user_id"]),
        clinic_id=ClinicId(row["clinic_id"]),
        token_digest=row["token_digest"],
        generation=row["generation"],
        opened_by=row["opened_by"],
        authenticated_at=row["authenticated_at"],
        verified_at=row["verified_at"],
        proven_by=Method(row["proven_by"]) if row["proven_by"] else None,
        enrol_after_proof=row["enrol_after_proof"],
        waiting_until=row["waiting_until"],
        last_seen_at=row["last_seen_at"],
        idle_minutes=row["idle_minutes"],
        expires_at=row["expires_at"],
        shared_device=row["shared_device"],
        address=row["address"],
        user_agent=row["user_agent"],
        ended_at=row["ended_at"],
        end_cause=EndCause(row["end_cause"]) if row["end_cause"] else None,
        bypass_id=BypassId(row["bypass_id"]) if row["bypass_id"] else None,
        device_id=DeviceId(row["device_id"]) if row["device_id"] else None,
        remembered_at=row["remembered_at"],
        ends_bypass=row["ends_bypass"],
        reply_until=row["reply_until"],
    )


def signed_in_from(row: DictRow, numbers: PhoneNumbers) -> SignedIn:
    session = session_from(row)
    user = User(
        id=session.user_id,
        clinic_id=session.clinic_id,
        email=row["u_email"],
        name=row["u_name"],
        role=Role(row["u_role"]),
        phone=numbers.open(session.user_id, row["u_phone"]),
        phone_proven=row["u_phone_proven"],
        locale=row["u_locale"],
        is_disabled=row["u_is_disabled"],
        has_password=row["u_has_password"],
        created_at=row["u_created_at"],
    )
    clinic = Clinic(
        id=session.clinic_id,
        slug=row["c_slug"],
        name=row["c_name"],
        timezone=row["c_timezone"],
        country=row["c_country"],
        locale=row["c_locale"],
        created_at=row["c_created_at"],
    )
    return SignedIn(session, user, clinic)
