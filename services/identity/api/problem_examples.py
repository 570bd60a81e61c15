"""What a refusal looks like in the OpenAPI document: a sentence for each kind, and its extension members."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Member:
    """An extension member of a problem."""

    schema: Mapping[str, Any]
    example: Any


REASON = {
    "sentence": "Harbour Clinic requires two-factor authentication of everyone.",
    "rules": [{"rule": "clinic_rule", "outcome": "requires", "detail": "since 2026-11-02"}],
}

SENTENCES: Mapping[str, str] = {
    "bad-request": "The body is not well-formed JSON.",
    "method-not-allowed": "This address does not take requests of this kind.",
    "too-large": "The request is larger than 64 KiB.",
    "unsupported-media-type": "Send JSON, with Content-Type: application/json.",
    "invalid-request": "Something in the request is not right.",
    "invalid-credentials": "The clinic, e-mail address or password is not right.",
    "unauthenticated": "Please sign in.",
    "second-factor-required": "Enter a code to continue.",
    "enrolment-required": "Set up two-factor authentication to continue.",
    "step-up-required": "Enter a new code first.",
    "invalid-code": "That code is not right.",
    "code-already-used": "That code has been used. Wait for the next one.",
    "code-expired": "That code is too old. Ask for a new one.",
    "too-many-attempts": "Too many attempts. Please wait a moment and try again.",
    "forbidden": "Only an administrator of the clinic may do this.",
    "not-found": "There is nothing here.",
    "gone": "This link has been used, replaced by a newer one, or has expired.",
    "required-by-policy": "Your clinic requires two-factor authentication: the last factor stays.",
    "conflict": "Someone else has changed this in the meantime. Please look at it again.",
    "unavailable": "This is not working just now. Please try again in a moment.",
    "internal-error": "Something went wrong on our side.",
}

_SECONDS = {"type": "integer", "minimum": 0}
_METHODS = {"type": "array", "items": {"type": "string", "enum": ["totp", "sms", "backup_code"]}}
_REASON_SCHEMA = {
    "type": "object",
    "properties": {
        "sentence": {"type": "string"},
        "rules": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("rule", "outcome", "detail")},
                "required": ["rule", "outcome", "detail"],
            },
        },
    },
    "required": ["sentence", "rules"],
}

PROBLEM_MEMBERS: Mapping[str, Member] = {
    "errors": Member(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
            },
        },
        [{"field": "email", "message": "This field is needed."}],
    ),
    "cause": Member(
        {"enum": ["idle", "expired", "replaced", "ended", "password_changed", "too_many"]},
        "idle",
    ),
    "methods": Member(_METHODS, ["totp", "sms"]),
    "degraded": Member(_METHODS, ["sms"]),
    "phone_required": Member({"type": "boolean"}, False),
    "reason": Member(_REASON_SCHEMA, REASON),
    "max_age": Member(_SECONDS, 300),
    "attempts_left": Member(_SECONDS, 3),
    "clock_skew_seconds": Member({"type": "integer"}, 240),
    "hint": Member({"type": "string"}, "Your phone's clock is 4 minutes fast: set it to automatic."),
    "retry_after": Member(_SECONDS, 17),
    "locked": Member({"type": "boolean"}, False),
    "holders": Member({"type": "array", "items": {"type": "string"}}, []),
    "version": Member({"type": "integer", "minimum": 1}, 5),
    "not_ready": Member({"type": "array", "items": {"type": "string"}}, ["otp"]),
}
