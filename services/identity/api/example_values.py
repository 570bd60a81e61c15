"""People and things of the OpenAPI document's examples: a clinic that does not exist, and codes and tokens that open
nothing."""

from services.identity.api.problem_examples import REASON

SESSION_ID = "ses_8d1f0a6c2b4e4f7d9c3b5a6978e0f1d2"
USER_ID = "usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"
ENROLMENT_ID = "enr_5b3e9f1a7c6d4e2f8091a2b3c4d5e6f7"
TOKEN = "ZrO2vXn0hT5kqYw8LmPfD1sJb7uGc3eA9iRx4tHyKQo"  # noqa: S105
SESSION = {
    "id": SESSION_ID,
    "state": "active",
    "clinic": {"id": "cli_0a1b2c3d4e5f60718293a4b5c6d7e8f9", "slug": "harbour", "name": "Harbour Clinic"},
    "user": {"id": USER_ID, "email": "mina@harbour.example", "name": "Mina Okafor", "role": "practitioner"},
    "amr": ["pwd", "otp", "mfa"],
    "acr": "aal2",
    "authenticated_at": "2026-11-21T08:00:00.000Z",
    "verified_at": "2026-11-21T08:00:20.000Z",
    "expires_at": "2026-11-21T20:00:00.000Z",
    "idle_expires_at": "2026-11-21T08:30:20.000Z",
    "methods": ["totp", "backup_code"],
    "backup_codes_remaining": 10,
}
NEW_SESSION = {**SESSION, "token": TOKEN}
WAITING_SESSION = {
    **NEW_SESSION,
    "state": "second_factor_required",
    "amr": ["pwd"],
    "acr": "aal1",
    "verified_at": None,
    "expires_at": "2026-11-21T08:05:00.000Z",
    "idle_expires_at": "2026-11-21T08:05:00.000Z",
    "reason": REASON,
}
TWO_FACTOR = {
    "enabled": True,
    "suspended": False,
    "required": True,
    "reason": REASON,
    "factors": [
        {
            "method": "totp",
            "enrolled_at": "2026-11-02T09:14:00.000Z",
            "last_used_at": "2026-11-21T08:00:20.000Z",
            "suspended": False,
        }
    ],
    "backup_codes": {"remaining": 10, "generated_at": "2026-11-02T09:14:00.000Z"},
    "methods_allowed": ["totp", "sms"],
}
USER_TWO_FACTOR = {
    **TWO_FACTOR,
    "reason": {
        "sentence": "Harbour Clinic has required a code at sign-in since 1 March,"
        " and Mina Okafor has set up an authenticator app.",
        "rules": REASON["rules"],
    },
    "requirement": "clinic_default",
    "requirement_note": "",
    "requirement_expires_at": None,
    "requirement_set_by": None,
    "requirement_set_at": None,
    "phone_lifted": False,
    "phone_reason": None,
    "phone_set_by": None,
    "phone_set_at": None,
}
CODES = [f"{slot}7F2-K9QD-XW4T-{slot}M3B" for slot in "0123456789"]
ME = {
    "id": USER_ID,
    "email": "mina@harbour.example",
    "name": "Mina Okafor",
    "role": "practitioner",
    "phone": "+12025550142",
    "phone_proven": True,
    "locale": None,
    "clinic": {"id": "cli_0a1b2c3d4e5f60718293a4b5c6d7e8f9", "slug": "harbour", "name": "Harbour Clinic"},
    "created_at": "2026-10-01T07:30:00.000Z",
}
SMS = {
    "expires_at": "2026-11-21T08:05:00.000Z",
    "resend_after": 30,
    "phone_hint": "+1 ••••42",
    "delivery": {"status": "queued"},
}
CONFIRMED = {"two_factor": TWO_FACTOR, "backup_codes": CODES, "session": NEW_SESSION}
CLINIC = {
    "id": "cli_0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "slug": "harbour",
    "name": "Harbour Clinic",
    "timezone": "Europe/Berlin",
    "country": "DE",
    "locale": "en",
    "created_at": "2026-10-01T07:00:00.000Z",
}
HOLD = {
    "name": "ledger",
    "requires_two_factor": True,
    "max_device_trust_hours": 12,
    "set_by": {"kind": "app", "id": "app_4c1d9e6f3a2b1c0d9e8f2f0c9d4e8a7b"},
    "set_at": "2026-11-02T08:00:00.000Z",
}
SECURITY = {
    "require_two_factor": True,
    "enforce_from": None,
    "methods": ["totp", "sms"],
    "phone_required": True,
    "remember_device_days": 0,
    "idle_minutes": 30,
    "sms_countries": ["DE"],
    "sms_daily_cap": 300,
    "holds": [HOLD],
    "version": 4,
}
USER = {
    "id": USER_ID,
    "email": "mina@harbour.example",
    "name": "Mina Okafor",
    "role": "practitioner",
    "phone": "+12025550142",
    "phone_proven": False,
    "disabled": False,
    "activated": True,
    "created_at": "2026-10-01T07:30:00.000Z",
}
LINK = {
    "url": f"https://app.example/auth/activate/{TOKEN}",
    "token": TOKEN,
    "expires_at": "2026-11-28T08:00:00.000Z",
}
