"""My second factors: which there are, setting one up, removing one, backup codes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from services.identity import qr
from services.identity.api.fields import Body, Phone, rfc3339
from services.identity.api.me import CodeRequest
from services.identity.api.session_view import ReasonAnswer, SessionAnswer, session_as_json
from services.identity.api.sessions import Key, NoFields, seconds_until
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method
from services.identity.otp_words import (
    BackupCodes,
)
from services.identity.overviews import Enrolled, Overview
from services.identity.particulars import OPAQUE
from services.identity.phones import normalised

router = APIRouter(tags=["two-factor"])

_Known = Annotated[Access, Depends(Admits.enrolment())]
_KnownFresh = Annotated[Access, Depends(Admits.enrolment(step_up=True))]
_Confirming = Annotated[Access, Depends(Admits.enrolment(step_up=True, repeats=True))]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]
_EnrolmentId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=OPAQUE, examples=["enr_5b1d0c6f9a8e4f7db2c3a4958e7f6d1c"])
]


class FactorAnswer(BaseModel):
    """`suspended`: it still counts as one, and opens nothing."""

    method: Literal["totp", "sms"]
    enrolled_at: datetime
    last_used_at: datetime | None
    suspended: bool
    phone_hint: str = ""


class BackupCodesStateAnswer(BaseModel):
    remaining: int
    generated_at: datetime | None


class TwoFactorAnswer(BaseModel):
    """`suspended`: nothing that is set up opens anything; a new set-up after a bypass replaces it."""

    enabled: bool
    suspended: bool
    required: bool
    reason: ReasonAnswer
    factors: list[FactorAnswer]
    backup_codes: BackupCodesStateAnswer
    methods_allowed: list[Method]


class TotpEnrolmentAnswer(BaseModel):
    enrolment_id: str
    secret: str
    otpauth_uri: str
    qr_svg: str
    expires_at: datetime


class SmsEnrolmentRequest(Body):
    phone: Phone = None  # type: ignore[assignment]  # absent: the number on file


class SmsEnrolmentAnswer(BaseModel):
    enrolment_id: str
    phone_hint: str
    expires_at: datetime
    resend_after: Annotated[int, Field(ge=0)]


class EnrolledAnswer(BaseModel):
    two_factor: TwoFactorAnswer
    backup_codes: list[str] = []
    session: SessionAnswer


class NewBackupCodesAnswer(BaseModel):
    codes: list[str]
    generated_at: datetime


@router.get("/v1/me/two-factor", response_model=TwoFactorAnswer)
async def get_two_factor(access: _Known, gateway: GatewayDep) -> JSONResponse:
    """My second factors, and why I am asked for one."""
    return JSONResponse(overview_as_json(await gateway.two_factor.overview(access.signed_in)))


@router.post("/v1/me/two-factor/totp", status_code=201, response_model=TotpEnrolmentAnswer)
async def post_totp(access: _KnownFresh, gateway: GatewayDep, _: NoFields | None = None) -> JSONResponse:
    """Begin to set up an authenticator app."""
    assert access.standing is not None
    found = await gateway.two_factor.start_totp(access.signed_in, access.standing, access.client)
    answer = {
        "enrolment_id": found.id,
        "secret": found.secret,
        "otpauth_uri": found.otpauth_uri,
        "qr_svg": qr.svg(found.otpauth_uri),
        "expires_at": rfc3339(found.expires_at),
    }
    return JSONResponse(answer, status_code=201)


_QR_SVG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}, "description": "The QR code."}
}
_QR_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "The QR code."}
}


@router.get("/v1/me/two-factor/totp/{enrolment_id}/qr.svg", response_class=Response, responses=_QR_SVG)
async def get_qr_svg(access: _Known, gateway: GatewayDep, enrolment_id: _EnrolmentId) -> Response:
    found = await gateway.two_factor.totp_enrolment(access.signed_in, enrolment_id)
    return Response(qr.svg(found.otpauth_uri), media_type="image/svg+xml")


@router.get("/v1/me/two-factor/totp/{enrolment_id}/qr.png", response_class=Response, responses=_QR_PNG)
async def get_qr_png(access: _Known, gateway: GatewayDep, enrolment_id: _EnrolmentId) -> Response:
    found = await gateway.two_factor.totp_enrolment(access.signed_in, enrolment_id)
    return Response(qr.png(found.otpauth_uri), media_type="image/png")


@router.post("/v1/me/two-factor/totp/{enrolment_id}/confirm", response_model=EnrolledAnswer)
async def confirm_totp(
    access: _Confirming,
    gateway: GatewayDep,
    enrolment_id: _EnrolmentId,
    body: CodeRequest,
    _: Key = None,  # type: ignore[assignment]  # absent
) -> JSONResponse:
    """Put the authenticator app in force with its first code."""
    enrolled = await gateway.confirming.confirm(
        access.signed_in, access.client, Method.TOTP, enrolment_id, body.code, access.standing, key=access.key
    )
    return JSONResponse(_enrolled_as_json(enrolled))


@router.post("/v1/me/two-factor/sms", status_code=202, response_model=SmsEnrolmentAnswer)
async def post_sms(access: _KnownFresh, gateway: GatewayDep, body: SmsEnrolmentRequest | None = None) -> JSONResponse:
    """Send a code to the number that is to become a factor; without one, to the number on file. The same asked for
    again within 30 seconds gives the same enrolment and sends no second message."""
    assert access.standing is not None
    phone = normalised(body.phone, access.clinic.country) if body and body.phone is not None else None
    found = await gateway.two_factor.start_sms(access.signed_in, access.standing, access.client, phone)
    answer = {
        "enrolment_id": found.id,
        "phone_hint": found.phone_hint,
        "expires_at": rfc3339(found.expires_at),
        "resend_after": seconds_until(found.resend_after, gateway.clock.now()),
    }
    return JSONResponse(answer, status_code=202)


@router.post("/v1/me/two-factor/sms/{enrolment_id}/confirm", response_model=EnrolledAnswer)
async def confirm_sms(
    access: _Confirming,
    gateway: GatewayDep,
    enrolment_id: _EnrolmentId,
    body: CodeRequest,
    _: Key = None,  # type: ignore[assignment]  # absent
) -> JSONResponse:
    """Put the number in force as a factor with the code sent to it."""
    enrolled = await gateway.confirming.confirm(
        access.signed_in, access.client, Method.SMS, enrolment_id, body.code, access.standing, key=access.key
    )
    return JSONResponse(_enrolled_as_json(enrolled))


@router.post("/v1/me/two-factor/backup-codes", status_code=201, response_model=NewBackupCodesAnswer)
async def post_backup_codes(access: _Fresh, gateway: GatewayDep, _: NoFields | None = None) -> JSONResponse:
    """Ten new backup codes, shown once; the old ones are dead."""
    found = await gateway.two_factor.make_backup_codes(access.signed_in, access.client)
    return JSONResponse({"codes": list(found.codes), "generated_at": rfc3339(found.generated_at)}, status_code=201)


@router.delete("/v1/me/two-factor/{method}", status_code=204, response_class=Response)
async def delete_factor(access: _Fresh, gateway: GatewayDep, method: Literal["totp", "sms"]) -> Response:
    """Remove a factor. Every other session ends."""
    await gateway.two_factor.remove(access.signed_in, access.client, Method(method))
    return Response(status_code=204)


def overview_as_json(overview: Overview) -> dict[str, Any]:
    factors, decision = overview.factors, overview.decision
    made_at = factors.backup_codes_generated_at
    return {
        "enabled": bool(factors.factors),
        "suspended": bool(factors.factors) and not factors.is_any_usable,
        "required": decision.is_two_factor_required,
        "reason": decision.reason.as_json(),
        "factors": [
            {
                "method": factor.method.value,
                "enrolled_at": rfc3339(factor.enrolled_at),
                "last_used_at": rfc3339(factor.last_used_at) if factor.last_used_at else None,
                "suspended": factor.is_suspended,
                **({"phone_hint": factor.phone_hint} if factor.phone_hint else {}),
            }
            for factor in factors.factors
        ],
        "backup_codes": {
            "remaining": factors.backup_codes_remaining,
            "generated_at": rfc3339(made_at) if made_at else None,
        },
        "methods_allowed": [method.value for method in decision.methods_allowed],
    }


def _enrolled_as_json(enrolled: Enrolled) -> dict[str, Any]:
    body: dict[str, Any] = {
        "two_factor": overview_as_json(enrolled.overview),
        "session": session_as_json(enrolled.view),
    }
    if enrolled.backup_codes is not None:
        body["backup_codes"] = _codes(enrolled.backup_codes)
    return body


def _codes(codes: BackupCodes) -> list[str]:
    return list(codes.codes)
