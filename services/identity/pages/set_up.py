"""Setting up a second factor, of one's own accord or because the clinic requires it: number, app or text, first code,
and the ten backup codes, shown once."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import mask_phone
from services.identity import qr
from services.identity.accounts import OwnChange
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, SessionState
from services.identity.otp_words import (
    BackupCodes,
)
from services.identity.overviews import Enrolled
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import csrf_of, lead_to, new_key, page
from services.identity.pages.route import PageRoute
from services.identity.pages.way_back import forget_way_back, lead_on, way_back
from services.identity.pages.words import in_fours
from services.identity.phones import normalised

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Who has a factor already proves it afresh before another is added; guards lead there.
_Enrolling = Annotated[Access, Depends(Admits.enrolment(step_up=True))]
_Confirming = Annotated[Access, Depends(Admits.enrolment(step_up=True, repeats=True))]
_Known = Annotated[Access, Depends(Admits.enrolment())]
_SHOWN_BESIDE_THE_FORM = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.FORBIDDEN,
    ErrorCode.CONFLICT,
)
_SIZE = re.compile(r'width="(\d+)" height="(\d+)"')
_TRY_AGAIN = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.INVALID_CODE,
    ErrorCode.CODE_ALREADY_USED,
    ErrorCode.CODE_EXPIRED,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.UNAVAILABLE,
)


@router.get("/set-up")
async def get_set_up(request: Request, access: _Enrolling, gateway: GatewayDep) -> Response:
    return await _set_up(request, access, gateway)


@router.post("/set-up/phone")
async def post_phone(request: Request, access: _Enrolling, gateway: GatewayDep) -> Response:
    """The number that the clinic wants on file before a forced set-up."""
    assert access.standing is not None
    phone = (await fields_of(request))("phone").strip()
    try:
        await gateway.accounts.change(access.signed_in, access.standing, access.client, OwnChange(phone=phone))
    except ServiceError as error:
        return await _beside(request, access, gateway, error, phone)
    return lead_to(gateway, "/set-up")


@router.post("/set-up/totp")
async def post_totp(request: Request, access: _Enrolling, gateway: GatewayDep) -> Response:
    assert access.standing is not None
    try:
        found = await gateway.two_factor.start_totp(access.signed_in, access.standing, access.client)
    except ServiceError as error:
        return await _beside(request, access, gateway, error)
    return lead_to(gateway, f"/set-up/totp/{found.id}")


@router.get("/set-up/totp/{enrolment_id}")
async def get_totp(request: Request, access: _Known, gateway: GatewayDep, enrolment_id: str) -> Response:
    return await _totp(request, access, gateway, enrolment_id)


@router.post("/set-up/totp/{enrolment_id}")
async def post_totp_code(request: Request, access: _Confirming, gateway: GatewayDep, enrolment_id: str) -> Response:
    code = (await fields_of(request))("code")
    try:
        enrolled = await gateway.confirming.confirm(
            access.signed_in, access.client, Method.TOTP, enrolment_id, code, access.standing, key=access.key
        )
    except ServiceError as error:
        if error.code not in _TRY_AGAIN:
            raise
        return await _totp(request, access, gateway, enrolment_id, error)
    return _enrolled(request, access, gateway, enrolled)


@router.post("/set-up/sms")
async def post_sms(request: Request, access: _Enrolling, gateway: GatewayDep) -> Response:
    assert access.standing is not None
    typed = (await fields_of(request))("phone").strip()
    try:
        number = normalised(typed, access.clinic.country) if typed else None
        found = await gateway.two_factor.start_sms(access.signed_in, access.standing, access.client, number)
    except ServiceError as error:
        return await _beside(request, access, gateway, error, typed)
    return _sms(request, access, gateway, found.id, found.phone_hint)


@router.get("/set-up/sms/{enrolment_id}")
async def get_sms(request: Request, access: _Known, gateway: GatewayDep, enrolment_id: str) -> Response:
    """Where a reload leads that has lost the number."""
    return _sms(request, access, gateway, enrolment_id, "")


@router.post("/set-up/sms/{enrolment_id}")
async def post_sms_code(request: Request, access: _Confirming, gateway: GatewayDep, enrolment_id: str) -> Response:
    fields = await fields_of(request)
    try:
        enrolled = await gateway.confirming.confirm(
            access.signed_in,
            access.client,
            Method.SMS,
            enrolment_id,
            fields("code"),
            access.standing,
            key=access.key,
        )
    except ServiceError as error:
        if error.code not in _TRY_AGAIN:
            raise
        return _sms(request, access, gateway, enrolment_id, fields("phone_hint")[:40], error)
    return _enrolled(request, access, gateway, enrolled)


def codes_page(
    request: Request, access: Access, gateway: Gateway, codes: BackupCodes, heading: str, back: str | None = None
) -> Response:
    """The ten codes, this once. `back`: the address that comes after them, where it is not My info."""
    clinic, user, product = access.clinic.name, access.user.email, gateway.settings.product_name
    text = f"{product} backup codes\n{clinic}, {user}\nEach works once.\n\n" + "\n".join(codes.codes) + "\n"
    values: dict[str, Any] = {
        "codes": codes.codes,
        "as_text": text,
        "clinic_name": clinic,
        "email": user,
        "heading": heading,
        "on": back or f"{gateway.settings.path_prefix}/me",
    }
    return page(request, "backup_codes.html", access=access, **values)


async def _beside(request: Request, access: Access, gateway: Gateway, error: ServiceError, phone: str = "") -> Response:
    """The form again with what is wrong beside it; other refusals are the route's."""
    if error.code not in _SHOWN_BESIDE_THE_FORM:
        raise error
    return await _set_up(request, access, gateway, phone, error)


async def _set_up(
    request: Request, access: Access, gateway: Gateway, phone: str = "", refusal: ServiceError | None = None
) -> Response:
    assert access.standing is not None
    offer = access.standing.enrolment
    forced = access.standing.state is SessionState.ENROLMENT_REQUIRED
    if offer is not None:
        methods, phone_required, reason = offer.methods, offer.is_phone_required, access.standing.reason
    else:
        methods = (await gateway.two_factor.overview(access.signed_in)).decision.methods_allowed
        phone_required, reason = False, None
    values: dict[str, Any] = {
        "csrf": csrf_of(gateway, access.session),
        "forced": forced,
        "reason": reason.sentence if reason else "",
        "phone_required": phone_required,
        "methods": [method.value for method in methods],
        "phone": phone,
        "phone_on_file": mask_phone(access.user.phone) if access.user.phone else "",
    }
    return page(request, "set_up.html", access=access, refusal=refusal, **values)


async def _totp(
    request: Request, access: Access, gateway: Gateway, enrolment_id: str, refusal: ServiceError | None = None
) -> Response:
    found = await gateway.two_factor.totp_enrolment(access.signed_in, enrolment_id)
    values: dict[str, Any] = {
        "csrf": csrf_of(gateway, access.session),
        "form_key": new_key(),
        "enrolment_id": found.id,
        "qr_svg": _drawn(found.otpauth_uri),
        "key": in_fours(found.secret),
    }
    return page(request, "set_up_totp.html", access=access, refusal=refusal, **values)


def _drawn(otpauth_uri: str) -> Markup:
    """The QR code as part of the page, in whatever size the style sheet gives it."""
    svg = _SIZE.sub(r'viewBox="0 0 \1 \2" role="img" aria-label="QR code"', qr.svg(otpauth_uri), count=1)
    return Markup(svg)  # noqa: S704  drawn by us: paths and numbers, no text of anyone's


def _sms(
    request: Request,
    access: Access,
    gateway: Gateway,
    enrolment_id: str,
    phone_hint: str,
    refusal: ServiceError | None = None,
) -> Response:
    values: dict[str, Any] = {
        "csrf": csrf_of(gateway, access.session),
        "form_key": new_key(),
        "enrolment_id": enrolment_id,
        "phone_hint": phone_hint,
    }
    return page(request, "set_up_sms.html", access=access, refusal=refusal, **values)


def _enrolled(request: Request, access: Access, gateway: Gateway, enrolled: Enrolled) -> Response:
    """The session goes on under its new token; with it the backup codes, where there are new ones."""
    response: Response
    if enrolled.backup_codes is not None:
        back = way_back(request, gateway)
        response = codes_page(request, access, gateway, enrolled.backup_codes, "It is on. Now keep these safe", back)
        if back is not None:
            forget_way_back(response, gateway)
    else:
        response = lead_on(request, gateway, SessionState.ACTIVE)
    response.set_cookie(**gateway.cookies.session(enrolled.view.token or ""))
    return response
