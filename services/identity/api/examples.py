"""Examples for the OpenAPI document, by operation: what each is sent, and what it answers when all goes well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.identity.api.example_values import (
    CLINIC,
    CODES,
    CONFIRMED,
    ENROLMENT_ID,
    HOLD,
    LINK,
    ME,
    NEW_SESSION,
    SECURITY,
    SESSION,
    SESSION_ID,
    SMS,
    TOKEN,
    TWO_FACTOR,
    USER,
    USER_ID,
    USER_TWO_FACTOR,
    WAITING_SESSION,
)
from services.identity.api.problem_examples import REASON


@dataclass(frozen=True, slots=True)
class Example:
    """What an operation is sent, and what it answers when all goes well; None where there is no body."""

    request: Any = None
    response: Any = None


EXAMPLES: Mapping[str, Example] = {
    "POST /v1/sessions": Example(
        {"clinic": "harbour", "email": "mina@harbour.example", "password": "tidal gravel moon 41"}, WAITING_SESSION
    ),
    "GET /v1/session": Example(None, SESSION),
    "POST /v1/session/second-factor": Example({"method": "totp", "code": "492039"}, NEW_SESSION),
    "POST /v1/session/second-factor/sms": Example({}, SMS),
    "GET /v1/session/second-factor/sms": Example(None, {**SMS, "delivery": {"status": "delivered"}}),
    "GET /v1/me": Example(None, ME),
    "PATCH /v1/me": Example({"phone": "+1 202 555 0142"}, {**ME, "phone_proven": False}),
    "POST /v1/me/phone": Example(
        {"phone": "+1 202 555 0142"},
        {"phone_hint": "+1 ••••42", "expires_at": "2026-11-21T08:05:00.000Z", "resend_after": 30},
    ),
    "POST /v1/me/phone/confirm": Example({"code": "310582"}),
    "PUT /v1/me/password": Example(
        {"current_password": "tidal gravel moon 41", "new_password": "quiet amber ladder 7"}, NEW_SESSION
    ),
    "GET /v1/me/two-factor": Example(None, TWO_FACTOR),
    "POST /v1/me/two-factor/totp": Example(
        {},
        {
            "enrolment_id": ENROLMENT_ID,
            "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
            "otpauth_uri": "otpauth://totp/Countersign:Harbour%20Clinic%20mina%40harbour.example"
            "?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Countersign",
            "qr_svg": "<svg …></svg>",
            "expires_at": "2026-11-21T08:10:00.000Z",
        },
    ),
    "POST /v1/me/two-factor/totp/{enrolment_id}/confirm": Example({"code": "492039"}, CONFIRMED),
    "POST /v1/me/two-factor/sms": Example(
        {"phone": "+1 202 555 0142"},
        {
            "enrolment_id": ENROLMENT_ID,
            "phone_hint": "+1 ••••42",
            "expires_at": "2026-11-21T08:05:00.000Z",
            "resend_after": 30,
        },
    ),
    "POST /v1/me/two-factor/sms/{enrolment_id}/confirm": Example({"code": "310582"}, CONFIRMED),
    "POST /v1/me/two-factor/backup-codes": Example({}, {"codes": CODES, "generated_at": "2026-11-21T08:10:00.000Z"}),
    "PUT /v1/device/shared": Example({}, None),
    "GET /v1/me/sessions": Example(
        None,
        {
            "sessions": [
                {
                    "id": SESSION_ID,
                    "current": True,
                    "acr": "aal2",
                    "authenticated_at": "2026-11-21T08:00:00.000Z",
                    "last_seen_at": "2026-11-21T08:12:00.000Z",
                    "expires_at": "2026-11-21T20:00:00.000Z",
                    "idle_expires_at": "2026-11-21T08:42:00.000Z",
                    "address": "192.0.2.7",
                    "user_agent": "Mozilla/5.0",
                    "shared_device": False,
                }
            ]
        },
    ),
    "GET /v1/clinic": Example(None, CLINIC),
    "PATCH /v1/clinic": Example({"timezone": "Europe/Berlin"}, CLINIC),
    "GET /v1/clinic/security": Example(None, SECURITY),
    "PATCH /v1/clinic/security": Example({"require_two_factor": True}, SECURITY),
    "GET /v1/audit-events": Example(
        None,
        {
            "events": [
                {
                    "id": "7f1c2d3e-4b5a-4697-8899-aabbccddeeff",
                    "at": "2026-11-21T08:00:20.000Z",
                    "service": "otp",
                    "kind": "code.accepted",
                    "actor": {"kind": "user", "id": USER_ID},
                    "subject_id": USER_ID,
                    "address": "192.0.2.7",
                    "request_id": "5f0c1a9e7b6d4c3f8a2e1d0b9c8a7f6e",
                    "detail": {"method": "totp"},
                }
            ],
            "next_cursor": "MTc5NTI0ODAyMDAwMDAwMC4xLjQy",
        },
    ),
    "POST /v1/clinic/security/preview": Example(
        {"require_two_factor": True},
        {
            "users": [
                {
                    "user": {"id": USER_ID, "name": "Mina Okafor", "email": "mina@harbour.example"},
                    "now": "active",
                    "then": "enrolment_required",
                    "reason": REASON,
                    "signed_in": True,
                    "enrolled": False,
                    "exempt": False,
                    "has_phone": True,
                    "disabled": False,
                }
            ],
            "totals": {
                "stopped_now": 1,
                "stopped_at_sign_in": 0,
                "no_factor": 1,
                "no_phone": 0,
                "exempt": 0,
                "unaffected": 0,
            },
        },
    ),
    "GET /v1/clinic/integrations": Example(None, {"integrations": [HOLD]}),
    "PUT /v1/clinic/integrations/{name}": Example({"requires_two_factor": True, "max_device_trust_hours": 12}, HOLD),
    "POST /v1/sessions/introspect": Example({"token": TOKEN}, {**SESSION, "active": True}),
    "POST /v1/users": Example(
        {"email": "mina@harbour.example", "name": "Mina Okafor", "role": "practitioner"},
        {"user": {**USER, "phone": None, "activated": False}, "activation": LINK},
    ),
    "GET /v1/users": Example(
        None,
        {
            "users": [
                {
                    **USER,
                    "two_factor": {
                        "enabled": True,
                        "methods": ["totp"],
                        "suspended": False,
                        "requirement": "clinic_default",
                        "exempt": False,
                        "exempt_until": None,
                    },
                }
            ],
            "next_cursor": None,
            "counts": {"total": 12, "enrolled": 9, "missing": 3, "exempt": 1, "without_phone": 2},
        },
    ),
    "GET /v1/users/{user_id}": Example(None, USER),
    "PATCH /v1/users/{user_id}": Example({"disabled": True}, {**USER, "disabled": True}),
    "GET /v1/users/{user_id}/two-factor": Example(None, USER_TWO_FACTOR),
    "PUT /v1/users/{user_id}/two-factor/requirement": Example(
        {"requirement": "exempt", "reason": "Away until spring.", "expires_at": "2027-03-01T00:00:00Z"},
        {
            **USER_TWO_FACTOR,
            "requirement": "exempt",
            "requirement_note": "Away until spring.",
            "requirement_expires_at": "2027-03-01T00:00:00.000Z",
            "requirement_set_by": {"kind": "user", "id": USER_ID},
            "requirement_set_at": "2026-11-21T08:10:00.000Z",
        },
    ),
    "POST /v1/users/{user_id}/two-factor/bypass": Example(
        {"reason": "Lost the phone; known to me in person.", "suspend_factors": False},
        {
            "id": "byp_9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f",
            "state": "unused",
            "note": "Lost the phone; known to me in person.",
            "granted_by": {"kind": "user", "id": USER_ID},
            "granted_at": "2026-11-21T08:10:00.000Z",
            "expires_at": "2026-11-21T09:10:00.000Z",
            "used_at": None,
            "suspend_factors": False,
        },
    ),
    "GET /v1/me/notices": Example(
        None,
        {
            "notices": [
                {
                    "id": "ntc_3b5a6978e0f1d28d1f0a6c2b4e4f7d9c",
                    "kind": "factor_changed",
                    "at": "2026-11-22T09:12:00.000Z",
                    "sentence": "Your authenticator app was replaced on 22 November at 10:12 (Europe/Berlin), from"
                    " 192.0.2.7, Firefox on Windows. If that was not you, tell your administrator.",
                    "detail": {"method": "totp", "address": "192.0.2.7", "browser": "Firefox on Windows"},
                }
            ]
        },
    ),
    "GET /v1/me/devices": Example(
        None,
        {
            "devices": [
                {
                    "id": "dev_7c1e2a3b4d5f60718293a4b5c6d7e8f9",
                    "current": True,
                    "remembered_at": "2026-11-12T08:00:20.000Z",
                    "last_used_at": "2026-11-21T08:00:00.000Z",
                    "expires_at": "2026-12-12T08:00:20.000Z",
                    "address": "192.0.2.7",
                    "user_agent": "Mozilla/5.0",
                }
            ]
        },
    ),
    "POST /v1/users/{user_id}/password-reset": Example(
        {}, {"activation": {**LINK, "expires_at": "2026-11-21T09:00:00.000Z"}}
    ),
    "GET /v1/activations/{token}": Example(
        None,
        {
            "kind": "invitation",
            "expires_at": "2026-11-28T08:00:00.000Z",
            "clinic": {"slug": "harbour", "name": "Harbour Clinic"},
            "user": {"email": "mina@harbour.example", "name": "Mina Okafor"},
            "password": {"min_length": 12, "max_length": 128, "hint": "12 to 128 characters of any kind."},
        },
    ),
    "POST /v1/activations/{token}": Example({"password": "tidal gravel moon 41"}),
    "GET /healthz": Example(None, {"status": "ok"}),
    "GET /readyz": Example(
        None,
        {
            "status": "ready",
            "checks": {
                "database": "ok",
                "keyring": "ok",
                "otp": "ok",
                "policy": "ok",
                "limits": "ok",
                "notifier": "ok",
            },
        },
    ),
    "POST /v1/webhooks/twilio/status": Example({"MessageSid": "SM0123456789abcdef", "MessageStatus": "delivered"}),
}
