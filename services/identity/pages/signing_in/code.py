"""The second factor: a code from the app, by text message or from the list, at sign-in and before a change."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, SessionState
from services.identity.pages.form import Fields, fields_of, key_of_form
from services.identity.pages.rendering import lead_to, page
from services.identity.pages.route import PageRoute, may_return
from services.identity.pages.text_sent import sent_in_words, wants_part
from services.identity.pages.way_back import WAY_ON, lead_on
from services.identity.sessions import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Proving = Annotated[Access, Depends(Admits.waiting(repeats=True))]
_Live = Annotated[Access, Depends(Admits.waiting())]
_Looking = Annotated[Access, Depends(Admits.waiting(renews=False))]
_OWN = frozenset({"csrf", "key", "method", "code", "then", "waiting", "remember"})
"""Fields of the code's own forms; no form that may wait for a code has one of these names."""
_A_BUTTON = (("sure", "yes"),)
"""What is carried of a form without fields: that it was sent."""
_SHOWN = 64


@router.get("/code")
async def get_code(request: Request, access: _Live, gateway: GatewayDep, method: str = "", then: str = "") -> Response:
    return await _code(request, access, gateway, _Asked(method, then))


@router.post("/code/before")
async def post_before(request: Request, access: _Live, gateway: GatewayDep, then: str = "") -> Response:
    """A form that needs a fresh code first: what was typed goes along, and is sent on afterwards."""
    return await _code(request, access, gateway, _Asked.of(await fields_of(request), then or None))


@router.post("/code")
async def post_code(request: Request, access: _Proving, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    asked = _Asked.of(fields)
    try:
        method = Method(asked.method)
    except ValueError:
        return lead_to(gateway, "/code")
    remember = fields("remember") == "yes" and not gateway.cookies.is_shared(request.cookies)
    try:
        view = await gateway.two_factor.verify(
            access.signed_in, access.client, method, fields("code"), remember=remember, key=access.key
        )
    except ServiceError as error:
        if error.code is ErrorCode.ENROLMENT_REQUIRED or error.code is ErrorCode.UNAUTHENTICATED:
            raise
        return await _code(request, access, gateway, asked, error, typed=fields("code"), remembering=remember)
    response: Response
    if view.standing.state is SessionState.ACTIVE and may_return(asked.then):
        response = asked.lead_back(gateway)
    else:
        response = lead_on(request, gateway, view.standing.state)
    response.set_cookie(**gateway.cookies.session(view.token or ""))
    if view.device_token is not None:
        response.set_cookie(**gateway.cookies.device(access.clinic.slug, access.user.email, view.device_token))
    return response


@router.post("/code/text")
async def post_text(request: Request, access: _Live, gateway: GatewayDep) -> Response:
    """Sends a code by text message."""
    asked = replace(_Asked.of(await fields_of(request)), method=Method.SMS.value)
    try:
        await gateway.two_factor.send_sms(access.signed_in, access.client)
    except ServiceError as error:
        if error.code in (ErrorCode.ENROLMENT_REQUIRED, ErrorCode.UNAUTHENTICATED):
            raise
        return await _code(request, access, gateway, asked, error)
    if asked.carried:
        return await _code(request, access, gateway, asked)
    return lead_to(gateway, f"/code?method=sms{f'&then={asked.then}' if may_return(asked.then) else ''}")


@router.get("/code/text")
async def get_text(request: Request, access: _Looking, gateway: GatewayDep, then: str = "") -> Response:
    """How the text fares, for the page that shows it: whoever only waits keeps no session alive."""
    sms = await _text_sent(request, access, gateway) if wants_part(request) else None
    if sms is None:
        return lead_to(gateway, f"/code?method=sms{f'&then={then}' if may_return(then) else ''}")
    return page(request, "text_sent.html", access=access, sms=sms)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which way was chosen, the page that comes afterwards, and the form that waits for the code."""

    method: str
    then: str
    carried: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, fields: Fields, then: str | None = None) -> "_Asked":
        carried = tuple((name, value) for name, value in fields.all() if name not in _OWN and "password" not in name)
        is_waiting = then is not None or fields("waiting") == "yes"
        return cls(fields("method"), then or fields("then"), (carried or _A_BUTTON) if is_waiting else ())

    def lead_back(self, gateway: Gateway) -> Response:
        """To the page, or with the form that waited: browsers send it again (RFC 9110, 15.4.8)."""
        if self.carried:
            return RedirectResponse(f"{gateway.settings.path_prefix}{self.then}", 307)
        return lead_to(gateway, f"{self.then}?done=stepped-up")


async def _code(
    request: Request,
    access: Access,
    gateway: Gateway,
    asked: _Asked,
    refusal: ServiceError | None = None,
    *,
    typed: str = "",
    remembering: bool = False,
) -> Response:
    standing = await gateway.standings.view(access.signed_in)
    methods = standing.methods
    if standing.state is SessionState.ACTIVE and not methods and access.session.verified_at is not None:
        factors = await gateway.otp.factors_of(access.user.id)
        standing = await gateway.standings.marked(replace(standing, methods=tuple(factors.usable_methods())))
        methods = standing.methods
    if standing.state is not SessionState.SECOND_FACTOR_REQUIRED and not methods:
        return lead_to(gateway, WAY_ON[standing.state])
    stepping_up = standing.state is SessionState.ACTIVE
    method = next((one for one in methods if one == asked.method), methods[0] if methods else None)
    values: dict[str, Any] = {
        "form_key": await key_of_form(request, refusal),
        "method": method.value if method else "",
        "others": [
            {"method": one.value, "is_held_up": one in standing.degraded} for one in methods if one is not method
        ],
        "held_up": method in standing.degraded,
        "then": asked.then if may_return(asked.then) else "",
        "carried": asked.carried,
        "stepping_up": stepping_up,
        "typed": typed[:_SHOWN],
        "remembering": remembering,
        # Who was let in once and has the phone after all is not asked; they may.
        "may_set_up": standing.state is SessionState.ENROLMENT_REQUIRED,
        "reason": standing.reason.sentence if standing.reason else "",
        "remember_days": 0 if stepping_up else _days(request, access, gateway, standing, method),
        "sms": await _text_sent(request, access, gateway) if method is Method.SMS else None,
    }
    return page(request, "code.html", access=access, refusal=refusal, **values)


def _days(request: Request, access: Access, gateway: Gateway, standing: Standing, method: Method | None) -> int:
    """For how long this browser can be remembered, to be offered beside the code; 0: it is not offered."""
    if access.session.shared_device or gateway.cookies.is_shared(request.cookies) or method is Method.BACKUP_CODE:
        return 0
    return standing.remember_device_minutes // (24 * 60)


async def _text_sent(request: Request, access: Access, gateway: Gateway) -> dict[str, Any] | None:
    """How the newest message fares; None where none was sent in this sign-in."""
    try:
        sent = await gateway.two_factor.sms(access.signed_in)
    except ServiceError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return None
        raise
    if sent.expires_at <= gateway.clock.now():
        return None
    return sent_in_words(request, gateway, sent)
