"""The second factor: a code from the app, by text message or from the list, at sign-in and before a change."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, SessionState
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import csrf_of, lead_to, new_key, page
from services.identity.pages.route import RETURNS, PageRoute
from services.identity.pages.way_back import WAY_ON, lead_on
from services.identity.pages.words import STATUS, delivery_in_words, told
from services.identity.sessions import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Proving = Annotated[Access, Depends(Admits.waiting(repeats=True))]
_Live = Annotated[Access, Depends(Admits.waiting())]
_OTHERS = {
    Method.TOTP: "Use my authenticator app",
    Method.SMS: "Get a text message",
    Method.BACKUP_CODE: "Use a backup code",
}

_HELD_UP = " (few arrive just now)"


@router.get("/code")
async def get_code(request: Request, access: _Live, gateway: GatewayDep, method: str = "", then: str = "") -> Response:
    return await _code(request, access, gateway, method, then)


@router.post("/code")
async def post_code(request: Request, access: _Proving, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    then = fields("then")
    try:
        method = Method(fields("method"))
    except ValueError:
        return lead_to(gateway, "/code")
    try:
        remember = fields("remember") == "yes" and not gateway.cookies.is_shared(request.cookies)
        view = await gateway.two_factor.verify(
            access.signed_in, access.client, method, fields("code"), remember=remember, key=access.key
        )
    except ServiceError as error:
        if error.code is ErrorCode.ENROLMENT_REQUIRED or error.code is ErrorCode.UNAUTHENTICATED:
            raise
        return await _code(request, access, gateway, method, then, error)
    if view.standing.state is SessionState.ACTIVE and then in RETURNS:
        response = lead_to(gateway, f"{then}?done=stepped-up")
    else:
        response = lead_on(request, gateway, view.standing.state)
    response.set_cookie(**gateway.cookies.session(view.token or ""))
    if view.device_token is not None:
        response.set_cookie(**gateway.cookies.device(access.clinic.slug, access.user.email, view.device_token))
    return response


@router.post("/code/text")
async def post_text(request: Request, access: _Live, gateway: GatewayDep) -> Response:
    """Sends a code by text message."""
    then = (await fields_of(request))("then")
    try:
        await gateway.two_factor.send_sms(access.signed_in, access.client)
    except ServiceError as error:
        if error.code in (ErrorCode.ENROLMENT_REQUIRED, ErrorCode.UNAUTHENTICATED):
            raise
        return await _code(request, access, gateway, Method.SMS, then, error)
    return lead_to(gateway, f"/code?method=sms{f'&then={then}' if then in RETURNS else ''}")


async def _code(
    request: Request, access: Access, gateway: Gateway, asked: str, then: str, refusal: ServiceError | None = None
) -> Response:
    standing = await gateway.standings.view(access.signed_in)
    methods = standing.methods
    if standing.state is SessionState.ACTIVE and not methods and access.session.verified_at is not None:
        factors = await gateway.otp.factors_of(access.user.id)
        standing = await gateway.standings.marked(replace(standing, methods=tuple(factors.usable_methods())))
        methods = standing.methods
    if standing.state is SessionState.ENROLMENT_REQUIRED or (standing.state is SessionState.ACTIVE and not methods):
        return lead_to(gateway, WAY_ON[standing.state])
    stepping_up = standing.state is SessionState.ACTIVE
    method = next((one for one in methods if one == asked), methods[0] if methods else None)
    values: dict[str, Any] = {
        "csrf": csrf_of(gateway, access.session),
        "form_key": new_key(),
        "heading": "One fresh code, please" if stepping_up else "Enter your code",
        "reason": "Before this is changed we make sure that it is you." if stepping_up else "",
        "method": method.value if method else "",
        "others": [
            {"method": one.value, "words": _OTHERS[one] + (_HELD_UP if one in standing.degraded else "")}
            for one in methods
            if one is not method
        ],
        "held_up": method in standing.degraded,
        "then": then if then in RETURNS else "",
        "stepping_up": stepping_up,
        "remember_days": 0 if stepping_up else _days(request, access, gateway, standing, method),
        "sms": await _text_sent(access, gateway) if method is Method.SMS else None,
    }
    status = STATUS.get(refusal.code, 400) if refusal else 200
    return page(gateway, "code.html", status, wrong=told(refusal) if refusal else "", **values)


def _days(request: Request, access: Access, gateway: Gateway, standing: Standing, method: Method | None) -> int:
    """For how long this browser can be remembered, to be offered beside the code; 0: it is not offered."""
    if access.session.shared_device or gateway.cookies.is_shared(request.cookies) or method is Method.BACKUP_CODE:
        return 0
    return standing.remember_device_minutes // (24 * 60)


async def _text_sent(access: Access, gateway: Gateway) -> dict[str, str] | None:
    """How the newest message fares; None where none was sent in this sign-in."""
    try:
        sent = await gateway.two_factor.sms(access.signed_in)
    except ServiceError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return None
        raise
    if sent.expires_at <= gateway.clock.now():
        return None
    return {"phone_hint": sent.phone_hint, "words": delivery_in_words(sent.delivery_status, sent.delivery_detail)}
