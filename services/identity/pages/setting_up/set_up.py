"""The beginning of a set-up, of one's own accord or because the clinic requires it: the number where it is asked for,
then with an app or by text message."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import mask_phone
from services.identity.accounts import OwnChange
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, SessionState
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to, page
from services.identity.pages.route import PageRoute
from services.identity.pages.setting_up.authenticator_apps import APPS, store_picture
from services.identity.pages.setting_up.steps import Step, progress, steps_of
from services.identity.pages.setting_up.typed_number import keep_number
from services.identity.phones import normalised

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Who has a factor already proves it afresh before another is added; guards lead there.
_Enrolling = Annotated[Access, Depends(Admits.enrolment(step_up=True))]
_BESIDE_THE_FORM = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.FORBIDDEN,
    ErrorCode.CONFLICT,
    ErrorCode.UNAVAILABLE,
)


@router.get("/set-up")
async def get_set_up(request: Request, access: _Enrolling, gateway: GatewayDep, done: str = "") -> Response:
    return await _set_up(request, access, gateway, done=done)


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


@router.post("/set-up/sms")
async def post_sms(request: Request, access: _Enrolling, gateway: GatewayDep) -> Response:
    assert access.standing is not None
    typed = (await fields_of(request))("phone").strip()
    try:
        number = normalised(typed, access.clinic.country) if typed else None
        found = await gateway.two_factor.start_sms(access.signed_in, access.standing, access.client, number)
    except ServiceError as error:
        return await _beside(request, access, gateway, error, typed)
    response = lead_to(gateway, f"/set-up/sms/{found.id}")
    keep_number(response, gateway, access.user.id, number or access.user.phone or "")
    return response


async def _beside(request: Request, access: Access, gateway: Gateway, error: ServiceError, phone: str = "") -> Response:
    """The form again with what is wrong beside it; other refusals are the route's."""
    if error.code not in _BESIDE_THE_FORM:
        raise error
    return await _set_up(request, access, gateway, phone=phone, refusal=error)


async def _set_up(
    request: Request,
    access: Access,
    gateway: Gateway,
    *,
    phone: str = "",
    done: str = "",
    refusal: ServiceError | None = None,
) -> Response:
    assert access.standing is not None
    standing, user = access.standing, access.user
    forced = standing.state is SessionState.ENROLMENT_REQUIRED
    overview = await gateway.two_factor.overview(access.signed_in)
    held = {factor.method for factor in overview.factors.factors}
    if standing.enrolment is not None:
        methods, phone_required = standing.enrolment.methods, standing.enrolment.is_phone_required
    else:
        methods, phone_required = overview.decision.methods_allowed, False
    steps = steps_of(access, overview.factors, Method.TOTP if Method.TOTP in methods else Method.SMS)
    values: dict[str, Any] = {
        "forced": forced,
        "reason": standing.reason.sentence if forced and standing.reason else "",
        "can_prove": forced and bool(standing.methods),
        "phone_required": phone_required,
        "methods": [method.value for method in methods],
        "held": [method.value for method in held],
        "phone": phone,
        "phone_on_file": mask_phone(user.phone) if user.phone else "",
        "texts_held_up": Method.SMS in await gateway.notifier.degraded(),
        "steps": progress(steps, Step.NUMBER if phone_required else steps[1 if Step.NUMBER in steps else 0]),
        "apps": APPS,
        "store_picture": store_picture,
    }
    return page(request, "set_up.html", access=access, refusal=refusal, done=done, **values)
