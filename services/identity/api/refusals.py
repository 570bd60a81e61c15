"""The errors that belong to an operation's subject; what follows from its declaration, body and path is added to these
by the OpenAPI document's maker."""

from collections.abc import Mapping, Sequence

_CODE = ("invalid-request", "invalid-code", "code-already-used", "code-expired", "too-many-attempts")

REFUSALS: Mapping[str, Sequence[str]] = {
    "POST /v1/sessions": ("invalid-credentials", "too-many-attempts"),
    "POST /v1/session/second-factor": (*_CODE, "conflict", "enrolment-required"),
    "POST /v1/session/second-factor/sms": ("too-many-attempts", "conflict", "enrolment-required", "invalid-request"),
    "GET /v1/session/second-factor/sms": ("not-found",),
    "PATCH /v1/me": ("step-up-required",),
    "POST /v1/me/phone": ("conflict", "too-many-attempts"),
    "POST /v1/me/phone/confirm": (*_CODE, "not-found", "gone", "conflict"),
    "PUT /v1/me/password": ("invalid-credentials", "too-many-attempts", "conflict"),
    "POST /v1/me/two-factor/totp": ("conflict", "too-many-attempts"),
    "POST /v1/me/two-factor/sms": ("conflict", "too-many-attempts"),
    "POST /v1/me/two-factor/totp/{enrolment_id}/confirm": (*_CODE, "gone", "conflict"),
    "POST /v1/me/two-factor/sms/{enrolment_id}/confirm": (*_CODE, "gone", "conflict"),
    "GET /v1/me/two-factor/totp/{enrolment_id}/qr.png": ("gone",),
    "GET /v1/me/two-factor/totp/{enrolment_id}/qr.svg": ("gone",),
    "DELETE /v1/me/two-factor/{method}": ("required-by-policy", "conflict"),
    "POST /v1/me/two-factor/backup-codes": ("conflict",),
    "PATCH /v1/clinic/security": ("conflict", "required-by-policy"),
    "POST /v1/clinic/security/preview": ("required-by-policy",),
    "PUT /v1/clinic/integrations/{name}": ("conflict",),
    "DELETE /v1/clinic/integrations/{name}": ("conflict",),
    "PUT /v1/users/{user_id}/two-factor/requirement": ("conflict",),
    "POST /v1/users/{user_id}/two-factor/bypass": ("conflict",),
    "DELETE /v1/users/{user_id}/two-factor/bypass": ("conflict",),
    "POST /v1/users": ("conflict",),
    "PATCH /v1/users/{user_id}": ("conflict",),
    "POST /v1/users/{user_id}/password-reset": ("conflict", "too-many-attempts"),
    "GET /v1/activations/{token}": ("gone", "too-many-attempts"),
    "POST /v1/activations/{token}": ("gone", "too-many-attempts"),
    "POST /v1/webhooks/twilio/status": ("forbidden",),
}
