"""My mobile number: changed, and proven with a code that is sent to it. A number on file proves nothing by being there,
and codes for signing in go to it only where it was set up for that."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.accounts import OwnChange
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to, page
from services.identity.pages.route import PageRoute
from services.identity.pages.setting_up.typed_number import forget_number, keep_number, text_again
from services.identity.pages.text_sent import sent_in_words, wants_part
from services.identity.phones import normalised

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Active = Annotated[Access, Depends(Admits.active())]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]
_SAID_HERE = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.INVALID_CODE,
    ErrorCode.CODE_ALREADY_USED,
    ErrorCode.CODE_EXPIRED,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.CONFLICT,
    ErrorCode.UNAVAILABLE,
)


@router.get("/me/phone")
async def get_phone(request: Request, access: _Fresh, gateway: GatewayDep, done: str = "") -> Response:
    return await _phone(request, access, gateway, access.user.phone or "", done=done)


@router.post("/me/phone")
async def post_phone(request: Request, access: _Fresh, gateway: GatewayDep) -> Response:
    """Sends a code to the number."""
    phone = (await fields_of(request))("phone").strip()
    try:
        found = await gateway.accounts.start_phone_proof(access.signed_in, access.client, phone)
    except ServiceError as error:
        return await _phone(request, access, gateway, phone, refusal=_said_here(error))
    response = lead_to(gateway, f"/me/phone/{found.id}")
    keep_number(response, gateway, access.user.id, normalised(phone, access.clinic.country))
    return response


@router.post("/me/phone/unproven")
async def post_unproven(request: Request, access: _Fresh, gateway: GatewayDep) -> Response:
    """Keeps the number on file without a code, where none can be sent to it, or not now."""
    assert access.standing is not None
    phone = (await fields_of(request))("phone").strip()
    try:
        await gateway.accounts.change(access.signed_in, access.standing, access.client, OwnChange(phone=phone))
    except ServiceError as error:
        return await _phone(request, access, gateway, phone, refusal=_said_here(error))
    return lead_to(gateway, "/me?done=saved")


@router.get("/me/phone/{enrolment_id}")
async def get_code(
    request: Request, access: _Active, gateway: GatewayDep, enrolment_id: str, done: str = ""
) -> Response:
    return await _code(request, access, gateway, enrolment_id, done=done)


@router.post("/me/phone/{enrolment_id}")
async def post_code(request: Request, access: _Fresh, gateway: GatewayDep, enrolment_id: str) -> Response:
    code = (await fields_of(request))("code")
    if not code:  # as in a set-up, it is not carried past a fresh code
        return lead_to(gateway, f"/me/phone/{enrolment_id}?done=stepped-up")
    try:
        await gateway.accounts.confirm_phone(access.signed_in, access.client, code)
    except ServiceError as error:
        return await _code(request, access, gateway, enrolment_id, typed=code, refusal=_said_here(error))
    response = lead_to(gateway, "/me?done=phone-proven")
    forget_number(response, gateway)
    return response


@router.post("/me/phone/{enrolment_id}/again")
async def post_again(request: Request, access: _Fresh, gateway: GatewayDep, enrolment_id: str) -> Response:
    start = partial(gateway.accounts.start_phone_proof, access.signed_in, access.client)
    try:
        return await text_again(request, access, gateway, enrolment_id, start, "/me/phone", "/me/phone")
    except ServiceError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return lead_to(gateway, "/me/phone")
        return await _code(request, access, gateway, enrolment_id, refusal=_said_here(error))


def _said_here(error: ServiceError) -> ServiceError:
    """Beside the form; other refusals are the route's."""
    if error.code not in _SAID_HERE:
        raise error
    return error


async def _phone(
    request: Request,
    access: Access,
    gateway: Gateway,
    phone: str,
    *,
    done: str = "",
    refusal: ServiceError | None = None,
) -> Response:
    values: dict[str, Any] = {
        "phone": phone,
        "on_file": access.user.phone or "",
        "phone_proven": access.user.phone_proven,
        "can_text": Method.SMS in await gateway.notifier.methods_available(),
        "texts_held_up": Method.SMS in await gateway.notifier.degraded(),
    }
    return page(request, "me_phone.html", access=access, refusal=refusal, done=done, **values)


async def _code(
    request: Request,
    access: Access,
    gateway: Gateway,
    enrolment_id: str,
    *,
    typed: str = "",
    done: str = "",
    refusal: ServiceError | None = None,
) -> Response:
    try:
        sent = await gateway.two_factor.sms_enrolment(access.signed_in, enrolment_id)
    except ServiceError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        return lead_to(gateway, "/me/phone")
    shown = sent_in_words(request, gateway, sent)
    if wants_part(request):
        return page(request, "text_sent.html", access=access, sms=shown)
    values: dict[str, Any] = {
        "address": f"/me/phone/{enrolment_id}",
        "sms": shown,
        "typed": typed,
        "texts_held_up": Method.SMS in await gateway.notifier.degraded(),
    }
    return page(request, "me_phone_code.html", access=access, refusal=refusal, done=done, **values)
