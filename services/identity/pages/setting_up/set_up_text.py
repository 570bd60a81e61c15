"""Setting up codes by text message: the code that was sent to the number, how its delivery goes, and another one."""

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
from services.identity.pages.rendering import page
from services.identity.pages.route import PageRoute
from services.identity.pages.setting_up.enrolled import TRY_AGAIN, begin_again, confirm
from services.identity.pages.setting_up.steps import Step, progress, steps_of
from services.identity.pages.setting_up.typed_number import text_again
from services.identity.pages.text_sent import sent_in_words, wants_part

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Enrolling = Annotated[Access, Depends(Admits.enrolment(step_up=True))]
_Confirming = Annotated[Access, Depends(Admits.enrolment(step_up=True, repeats=True))]
_Known = Annotated[Access, Depends(Admits.enrolment())]


@router.get("/set-up/sms/{enrolment_id}")
async def get_sms(request: Request, access: _Known, gateway: GatewayDep, enrolment_id: str, done: str = "") -> Response:
    return await _sms(request, access, gateway, enrolment_id, done=done)


@router.post("/set-up/sms/{enrolment_id}")
async def post_sms_code(request: Request, access: _Confirming, gateway: GatewayDep, enrolment_id: str) -> Response:
    draw = partial(_sms, request, access, gateway, enrolment_id)
    return await confirm(request, access, gateway, Method.SMS, enrolment_id, draw)


@router.post("/set-up/sms/{enrolment_id}/again")
async def post_again(request: Request, access: _Enrolling, gateway: GatewayDep, enrolment_id: str) -> Response:
    """Another code to the same number; without the browser's help it is to be typed again."""
    assert access.standing is not None
    start = partial(gateway.two_factor.start_sms, access.signed_in, access.standing, access.client)
    try:
        return await text_again(request, access, gateway, enrolment_id, start, "/set-up", "/set-up/sms")
    except ServiceError as error:
        if error.code not in TRY_AGAIN:
            return begin_again(access, gateway, error)
        return await _sms(request, access, gateway, enrolment_id, refusal=error)


async def _sms(
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
        return begin_again(access, gateway, error)
    shown = sent_in_words(request, gateway, sent)
    if wants_part(request):
        return page(request, "text_sent.html", access=access, sms=shown)
    overview = await gateway.two_factor.overview(access.signed_in)
    steps = steps_of(access, overview.factors, Method.SMS)
    values: dict[str, Any] = {
        "form_key": await key_of_form(request, refusal),
        "address": f"/set-up/sms/{enrolment_id}",
        "back": "/set-up",
        "sms": shown,
        "typed": typed,
        "texts_held_up": Method.SMS in await gateway.notifier.degraded(),
        "can_use_app": Method.TOTP in overview.decision.methods_allowed,
        "steps": progress(steps, Step.TYPE),
    }
    return page(request, "set_up_sms.html", access=access, refusal=refusal, done=done, **values)
