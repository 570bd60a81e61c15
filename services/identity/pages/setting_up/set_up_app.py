"""Setting up an authenticator app: the key as a picture, to type and as a link, and its first code. The key is shown
until it is confirmed and never again."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method
from services.identity.pages.form import key_of_form
from services.identity.pages.pictures import qr_picture
from services.identity.pages.rendering import page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.setting_up.enrolled import begin_again, confirm
from services.identity.pages.setting_up.steps import Step, progress, steps_of
from services.identity.pages.speech.words import in_fours

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Confirming = Annotated[Access, Depends(Admits.enrolment(step_up=True, repeats=True))]
_Known = Annotated[Access, Depends(Admits.enrolment())]


@router.get("/set-up/totp/{enrolment_id}")
async def get_totp(
    request: Request, access: _Known, gateway: GatewayDep, enrolment_id: str, done: str = ""
) -> Response:
    return await _totp(request, access, gateway, enrolment_id, done=done)


@router.post("/set-up/totp/{enrolment_id}")
async def post_totp_code(request: Request, access: _Confirming, gateway: GatewayDep, enrolment_id: str) -> Response:
    draw = partial(_totp, request, access, gateway, enrolment_id)
    return await confirm(request, access, gateway, Method.TOTP, enrolment_id, draw)


async def _totp(
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
        found = await gateway.two_factor.totp_enrolment(access.signed_in, enrolment_id)
    except ServiceError as error:
        return begin_again(access, gateway, error)
    overview = await gateway.two_factor.overview(access.signed_in)
    steps = steps_of(access, overview.factors, Method.TOTP)
    values: dict[str, Any] = {
        "form_key": await key_of_form(request, refusal),
        "enrolment_id": found.id,
        "picture": qr_picture(found.otpauth_uri, speech_of(request).say("QR code to scan with your app")),
        "otpauth_uri": found.otpauth_uri,
        "account": f"{access.clinic.name} {access.user.email}",
        "key": in_fours(found.secret),
        "bare_key": found.secret,
        "typed": typed,
        "replaces": any(factor.method is Method.TOTP for factor in overview.factors.factors),
        "steps": progress(steps, Step.TYPE if refusal else Step.SCAN),
    }
    return page(request, "set_up_totp.html", access=access, refusal=refusal, done=done, **values)
