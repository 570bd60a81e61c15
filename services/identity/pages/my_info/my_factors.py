"""Turning off one of my second factors: what that ends is said first, and so is where it cannot be."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method
from services.identity.pages.rendering import lead_to, page
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.words import METHOD_NAMES

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Active = Annotated[Access, Depends(Admits.active())]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]
_Factor = Literal["totp", "sms"]


@router.get("/me/two-factor/{method}/remove")
async def get_remove(
    request: Request, access: _Active, gateway: GatewayDep, method: _Factor, done: str = ""
) -> Response:
    return await _remove(request, access, gateway, Method(method), done=done)


@router.post("/me/two-factor/{method}/remove")
async def post_remove(request: Request, access: _Fresh, gateway: GatewayDep, method: _Factor) -> Response:
    try:
        await gateway.two_factor.remove(access.signed_in, access.client, Method(method))
    except ServiceError as error:
        if error.code is ErrorCode.REQUIRED_BY_POLICY:
            return await _remove(request, access, gateway, Method(method), refusal=error)
        if error.code is not ErrorCode.NOT_FOUND:  # turned off in another tab: as it was meant
            raise
    return lead_to(gateway, "/me?done=turned-off")


async def _remove(
    request: Request,
    access: Access,
    gateway: Gateway,
    method: Method,
    *,
    done: str = "",
    refusal: ServiceError | None = None,
) -> Response:
    overview = await gateway.two_factor.overview(access.signed_in)
    held = {factor.method for factor in overview.factors.factors}
    if method not in held:
        return lead_to(gateway, "/me")
    is_last = held == {method}
    values: dict[str, Any] = {
        "method": method.value,
        "words": METHOD_NAMES[method],
        "is_last": is_last,
        "is_required": is_last and overview.decision.is_two_factor_required,
        "reason": overview.decision.reason.sentence,
    }
    return page(request, "me_turn_off.html", access=access, refusal=refusal, done=done, **values)
